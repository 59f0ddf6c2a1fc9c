"""Effects of comparisons: mean differences within pairs of runs, with intervals over seeds and test images.

Nothing here depends on the unit of what is compared. `contrast_pairs` writes pairs as weighted sums of models,
`average_by_seed` takes the differences, `estimate_variance` their variance, and `measure_effects` the effects of all
comparisons on one shift, whose variances are moderated together. `whyrobust.analysis.attribution` makes a table of
them.

Sources: Obuchowski and Rockette 1995, and Hillis 2007, for the variance and its degrees of freedom; Smyth 2004 for the
moderation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.analysis.intervals import moderate_variances, student_half_width
from whyrobust.study.comparisons import Comparison, Pair, match_pairs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Contrasts:
    """Pairs as weighted sums of models: 1 for the run compared, -1 in all for what it is compared with.

    Attributes:
        weights: [pairs, models].
        seeds: of the pairs, [pairs].
        left_out: pairs without a weight, since the accuracy of their end lies outside of those of their starts.
    """

    weights: FloatArray
    seeds: tuple[Any, ...]
    left_out: int

    def count_extrapolated(self, extrapolated: BoolArray) -> int:
        """Return how many pairs have a model that is extrapolated, [models]."""
        return int(((self.weights != 0) & extrapolated).any(axis=1).sum())


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
        """Return the quantile of Student's t for a weighted sum of the quantities, [quantities]; 0 without variance."""
        from scipy.stats import t as student

        own, shared = (float(weights @ part @ weights) for part in (self.own, self.shared))
        if own + shared <= 0:
            return 0.0
        freedom = satterthwaite(own, self.seeds - 1, shared, self.draws - 1)
        return float(student.ppf((1.0 + confidence) / 2.0, freedom))


