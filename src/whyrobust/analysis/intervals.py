"""Confidence intervals of accuracies, of draws and of ratios, and moderated variances.

Sources: Clopper and Pearson 1934; Student 1908; Fieller 1954; Smyth 2004. What degrees of freedom an effect has is in
`whyrobust.analysis.effects`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from whyrobust.analysis.arrays import FloatArray


def clopper_pearson(correct: ArrayLike, images: ArrayLike, confidence: float = 0.995) -> tuple[FloatArray, FloatArray]:
    """Return the exact binomial interval of accuracies (Clopper and Pearson 1934).

    ``statsmodels`` has the same interval, but answers impossible counts with NaN and takes two seconds to import.

    Args:
        correct: number of correct images, any shape.
        images: number of images, broadcast against ``correct``.
        confidence: coverage, between 0 and 1.

    Returns:
        ``(low, high)``, fractions in the broadcast shape. No image correct gives low 0, all correct high 1.

    Raises:
        ValueError: where a test set has no images, or counts are not in 0..images.
    """
    from scipy.stats import beta

    check_confidence(confidence)
    k, n = np.broadcast_arrays(np.asarray(correct, dtype=float), np.asarray(images, dtype=float))
    if np.any(~(n > 0)):
        raise ValueError(
            f"A test set has {n[~(n > 0)].flat[0]:g} images: an accuracy needs at least one. "
            "Leave empty test sets out before asking for intervals."
        )
    if np.any(~((k >= 0) & (k <= n))):
        at = ~((k >= 0) & (k <= n))
        raise ValueError(
            f"Found {k[at].flat[0]:g} correct of {n[at].flat[0]:g} images: give counts from 0 to the number of images."
        )
    tail = (1.0 - confidence) / 2.0
    # The beta quantile is not defined at the two ends, where the bound is known: 0 and 1.
    low = np.where(k > 0, beta.ppf(tail, np.where(k > 0, k, 1.0), n - k + 1.0), 0.0)
    high = np.where(k < n, beta.ppf(1.0 - tail, k + 1.0, np.where(k < n, n - k, 1.0)), 1.0)
    return low, high


def accuracy_interval(accuracy: FloatArray, images: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return Clopper-Pearson intervals of accuracies (fractions, [models]), NaN where the accuracy is missing.

    Raises:
        ValueError: as `clopper_pearson`.
    """
    low, high = np.full(accuracy.shape, np.nan), np.full(accuracy.shape, np.nan)
    known = np.isfinite(accuracy)
    correct = accuracy * images
    # Published accuracies are rounded, so the count is the nearest whole number of images, unless these are effective.
    correct = np.where(images == np.rint(images), np.rint(correct), correct)
    low[known], high[known] = clopper_pearson(correct[known], images[known], confidence)
    return low, high


