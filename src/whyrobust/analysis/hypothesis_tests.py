"""Tests of effects: p values adjusted for families of tests, equivalence, and the effect that could be detected.

Sources: Holm 1979, Scandinavian Journal of Statistics 6; Benjamini and Hochberg 1995, Journal of the Royal Statistical
Society B 57; Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, and Lakens 2017, Social
Psychological and Personality Science 8, for the two one-sided tests.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from whyrobust.analysis.arrays import FloatArray
from whyrobust.analysis.intervals import student_half_width

POWER: Final = 0.8
"""Share of studies in which an effect of the detectable size is found."""


def two_sided_p(effect: float, error: float, freedom: float) -> float:
    """Return the p value of the two-sided t test of an effect of zero; NaN without a standard error.

    Args:
        effect: estimate.
        error: its standard error, in the same unit.
        freedom: degrees of freedom of the error; may be infinite.
    """
    from scipy.stats import t as student

    if not (np.isfinite(effect) and np.isfinite(error)):
        return np.nan
    if error == 0:
        return 1.0 if effect == 0 else 0.0
    return float(2.0 * student.sf(abs(effect) / error, freedom))


def holm(p: FloatArray) -> FloatArray:
    """Return p values adjusted so that the chance of any false finding in the family is bounded (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1; no value falls below that of a smaller p.

    Args:
        p: of the tests of one family, [tests]; NaN for tests that were not made, which do not count.

    Returns:
        Adjusted values in the same order, at most 1.
    """
    values = np.asarray(p, dtype=float)
    made = np.flatnonzero(np.isfinite(values))
    order = made[np.argsort(values[made], kind="stable")]
    scaled = values[order] * np.arange(order.size, 0, -1)
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Return q values: what share of the findings up to each test is false in expectation, at most (BH 1995).

    The i-th smallest of m is multiplied by m / i; no value exceeds that of a larger p.

    Args:
        p: as for `holm`.
    """
    values = np.asarray(p, dtype=float)
    made = np.flatnonzero(np.isfinite(values))
    order = made[np.argsort(values[made], kind="stable")]
    scaled = values[order] * order.size / np.arange(1, order.size + 1)
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def equivalence(effect: float, error: float, freedom: float, alpha: float) -> tuple[float, float]:
    """Return the interval that two one-sided tests compare with a margin (Schuirmann 1987).

    Both tests, "the effect lies above the lower margin" and "below the upper", reject at ``alpha`` exactly where this
    interval, of confidence 1 - 2 ``alpha``, lies within the margin. NaN without a standard error.

    Args:
        effect: estimate.
        error: its standard error, in the same unit.
        freedom: degrees of freedom of the error; may be infinite.
        alpha: level of each of the tests.
    """
    half = student_half_width(error, freedom, 1.0 - 2.0 * alpha)
    return effect - half, effect + half


def equivalence_p(effect: float, error: float, freedom: float, margin: tuple[float, float]) -> float:
    """Return the p value of equivalence: the larger one of the two one-sided tests (Schuirmann 1987).

    Args:
        effect: estimate.
        error: its standard error, in the same unit.
        freedom: degrees of freedom of the error; may be infinite.
        margin: lower and upper end of what counts as no effect, in the same unit.

    Returns:
        The value, below a level exactly where the interval of `equivalence` at this level lies within the margin; NaN
        without a standard error.
    """
    from scipy.stats import t as student

    low, high = margin
    if not (np.isfinite(effect) and np.isfinite(error)):
        return np.nan
    if error == 0:
        return 0.0 if low < effect < high else 1.0
    return float(max(student.sf((effect - low) / error, freedom), student.cdf((effect - high) / error, freedom)))


def equivalence_power(error: float, freedom: float, alpha: float, margin: tuple[float, float]) -> float:
    """Return the chance that equivalence is shown where the true effect is zero, the standard error taken as known.

    Both tests reject where the estimate lies further inside of each end of the margin than the quantile times the
    error. A chance that is low says that "undecided" was to be expected.

    Args:
        error: standard error of the effect.
        freedom: its degrees of freedom, of the quantile; may be infinite.
        alpha: level of each of the tests.
        margin: lower and upper end of what counts as no effect, in the unit of ``error``.

    Returns:
        The chance; NaN without an error.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    low, high = margin
    if not np.isfinite(error):
        return np.nan
    if error == 0:
        return float(low < 0 < high)
    quantile = float(student.isf(alpha, freedom))
    return max(0.0, float(norm.cdf(high / error - quantile) - norm.cdf(low / error + quantile)))


def detectable_effect(error: float, freedom: float, alpha: float, power: float = POWER) -> float:
    """Return the size of an effect that a two-sided t test finds with the given power.

    Solved on the noncentral t distribution; the tail on the other side, which adds less than alpha / 2 to the power and
    far less at any power of interest, is left out.

    Args:
        error: standard error of the effect.
        freedom: its degrees of freedom; may be infinite.
        alpha: two-sided level of the test; for the strictest of m tests by Holm, alpha / m.
        power: chance that the effect is found.

    Returns:
        The size in the unit of ``error``; NaN without an error.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, norm
    from scipy.stats import t as student

    if not np.isfinite(error) or error == 0:
        return error
    if not np.isfinite(freedom) or freedom > 1e4:  # where the noncentral t cannot be told from the normal
        return float(norm.isf(alpha / 2) + norm.ppf(power)) * error
    critical = float(student.isf(alpha / 2, freedom))
    upper = 2.0 * (critical + float(student.isf(1.0 - power, freedom)) + 2.0 * float(norm.ppf(power)) + 2.0)
    upper = max(upper, 10.0)
    return float(brentq(lambda size: nct.sf(critical, freedom, size) - power, 0.0, upper)) * error
