"""Intervals: of accuracies against scipy's, of a ratio against a search over ratios."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from whyrobust.analysis.intervals import clopper_pearson, fieller_interval, moderate_variances, percentile_interval


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


def test_fiellers_interval_holds_the_ratios_that_are_not_told_apart():
    covariance = np.array([[0.5, 0.2], [0.2, 0.3]])
    low, high = fieller_interval(3.0, 4.0, covariance, 2.1)
    ratios = np.linspace(-2, 4, 600_001)
    weights = np.column_stack([np.ones_like(ratios), -ratios])
    variance = np.einsum("ri,ij,rj->r", weights, covariance, weights)
    inside = ratios[(3.0 - 4.0 * ratios) ** 2 <= 2.1**2 * variance]
    assert (low, high) == pytest.approx((inside.min(), inside.max()), abs=2e-5)
    # A denominator that is not told apart from 0 leaves the ratio without a bound.
    assert np.isnan(fieller_interval(3.0, 1.0, covariance, 2.1)).all()


@pytest.mark.filterwarnings("error")
def test_percentiles_leave_out_what_is_missing():
    draws = np.column_stack([np.arange(101.0), np.full(101, np.nan)])
    draws = np.vstack([draws, np.full(2, np.nan)])
    low, high = percentile_interval(draws, 0.9)
    np.testing.assert_allclose([low[0], high[0]], [5, 95])
    assert np.isnan([low[1], high[1]]).all()


def test_moderation_finds_the_prior_that_variances_were_drawn_from():
    """Smyth's model: s2 given sigma2 is chi square, sigma2 is scaled inverse chi square."""
    rng = np.random.default_rng(0)
    prior_degrees, prior = 6.0, 0.04
    sigma2 = prior_degrees * prior / rng.chisquare(prior_degrees, 200_000)
    degrees = rng.integers(1, 8, 200_000).astype(float)
    variances = sigma2 * rng.chisquare(degrees) / degrees
    moderated, total = moderate_variances(variances, degrees)
    found = total - degrees
    assert np.allclose(found, found[0]) and found[0] == pytest.approx(prior_degrees, rel=0.1)
    shares = (moderated * total - degrees * variances) / found
    assert np.allclose(shares, shares[0]) and shares[0] == pytest.approx(prior, rel=0.05)


def test_moderated_intervals_cover_and_plain_ones_of_two_units_are_useless():
    rng = np.random.default_rng(1)
    covered, narrower = [], []
    for _ in range(300):
        counts = rng.choice([2, 3, 4, 6], 40)
        sd = np.sqrt(4 * 0.01 / rng.chisquare(4, 40))
        values = [rng.normal(0, spread, count) for spread, count in zip(sd, counts, strict=True)]
        variances = np.array([np.var(value, ddof=1) for value in values])
        moderated, total = moderate_variances(variances, counts - 1.0)
        half = scipy.stats.t.ppf(0.975, total) * np.sqrt(moderated / counts)
        plain = scipy.stats.t.ppf(0.975, counts - 1) * np.sqrt(variances / counts)
        covered.extend(np.abs([value.mean() for value in values]) <= half)
        narrower.extend((half < plain)[counts == 2])
    assert 0.94 < np.mean(covered) < 0.96 and np.mean(narrower) > 0.7


def test_equal_variances_are_pooled_and_two_are_left_alone():
    moderated, total = moderate_variances(np.full(50, 0.3), np.full(50, 3.0))
    # What they have in common is known from all of them, and from no more.
    assert np.allclose(total, 150) and np.allclose(moderated, 0.3)
    variances, degrees = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    assert [list(part) for part in moderate_variances(variances, degrees)] == [[1.0, 2.0], [1.0, 1.0]]
