"""Lines and planes of standard models, against other packages and slow plain code."""

from __future__ import annotations

import re

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.analysis.baselines import bootstrap_band, fit_baseline, fit_planes, fit_two_lines
from whyrobust.analysis.scales import SCALES, from_scale, to_scale

inside = st.floats(0.001, 0.999)


def fit_line(x, y, scale):
    """Fit to one in-distribution test set."""
    return fit_baseline(np.reshape(x, (-1, 1)), y, scale)


def predict(baseline, accuracies):
    """Predict from accuracies on one in-distribution test set."""
    return baseline.predict(np.asarray(accuracies, dtype=float)[..., None])


# --- One test set -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_a_line_is_ordinary_least_squares(scale):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.1, 0.9, (2, 20))
    baseline = fit_line(x, y, scale)
    expected = sm.OLS(to_scale(y, scale), sm.add_constant(to_scale(x, scale))).fit()
    assert (baseline.intercept, baseline.slopes[0]) == pytest.approx(tuple(expected.params))
    assert baseline.r_squared == pytest.approx(expected.rsquared)
    assert (baseline.x_low, baseline.x_high, baseline.models) == ((x.min(),), (x.max(),), 20)


@given(x=st.lists(inside, min_size=2, max_size=6), slope=st.floats(0.2, 3), intercept=st.floats(-2, 2))
def test_points_on_a_line_give_that_line(x, slope, intercept):
    if max(x) - min(x) < 0.01:
        return
    y = from_scale(slope * to_scale(x, "logit") + intercept, "logit")
    baseline = fit_line(x, y, "logit")
    assert (baseline.slopes[0], baseline.intercept) == pytest.approx((slope, intercept), abs=1e-5)


def test_models_without_a_finite_accuracy_are_left_out_and_counted():
    x = np.array([0.2, 0.4, 0.6, 0.0, 0.5, 0.5, 1.0])
    y = np.array([0.1, 0.3, 0.4, 0.2, 0.0, np.nan, 0.9])
    baseline, clean = fit_line(x, y, "logit"), fit_line(x[:3], y[:3], "logit")
    assert (baseline.models, baseline.excluded) == (3, 4)
    assert (baseline.slopes[0], baseline.intercept) == (clean.slopes[0], clean.intercept)
    assert (baseline.x_low, baseline.x_high) == ((0.2,), (0.6,))
    # On the linear scale 0 and 1 are numbers like any other; only the missing one is left out.
    assert fit_line(x, y, "linear").excluded == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("x", "y"), [([], []), ([0.5], [0.4]), ([0.3] * 3, [0.1, 0.2, 0.3]), ([0, 0.5], [0.1, 0.2])])
def test_without_two_different_models_there_is_no_line(x, y):
    baseline = fit_line(x, y, "logit")
    assert np.isnan([baseline.slopes[0], baseline.intercept]).all()
    assert np.isnan(predict(baseline, [0, 0.3, 1])).all()
    low, high = bootstrap_band(x, y, [0.2, 0.8], "logit", resamples=20)
    assert np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", ["logit", "probit"])
def test_predictions_at_the_ends_are_the_lines_limits(scale):
    rising = fit_line([0.3, 0.6], [0.1, 0.2], scale)
    falling = fit_line([0.3, 0.6], [0.2, 0.1], scale)
    flat = fit_line([0.3, 0.6], [0.2, 0.2], scale)
    np.testing.assert_array_equal(predict(rising, [0.0, 1.0, np.nan]), [0, 1, np.nan])
    np.testing.assert_array_equal(predict(falling, [0.0, 1.0]), [1, 0])
    np.testing.assert_allclose(predict(flat, [0.0, 0.5, 1.0]), 0.2)
    assert np.isnan(predict(flat, np.nan)) and np.isnan(flat.r_squared)


