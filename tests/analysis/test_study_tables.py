"""The tables of a study: axes, standard models and draws, against the functions for one shift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from whyrobust.analysis.accuracies import KEYS, ShiftAccuracies, select_runs
from whyrobust.analysis.bootstrap import resample_accuracies, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_effective_robustness
from whyrobust.analysis.study_tables import measure_study

SETTINGS = MeasurementSettings(resamples=60, band_points=5, seed=3)
IMAGES = {"studio_test": 80, "web_test": 70, "studio_test@r": 40, "r": 50, "v2": 60}
RUNS = pd.DataFrame(
    [(f"{source}-{number}", source, source == "studio") for source in ("web", "studio") for number in range(4)],
    columns=["run", "source", "standard"],
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of eight runs, each with a classifier and a probe, whose predictions are drawn at random."""
    rng = np.random.default_rng(0)
    rows, predictions = [], []
    for test_set, images in IMAGES.items():
        for number, run in enumerate(RUNS["run"]):
            for head in ("classifier", "linear_probe"):
                right = rng.random(images) < 0.3 + 0.05 * number
                key = {"run": run, "head": head, "prompts": "", "fitted_on": "" if head == "classifier" else "own"}
                main = {"main": head == "classifier", "test_set": test_set}
                rows.append(key | main | {"images": images, "accuracy": right.mean()})
                group = [f"drawing {image // 2}" for image in range(images)]
                predictions.append(pd.DataFrame(key | {"test_set": test_set, "group": group, "correct": right}))
    path = tmp_path_factory.mktemp("study") / "predictions.parquet"
    pd.concat(predictions).to_parquet(path)
    return pd.DataFrame(rows), path, pd.concat(predictions)


def drawn(predictions, test_set, keys):
    """Draws of accuracies, from the predictions themselves."""
    table = predictions[predictions["test_set"] == test_set].set_index(list(KEYS)).sort_index()
    correct = np.stack([table.loc[key, "correct"].to_numpy() for key in keys])
    groups = table.loc[keys[0], "group"].to_numpy()
    return resample_accuracies(correct, groups, SETTINGS.resamples, seed_of(SETTINGS.seed, "images", test_set))


def test_runs_are_selected_by_a_condition_of_the_config():
    assert select_runs(RUNS, {"standard": True}) == {f"studio-{number}" for number in range(4)}
    assert select_runs(RUNS, {"source": ["studio", "web"]}) == set(RUNS["run"])


def test_a_study_is_measured_shift_by_shift_on_the_axis_of_the_shift(study):
    accuracy, path, predictions = study
    tables = measure_study(accuracy, path, select_runs(RUNS, {"standard": True}), ["r", "v2"], "studio_test", SETTINGS)
    table = tables.effective_robustness
    assert table.groupby("shift")["x_test_set"].unique().map(list).to_dict() == {
        "r": ["studio_test@r"],
        "v2": ["studio_test"],
    }
    assert table.groupby("shift")["standard"].sum().tolist() == [4, 4]
    assert (table.loc[table["standard"], "head"] == "classifier").all()
    assert table["fitted_on"].isin(["", "own"]).all() and table["main"].sum() == 16
    for shift, x_test_set in (("r", "studio_test@r"), ("v2", "studio_test")):
        rows = table[table["shift"] == shift]
        keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
        on_axes = [
            accuracy[accuracy["test_set"] == name].set_index(list(KEYS)).loc[keys, "accuracy"].to_numpy()
            for name in (x_test_set, shift)
        ]
        expected = measure_effective_robustness(
            ShiftAccuracies(
                on_axes[0][:, None],
                on_axes[1],
                drawn(predictions, x_test_set, keys)[:, :, None],
                drawn(predictions, shift, keys),
                rows["standard"].to_numpy(),
            ),
            seed=seed_of(SETTINGS.seed, "standard models", x_test_set, shift),
        )
        np.testing.assert_array_equal(rows["effective_robustness_points"], expected.points)
        np.testing.assert_array_equal(rows["low_points"], expected.low_points)
        np.testing.assert_array_equal(tables.draws[shift], expected.draws)


def test_a_shift_has_the_same_draws_whatever_other_shifts_there_are(study):
    accuracy, path, _ = study
    standard = select_runs(RUNS, {"standard": True})
    both = measure_study(accuracy, path, standard, ["r", "v2"], "studio_test", SETTINGS)
    alone = measure_study(accuracy, path, standard, ["v2"], "studio_test", SETTINGS)
    np.testing.assert_array_equal(both.draws["v2"], alone.draws["v2"])
    assert not np.array_equal(both.draws["r"], both.draws["v2"])
