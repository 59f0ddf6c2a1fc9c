"""Extreme numbers have stated results: accuracies of 0 and 1, one model, two points, ties, classes without images."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.test_baselines import fit_line
from tests.analysis.test_baselines import predict as predict_line
from tests.analysis.test_effective_robustness import make_models
from tests.analysis.test_regression import make_points
from tests.training.test_loop import model_config, pictures, run  # noqa: F401 - fixtures
from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.attribution import EffectSettings, attribute_causes
from whyrobust.analysis.bootstrap import resample_counts
from whyrobust.analysis.cause_tables import OtherWeights, summarise_causes
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_effective_robustness, measure_shift
from whyrobust.analysis.measured import SHIFT, MeasuredShift
from whyrobust.analysis.regression import regress_causes
from whyrobust.evaluation.scoring import predict
from whyrobust.study.comparisons import Comparison
from whyrobust.training.loop import TrainingError

#: Accuracies over a few images, the ends among them more often than chance, or none at all.
accuracies = st.sampled_from([0.0, 1.0, 0.5, 0.5, float("nan")]) | st.integers(0, 40).map(lambda n: n / 40)
model_rows = st.lists(st.tuples(accuracies, accuracies, st.booleans()), min_size=1, max_size=7)


def measured(rows, scale="logit", pivot=None):
    x, y, standard = (list(column) for column in zip(*rows, strict=True))
    models = make_models(x, y, standard)
    draws = [
        resample_counts(np.nan_to_num(values) * images, images, 40, number)
        for number, (values, images) in enumerate(((np.array(x), 1000), (np.array(y), 500)))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = MeasurementSettings(scale=scale, resamples=30)
        return models, measure_shift(models, "sketch", "studio_test", *draws, settings, pivot)


@settings(max_examples=120, deadline=None)
@given(rows=model_rows, scale=st.sampled_from(["logit", "probit", "linear"]), pivot=st.sampled_from([None, 0.5]))
def test_any_accuracies_are_measured_without_a_crash_an_infinity_or_a_lost_row(rows, scale, pivot):
    models, result = measured(rows, scale, pivot=pivot)
    table = result.effective_robustness
    assert table["run"].tolist() == models["run"].tolist()
    assert not np.isinf(table.select_dtypes("number").to_numpy(dtype=float)).any()
    assert not np.isinf(result.measurement.draws).any()
    known = table["id_accuracy"].notna() & table["shift_accuracy"].notna() & table["baseline_accuracy"].notna()
    # What is not known has its reason in words; what is known has a number.
    assert (table["effective_robustness_points"].notna() == known).all()
    assert (table["note"][~known] != "").all()
    at_end = table[["id_accuracy", "shift_accuracy"]].isin([0.0, 1.0]).any(axis=1)
    assert scale == "linear" or (table["note"][at_end].str.contains("no finite")).all()
    counted = result.baselines["models"].sum() + result.baselines["excluded"].sum()
    at_pivot = (models["id_accuracy"] == pivot) | models["id_accuracy"].isna()
    assert counted == models["standard"].sum() - (0 if pivot is None else (models["standard"] & at_pivot).sum())


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(accuracies, accuracies, st.booleans()), min_size=4, max_size=6))
def test_causes_of_any_accuracies_are_a_number_or_not_measured(rows):
    models, result = measured(rows)
    half = len(rows) // 2
    runs = models.assign(
        seed=[number % half for number in range(len(rows))],
        source=["studio"] * half + ["web"] * (len(rows) - half),
        objective="cross_entropy", main=True, supervision="labels", caption="", labels="annotated", pretrained_by="",
        model="m", samples_seen=1, train_images=10, fitted_on="",
    ).drop_duplicates(["seed", "source"], ignore_index=True)  # fmt: skip
    keep = runs["run"].str.removeprefix("run").astype(int).to_numpy()
    comparison = Comparison("training_distribution", "web", {"source": "studio"}, {"source": "web"}, {}, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measurement = result.measurement
        shift = MeasuredShift(
            residuals=measurement.residuals[keep],
            draws=measurement.residual_draws[:, keep],
            extrapolated=measurement.extrapolated[keep],
            id_accuracies=runs[["id_accuracy"]].to_numpy(dtype=float),
            shift_accuracy=runs["shift_accuracy"].to_numpy(dtype=float),
            role=SHIFT,
        )
        causes = attribute_causes([comparison], runs, {"sketch": shift}, EffectSettings())
    assert causes["shift"].tolist() == ["mean", "sketch"] and causes["pairs"][0] == half
    numbers = ["effect_points", "low_points", "high_points", "detectable_points", "p", "p_adjusted"]
    for row in causes.to_dict("records"):
        assert not np.isinf([row[name] for name in numbers]).any()
        if np.isnan(row["low_points"]):
            assert row["verdict"] == ("not measured" if np.isnan(row["effect_points"]) else "no interval")
        else:
            assert row["low_points"] <= row["effect_points"] <= row["high_points"]
            assert row["verdict"] in ("raises", "lowers", "within ±2", "undecided")
    assert (
        "nan"
        not in summarise_causes(
            causes, EffectSettings(), OtherWeights(causes.assign(class_weights="equal")), {"sketch": shift}
        ).lower()
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(accuracies, accuracies), min_size=24, max_size=24))
def test_a_regression_of_any_accuracies_says_what_it_leaves_out(pairs):
    points = make_points(seeds=(0,), noise=0.1)
    points["id_accuracy"], points["shift_accuracy"] = (list(column) for column in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = regress_causes(points)
    numbers = table.select_dtypes("number").to_numpy(dtype=float)
    assert len(table) == 5 and not np.isinf(numbers[:, :3]).any()
    assert (table["note"][table["coefficient"].isna()] != "").all()


@pytest.mark.parametrize("scale", ["logit", "probit", "linear"])
def test_a_baseline_of_two_points_goes_through_them_and_one_of_one_point_is_none(scale):
    two = fit_line([0.4, 0.6], [0.2, 0.3], scale)
    np.testing.assert_allclose(predict_line(two, [0.4, 0.6]), [0.2, 0.3])
    assert two.models == 2
    one = fit_line([0.4], [0.2], scale)
    assert np.isnan(one.slopes[0]) and np.isnan(predict_line(one, 0.4)) and one.models == 1


def test_a_shift_with_one_model_has_its_accuracy_and_says_that_there_is_no_line():
    _, result = measured([(0.5, 0.4, True)])
    row = result.effective_robustness.iloc[0]
    assert row["shift_accuracy"] == 0.4 and np.isnan(row["effective_robustness_points"])
    assert "no baseline" in row["note"]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, -1.0]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_of_tied_scores_the_first_class_is_chosen_whatever_the_answers(scores):
    array = np.array(scores, dtype=np.float32)
    expected = [row.index(max(row)) for row in scores]
    assert predict(array).tolist() == expected
    assert predict(array, [[0], [1], [2], [3]]).tolist() == expected
    assert predict(array, [[0, 1], [2, 3]]).tolist() == [min(1, first // 2) for first in expected]


def test_several_test_sets_with_accuracies_at_the_ends_have_stated_results():
    x = np.array([[0.2, 0.3], [0.4, 0.5], [0.5, 0.7], [0.7, 0.6], [0.8, 0.9], [1.0, 0.5], [0.5, 0.0]])
    y = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 1.0])
    draws = np.repeat(x[None], 30, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accuracies = ShiftAccuracies(x, y, draws, np.repeat(y[None], 30, axis=0), np.arange(7) < 5)
        measurement = measure_effective_robustness(accuracies)
    assert not np.isinf(measurement.points).any()


def test_several_test_sets_without_a_fit_leave_a_note_and_no_crash():
    x, y = np.full((6, 2), 0.5), np.zeros(6)
    draws = (np.repeat(x[None], 9, axis=0), np.repeat(y[None], 9, axis=0))
    result = measure_effective_robustness(ShiftAccuracies(x, y, *draws, np.ones(6, dtype=bool)))
    assert np.isnan(result.points).all() and np.isnan(result.low_points).all() and result.extrapolated.all()
    assert "Found 0 standard models with finite accuracies" in result.baseline.note


def test_a_step_that_ruins_the_weights_stops_the_run_even_if_it_is_the_last(pictures, model_config):  # noqa: F811
    # The loss of the only step is finite, what the step leaves is not, and no later loss would tell.
    with pytest.raises(TrainingError, match=r"after step 1 of 1 \(learning rate 1e\+39\)"):
        run(pictures, model_config, "cross_entropy", pictures[1], samples_seen=16, batch_size=16, learning_rate=1e39)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_step_and_learning_rate(pictures, model_config, monkeypatch, value):  # noqa: F811
    from whyrobust.training.objectives import CrossEntropyObjective

    sane, calls = CrossEntropyObjective.loss, []

    def loss(self, features, targets):
        calls.append(1)
        return sane(self, features, targets) + (value if len(calls) == 2 else 0.0)

    monkeypatch.setattr(CrossEntropyObjective, "loss", loss)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step 2 of \d+ \(learning rate [0-9.e-]+\)"):
        run(pictures, model_config, "cross_entropy", pictures[1])
    assert len(calls) == 2


def test_a_class_without_test_images_is_in_no_count_and_never_crashes():
    scores = np.zeros((3, 4), dtype=np.float32)
    scores[:, 1] = 1
    assert predict(scores, [[0], [2]]).tolist() == [0, 0, 0]
