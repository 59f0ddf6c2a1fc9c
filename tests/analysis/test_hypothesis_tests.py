"""Families of tests, equivalence and detectable effects: against slow definitions, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.stats import chi2, norm
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from whyrobust.analysis.hypothesis_tests import (
    benjamini_hochberg,
    detectable_effect,
    equivalence,
    equivalence_p,
    equivalence_power,
    holm,
    two_sided_p,
)


def slow_holm(p: list[float]) -> list[float]:
    """By the definition: the largest of (m - j + 1) p_(j) over all tests j that are no larger."""
    ranked = sorted(p)
    return [min(1.0, max((len(p) - rank) * value for rank, value in enumerate(ranked) if value <= own)) for own in p]


def slow_benjamini_hochberg(p: list[float]) -> list[float]:
    """By the definition: the smallest of m p_(j) / j over all tests j that are no smaller."""
    ranked = sorted(p)
    return [
        min(1.0, min(len(p) * value / (rank + 1) for rank, value in enumerate(ranked) if value >= own)) for own in p
    ]


@pytest.mark.parametrize(
    ("adjust", "slow", "name"),
    [(holm, slow_holm, "holm"), (benjamini_hochberg, slow_benjamini_hochberg, "fdr_bh")],
)
def test_adjusted_p_values_are_those_of_the_definition_and_of_statsmodels(adjust, slow, name):
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 30):
        p = rng.uniform(size=count) ** 3
        p[: count // 3] = p[0]  # ties
        adjusted = adjust(p)
        np.testing.assert_allclose(adjusted, slow(p.tolist()))
        np.testing.assert_allclose(adjusted, multipletests(p, method=name)[1])
        with_missing = adjust(np.insert(p, 0, np.nan))
        assert np.isnan(with_missing[0])
        np.testing.assert_allclose(with_missing[1:], adjusted)
    assert adjust(np.array([])).shape == (0,)


def test_benjamini_and_hochbergs_own_example():
    # Benjamini and Hochberg 1995, section 4: 15 hypotheses; 4 are rejected at a false-discovery rate of .05, 3 by Holm.
    p = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
                  0.4262, 0.5719, 0.6528, 0.7590, 1.0000])  # fmt: skip
    assert (benjamini_hochberg(p) <= 0.05).sum() == 4
    assert (holm(p) <= 0.05).sum() == 3


def test_the_interval_of_equivalence_decides_as_two_one_sided_tests():
    rng = np.random.default_rng(1)
    decided = []
    for _ in range(200):
        sample = rng.normal(rng.normal(0, 0.6), 1.5, 6)
        error = sample.std(ddof=1) / 6**0.5
        low, high = equivalence(sample.mean(), error, 5, 0.05)
        p = DescrStatsW(sample).ttost_mean(-2.0, 2.0)[0]
        assert (p < 0.05) == (low > -2 and high < 2)
        decided.append(p < 0.05)
    assert 20 < sum(decided) < 180
    assert np.isnan(equivalence(1.0, np.nan, 5, 0.05)).all()


def test_p_is_that_of_the_t_test():
    sample = np.random.default_rng(2).normal(0.4, 1, 7)
    error = sample.std(ddof=1) / 7**0.5
    assert two_sided_p(sample.mean(), error, 6) == pytest.approx(DescrStatsW(sample).ttest_mean(0)[1])
    assert two_sided_p(1.96, 1.0, np.inf) == pytest.approx(0.05, abs=1e-4)
    assert np.isnan(two_sided_p(1.0, np.nan, 3)) and np.isnan(two_sided_p(np.nan, 1.0, 3))
    assert (two_sided_p(0.0, 0.0, np.nan), two_sided_p(1.0, 0.0, np.nan)) == (1.0, 0.0)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("freedom", [1, 2, 4, 39])
def test_a_detectable_effect_has_the_power_by_the_definition(freedom, alpha):
    # The chance that estimate / error exceeds the critical value, integrated over the quantiles of the error.
    size, critical = detectable_effect(1.0, freedom, alpha), student.isf(alpha / 2, freedom)
    power, _ = quad(lambda q: norm.sf(critical * np.sqrt(chi2.ppf(q, freedom) / freedom) - size), 0, 1, limit=400)
    assert power == pytest.approx(0.8, abs=1e-6)
    if freedom == 39:
        expected = TTestPower().solve_power(nobs=40, alpha=alpha, power=0.8)
        assert size == pytest.approx(40**0.5 * expected, rel=1e-4)


def test_a_detectable_effect_is_found_four_times_of_five():
    rng = np.random.default_rng(3)
    for freedom, alpha in ((2.0, 0.05), (4.0, 0.01), (15.0, 0.01)):
        size = detectable_effect(2.0, freedom, alpha)
        errors = 2.0 * np.sqrt(rng.chisquare(freedom, 40_000) / freedom)
        found = rng.normal(size, 2.0, 40_000) / errors > student.isf(alpha / 2, freedom)
        assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert detectable_effect(1.0, np.inf, 0.05) == pytest.approx(1.9600 + 0.8416, abs=1e-4)
    assert detectable_effect(1.0, 9e3, 0.05) == pytest.approx(detectable_effect(1.0, np.inf, 0.05), rel=1e-3)
    assert np.isnan(detectable_effect(np.nan, 4, 0.05))


def test_equivalence_has_a_p_that_agrees_with_its_interval():
    """Two one-sided tests by scipy's own, on a sample; the interval of confidence 1 - 2 alpha ends where p is alpha."""
    sample = np.random.default_rng(0).normal(0.1, 1.0, 30)
    error, freedom = sample.std(ddof=1) / np.sqrt(30), 29
    for margin in ((-0.5, 0.5), (-0.2, 0.9)):
        above = stats.ttest_1samp(sample, margin[0], alternative="greater").pvalue
        below = stats.ttest_1samp(sample, margin[1], alternative="less").pvalue
        assert equivalence_p(sample.mean(), error, freedom, margin) == pytest.approx(max(above, below))
    p = equivalence_p(0.3, 0.4, 7, (-1.0, 1.5))
    low, high = equivalence(0.3, 0.4, 7, p)
    assert low == pytest.approx(-1.0) or high == pytest.approx(1.5)
    assert low >= -1.0 - 1e-9 and high <= 1.5 + 1e-9
    assert equivalence_p(0.1, 0.0, np.nan, (-1, 1)) == 0 and equivalence_p(1.0, 0.0, np.nan, (-1, 1)) == 1
    assert np.isnan(equivalence_p(0.1, np.nan, 3, (-1, 1)))


def test_the_power_of_equivalence_is_that_of_simulated_estimates_around_zero():
    rng, freedom, margin = np.random.default_rng(1), 8.0, (-0.9, 0.8)
    for error in (0.2, 0.35):
        shown = [
            margin[0] < ends[0] and ends[1] < margin[1]
            for ends in (equivalence(value, error, freedom, 0.05) for value in rng.normal(0, error, 4000))
        ]
        assert equivalence_power(error, freedom, 0.05, margin) == pytest.approx(np.mean(shown), abs=0.025)
    assert equivalence_power(5.0, freedom, 0.05, margin) == 0 and equivalence_power(0.0, np.nan, 0.05, margin) == 1
    assert np.isnan(equivalence_power(np.nan, 3, 0.05, margin))
