"""The regression against statsmodels with a dummy for each architecture, and second axes against plain planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from whyrobust.analysis.published_axes import measure_second_axes
from whyrobust.analysis.published_regression import contrast_terms, regress_models, table_of_terms

FOLDER = Path(__file__).parents[2] / "resources" / "reference"


def made_up():
    """Return models of 30 architectures with known effects, and their residuals on one shift."""
    rng = np.random.default_rng(3)
    levels = {"labels of ImageNet-1k": 0.0, "labels of ImageNet-21k": 0.2, "hashtags": 0.8, "captions": 0.6}
    rows = []
    for architecture in range(30):
        base = rng.normal(0, 0.5)
        for number in range(5):
            level = list(levels)[int(rng.integers(4))]
            zero_shot = level == "captions" and number % 2 == 0
            size = [4e8, 2e9][int(rng.integers(2))] if level == "captions" else 1e6
            pixels = [224, 384][int(rng.integers(2))]
            value = base + levels[level] + 0.5 * zero_shot + 0.1 * np.log2(pixels) + rng.normal(0, 0.1)
            rows.append(
                {
                    "model": f"{architecture}-{number}",
                    "collection": "timm",
                    "architecture_class": f"a{architecture}",
                    "data": "LAION" if level == "captions" else "x",
                    "supervision": level.split(" ")[0],
                    "supervision_level": level,
                    "teacher": "none",
                    "objective": "o",
                    "fine_tuned_on": "none",
                    "predicts": "p",
                    "prediction": "zero-shot prompts" if zero_shot else "classifier",
                    "intermediate": "none",
                    "images": size,
                    "image_size": pixels,
                    "value": value,
                }
            )
    table = pd.DataFrame(rows)
    measured = table[["model", "collection"]].assign(
        shift="imagenet-r", line="testbed", x_test_set="imagenet", residual_logits=table["value"]
    )
    return table.drop(columns="value"), measured


def test_estimates_and_clustered_errors_are_those_of_a_regression_with_dummies():
    models, measured = made_up()
    found = table_of_terms(regress_models(models, measured)).set_index("term")
    table = models.merge(measured[["model", "residual_logits"]], on="model")
    kinds = table.groupby("architecture_class")["supervision_level"].transform("nunique") > 1
    ways = table.groupby("architecture_class")["prediction"].transform("nunique") > 1
    table = table[kinds | ways]
    captions = table["supervision"] == "captions"
    mean = np.log10(models.loc[models["supervision"] == "captions", "images"]).mean()
    design = pd.DataFrame(
        {
            "learned_from: captions of LAION": captions.astype(float),
            "learned_from: hashtags": (table["supervision_level"] == "hashtags").astype(float),
            "learned_from: labels of ImageNet-21k": (table["supervision_level"] == "labels of ImageNet-21k").astype(
                float
            ),
            "prediction: zero-shot prompts": (table["prediction"] == "zero-shot prompts").astype(float),
            "log10 images of one data set of captions": (np.log10(table["images"]) - mean).where(captions, 0.0),
            "doublings of the input resolution": np.log2(table["image_size"]),
        }
    )
    dummies = pd.get_dummies(table["architecture_class"], dtype=float)
    groups = table["architecture_class"].astype("category").cat.codes
    fitted = sm.OLS(table["residual_logits"], pd.concat([design, dummies], axis=1)).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    for term in design:
        assert found.loc[term, "effect_logits"] == pytest.approx(fitted.params[term]), term
        low, high = fitted.conf_int().loc[term]
        assert (found.loc[term, "low_logits"], found.loc[term, "high_logits"]) == pytest.approx((low, high), rel=1e-6)
    assert found.loc["learned_from: hashtags", "effect_logits"] == pytest.approx(0.8, abs=0.1)


def test_contrasts_are_differences_of_terms():
    models, measured = made_up()
    regressions = regress_models(models, measured)
    terms = table_of_terms(regressions).set_index("term")["effect_logits"]
    table = contrast_terms(regressions)
    row = table[(table["first"] == "captions of LAION") & (table["second"] == "hashtags")].iloc[0]
    plain = terms["learned_from: hashtags"] - terms["learned_from: captions of LAION"]
    assert row["effect_logits"] == pytest.approx(plain) and row["low_logits"] < plain < row["high_logits"]
    assert len(table) == 3  # of three things, beside the reference


def test_second_axes_are_plain_planes():
    rng = np.random.default_rng(0)
    count = 60
    x, second = rng.uniform(0.3, 0.8, count), rng.uniform(0.2, 0.6, count)

    def logit(share):
        return np.log(share / (1 - share))

    y = 1 / (1 + np.exp(-(-0.5 + 0.9 * logit(x) + 0.4 * logit(second) + rng.normal(0, 0.05, count))))
    names = [f"m{number}" for number in range(count)]
    models = pd.DataFrame(
        {
            "model": names,
            "collection": "open_clip",
            "prediction": "zero-shot prompts",
            "fine_tuned_on": "none",
            "data": "d",
        }
    )
    shifts = ("imagenet-v2", "imagenet-sketch", "imagenet-r", "objectnet")
    accuracies = pd.concat(
        [
            pd.DataFrame(
                {"model": names, "collection": "open_clip", "shift": shift, "x_test_set": "imagenet",
                 "id_accuracy": x, "shift_accuracy": y}
            )
            for shift in shifts
        ]
    )  # fmt: skip
    axes = ("mscoco_retrieval", "flickr30k_retrieval", "country211", "sun397", "food101")
    other = pd.DataFrame({"model": names, **dict.fromkeys(axes, second)})
    fits, residuals = measure_second_axes(models, accuracies, other)
    design = sm.add_constant(np.column_stack([logit(x), logit(second)]))
    fitted = sm.OLS(logit(y), design).fit()
    row = fits[(fits["shift"] == "imagenet-r") & (fits["second_axis"] == "country211")].iloc[0]
    assert row[["intercept", "slope_imagenet", "slope_second"]].tolist() == pytest.approx(fitted.params.tolist())
    assert row["r_squared"] == pytest.approx(fitted.rsquared) and row["models"] == count
    line = sm.OLS(logit(y), sm.add_constant(logit(x))).fit()
    assert row["r_squared_line"] == pytest.approx(line.rsquared)
    mine = residuals[(residuals["shift"] == "imagenet-r") & (residuals["second_axis"] == "country211")]
    assert mine["beyond_plane"].to_numpy() == pytest.approx(np.asarray(fitted.resid))
    assert mine["beyond_line"].to_numpy() == pytest.approx(np.asarray(line.resid))
