"""Effects of causes: mean paired differences of effective robustness, with intervals over seeds and test images.

`attribute_causes` makes the table of causes. Its parts do not depend on the unit of what is compared: `average_by_seed`
takes the differences, `estimate_variance` their variance, and an `Effect` gives the interval.

Sources: Obuchowski and Rockette 1995, and Hillis 2007, for the variance and its degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.arrays import FloatArray
from whyrobust.analysis.intervals import check_confidence
from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.comparisons import Comparison, Pair, match_pairs

if TYPE_CHECKING:
    import pandas as pd

CAUSE_COLUMNS = (
    "cause",
    "comparison",
    "shift",
    "pairs",
    "seeds",
    "effect_points",
    "low_points",
    "high_points",
    "holds_fixed",
)


@dataclass(frozen=True)
class SeedDifferences:
    """Differences within pairs, averaged within their seed.

    Attributes:
        seeds: in rising order.
        by_seed: mean difference of each seed, [seeds].
        by_draw: bootstrap draws of it, [resamples, seeds].
    """

    seeds: tuple[Any, ...]
    by_seed: FloatArray
    by_draw: FloatArray


@dataclass(frozen=True)
class EffectVariance:
    """The covariance of the means over seeds of one or several quantities, in the two parts of `estimate_variance`.

    Attributes:
        own: what each seed adds by itself, [quantities, quantities].
        shared: what test images and baseline do to all seeds alike, [quantities, quantities].
        seeds: number of seeds that ``own`` was estimated from.
        draws: number of draws that ``shared`` was estimated from.
    """

    own: FloatArray
    shared: FloatArray
    seeds: int
    draws: int

    def half_width(self, weights: FloatArray, confidence: float) -> float:
        """Return half the width of the interval of a weighted sum of the quantities, [quantities]."""
        own, shared = (float(weights @ part @ weights) for part in (self.own, self.shared))
        return self.quantile(weights, confidence) * math.sqrt(own + shared)

    def quantile(self, weights: FloatArray, confidence: float) -> float:
        """Return the quantile of Student's t for a weighted sum of the quantities, [quantities]; 0 without variance.

        The degrees of freedom are those of Welch and Satterthwaite, (A + B)^2 / (A^2 / (seeds - 1) + B^2 / (draws -
        1)), for A = own and B = shared variance of the sum. Hillis (2007) recommends them with the second term left
        out, which is their limit for many draws.
        """
        from scipy.stats import t as student

        own, shared = (float(weights @ part @ weights) for part in (self.own, self.shared))
        total = own + shared
        if total <= 0:
            return 0.0
        # Shares of the variance rather than variances, so that tiny ones do not underflow when squared.
        freedom = 1.0 / ((own / total) ** 2 / (self.seeds - 1) + (shared / total) ** 2 / (self.draws - 1))
        return float(student.ppf((1.0 + confidence) / 2.0, freedom))


@dataclass(frozen=True)
class Effect:
    """The effect of one comparison on one shift, in the unit of what was compared.

    Attributes:
        effect: mean difference; NaN without pairs, or where a pair has no value.
        variance: of the effect; None with a single seed, or fewer than two usable draws.
        pairs: compared.
        seeds: different seeds of the pairs.
    """

    effect: float
    variance: EffectVariance | None
    pairs: int
    seeds: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the effect, NaN where its variance is not known."""
        check_confidence(confidence)
        half = np.nan if self.variance is None else self.variance.half_width(np.ones(1), confidence)
        return self.effect - half, self.effect + half


def measure_effect(pairs: Sequence[Pair], values: FloatArray, draws: FloatArray) -> Effect:
    """Return the mean paired difference of a measured quantity, with its variance over seeds and test images.

    The difference of each pair is averaged within its seed, then over seeds: seeds are the independent units, since the
    subsets of one seed are nested and its runs share much of their training data. The interval is derived in
    `estimate_variance`.

    Args:
        pairs: from `match_pairs`.
        values: what is compared, for example effective robustness in percentage points, [models], in the order of the
            runs' rows.
        draws: bootstrap draws of the same, [resamples, models], one draw of test images for all models.

    Raises:
        ValueError: where the shapes do not fit the pairs.
    """
    differences = average_by_seed(pairs, values, draws)
    if not pairs:
        return Effect(np.nan, None, 0, 0)
    return Effect(
        effect=float(differences.by_seed.mean()),
        variance=estimate_variance(differences.by_seed[None], differences.by_draw[None]),
        pairs=len(pairs),
        seeds=len(differences.seeds),
    )