@dataclass(frozen=True)
class Effect:
    """The effect of one comparison on one shift, in the unit of what was compared.

    Attributes:
        effect: mean difference; NaN without pairs, or where a pair has no value.
        error: its standard error; NaN with a single seed, or fewer than two usable draws.
        freedom: degrees of freedom of the error.
        pairs: compared.
        seeds: different seeds of the pairs.
    """

    effect: float
    error: float
    freedom: float
    pairs: int
    seeds: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the effect, NaN where its error is not known."""
        half = student_half_width(self.error, self.freedom, confidence)
        return self.effect - half, self.effect + half


def satterthwaite(own: float, own_freedom: float, shared: float, shared_freedom: float) -> float:
    """Return the degrees of freedom of a sum of two variances, of which one or both are greater than 0.

    They are those of Welch and Satterthwaite, (A + B)^2 / (A^2 / a + B^2 / b) for variances A and B with a and b
    degrees of freedom. Hillis (2007) recommends them with b infinite, for a B that is known from many draws.
    """
    total = own + shared
    # Shares of the variance rather than variances, so that tiny ones do not underflow when squared.
    inverse = (own / total) ** 2 / own_freedom + (shared / total) ** 2 / shared_freedom
    return 1.0 / inverse if inverse > 0 else math.inf


def contrast_pairs(pairs: Sequence[Pair], accuracies: FloatArray) -> Contrasts:
    """Return pairs as weighted sums of models.

    A pair with one start is the difference of two models. One with several starts, runs stopped early, is compared at
    equal in-distribution accuracy: its start is interpolated between the two whose accuracies are the nearest below and
    above that of its end. Nothing is extrapolated: where the end lies outside of the starts, the pair is left out.

    Args:
        pairs: from `whyrobust.study.comparisons.match_pairs`.
        accuracies: in-distribution accuracies on the scale, [models], in the order of the rows that the pairs name.

    Raises:
        ValueError: where a pair names a model that is not there.
    """
    models = len(accuracies)
    if any(not 0 <= position < models for pair in pairs for position in (*pair.starts, pair.end)):
        raise ValueError(f"A pair names a row outside 0..{models - 1}: give values in the order of the runs.")
    rows, seeds = [], []
    for pair in pairs:
        starts = _interpolate(pair.starts, accuracies, float(accuracies[pair.end]))
        if starts:
            row = np.zeros(models)
            row[pair.end] = 1.0
            for position, weight in starts.items():
                row[position] = -weight
            rows.append(row)
            seeds.append(pair.seed)
    return Contrasts(np.array(rows).reshape(-1, models), tuple(seeds), len(pairs) - len(rows))


def _interpolate(starts: Sequence[int], accuracies: FloatArray, wanted: float) -> dict[int, float]:
    """Return the weights with which models make one of the wanted accuracy; none where it lies outside of theirs."""
    if len(starts) == 1:
        return {starts[0]: 1.0}
    known = sorted((float(accuracies[start]), start) for start in starts if np.isfinite(accuracies[start]))
    for (below, first), (above, second) in itertools.pairwise(known):
        if below <= wanted <= above:
            share = (wanted - below) / (above - below) if above > below else 0.5
            return {first: 1.0 - share, second: share}
    return {}


def average_by_seed(contrasts: Contrasts, values: FloatArray, draws: FloatArray) -> SeedDifferences:
    """Return the differences of pairs, end minus start, averaged within seeds.

    Args:
        contrasts: of the pairs.
        values: [models], in the order of the contrasts' columns.
        draws: bootstrap draws of the values, [resamples, models].

    Raises:
        ValueError: where the shapes do not fit each other or the contrasts.
    """
    measured, sampled = np.asarray(values, dtype=float), np.asarray(draws, dtype=float)
    models = contrasts.weights.shape[1]
    if measured.shape != (models,) or sampled.ndim != 2 or sampled.shape[1] != models:
        raise ValueError(
            f"Values have shape {measured.shape} and their draws {sampled.shape}: "
            f"give [models] and [resamples, models], of {models} models."
        )
    seeds, mean = _seed_contrasts(contrasts)
    # What a model that is in no pair has, NaN as it may be, does not matter.
    used = np.flatnonzero(contrasts.weights.any(axis=0))
    return SeedDifferences(seeds, mean[:, used] @ measured[used], sampled[:, used] @ mean[:, used].T)


def _seed_contrasts(contrasts: Contrasts) -> tuple[tuple[Any, ...], FloatArray]:
    """Return the seeds, in rising order, and the mean of the contrasts of each, [seeds, models]."""
    seeds, member = np.unique(list(contrasts.seeds), return_inverse=True)
    # averaging[s, p]: the weight of pair p in the mean of seed s.
    averaging = (np.arange(seeds.size)[:, None] == member) / np.bincount(member, minlength=seeds.size)[:, None]
    return tuple(seeds.tolist()), averaging @ contrasts.weights


def mean_contrast(contrasts: Contrasts) -> FloatArray:
    """Return the weights with which an effect is a sum over models, [models]: averaged within seeds, then over them.

    Args:
        contrasts: of one pair or more.
    """
    weights: FloatArray = _seed_contrasts(contrasts)[1].mean(axis=0)
    return weights


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
    is negative. `measure_effects` puts the moderated variance of all comparisons in the place of S^2.

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


def measure_effects(
    contrasts: Sequence[Contrasts],
    values: FloatArray,
    draws: FloatArray | None = None,
    shared_freedom: float = math.inf,
) -> list[Effect]:
    """Return the effects of several comparisons on one shift, their variances moderated together.

    The difference of each pair is averaged within its seed, then over seeds: seeds are the independent units, since the
    subsets of one seed are nested and its runs share much of their training data. The variance of the mean over n seeds
    is S^2 / n + max(0, C), derived in `estimate_variance`. With few seeds S^2 has few degrees of freedom, so that
    intervals are wide and, by chance, some far too narrow; so it is moderated over all comparisons of the shift
    (`moderate_variances`). The degrees of freedom of the sum are those of `satterthwaite`, with the share of S^2 / n
    taken from the mean variance of all comparisons where that is larger, and raised by 1 / (its degrees of freedom): a
    variance that is too low by chance would else be trusted the more for it (by simulation, 3 comparisons of 2 seeds:
    93 instead of 95 %).

    Args:
        contrasts: of the comparisons.
        values: what is compared, for example residuals in logits, [models].
        draws: bootstrap draws of the same, [resamples, models], one draw of test images for all models. None for an
            error over seeds alone, on these test images.
        shared_freedom: degrees of freedom of C: how many units (teams, say) the test images are of, less one.

    Returns:
        One for each comparison. Those without a variance of their own, or with one of 0, are not moderated.

    Raises:
        ValueError: as `average_by_seed`.
    """
    if draws is None:
        draws = np.tile(np.asarray(values, dtype=float), (2, 1))
    found = [average_by_seed(of_one, values, draws) for of_one in contrasts]
    variances = [estimate_variance(one.by_seed[None], one.by_draw[None]) if one.seeds else None for one in found]
    between = np.array([np.nan if one is None else one.own[0, 0] * one.seeds for one in variances])
    freedom = np.array([np.nan if one is None else one.seeds - 1.0 for one in variances])
    several = between > 0
    moderated, moderated_freedom = between.copy(), freedom.copy()
    typical = 0.0
    if several.sum() > 2:
        overlap = overlap_of([of_one for of_one, chosen in zip(contrasts, several, strict=True) if chosen])
        moderated[several], moderated_freedom[several] = moderate_variances(between[several], freedom[several], overlap)
        typical = float(freedom[several] @ between[several] / freedom[several].sum())
    effects = []
    for number, (of_one, differences, variance) in enumerate(zip(contrasts, found, variances, strict=True)):
        effect = float(differences.by_seed.mean()) if differences.seeds else np.nan
        error, own_freedom = np.nan, np.nan
        if variance is not None:
            own, shared = moderated[number] / variance.seeds, float(variance.shared[0, 0])
            error = math.sqrt(own + shared)
            if error > 0:
                own_freedom = moderated_freedom[number]
                largest = max(own, typical / variance.seeds) * (1.0 + 1.0 / own_freedom)
                own_freedom = satterthwaite(largest, own_freedom, shared, shared_freedom)
        effects.append(Effect(effect, error, own_freedom, len(of_one.seeds), len(differences.seeds)))
    return effects


def overlap_of(contrasts: Sequence[Contrasts]) -> FloatArray:
    """Return how much each two comparisons are made of the same models, [comparisons, comparisons].

    It is the squared correlation that their differences would have if models varied independently and equally.
    """
    mean = np.stack([mean_contrast(of_one) for of_one in contrasts])
    lengths = np.linalg.norm(mean, axis=1)
    correlation: FloatArray = (mean @ mean.T) / np.outer(lengths, lengths)
    return correlation**2


def first_of_causes(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the main comparisons: the first of each cause, in the order of the causes."""
    main: dict[str, Comparison] = {}
    for comparison in comparisons:
        main.setdefault(comparison.cause, comparison)
    return list(main.values())


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
