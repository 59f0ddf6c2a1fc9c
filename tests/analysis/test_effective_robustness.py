"""Accuracies, lines and draws, against other packages, slow plain code, and known variances."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.analysis.effective_robustness import (
    bootstrap_band,
    clopper_pearson,
    effective_robustness_draws,
    effective_robustness_points,
    fit_baseline,
    fit_multi_baseline,
    fit_two_lines,
    measure_robustness,
    multi_effective_robustness,
    multi_effective_robustness_draws,
    resample_accuracies,
    resample_counts,
)
from whyrobust.analysis.scales import from_scale, to_scale

SCALES = ["logit", "probit", "linear"]
inside = st.floats(0.001, 0.999)
anywhere = st.one_of(st.floats(0, 1), st.just(float("nan")))


# --- Intervals of accuracies --------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.9, 0.995])
@pytest.mark.parametrize(("correct", "images"), [(0, 7), (7, 7), (1, 1), (0, 1), (3, 10), (4999, 5000)])
def test_clopper_pearson_is_scipys_exact_interval(correct, images, confidence):
    low, high = clopper_pearson(correct, images, confidence)
    expected = scipy.stats.binomtest(correct, images).proportion_ci(confidence, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_clopper_pearson_takes_arrays_and_refuses_impossible_counts():
    low, high = clopper_pearson([0, 5, 10], 10, 0.95)
    assert low.shape == high.shape == (3,) and low[0] == 0 and high[2] == 1
    for correct, images in ((0, 0), (1, -1), (11, 10), (-1, 10), (np.nan, 10)):
        with pytest.raises(ValueError):
            clopper_pearson(correct, images, 0.95)
    with pytest.raises(ValueError, match=r"0\.95"):
        clopper_pearson(1, 2, 95)


# --- Lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_a_line_is_ordinary_least_squares(scale):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.1, 0.9, (2, 20))
    baseline = fit_baseline(x, y, scale)
    expected = sm.OLS(to_scale(y, scale), sm.add_constant(to_scale(x, scale))).fit()
    assert (baseline.intercept, baseline.slope) == pytest.approx(tuple(expected.params))
    assert baseline.r_squared == pytest.approx(expected.rsquared)
    assert (baseline.x_low, baseline.x_high, baseline.models) == (x.min(), x.max(), 20)


@given(x=st.lists(inside, min_size=2, max_size=6), slope=st.floats(0.2, 3), intercept=st.floats(-2, 2))
def test_points_on_a_line_give_that_line(x, slope, intercept):
    if max(x) - min(x) < 0.01:
        return
    y = from_scale(slope * to_scale(x, "logit") + intercept, "logit")
    baseline = fit_baseline(x, y, "logit")
    assert (baseline.slope, baseline.intercept) == pytest.approx((slope, intercept), abs=1e-5)


def test_models_without_a_finite_accuracy_are_left_out_and_counted():
    x = np.array([0.2, 0.4, 0.6, 0.0, 0.5, 0.5, 1.0])
    y = np.array([0.1, 0.3, 0.4, 0.2, 0.0, np.nan, 0.9])
    baseline, clean = fit_baseline(x, y, "logit"), fit_baseline(x[:3], y[:3], "logit")
    assert (baseline.models, baseline.excluded) == (3, 4)
    assert (baseline.slope, baseline.intercept) == (clean.slope, clean.intercept)
    assert (baseline.x_low, baseline.x_high) == (0.2, 0.6)
    # On the linear scale 0 and 1 are numbers like any other; only the missing one is left out.
    assert fit_baseline(x, y, "linear").excluded == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("x", "y"), [([], []), ([0.5], [0.4]), ([0.3] * 3, [0.1, 0.2, 0.3]), ([0, 0.5], [0.1, 0.2])])
def test_without_two_different_models_there_is_no_line(x, y):
    baseline = fit_baseline(x, y, "logit")
    assert np.isnan([baseline.slope, baseline.intercept]).all()
    assert np.isnan(baseline.predict([0, 0.3, 1])).all()
    low, high = bootstrap_band(x, y, [0.2, 0.8], "logit", resamples=20)
    assert np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", ["logit", "probit"])
def test_predictions_at_the_ends_are_the_lines_limits(scale):
    rising = fit_baseline([0.3, 0.6], [0.1, 0.2], scale)
    falling = fit_baseline([0.3, 0.6], [0.2, 0.1], scale)
    flat = fit_baseline([0.3, 0.6], [0.2, 0.2], scale)
    np.testing.assert_array_equal(rising.predict([0.0, 1.0, np.nan]), [0, 1, np.nan])
    np.testing.assert_array_equal(falling.predict([0.0, 1.0]), [1, 0])
    np.testing.assert_allclose(flat.predict([0.0, 0.5, 1.0]), 0.2)
    assert np.isnan(flat.predict(np.nan)) and np.isnan(flat.r_squared)


@pytest.mark.parametrize("scale", SCALES)
@given(x=st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_a_rising_line_predicts_more_for_more(scale, x):
    predicted = fit_baseline([0.2, 0.5, 0.7], [0.1, 0.3, 0.4], scale).predict(sorted(x))
    assert (np.diff(predicted) >= 0).all()
    if scale != "linear":
        assert ((predicted >= 0) & (predicted <= 1)).all()


def test_two_lines_break_at_the_pivot():
    x = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    y = np.array([0.10, 0.12, 0.11, 0.9, 0.3, 0.6])
    both = fit_two_lines(x, y, 0.5, "logit")
    below, above = fit_baseline(x[:3], y[:3], "logit"), fit_baseline(x[4:], y[4:], "logit")
    assert (both.below, both.above) == (below, above)
    at = np.array([0.1, 0.4999, 0.5, 0.9, np.nan])
    expected = np.concatenate([below.predict(at[:2]), above.predict(at[2:])])
    np.testing.assert_array_equal(both.predict(at), expected)
    assert (both.x_low, both.x_high) == (0.2, 0.7)
    one_side = fit_two_lines(x[:3], y[:3], 0.5, "logit")
    assert np.isnan(one_side.predict(0.6)) and one_side.x_high == 0.4


def test_effective_robustness_is_the_distance_to_the_line_in_points():
    baseline = fit_baseline([0.2, 0.8], [0.1, 0.7], "linear")
    np.testing.assert_allclose(effective_robustness_points([0.5, 0.5], [0.4, 0.45], baseline), [0, 5], atol=1e-9)


def test_the_band_has_the_spread_of_refitted_resamples():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.8, 40)
    y = from_scale(0.9 * to_scale(x, "logit") - 0.5 + rng.normal(0, 0.2, 40), "logit")
    grid = np.array([0.3, 0.5, 0.8])
    low, high = bootstrap_band(x, y, grid, "logit", resamples=4000, seed=1)
    lines = []
    for _ in range(4000):
        chosen = rng.integers(0, 40, 40)
        slope, intercept = np.polyfit(to_scale(x[chosen], "logit"), to_scale(y[chosen], "logit"), 1)
        lines.append(from_scale(slope * to_scale(grid, "logit") + intercept, "logit"))
    expected = np.percentile(lines, [2.5, 97.5], axis=0)
    width = (expected[1] - expected[0]).min()
    np.testing.assert_allclose([low, high], expected, atol=0.1 * width)


# --- Draws --------------------------------------------------------------------------------------------------


def test_draws_of_groups_equal_a_plain_loop_over_the_same_groups():
    rng = np.random.default_rng(0)
    correct = rng.random((3, 12)) < 0.5
    groups = np.array(list("aabbbcddeeff"))
    draws = resample_accuracies(correct, groups, 500, seed=5)
    # Every draw must be one of the accuracies that some choice of six groups with replacement can give ...
    names = np.unique(groups)
    possible = {}
    for chosen in np.ndindex(*[6] * 6):
        if list(chosen) == sorted(chosen):
            images = np.concatenate([np.flatnonzero(groups == names[number]) for number in chosen])
            possible[tuple(np.round(correct[:, images].mean(axis=1), 9))] = True
    assert {tuple(row) for row in np.round(draws, 9)} <= possible.keys()
    # ... and repeatable, and as wide as a loop that concatenates the images of drawn groups.
    np.testing.assert_array_equal(draws, resample_accuracies(correct, groups, 500, seed=5))
    many = resample_accuracies(correct, groups, 20_000, seed=6)
    loop = np.array(
        [
            correct[:, np.concatenate([np.flatnonzero(groups == name) for name in rng.choice(names, 6)])].mean(axis=1)
            for _ in range(4000)
        ]
    )
    np.testing.assert_allclose(many.mean(axis=0), loop.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(np.cov(many.T), np.cov(loop.T), atol=0.004)


def test_draws_have_the_binomial_variance_and_are_paired_between_models():
    rng = np.random.default_rng(0)
    correct = rng.random((2, 1000)) < 0.3
    correct = np.vstack([correct, correct[:1], ~correct[:1]])
    draws = resample_accuracies(correct, np.arange(1000), 4000, seed=0)
    p = correct.mean(axis=1)
    np.testing.assert_allclose(draws.var(axis=0), p * (1 - p) / 1000, rtol=0.1)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 2])
    np.testing.assert_allclose(draws[:, 0], 1 - draws[:, 3])


def test_whole_groups_are_drawn():
    correct = np.repeat(np.random.default_rng(0).random((1, 100)) < 0.5, 10, axis=1)
    grouped = resample_accuracies(correct, np.repeat(np.arange(100), 10), 4000, seed=0)
    assert grouped.std() == pytest.approx((correct.mean() * (1 - correct.mean()) / 100) ** 0.5, rel=0.1)
    same = resample_accuracies(correct, np.zeros(1000, dtype=int), 10, seed=0)
    np.testing.assert_allclose(same, correct.mean())


def test_draws_are_fast_enough_for_a_study():
    correct = np.random.default_rng(0).random((50, 10_000)) < 0.5
    start = time.perf_counter()
    resample_accuracies(correct, np.arange(10_000), 1000, seed=0)
    assert time.perf_counter() - start < 8


def test_draws_refuse_an_empty_test_set_and_misfit_groups():
    with pytest.raises(ValueError, match="no images"):
        resample_accuracies(np.zeros((2, 0), dtype=bool), [], 10, 0)
    with pytest.raises(ValueError, match="groups"):
        resample_accuracies(np.zeros((2, 3), dtype=bool), [1, 2], 10, 0)
    assert resample_accuracies(np.zeros((0, 3), dtype=bool), [1, 2, 3], 10, 0).shape == (10, 0)


def test_draws_of_counts_are_binomial_and_independent():
    draws = resample_counts([100, 300, 0], [1000, 1000, 50], 5000, seed=0)
    assert draws.shape == (5000, 3) and not draws[:, 2].any()
    np.testing.assert_allclose(draws[:, :2].std(axis=0), [0.0095, 0.0145], rtol=0.05)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.05
    with pytest.raises(ValueError):
        resample_counts([3], 2, 10, 0)


def test_robustness_draws_refit_the_line_in_every_draw():
    # Standard models exactly on one line per draw: whichever are resampled, the refitted line is that line.
    rng = np.random.default_rng(0)
    id_draws = rng.uniform(0.2, 0.8, (30, 9))
    slope, intercept = rng.uniform(0.5, 1.5, (30, 1)), rng.uniform(-1, 0, (30, 1))
    shift_draws = from_scale(slope * to_scale(id_draws, "logit") + intercept, "logit")
    shift_draws[:, 8] += 0.07
    standard = np.arange(9) < 8
    draws = effective_robustness_draws(id_draws, shift_draws, standard, "logit", seed=0)
    np.testing.assert_allclose(draws, np.append(np.zeros(8), 7.0)[None].repeat(30, axis=0), atol=1e-6)


def test_robustness_draws_resample_the_standard_models():
    # No noise from images: what varies is which standard models there are, as in the bootstrap band.
    rng = np.random.default_rng(0)
    x = np.append(rng.uniform(0.3, 0.8, 30), 0.5)
    y = from_scale(0.9 * to_scale(x, "logit") - 0.5 + rng.normal(0, 0.2, 31), "logit")
    standard = np.arange(31) < 30
    draws = effective_robustness_draws(np.tile(x, (8000, 1)), np.tile(y, (8000, 1)), standard, "logit", seed=1)
    low, high = bootstrap_band(x[:30], y[:30], [0.5], "logit", resamples=8000, seed=2)
    expected = 100 * (y[30] - np.array([high[0], low[0]]))
    np.testing.assert_allclose(np.percentile(draws[:, 30], [2.5, 97.5]), expected, atol=0.1)


@pytest.mark.filterwarnings("error")
def test_draws_without_a_line_are_missing():
    draws = effective_robustness_draws(
        np.tile([0.3, 0.3, 0.5], (20, 1)),
        np.tile([0.1, 0.2, 0.5], (20, 1)),
        np.array([1, 1, 0], bool),
        "logit",
        0,
    )
    assert draws.shape == (20, 3) and np.isnan(draws).all()
    # With two standard models a resample holds both in about half of the draws.
    pair = effective_robustness_draws(
        np.tile([0.3, 0.4, 0.5], (400, 1)),
        np.tile([0.1, 0.2, 0.5], (400, 1)),
        np.array([1, 1, 0], bool),
        "logit",
        0,
    )
    assert 0.35 < np.isnan(pair).all(axis=1).mean() < 0.65
    np.testing.assert_array_equal(np.isnan(pair).any(axis=1), np.isnan(pair).all(axis=1))
    with pytest.raises(ValueError, match="shapes"):
        effective_robustness_draws(np.ones((5, 3)), np.ones((5, 2)), np.ones(3, bool), "linear", 0)


# --- One shift ----------------------------------------------------------------------------------------------


def make_models(x, y, standard) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": [f"run{number}" for number in range(len(x))],
            "head": "classifier",
            "prompts": "",
            "id_accuracy": x,
            "id_images": 1000,
            "shift_accuracy": y,
            "shift_images": 500,
            "standard": standard,
            "source": "studio",
        }
    )


def measure(models: pd.DataFrame, **options):
    draws = [
        resample_counts(models[f"{axis}_accuracy"].fillna(0) * images, images, 300, number)
        for number, (axis, images) in enumerate((("id", 1000), ("shift", 500)))
    ]
    return measure_robustness(models, "sketch", "studio_test", *draws, **options)


def test_a_measurement_has_the_tables_of_the_study():
    x = np.array([0.3, 0.5, 0.6, 0.7, 0.4, 0.9])
    y = np.array([0.1, 0.2, 0.3, 0.35, 0.4, 0.6])
    standard = np.array([True, True, True, True, False, False])
    result = measure(make_models(x, y, standard))
    table = result.effective_robustness
    line = fit_baseline(x[standard], y[standard], "logit")
    np.testing.assert_allclose(table["baseline_accuracy"], line.predict(x))
    np.testing.assert_allclose(table["effective_robustness_points"], 100 * (y - line.predict(x)))
    np.testing.assert_array_equal(result.points, table["effective_robustness_points"])
    np.testing.assert_allclose(table["low_points"], np.nanpercentile(result.draws, 2.5, axis=0))
    assert (table["low_points"] < result.points).all() and (result.points < table["high_points"]).all()
    assert table["extrapolated"].tolist() == [False] * 5 + [True]
    assert table["note"].eq("").all() and table["source"].eq("studio").all()
    low, high = clopper_pearson(np.rint(y * 500), 500, 0.995)
    np.testing.assert_allclose(table[["shift_low", "shift_high"]].to_numpy().T, [low, high])
    assert result.baselines[["slope", "models", "line"]].to_numpy().tolist() == [[line.slope, 4, "all"]]
    bands = result.bands
    np.testing.assert_allclose(bands["y"], line.predict(bands["x"]))
    assert bands["x"].min() == pytest.approx(0.3) and bands["x"].max() == pytest.approx(0.9)
    assert (bands["low"] <= bands["high"]).all()


def test_zero_and_missing_accuracies_and_a_missing_line_are_said_in_words():
    models = make_models([0.3, 0.5, 0.6, np.nan], [0.1, 0.0, 0.2, 0.3], [True, True, True, False])
    result = measure(models)
    notes = result.effective_robustness["note"]
    assert "sketch is 0" in notes[1] and "no accuracy" in notes[3] and notes[0] == ""
    assert result.baselines.loc[0, ["models", "excluded"]].tolist() == [2, 1]
    assert result.points[1] < 0 and np.isnan(result.points[3])
    assert np.isnan(result.draws[:, 3]).all()
    bare = measure(models.assign(standard=False)).effective_robustness
    assert bare["note"].str.contains("no baseline")[:3].all() and bare["extrapolated"].all()
    assert bare[["effective_robustness_points", "low_points", "high_points"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="id_images"):
        measure(models.drop(columns="id_images"))


def test_a_pivot_gives_each_model_the_line_of_its_side():
    x = np.array([0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.5, 0.35])
    y = np.array([0.10, 0.12, 0.13, 0.3, 0.5, 0.7, 0.0, 0.5])
    standard = np.arange(8) < 7
    result = measure(make_models(x, y, standard), pivot=0.5)
    lines = fit_two_lines(x[standard], y[standard], 0.5, "logit")
    np.testing.assert_allclose(result.effective_robustness["baseline_accuracy"], lines.predict(x))
    assert result.baselines["line"].tolist() == ["below_pivot", "above_pivot"]
    assert result.baselines["models"].tolist() == [3, 3]
    # The pivot model fits no line, in no draw either, whether it counts as standard or not.
    y[6] = 0.2
    with_pivot, without = (measure(make_models(x, y, mask), pivot=0.5) for mask in (standard, standard & (x != 0.5)))
    np.testing.assert_array_equal(with_pivot.draws, without.draws)
    # The draws of a model below the pivot do not feel the models above it.
    id_draws = np.random.default_rng(0).normal(x, 0.01, (50, 8))
    shift_draws = np.clip(np.random.default_rng(1).normal(y, 0.01, (50, 8)), 0, 1)
    moved = shift_draws.copy()
    moved[:, 3:6] = moved[:, [5, 4, 3]]
    sides = (x >= 0.5).astype(int)
    first, second = (
        effective_robustness_draws(id_draws, draws, standard & (x != 0.5), "logit", 0, sides)
        for draws in (shift_draws, moved)
    )
    np.testing.assert_array_equal(first[:, x < 0.5], second[:, x < 0.5])
    assert not np.array_equal(first[:, 3], second[:, 3], equal_nan=True)


# --- Several in-distribution test sets ----------------------------------------------------------------------


def make_two_sets(models: int, rng, noise: float = 0.1):
    x = rng.uniform(0.2, 0.8, (models, 2))
    position = -0.3 + to_scale(x, "logit") @ [0.7, 0.4] + rng.normal(0, noise, models)
    return x, from_scale(position, "logit")


@pytest.mark.parametrize("scale", SCALES)
def test_a_plane_is_ordinary_least_squares(scale):
    x, y = make_two_sets(20, np.random.default_rng(0))
    baseline = fit_multi_baseline(x, y, scale)
    expected = sm.OLS(to_scale(y, scale), sm.add_constant(to_scale(x, scale))).fit()
    assert (baseline.intercept, *baseline.slopes) == pytest.approx(tuple(expected.params))
    assert baseline.r_squared == pytest.approx(expected.rsquared)
    np.testing.assert_allclose(baseline.predict(x), from_scale(expected.fittedvalues, scale))
    assert baseline.predict(x[:4].reshape(2, 2, 2)).shape == (2, 2)
    assert baseline.x_low == tuple(x.min(axis=0)) and baseline.models == 20


def test_one_test_set_is_the_line():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.2, 0.8, (2, 9))
    plane, line = fit_multi_baseline(x[:, None], y, "logit"), fit_baseline(x, y, "logit")
    assert (plane.slopes[0], plane.intercept, plane.r_squared) == pytest.approx(
        (line.slope, line.intercept, line.r_squared)
    )
    at = np.array([0.0, 0.3, 1.0, np.nan])
    np.testing.assert_allclose(plane.predict(at[:, None]), line.predict(at))
    id_draws, shift_draws = rng.uniform(0.2, 0.8, (2, 50, 9))
    standard = np.arange(9) < 6
    np.testing.assert_allclose(
        multi_effective_robustness_draws(id_draws[:, :, None], shift_draws, standard, "logit", 3),
        effective_robustness_draws(id_draws, shift_draws, standard, "logit", 3),
        atol=1e-9,
    )


def test_too_few_or_dependent_standard_models_are_an_error():
    x, y = make_two_sets(6, np.random.default_rng(2))
    assert fit_multi_baseline(x[:4], y[:4], "logit").models == 4
    with pytest.raises(ValueError, match=r"Found 3 standard models.*takes 4"):
        fit_multi_baseline(x[:3], y[:3], "logit")
    x[0, 0], y[1] = 0.0, np.nan
    assert fit_multi_baseline(x, y, "logit").excluded == 2
    with pytest.raises(ValueError, match="several sources"):
        fit_multi_baseline(np.repeat(x[:, 1:], 2, axis=1), y, "logit")
    for bad in (x[:, 0], x[:, :0], x[:3]):
        with pytest.raises(ValueError, match="test_sets"):
            fit_multi_baseline(bad, y, "logit")
    with pytest.raises(ValueError, match="2 test sets"):
        fit_multi_baseline(x[2:], y[2:], "logit").predict([0.5, 0.5, 0.5])


def test_what_a_second_test_set_explains_is_no_robustness():
    # Models of two sources on one plane; by the first test set alone those of the second source look robust.
    rng = np.random.default_rng(3)
    web = np.arange(30) >= 15
    ability = rng.uniform(-1, 1, 30)
    logits = np.column_stack([ability - 0.8 * web, 0.9 * ability + 0.8 * web + rng.normal(0, 0.2, 30)])
    x, y = from_scale(logits, "logit"), from_scale(logits @ [0.5, 0.5] - 0.5, "logit")
    alone = effective_robustness_points(x[:, 0], y, fit_baseline(x[~web, 0], y[~web], "logit"))
    draws = (np.tile(x, (40, 1, 1)), np.tile(y, (40, 1)))
    result = multi_effective_robustness(x, y, np.ones(30, dtype=bool), *draws)
    assert alone[web].mean() > 10
    np.testing.assert_allclose(result.points, 0, atol=1e-8)
    np.testing.assert_allclose(result.draws, 0, atol=1e-8)
    assert result.baseline.r_squared == pytest.approx(1) and not result.extrapolated.any()


def test_draws_of_planes_equal_a_plain_loop():
    rng = np.random.default_rng(4)
    id_draws, shift_draws = rng.uniform(0.2, 0.8, (30, 8, 2)), rng.uniform(0.2, 0.8, (30, 8))
    standard = np.arange(8) < 7
    # The same stream of random numbers as the function's own.
    chosen = np.random.default_rng(6).integers(0, 7, (30, 7))
    draws = multi_effective_robustness_draws(id_draws, shift_draws, standard, "logit", 6)
    for number, models in enumerate(chosen):
        if len(set(models)) < 3:
            assert np.isnan(draws[number]).all()
            continue
        x, y = to_scale(id_draws[number], "logit"), to_scale(shift_draws[number], "logit")
        fit = sm.OLS(y[models], sm.add_constant(x[models], has_constant="add")).fit()
        expected = from_scale(sm.add_constant(x, has_constant="add") @ fit.params, "logit")
        np.testing.assert_allclose(draws[number], 100 * (shift_draws[number] - expected), atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_measurements_with_several_test_sets_have_intervals_and_say_what_is_outside():
    rng = np.random.default_rng(5)
    x, y = make_two_sets(25, rng)
    standard = np.arange(25) < 22
    y[22] += 0.15
    x[23], x[24] = (0.95, 0.5), (np.nan, 0.5)
    draws = [np.clip(a + rng.normal(0, 0.01, (200, *a.shape)), 0.001, 0.999) for a in (x, y)]
    result = multi_effective_robustness(x, y, standard, *draws)
    assert result.low_points[22] > 0
    assert (result.low_points[:24] < result.points[:24]).all() and (result.points[:24] < result.high_points[:24]).all()
    assert result.extrapolated[23] and result.extrapolated[24]
    assert np.isnan([result.points[24], result.low_points[24]]).all() and np.isnan(result.draws[:, 24]).all()
    # Too few standard models in every draw leave every draw empty.
    few = multi_effective_robustness_draws(draws[0], draws[1], np.arange(25) < 2, "logit", 0)
    assert np.isnan(few).all()
    none = multi_effective_robustness_draws(draws[0], draws[1], np.zeros(25, dtype=bool), "logit", 0)
    assert np.isnan(none).all()
    with pytest.raises(ValueError, match="shapes"):
        multi_effective_robustness_draws(draws[0][:, :, 0], draws[1], standard, "logit", 0)
    with pytest.raises(ValueError, match="shape"):
        multi_effective_robustness(x[:, 0], y, standard, *draws)