def average_by_seed(pairs: Sequence[Pair], values: FloatArray, draws: FloatArray) -> SeedDifferences:
    """Return the differences of pairs, end minus start, averaged within seeds.

    Args:
        pairs: from `match_pairs`.
        values: [models], in the order of the rows that the pairs name.
        draws: bootstrap draws of the values, [resamples, models].

    Raises:
        ValueError: where the shapes do not fit each other or the pairs.
    """
    measured, sampled = np.asarray(values, dtype=float), np.asarray(draws, dtype=float)
    if measured.ndim != 1 or sampled.ndim != 2 or sampled.shape[1] != measured.size:
        raise ValueError(
            f"Values have shape {measured.shape} and their draws {sampled.shape}: "
            "give [models] and [resamples, models]."
        )
    start = np.array([pair.starts[0] for pair in pairs], dtype=np.int64)
    end = np.array([pair.end for pair in pairs], dtype=np.int64)
    if pairs and (min(start.min(), end.min()) < 0 or max(start.max(), end.max()) >= measured.size):
        raise ValueError(
            f"A pair names a row outside 0..{measured.size - 1}: give effective robustness in the order of the runs."
        )
    seeds, member = np.unique([pair.seed for pair in pairs], return_inverse=True)
    # averaging[p, s]: the weight of pair p in the mean of seed s.
    averaging = (member[:, None] == np.arange(seeds.size)) / np.bincount(member, minlength=seeds.size)
    return SeedDifferences(
        seeds=tuple(seeds.tolist()),
        by_seed=(measured[end] - measured[start]) @ averaging,
        by_draw=(sampled[:, end] - sampled[:, start]) @ averaging,
    )


def estimate_variance(by_seed: FloatArray, by_draw: FloatArray) -> EffectVariance | None:
    """Estimate the covariance of means over seeds of one or several quantities, such as an effect and a gap.

    Let d_s be the mean difference of seed s of n. Every seed is measured on the same test images and against the same
    baseline, so that

        d_s = effect + a_s + e_s + c,

    with a_s what the seed itself does (training subset, start weights), e_s the part of the sampling noise of test
    images and standard models that is the seed's own, and c the part that all seeds share. The mean of d_s has the
    variance (var a + var e) / n + var c. The variance S^2 of d_s between seeds estimates var a + var e and holds
    nothing of c, which moves all seeds alike. Within the bootstrap draws the seeds' own effects stay fixed, so the
    draws of d_s and d_t of two seeds covary by var c and by nothing else. Hence

        variance = S^2 / n + max(0, C),    C = mean over s != t of cov(d_s, d_t) over draws.

    Adding the whole variance of the mean over draws instead of C would count var e / n twice. This is the estimator of
    Obuchowski and Rockette (1995) for several readers of the same cases, with seeds for readers and test images for
    cases. For several quantities, variances are covariance matrices, and max(0, C) leaves out the directions in which C
    is negative.

    A percentile bootstrap of seeds within the draws of test images is no substitute. By simulation (2,000 repeats each,
    claimed coverage 95 %): where only seeds vary it covers the truth 75 % of the time with 3 seeds and 83 % with 5
    (this interval: 96 % and 95 %); where only test images vary it counts their noise twice and covers 99 % with either
    (this interval: 94 % and 95 %). tests/analysis/test_effects.py repeats this on images of known difficulty, with an
    effect and without.

    Args:
        by_seed: [quantities, seeds].
        by_draw: bootstrap draws of the same, [quantities, resamples, seeds].

    Returns:
        The variance, or None with fewer than two seeds or two usable draws, or where a seed has no value.
    """
    quantities, seeds = by_seed.shape
    by_draw = by_draw[:, np.isfinite(by_draw).all(axis=(0, 2))]
    draws = by_draw.shape[1]
    if seeds < 2 or draws < 2 or not np.isfinite(by_seed).all():
        return None
    centred = by_seed - by_seed.mean(axis=1, keepdims=True)
    own = (centred[:, None] * centred[None]).sum(axis=-1) / (seeds - 1) / seeds
    # covariance[a, b, s, t]: of quantity a of seed s and quantity b of seed t, over draws.
    flat = by_draw.transpose(1, 0, 2).reshape(draws, quantities * seeds)
    covariance = np.cov(flat, rowvar=False).reshape(quantities, seeds, quantities, seeds).transpose(0, 2, 1, 3)
    total = covariance.reshape(quantities, quantities, seeds * seeds).sum(axis=-1)
    within = np.trace(covariance, axis1=2, axis2=3)
    shared = (total - within) / (seeds * (seeds - 1))
    values, vectors = np.linalg.eigh((shared + shared.T) / 2)
    return EffectVariance(own, (vectors * np.maximum(values, 0.0)) @ vectors.T, seeds, draws)