@pytest.mark.parametrize("scale", SCALES)
@given(x=st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_a_rising_line_predicts_more_for_more(scale, x):
    predicted = predict(fit_line([0.2, 0.5, 0.7], [0.1, 0.3, 0.4], scale), sorted(x))
    assert (np.diff(predicted) >= 0).all()
    if scale != "linear":
        assert ((predicted >= 0) & (predicted <= 1)).all()


def test_two_lines_break_at_the_pivot():
    x = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    y = np.array([0.10, 0.12, 0.11, 0.9, 0.3, 0.6])
    both = fit_two_lines(x[:, None], y, 0.5, "logit")
    below, above = fit_line(x[:3], y[:3], "logit"), fit_line(x[4:], y[4:], "logit")
    assert (both.below, both.above) == (below, above)
    at = np.array([0.1, 0.4999, 0.5, 0.9, np.nan])
    expected = np.concatenate([predict(below, at[:2]), predict(above, at[2:])])
    np.testing.assert_array_equal(predict(both, at), expected)
    assert (both.x_low, both.x_high) == ((0.2,), (0.7,))
    one_side = fit_two_lines(x[:3, None], y[:3], 0.5, "logit")
    assert np.isnan(predict(one_side, 0.6)) and one_side.x_high == (0.4,)


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


# --- Several test sets --------------------------------------------------------------------------------------


def make_two_sets(models: int, rng, noise: float = 0.1):
    x = rng.uniform(0.2, 0.8, (models, 2))
    position = -0.3 + to_scale(x, "logit") @ [0.7, 0.4] + rng.normal(0, noise, models)
    return x, from_scale(position, "logit")


@pytest.mark.parametrize("scale", SCALES)
def test_a_plane_is_ordinary_least_squares(scale):
    x, y = make_two_sets(20, np.random.default_rng(0))
    baseline = fit_baseline(x, y, scale)
    expected = sm.OLS(to_scale(y, scale), sm.add_constant(to_scale(x, scale))).fit()
    assert (baseline.intercept, *baseline.slopes) == pytest.approx(tuple(expected.params))
    assert baseline.r_squared == pytest.approx(expected.rsquared)
    np.testing.assert_allclose(baseline.predict(x), from_scale(expected.fittedvalues, scale))
    assert baseline.predict(x[:4].reshape(2, 2, 2)).shape == (2, 2)
    assert baseline.x_low == tuple(x.min(axis=0)) and baseline.models == 20


@pytest.mark.parametrize("test_sets", [1, 2, 3])
def test_weighted_fits_equal_fits_of_repeated_models(test_sets):
    # The closed form for one test set and the decomposition for more: one answer to one question.
    rng = np.random.default_rng(7)
    tx, ty, weights = rng.normal(size=(9, 12, test_sets)), rng.normal(size=(9, 12)), rng.integers(0, 4, (9, 12))
    slopes, intercepts = fit_planes(tx, ty, weights.astype(float))
    for number in range(9):
        x, y = np.repeat(tx[number], weights[number], axis=0), np.repeat(ty[number], weights[number])
        expected = np.linalg.lstsq(sm.add_constant(x), y, rcond=None)[0]
        np.testing.assert_allclose([intercepts[number], *slopes[number]], expected, atol=1e-9)


def test_too_few_or_dependent_standard_models_leave_no_fit_and_a_reason():
    x, y = make_two_sets(6, np.random.default_rng(2))
    assert fit_baseline(x[:4], y[:4], "logit").models == 4
    few = fit_baseline(x[:3], y[:3], "logit")
    assert re.search(r"Found 3 standard models.*takes 4", few.note)
    assert np.isnan([*few.slopes, few.intercept, few.r_squared]).all() and np.isnan(few.predict(x)).all()
    x[0, 0], y[1] = 0.0, np.nan
    assert fit_baseline(x, y, "logit").excluded == 2
    dependent = fit_baseline(np.repeat(x[:, 1:], 2, axis=1), y, "logit")
    assert "several sources" in dependent.note and np.isnan(dependent.slopes).all()
    for bad in (x[:, 0], x[:, :0], x[:3]):
        with pytest.raises(ValueError, match="test_sets"):
            fit_baseline(bad, y, "logit")
    with pytest.raises(ValueError, match="2 test sets"):
        fit_baseline(x[2:], y[2:], "logit").predict([0.5, 0.5, 0.5])
