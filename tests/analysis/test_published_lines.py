"""Lines through published models against plain fits of the files, and the figures of an independent computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whyrobust.analysis.pretraining import describe_models, read_pretraining
from whyrobust.analysis.published_lines import (
    LINES,
    TIMM_LINE,
    compare_lines,
    fit_lines,
    measure_models,
    table_of_lines,
    table_of_models,
    trained_on_imagenet_alone,
)
from whyrobust.analysis.published_tables import read_published

FOLDER = Path(__file__).parents[2] / "resources" / "reference"
AXES = {
    "imagenet-v2": ("imagenet", "imagenet", "imagenet_v2", 55.0),
    "imagenet-sketch": ("imagenet", "imagenet", "imagenet_sketch", 55.0),
    "imagenet-r": ("imagenet@imagenet-r", "imagenet_on_r_classes", "imagenet_r", 75.0),
}
# Effective robustness in points beyond the testbed's line, computed by other code on other days: V2, Sketch, R.
PUBLISHED = {
    "resnet50.fb_ssl_yfcc100m_ft_in1k": (0.64, 1.22, 1.77),
    "resnet50.fb_swsl_ig1b_ft_in1k": (1.62, 18.66, 23.32),
    "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k": (0.78, 2.49, 3.78),
    "resnext101_32x8d.fb_swsl_ig1b_ft_in1k": (1.35, 20.37, 26.51),
    "vit_base_patch16_clip_224.laion2b_ft_in1k": (0.03, 16.99, 19.37),
    "vit_base_patch16_224.augreg_in21k_ft_in1k": (-0.37, 6.70, 7.66),
    "regnety_160.swag_lc_in1k": (1.00, 17.88, 28.45),
}
# Slope, intercept and R² of lines through 564 of timm's models, of which it is not known which they are.
OTHER_LINES = {
    "imagenet-v2": (0.911, -0.481, 0.991),
    "imagenet-sketch": (1.182, -2.518, 0.906),
    "imagenet-r": (0.712, -2.307, 0.899),
}


def logit(share):
    return np.log(share / (1 - share))


def plain_line(x, y):
    """Return slope, intercept and R² on logits, from percentages."""
    tx, ty = logit(np.asarray(x) / 100), logit(np.asarray(y) / 100)
    slope = ((tx - tx.mean()) * (ty - ty.mean())).sum() / ((tx - tx.mean()) ** 2).sum()
    return slope, ty.mean() - slope * tx.mean(), np.corrcoef(tx, ty)[0, 1] ** 2


@pytest.fixture(scope="module")
def published():
    return read_published(FOLDER)


@pytest.fixture(scope="module")
def models(published):
    return describe_models(published.models, read_pretraining(FOLDER))


@pytest.fixture(scope="module")
def lines(published, models):
    return fit_lines(FOLDER, models, published.accuracies)


@pytest.fixture(scope="module")
def measured(published, lines):
    return measure_models(published.accuracies, lines)


def test_both_lines_are_those_of_plain_fits_of_the_files(models, lines):
    testbed = pd.read_csv(FOLDER / "imagenet_testbed_top1.csv")
    standard = testbed[testbed["training"] == "standard"]
    standard = standard[~standard["model"].str.contains("aws|batch64|subsample")]
    timm = pd.read_csv(FOLDER / "timm_top1.csv")
    timm = timm[timm["model"].isin(models.loc[trained_on_imagenet_alone(models), "model"])]
    table = table_of_lines(lines).set_index(["shift", "x_test_set", "line"])
    for shift, (x_test_set, x, y, threshold) in AXES.items():
        for line, source in zip(LINES, (standard, timm), strict=True):
            fitted = source.dropna(subset=[x, y])
            fitted = fitted[fitted[x] >= threshold]
            row = table.loc[(shift, x_test_set, line)]
            assert row["models"] == len(fitted)
            assert (row["slope"], row["intercept"], row["r_squared"]) == pytest.approx(plain_line(fitted[x], fitted[y]))
    assert table.loc[("imagenet-v2", "imagenet", "testbed"), "models"] == 85


def test_effective_robustness_matches_an_independent_computation(measured):
    found = measured[measured["line"] == "testbed"].set_index(["model", "shift", "x_test_set"])["er_points"]
    for model, expected in PUBLISHED.items():
        values = [found[(model, shift, axis[0])] for shift, axis in AXES.items()]
        assert values == pytest.approx(expected, abs=0.005), model


def test_the_line_of_today_is_that_of_another_selection_to_two_figures(lines, measured):
    """The selection is ours, from the table of pretraining: 802 models where the other computation had 564."""
    table = table_of_lines(lines).set_index(["shift", "x_test_set", "line"])
    for shift, (x_test_set, *_) in AXES.items():
        row = table.loc[(shift, x_test_set, TIMM_LINE)]
        assert (row["slope"], row["intercept"]) == pytest.approx(OTHER_LINES[shift][:2], abs=0.03)
        assert row["r_squared"] == pytest.approx(OTHER_LINES[shift][2], abs=0.004)
        assert row["models"] == (804 if shift == "imagenet-r" else 802)
        # What a model is worth by either differs by less than half a point where the models are.
        x = np.array([0.9, 0.95]) if shift == "imagenet-r" else np.array([0.7, 0.8, 0.85])
        ours = row["intercept"] + row["slope"] * logit(x)
        other = OTHER_LINES[shift][1] + OTHER_LINES[shift][0] * logit(x)
        assert np.abs(1 / (1 + np.exp(-ours)) - 1 / (1 + np.exp(-other))).max() < 0.005


def test_who_is_on_the_line_of_today(models):
    chosen = models[trained_on_imagenet_alone(models)]
    assert len(chosen) == 814 and set(chosen["collection"]) == {"timm"}
    names = set(chosen["model"])
    for model in ("resnet50.a1_in1k", "vit_base_patch16_224.augreg_in1k", "convnext_base.fb_in1k"):
        assert model in names
    for model in (
        "deit_base_distilled_patch16_224.fb_in1k",  # a teacher
        "tf_efficientnet_b0.ap_in1k",  # adversarial examples
        "convnextv2_base.fcmae_ft_in1k",  # images alone, then labels
        "vit_base_patch16_224.augreg_in21k_ft_in1k",
        "hrnet_w18_ssld.paddle_in1k",  # not documented
    ):
        assert model not in names and model in set(models["model"])


def test_points_at_the_reference_accuracy(lines):
    one = lines["imagenet-sketch", "imagenet"]
    testbed = pd.read_csv(FOLDER / "imagenet_testbed_top1.csv").set_index("model")
    assert one.reference == pytest.approx(testbed.loc["resnet50", "imagenet"] / 100)
    slope, intercept, _ = (table_of_lines(lines).set_index(["shift", "x_test_set", "line"]).loc[
        ("imagenet-sketch", "imagenet", "testbed"), ["slope", "intercept", "r_squared"]
    ])  # fmt: skip
    base = intercept + slope * logit(one.reference)
    plain = 100 * (1 / (1 + np.exp(-(base + 0.5))) - 1 / (1 + np.exp(-base)))
    assert one.points_at_reference("testbed", np.array([0.0, 0.5])) == pytest.approx([0.0, plain])


def test_extrapolated_means_outside_the_lines_models(measured, lines):
    row = measured[(measured["model"] == "RN50-quickgelu yfcc15m") & (measured["shift"] == "imagenet-v2")]
    assert row["extrapolated"].all() and len(row) == 2
    strong = measured[(measured["model"] == "resnet50.a1_in1k") & (measured["shift"] == "imagenet-v2")]
    assert not strong["extrapolated"].any()


def test_lines_are_compared_at_the_same_accuracies(lines):
    table = compare_lines(lines)
    row = table[(table["shift"] == "imagenet-sketch") & (table["id_accuracy"] == 0.8)].iloc[0]
    assert row["difference_points"] == pytest.approx(100 * (row["timm_in1k"] - row["testbed"]))
    assert "objectnet" not in set(table["shift"])  # timm has none
    v2 = table[table["shift"] == "imagenet-v2"]["difference_points"]
    assert v2.abs().max() < 0.3


def test_one_row_per_model_with_its_own_axis(models, measured):
    table = table_of_models(models, measured).set_index("model")
    assert len(table) == len(models) and not table.index.duplicated().any()
    row = table.loc["resnet50.fb_swsl_ig1b_ft_in1k"]
    assert row["imagenet-r: er_points, testbed"] == pytest.approx(23.32, abs=0.005)
    assert row["objectnet: er_points, testbed"] == pytest.approx(3.31, abs=0.005)
    assert np.isnan(table.loc["resnet50.a1_in1k", "objectnet: y"])