def attribute_causes(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measurements: Mapping[str, tuple[FloatArray, FloatArray]],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Measure every comparison on every shift.

    Args:
        comparisons: the controlled comparisons.
        runs: one row for each evaluated run, with ``seed`` and the fields that the comparisons name.
        measurements: shift -> (effective robustness in percentage points [models], its draws [resamples, models]), in
            the order of the rows of ``runs``.
        confidence: coverage of the intervals.

    Returns:
        The rows of ``causes.csv``, comparison by comparison. A comparison that finds no pairs has its rows too, with 0
        pairs and NaN for what is not known; so has the interval of a single seed.

    Raises:
        ValueError: as `match_comparisons` and `measure_effect`; where draws do not fit the runs.
    """
    import pandas as pd

    for shift, (points, _) in measurements.items():
        if len(points) != len(runs):
            raise ValueError(
                f"The shift {shift} has {len(points)} values of effective robustness for {len(runs)} rows "
                "of runs: give one for each row, in the same order."
            )
    pairs_of = match_comparisons(comparisons, runs)
    effects = {
        (number, shift): measure_effect(pairs, points, draws)
        for number, pairs in pairs_of.items()
        for shift, (points, draws) in measurements.items()
    }
    rows = []
    for number, comparison in enumerate(comparisons):
        for shift in measurements:
            effect = effects[number, shift]
            low, high = effect.interval(confidence)
            rows.append(
                {
                    "cause": comparison.cause,
                    "comparison": comparison.name,
                    "shift": shift,
                    "pairs": effect.pairs,
                    "seeds": effect.seeds,
                    "effect_points": effect.effect,
                    "low_points": low,
                    "high_points": high,
                    "holds_fixed": comparison.holds_fixed,
                }
            )
    return pd.DataFrame(rows, columns=list(CAUSE_COLUMNS))


def match_comparisons(comparisons: Sequence[Comparison], runs: pd.DataFrame) -> dict[int, list[Pair]]:
    """Return the pairs of each comparison, by its position, as rows of the table of evaluated runs.

    Raises:
        ValueError: as `whyrobust.study.comparisons.match_pairs`, naming the comparison.
    """
    rows = [{str(name): value for name, value in row.items()} for row in runs.to_dict("records")]
    pairs = {}
    for number, comparison in enumerate(comparisons):
        try:
            pairs[number] = match_pairs(comparison, rows)
        except ValueError as error:
            raise ValueError(f"Comparison {comparison.name!r} of {comparison.cause!r}: {error}") from error
    return pairs


def summarise_causes(causes: pd.DataFrame) -> str:
    """Return a short plain-text table of the causes for the terminal: effects in percentage points with intervals."""
    lines = ["Effect on effective robustness, percentage points (interval)"]
    for (cause, comparison), rows in causes.groupby(["cause", "comparison"], sort=False):
        lines.append(f"\n{str(cause).replace('_', ' ')}: {comparison}")
        for row in rows.to_dict("records"):
            effect, low, high = row["effect_points"], row["low_points"], row["high_points"]
            interval = "no interval" if np.isnan(low) or np.isnan(high) else f"{low:+.1f} to {high:+.1f}"
            found = "" if np.isnan(effect) else f"{effect:+6.1f} ({interval})"
            lines.append(f"  {row['shift']:<14} {found}  {judge_effect(effect, low, high)}, {row['pairs']} pairs")
    return "\n".join(lines) + "\n"