def effective_images(
    correct: ArrayLike, images: ArrayLike, rows: ArrayLike, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Return accuracies and the effective numbers of images behind them, from counts by independent unit.

    The images of a unit (a team, a class or a drawing) are alike, so that n images tell as much as fewer independent
    ones: n* = p (1 - p) / V, where V = a / (a - 1) sum over the a units of (k - p m)^2 / n^2 is the variance of the
    ratio p = sum k / sum m (Cochran 1977, "Sampling Techniques", section 3.12). V has a - 1 degrees of freedom,
    which an interval with n* images would not know of: n* is multiplied by (t_(n-1) / t_(a-1))^2, the squared ratio of
    Student's quantiles (Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data"). It is never more than n.

    Args:
        correct: correct images k of each unit, [counts].
        images: images m of each unit.
        rows: the accuracy that each unit counts for, whole numbers from 0, [counts].
        confidence: coverage of the interval that is to be made.

    Returns:
        Accuracies and effective images, [accuracies]. The latter are NaN for an accuracy of 0 or 1, whose units do not
        differ, and where there is one unit.
    """
    from scipy.special import stdtrit

    k, m, row = np.asarray(correct, dtype=float), np.asarray(images, dtype=float), np.asarray(rows, dtype=np.int64)
    total, units = np.bincount(row, weights=m), np.bincount(row)
    accuracy = np.bincount(row, weights=k) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.bincount(row, weights=(k - accuracy[row] * m) ** 2)
        variance = units / (units - 1) * squares / total**2
        upper = (1.0 + confidence) / 2.0
        # The quantile of no degrees of freedom is NaN.
        quantiles = stdtrit(np.maximum(total - 1, 1), upper) / stdtrit(units - 1.0, upper)
        effective = accuracy * (1.0 - accuracy) / variance * quantiles**2
    inside = (accuracy > 0) & (accuracy < 1)
    return accuracy, np.where(inside, np.minimum(effective, total), np.nan)


def percentile_interval(draws: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return percentiles over the first axis of bootstrap draws, in the shape of the other axes.

    Draws that are not a number are left out; where all are, the interval is NaN.
    """
    tail = (1.0 - confidence) / 2.0
    low, high = np.full(draws.shape[1:], np.nan), np.full(draws.shape[1:], np.nan)
    some = np.isfinite(draws).any(axis=0)
    if some.any():
        low[some], high[some] = np.nanquantile(draws[:, some], [tail, 1.0 - tail], axis=0)
    return low, high


def student_half_width(error: float, freedom: float, confidence: float) -> float:
    """Return half the width of an interval by Student's t; NaN where the standard error is not known.

    Args:
        error: standard error, in the unit of the estimate. Where it is 0 the width is 0, whatever the freedom.
        freedom: degrees of freedom of the error; may be infinite.
        confidence: coverage, between 0 and 1.
    """
    from scipy.stats import t as student

    check_confidence(confidence)
    if error == 0 or not np.isfinite(error):
        return 0.0 if error == 0 else np.nan
    return float(student.ppf((1.0 + confidence) / 2.0, freedom)) * float(error)


def fieller_interval(
    numerator: float, denominator: float, covariance: FloatArray, quantile: float
) -> tuple[float, float]:
    """Return the interval of a ratio of two estimates (Fieller 1954), NaN where it is not bounded.

    The interval is the set of ratios r for which numerator - r * denominator is not significantly different from 0:
    (a - r b)^2 <= t^2 var(a - r b), a quadratic in r.

    Args:
        numerator: estimate a.
        denominator: estimate b.
        covariance: of a and b, [2, 2].
        quantile: of Student's t at the wanted confidence and the degrees of freedom of a - (a / b) b.
    """
    scaled = quantile**2 * covariance
    square = denominator**2 - scaled[1, 1]
    mixed = numerator * denominator - scaled[0, 1]
    constant = numerator**2 - scaled[0, 0]
    # The measured ratio always lies in the set, so the roots are real but for rounding.
    root = max(0.0, mixed**2 - square * constant) ** 0.5
    if square <= 0:
        return np.nan, np.nan
    return float((mixed - root) / square), float((mixed + root) / square)


def moderate_variances(
    variances: FloatArray, degrees: FloatArray, overlap: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return moderated variances and their degrees of freedom (Smyth 2004, section 6.2), mended for few comparisons.

    Each variance becomes the mean of its own and a common one, weighted by degrees of freedom; those of the common one
    are estimated from how much the variances scatter beyond chance. Smyth's formulas are for thousands of comparisons.
    With 3 to 20, intervals made of them cover too little (by simulation with 3 comparisons of 2 seeds 90 % instead of
    95 %), for which there are three reasons and remedies:

    - The degrees of freedom are never more than those of all variances pooled, as in Smyth's own program (limma).
    - Variances that scatter no more than chance are pooled by their mean, weighted by degrees of freedom, which is the
      best estimate then, and not by the mean of their logarithms.
    - Otherwise the common variance lies between Smyth's, from logarithms, which is too low where few variances scatter
      by chance, and the weighted mean, which is too high where they truly differ. The fewer degrees of freedom f the
      pooled variances have, the nearer it is to the latter: its weight is 2 / sqrt(f), 1 at most.

    tests/analysis/test_coverage.py shows what is reached.

    Args:
        variances: of each comparison, greater than 0, [comparisons].
        degrees: their degrees of freedom.
        overlap: squared correlations of what each two comparisons are made of, [comparisons, comparisons]. Comparisons
            that share runs know less about a common variance together than their degrees of freedom say. None where
            they share nothing.

    Returns:
        Both arrays in the same order. Fewer than three variances are returned as they are.
    """
    from scipy.special import digamma, polygamma

    if len(variances) < 3:
        return variances, degrees
    pooled_degrees = float(degrees.sum())
    if overlap is not None:
        # The variance of a weighted mean of correlated variances, by Satterthwaite as degrees of freedom.
        pooled_degrees = degrees.sum() ** 2 / (np.sqrt(np.outer(degrees, degrees)) * overlap).sum()
    pooled = float(degrees @ variances / degrees.sum())
    centred = np.log(variances) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(np.var(centred, ddof=1) - np.mean(polygamma(1, degrees / 2)))
    if excess <= 0:
        return np.full(len(variances), pooled), np.full(len(variances), pooled_degrees)
    prior_degrees = 2.0 * _inverse_trigamma(excess)
    prior = float(np.exp(centred.mean() + digamma(prior_degrees / 2) - np.log(prior_degrees / 2)))
    prior += max(0.0, pooled - prior) * min(1.0, 2.0 / float(np.sqrt(pooled_degrees)))
    moderated: FloatArray = (prior_degrees * prior + degrees * variances) / (prior_degrees + degrees)
    return moderated, np.minimum(degrees + prior_degrees, np.maximum(pooled_degrees, degrees))


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no fraction.

    Raises:
        ValueError: where it does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"A confidence of {confidence} is not between 0 and 1: give 0.95 for 95 %.")


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = ``value`` > 0, by Newton's method (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    x = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
