"""The published models: traps of the files, and lines against independent fits of the raw columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.published_models import (
    ACCURACY_COLUMNS,
    TESTBED_OBJECTNET_IMAGES,
    measure_reference,
    read_accuracies,
    read_reference,
)
from whyrobust.analysis.published_tables import VLHUB_MISPLACED

FOLDER = Path(__file__).parents[2] / "resources" / "reference"


@pytest.fixture(scope="module")
def accuracies() -> pd.DataFrame:
    return read_reference(FOLDER)


@pytest.fixture(scope="module")
def tables(accuracies):
    return measure_reference(accuracies, MeasurementSettings(resamples=200))


# --- Readers ------------------------------------------------------------------------------------------------


def test_accuracies_are_fractions_with_one_row_a_model_shift_and_axis(accuracies):
    assert list(accuracies.columns) == list(ACCURACY_COLUMNS)
    assert not accuracies.duplicated(["collection", "model", "shift", "x_test_set"]).any()
    for column in ("id_accuracy", "shift_accuracy"):
        assert accuracies[column].between(0, 1).all() and accuracies[column].max() > 0.8
    best = accuracies[accuracies["model"] == "efficientnet-l2-noisystudent"].set_index(["shift", "x_test_set"])
    assert best.loc[("imagenet-r", "imagenet@imagenet-r"), ["id_accuracy", "shift_accuracy"]].tolist() == (
        pytest.approx([0.9779, 0.746733])
    )
    assert best.loc[("imagenet-r", "imagenet"), "id_accuracy"] == pytest.approx(0.88322)


def test_every_published_accuracy_is_a_whole_number_of_images():
    table = read_accuracies(FOLDER, "imagenet_testbed")
    for axis in ("id", "shift"):
        correct = table[f"{axis}_accuracy"] * table[f"images_{axis}"]
        assert (correct - correct.round()).abs().max() < 0.05, axis
    objectnet = table[table["shift"] == "objectnet"]
    assert objectnet["images_shift"].eq(TESTBED_OBJECTNET_IMAGES).all()
    # With the 18,574 images of the overlapping classes the counts would not be whole.
    others = objectnet["shift_accuracy"] * 18_574
    assert (others - others.round()).abs().max() > 0.4


def test_sizes_of_the_axes(accuracies):
    sizes = accuracies.groupby(["collection", "shift", "x_test_set"])[["images_id", "images_shift"]].first()
    assert sizes.loc[("imagenet_testbed", "objectnet", "imagenet@objectnet")].tolist() == [6250, 18_514]
    assert sizes.loc[("imagenet_testbed", "imagenet-a", "imagenet@imagenet-a")].tolist() == [10_000, 7500]
    assert sizes.loc[("open_clip", "objectnet", "imagenet")].tolist() == [50_000, 18_574]
    assert sizes.loc[("vlhub", "imagenet-sketch", "imagenet")].tolist() == [50_000, 50_889]


def test_standard_models_of_each_line(accuracies):
    counts = accuracies[accuracies["standard"]].groupby(["shift", "x_test_set"])["model"].nunique().to_dict()
    assert counts == {
        ("imagenet-v2", "imagenet"): 85,
        ("imagenet-sketch", "imagenet"): 85,
        ("imagenet-r", "imagenet"): 80,
        ("imagenet-r", "imagenet@imagenet-r"): 80,
        ("imagenet-a", "imagenet"): 84,
        ("imagenet-a", "imagenet@imagenet-a"): 84,
        ("objectnet", "imagenet"): 85,
        ("objectnet", "imagenet@objectnet"): 85,
    }
    standard = accuracies[accuracies["standard"]]
    assert set(standard["collection"]) == {"imagenet_testbed"} and set(standard["training"]) == {"standard"}
    assert not standard["model"].isin(["resnet50_aws_baseline"]).any()
    assert set(accuracies.query("model == 'resnet50' and standard")["shift"]) == {
        "imagenet-v2",
        "imagenet-sketch",
        "imagenet-r",
        "objectnet",
    }


def test_vlhub_rows_with_misplaced_columns_are_just_those_above_imagenet_r_on_sketch():
    raw = pd.read_csv(FOLDER / "vlhub_top1.csv")
    assert set(raw["model"][raw["imagenet_sketch"] > raw["imagenet_r"]]) == VLHUB_MISPLACED
    for other in ("open_clip_zeroshot_top1.csv", "imagenet_testbed_top1.csv"):
        table = pd.read_csv(FOLDER / other)
        assert not (table["imagenet_sketch"] > table["imagenet_r"]).any()
    vlhub = read_accuracies(FOLDER, "vlhub")
    # Each column of the 630 conventional rows is sorted for itself: they are no models.
    assert vlhub["model"].nunique() == len(raw) - 630 - 4 and not vlhub["model"].isin(VLHUB_MISPLACED).any()
    assert set(vlhub["head"]) == {"zero_shot"}


def test_open_clip_models_are_zero_shot_with_an_ensemble():
    table = read_accuracies(FOLDER, "open_clip")
    assert table["model"].nunique() == 119 and not table["standard"].any()
    assert set(table["head"]) == {"zero_shot"} and set(table["prompts"]) == {"ensemble"}
    row = table[(table["model"] == "ViT-B-32 openai") & (table["shift"] == "imagenet-r")].iloc[0]
    assert (row["id_accuracy"], row["shift_accuracy"], row["training"]) == (0.6332, 0.6933, "openai")


def test_a_file_without_its_columns_or_in_percent_is_refused(tmp_path):
    raw = pd.read_csv(FOLDER / "open_clip_zeroshot_top1.csv")
    raw.drop(columns="imagenet").to_csv(tmp_path / "open_clip_zeroshot_top1.csv")
    with pytest.raises(ValueError, match="imagenet"):
        read_accuracies(tmp_path, "open_clip")
    raw.assign(imagenet=raw["imagenet"] * 100).to_csv(tmp_path / "open_clip_zeroshot_top1.csv")
    with pytest.raises(ValueError, match=r"line 2: imagenet of .* divide what is in percent"):
        read_accuracies(tmp_path, "open_clip")


# --- Lines and effective robustness -------------------------------------------------------------------------


def raw_line(x_column: str, y_column: str, from_percent: float, side: str = "all") -> list[float]:
    """Fit one line of the testbed from the file itself, with numpy alone."""
    raw = pd.read_csv(FOLDER / "imagenet_testbed_top1.csv")
    pivot = raw.loc[raw["model"] == "resnet50", x_column].item()
    keep = (raw["training"] == "standard") & (raw[x_column] >= from_percent) & raw[y_column].notna()
    for word in ("aws", "batch64", "subsample"):
        keep &= ~raw["model"].str.contains(word)
    if side != "all":
        keep &= raw[x_column] < pivot if side == "below_pivot" else raw[x_column] > pivot
    x, y = (np.log(raw.loc[keep, name] / (100 - raw.loc[keep, name])) for name in (x_column, y_column))
    return [*np.polyfit(x, y, 1), keep.sum(), np.corrcoef(x, y)[0, 1] ** 2]


@pytest.mark.parametrize(
    ("shift", "x_test_set", "line", "arguments"),
    [
        ("imagenet-v2", "imagenet", "all", ("imagenet", "imagenet_v2", 55)),
        ("imagenet-sketch", "imagenet", "all", ("imagenet", "imagenet_sketch", 55)),
        ("imagenet-r", "imagenet@imagenet-r", "all", ("imagenet_on_r_classes", "imagenet_r", 75)),
        ("imagenet-r", "imagenet", "all", ("imagenet", "imagenet_r", 55)),
        ("objectnet", "imagenet@objectnet", "all", ("imagenet_on_objectnet_classes", "objectnet", 55)),
        ("objectnet", "imagenet", "all", ("imagenet", "objectnet", 55)),
        ("imagenet-a", "imagenet@imagenet-a", "below_pivot", ("imagenet_on_a_classes", "imagenet_a", 75)),
        ("imagenet-a", "imagenet@imagenet-a", "above_pivot", ("imagenet_on_a_classes", "imagenet_a", 75)),
        ("imagenet-a", "imagenet", "below_pivot", ("imagenet", "imagenet_a", 55)),
        ("imagenet-a", "imagenet", "above_pivot", ("imagenet", "imagenet_a", 55)),
    ],
)
def test_lines_are_those_of_an_independent_fit(tables, shift, x_test_set, line, arguments):
    rows = tables.baselines.query("shift == @shift and x_test_set == @x_test_set and line == @line")
    found = rows[["slope", "intercept", "models", "r_squared"]].to_numpy(dtype=float).tolist()
    assert found == [pytest.approx(raw_line(*arguments, line), abs=1e-6)]
    assert len(tables.baselines) == 10


def test_models_are_compared_with_a_line_on_their_own_axis_only(tables):
    rows = tables.effective_robustness
    assert set(rows.loc[rows["collection"] != "imagenet_testbed", "x_test_set"]) == {"imagenet"}
    row = rows[(rows["run"] == "ViT-B-32 openai") & (rows["shift"] == "imagenet-r")].iloc[0]
    slope, intercept, *_ = raw_line("imagenet", "imagenet_r", 55)
    expected = 1 / (1 + np.exp(-(slope * np.log(0.6332 / 0.3668) + intercept)))
    assert row["effective_robustness_points"] == pytest.approx(100 * (0.6933 - expected), abs=1e-6)


def test_clip_is_far_above_the_line_and_standard_models_are_on_it(tables):
    rows = tables.effective_robustness
    clip = rows[
        rows["run"].isin(["ViT-B-32 openai", "ViT-L-14 openai"]) & rows["shift"].isin(["imagenet-r", "imagenet-sketch"])
    ]
    assert len(clip) == 4 and (clip["low_points"] > 20).all()
    standard = rows[rows["standard"]].groupby(["shift", "x_test_set"])["effective_robustness_points"].mean()
    assert standard.abs().max() < 0.3


def test_intervals_hold_their_estimate_and_zero_on_imagenet_a_is_said(tables):
    rows = tables.effective_robustness
    assert (rows["low_points"] <= rows["effective_robustness_points"]).mean() > 0.99
    assert (rows["high_points"] >= rows["effective_robustness_points"]).mean() > 0.99
    resnet50 = rows[(rows["run"] == "resnet50") & (rows["shift"] == "imagenet-a")]
    assert resnet50["note"].str.contains("is 0").all() and not resnet50["standard"].any()
    assert (rows.loc[rows["note"] != "", "shift_accuracy"] == 0).all()
    below = rows.loc[rows["run"] == "RN50 yfcc15m", "extrapolated"]
    assert len(below) == 5 and below.all()


def test_imagenet_a_needs_its_pivot(accuracies):
    part = accuracies[(accuracies["shift"] == "imagenet-a") & (accuracies["model"] != "resnet50")]
    with pytest.raises(ValueError, match="resnet50"):
        measure_reference(part, MeasurementSettings(resamples=5))
