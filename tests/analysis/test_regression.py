"""The regression: against statsmodels, on data of known coefficients, and where nothing can be known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import t as student

from whyrobust.analysis.attribution import EffectSettings
from whyrobust.analysis.regression import REGRESSION_COLUMNS, regress_causes
from whyrobust.analysis.scales import from_scale, to_scale

#: objective, supervision, head: with these all five causes can be told apart.
KINDS = [
    ("cross_entropy", "labels", "classifier"),
    ("supcon", "labels", "linear_probe"),
    ("clip", "captions", "zero_shot"),
    ("clip", "captions", "linear_probe"),
]
EFFECTS = {
    "training_set_size": 0.1,
    "training_distribution": 0.6,
    "language_at_training": -0.2,
    "language_at_test": 0.3,
    "contrastive_loss": 0.05,
}


EQUAL_SLOPES = {"studio": 0.9, "web": 0.9}


def make_points(kinds=KINDS, seeds=(0, 1, 2), noise=0.0, seed_noise=0.0, rng=None, slopes=EQUAL_SLOPES) -> pd.DataFrame:
    """A balanced study in which each cause adds its logits, the same for all seeds but for ``seed_noise``."""
    rng = rng or np.random.default_rng(0)
    rows = []
    for seed in seeds:
        own = {cause: effect + rng.normal(0, seed_noise) for cause, effect in EFFECTS.items()}
        for source in ("studio", "web"):
            for size in (1500, 3000, 6000):
                for objective, supervision, head in kinds:
                    x = 0.3 + 0.3 * np.log2(size / 3000) - 0.4 * (source == "web") + rng.normal(0, 0.3)
                    y = -0.5 + slopes[source] * x + own["training_set_size"] * np.log2(size / 3000)
                    y += own["training_distribution"] * (source == "web")
                    y += own["language_at_training"] * (supervision == "captions")
                    y += own["language_at_test"] * (head == "zero_shot")
                    y += own["contrastive_loss"] * (objective != "cross_entropy") + rng.normal(0, noise)
                    rows.append((f"{objective}-{source}-{size}-{seed}", seed, "sketch", x, y, size, source, objective,
                                 supervision, "title" if supervision == "captions" else "", head, "", ""))  # fmt: skip
    columns = ["run", "seed", "shift", "id_accuracy", "shift_accuracy", "train_images", "source", "objective",
               "supervision", "caption", "head", "prompts", "fitted_on"]  # fmt: skip
    points = pd.DataFrame(rows, columns=columns)
    for column in ("id_accuracy", "shift_accuracy"):
        points[column] = from_scale(points[column], "logit")
    points["standard"] = (points["objective"] == "cross_entropy") & (points["source"] == "studio")
    return points


def test_without_noise_the_coefficients_are_the_effects():
    result = regress_causes(make_points())
    assert tuple(result.columns) == REGRESSION_COLUMNS
    assert dict(zip(result["cause"], result["coefficient"], strict=True)) == pytest.approx(EFFECTS)
    assert result["r_squared"].tolist() == pytest.approx([1.0] * 5)
    assert result["note"].eq("").all() and (result["rows"] == 72).all() and (result["seeds"] == 3).all()
    np.testing.assert_allclose(result["high"], result["low"], atol=1e-6)
    assert "web instead of studio" in result["term"].tolist()


def test_coefficients_and_inflation_are_those_of_statsmodels():
    points = make_points(noise=0.2)
    result = regress_causes(points).set_index("cause")
    weights = 1.0 / points.groupby("run")["run"].transform("size")
    x = to_scale(points["id_accuracy"], "logit")
    frame = pd.DataFrame(
        {
            "y": to_scale(points["shift_accuracy"], "logit"),
            "x": x - np.average(x, weights=weights),
            "size": np.log2(points["train_images"]),
            "web": (points["source"] == "web").astype(float),
            "captions": (points["supervision"] == "captions").astype(float),
            "text": (points["head"] == "zero_shot").astype(float),
            "contrastive": (points["objective"] != "cross_entropy").astype(float),
        }
    )
    formula = "y ~ I(x * (1 - web)) + I(x * web) + size + web + captions + text + contrastive"
    expected = smf.wls(formula, frame, weights=weights).fit()
    np.testing.assert_allclose(result["coefficient"], expected.params.iloc[3:])
    assert result["r_squared"].iloc[0] == pytest.approx(expected.rsquared)
    # Inflation of weighted columns: by the ratio of variances with the others and alone.
    design = expected.model.exog
    alone = [1 / np.sum(weights * (column - np.average(column, weights=weights)) ** 2) for column in design.T[1:]]
    with_others = np.diag(np.linalg.inv(design.T @ (design * weights.to_numpy()[:, None])))[1:]
    np.testing.assert_allclose(result["vif"], (with_others / alone)[2:])
    centred = design[:, 1:] - np.average(design[:, 1:], axis=0, weights=weights)
    covariance = centred.T @ (centred * weights.to_numpy()[:, None])
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert result["condition_number"].iloc[0] == pytest.approx(np.linalg.cond(correlation) ** 0.5)


def test_each_source_has_its_own_slope_and_differs_at_the_mean_accuracy():
    slopes = {"studio": 0.6, "web": 1.2}
    points = make_points(slopes=slopes)
    result = regress_causes(points).set_index("cause")
    x = to_scale(points["id_accuracy"], "logit")
    mean = np.average(x, weights=1.0 / points.groupby("run")["run"].transform("size"))
    assert result.loc["training_distribution", "coefficient"] == pytest.approx(0.6 + (1.2 - 0.6) * mean)
    assert result.loc["contrastive_loss", "coefficient"] == pytest.approx(0.05)
    # Two runs a seed do not determine a slope: such a source has that of all of its kind.
    few = make_points(slopes=slopes | {"web": 0.6}).query("source == 'studio' or objective == 'clip'")
    few = few[(few["source"] == "studio") | (few["train_images"] < 6000)]
    assert regress_causes(few)["r_squared"].iloc[0] == pytest.approx(1.0)


def test_a_run_counts_once_however_many_heads_it_has():
    # 20 more prompts of one run would drown the others, if each counted as much as a run.
    points = make_points(noise=0.2)
    heavy = points[(points["run"] == "clip-web-3000-0") & (points["head"] == "zero_shot")]
    repeated = pd.concat([points, *[heavy.assign(prompts=str(number)) for number in range(20)]], ignore_index=True)
    result, counts = regress_causes(repeated), points.groupby("run")["run"].transform("size")
    assert (result["runs"] == points["run"].nunique()).all() and (result["rows"] == 92).all()
    # The run's 21 equal rows and its probe weigh 1 together: as two rows of these weights do.
    weights = (1.0 / counts).mask(
        points["run"] == "clip-web-3000-0", np.where(points["head"] == "zero_shot", 21, 1) / 22
    )
    x = to_scale(points["id_accuracy"], "logit")
    frame = points.assign(y=to_scale(points["shift_accuracy"], "logit"), x=x - np.average(x, weights=weights))
    formula = (
        "y ~ x:C(source) + np.log2(train_images) + C(source) + I(1.0 * (supervision == 'captions'))"
        " + I(1.0 * (head == 'zero_shot')) + I(1.0 * (objective != 'cross_entropy'))"
    )
    expected = smf.wls(formula, frame, weights=weights).fit().params
    assert result["coefficient"][0] == pytest.approx(expected["np.log2(train_images)"])
    assert result["coefficient"][1] == pytest.approx(expected["C(source)[T.web]"])


def test_heads_are_coded_by_the_images_that_they_were_fitted_on():
    points = make_points()
    points.loc[points["head"] == "linear_probe", "fitted_on"] = "own"
    probes = points[points["head"] == "linear_probe"]
    y = to_scale(probes["shift_accuracy"], "logit")
    on_web = probes.assign(
        fitted_on="web", shift_accuracy=from_scale(y + 0.4 * (probes["source"] == "studio"), "logit")
    )
    result = regress_causes(pd.concat([points, on_web], ignore_index=True)).set_index("term")
    # A head on web images of an encoder that was trained on them is a head on its own images.
    assert result.loc["head fitted on web images instead of the run's own", "coefficient"] == pytest.approx(0.4)
    assert result.loc["web instead of studio", "coefficient"] == pytest.approx(0.6)
    assert len(result) == 6


def test_the_interval_is_a_jackknife_over_seeds():
    points = make_points(noise=0.2, seed_noise=0.1)
    row = regress_causes(points, EffectSettings(confidence=0.9)).iloc[0]
    without = [regress_causes(points[points["seed"] != seed])["coefficient"][0] for seed in (0, 1, 2)]
    half = student.ppf(0.95, 2) * (2 / 3 * np.sum((without - np.mean(without)) ** 2)) ** 0.5
    assert (row["low"], row["high"]) == pytest.approx((row["coefficient"] - half, row["coefficient"] + half))


def test_points_are_what_a_coefficient_is_at_the_reference_accuracy():
    points = make_points(noise=0.1)
    row = regress_causes(points, EffectSettings(reference_accuracy=0.3)).iloc[1]
    for unit, name in (("coefficient", "points"), ("low", "low_points"), ("high", "high_points")):
        assert row[name] == pytest.approx(100 * (from_scale(to_scale(0.3, "logit") + row[unit], "logit") - 0.3))
    linear = regress_causes(points, EffectSettings(scale="linear")).iloc[1]
    assert linear["points"] == pytest.approx(100 * linear["coefficient"])


def test_what_cannot_be_told_apart_is_said_and_leaves_the_rest_alone():
    kinds = [KINDS[0], KINDS[2]]
    result = regress_causes(make_points(kinds)).set_index("cause")
    tied = ["language_at_training", "language_at_test", "contrastive_loss"]
    numbers = ["coefficient", "low", "high", "points", "low_points", "high_points"]
    assert result.loc[tied, numbers].isna().all(axis=None)
    assert np.isinf(result.loc[tied, "vif"]).all() and np.isinf(result["condition_number"]).all()
    assert "head with text" in result.loc["contrastive_loss", "note"]
    assert "captions instead" in result.loc["contrastive_loss", "note"]
    assert "twice the images" not in result.loc["contrastive_loss", "note"]
    assert result.loc["training_set_size", "coefficient"] == pytest.approx(0.1)
    assert result.loc["training_distribution", "coefficient"] == pytest.approx(0.6)


def test_a_factor_that_does_not_vary_has_a_row():
    points = make_points(KINDS[:1], noise=0.1).query("source == 'studio'")
    result = regress_causes(points).set_index("cause")
    assert len(result) == 5
    for cause in ("training_distribution", "language_at_training", "language_at_test", "contrastive_loss"):
        assert "same in all rows" in result.loc[cause, "note"] and np.isnan(result.loc[cause, "coefficient"])
    assert np.isfinite(result.loc["training_set_size", ["low", "high"]].astype(float)).all()


def test_a_nearly_collinear_design_is_pointed_out():
    points = make_points([KINDS[0], KINDS[2]], noise=0.1)
    one_probe = points[points["objective"] == "clip"].iloc[[0]].assign(head="linear_probe")
    result = regress_causes(pd.concat([points, one_probe])).set_index("cause")
    assert result.loc["language_at_test", "vif"] > 10 and "collinear" in result.loc["language_at_test", "note"]
    assert np.isfinite(result.loc["language_at_test", "coefficient"])
    assert result.loc["training_set_size", "vif"] < 3


def test_images_alone_and_first_stages():
    points = make_points(noise=0.1)
    alone = points[points["objective"] == "supcon"].assign(objective="simclr", supervision="images")
    terms = regress_causes(pd.concat([points, alone]))["term"].tolist()
    assert "images alone instead of labels" in terms and len(terms) == 6
    tuned = points[points["objective"] == "cross_entropy"].assign(pretrained_by="simclr")
    both = regress_causes(pd.concat([points.query("objective == 'cross_entropy'"), tuned])).set_index("cause")
    assert np.isfinite(both.loc["contrastive_loss", "coefficient"])
    assert "same in all rows" in both.loc["language_at_training", "note"]


def test_accuracies_without_a_logit_are_left_out_and_counted():
    points = make_points(noise=0.1)
    clean = regress_causes(points.iloc[3:])
    points.loc[0, "shift_accuracy"], points.loc[1, "id_accuracy"], points.loc[2, "shift_accuracy"] = 0.0, 1.0, np.nan
    result = regress_causes(points)
    np.testing.assert_allclose(result["coefficient"], clean["coefficient"])
    assert result["note"].str.contains("2 rows with an accuracy of 0 or 1").all()
    assert result["note"].str.contains("1 rows without an accuracy").all()
    assert (result["rows"] == 69).all()
    nothing = regress_causes(points.assign(shift_accuracy=0.0))
    assert len(nothing) == 5 and nothing["coefficient"].isna().all() and (nothing["rows"] == 0).all()
    assert nothing["note"].str.contains("no usable row").all()


def test_one_seed_or_a_term_of_one_seed_has_no_interval():
    points = make_points(noise=0.1)
    single = regress_causes(points[points["seed"] == 0])
    assert single["coefficient"].notna().all() and single[["low", "high"]].isna().all(axis=None)
    assert single["note"].str.contains("fewer than two seeds").all()
    only_once = points[(points["head"] != "zero_shot") | (points["seed"] == 0)]
    result = regress_causes(only_once).set_index("cause")
    assert np.isfinite(result.loc["language_at_test", "coefficient"]) and np.isnan(
        result.loc["language_at_test", "low"]
    )
    assert np.isfinite(result.loc["contrastive_loss", "low"])


def test_each_shift_has_all_terms_and_bad_tables_are_refused():
    points = pd.concat([make_points(noise=0.1), make_points(KINDS[:1]).assign(shift="objects")])
    result = regress_causes(points)
    assert result["shift"].tolist() == ["sketch"] * 5 + ["objects"] * 5
    assert regress_causes(points.iloc[:0]).columns.tolist() == list(REGRESSION_COLUMNS)
    for broken, message in (
        (points.drop(columns="head"), "head"),
        (points.assign(objective="magic"), "magic"),
    ):
        with pytest.raises(ValueError, match=message):
            regress_causes(broken)
    with pytest.raises(ValueError, match=r"0\.95"):
        regress_causes(points, EffectSettings(confidence=95))


def test_the_interval_covers_as_often_as_it_claims_and_hc3_does_not():
    # Three seeds whose effects differ, as those of subsets do. This is the claim of the docstring.
    rng = np.random.default_rng(7)
    repeats, ours, hc3 = 150, 0, 0
    for _ in range(repeats):
        points = make_points(noise=0.08, seed_noise=0.1, rng=rng)
        result = regress_causes(points).set_index("cause")
        truth = pd.Series(EFFECTS)[result.index]
        ours += ((result["low"] <= truth) & (truth <= result["high"])).sum()
        columns = [to_scale(points["id_accuracy"], "logit"), np.log2(points["train_images"]), points["source"] == "web",
                   points["supervision"] == "captions", points["head"] == "zero_shot",
                   points["objective"] != "cross_entropy"]  # fmt: skip
        frame = pd.DataFrame({f"c{number}": np.asarray(column, float) for number, column in enumerate(columns)})
        frame["y"] = to_scale(points["shift_accuracy"], "logit")
        fit = smf.ols("y ~ c0 + c1 + c2 + c3 + c4 + c5", frame).fit(cov_type="HC3", use_t=True)
        low, high = fit.conf_int().iloc[2:].to_numpy().T
        hc3 += ((low <= truth.to_numpy()) & (truth.to_numpy() <= high)).sum()
    assert 0.90 <= ours / repeats / 5 <= 0.99
    assert hc3 / repeats / 5 < 0.88
