"""Bootstrap: resampling of test images by unit and drawing, of counts, and of models; one seed for every draw.

Sources: Davison and Hinkley 1997, "Bootstrap Methods and their Application", section 3.8, for clusters within clusters.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import ArrayLike

from whyrobust.analysis.arrays import BoolArray, FloatArray, IntArray

#: What the functions here take as a seed: a number, or what `seed_of` makes of a number and names.
Seed = int | np.random.SeedSequence

# Weights are drawn in blocks of about this many numbers, so that memory stays flat for large test sets.
_BLOCK_NUMBERS = 4_000_000


def seed_of(seed: int, *names: str) -> np.random.SeedSequence:
    """Return the seed of one draw, made from the study's seed and names of what is drawn.

    Different names give independent streams and the same names the same stream, whatever else is drawn and in which
    order: adding a shift to a study changes no draw of the others.

    Args:
        seed: of the study.
        names: for example ``"images", "sketch"``.
    """
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    # numpy mixes the spawn key into the entropy, as for the children of a SeedSequence.
    return np.random.SeedSequence(seed, spawn_key=tuple(np.frombuffer(digest, dtype="<u4").tolist()))


def resample_accuracies(
    correct: BoolArray,
    groups: ArrayLike,
    units: ArrayLike,
    resamples: int,
    seed: Seed,
    weights: ArrayLike | None = None,
) -> FloatArray:
    """Draw accuracies by a bootstrap of two levels over the images of one test set.

    Images of one group (say, variants of one drawing) are not independent, nor are the groups of one unit (say, the
    team that drew them). So units are drawn with replacement, and in each of them as many groups as it has, with
    replacement too (Davison and Hinkley 1997, section 3.8); each copy of a unit that is drawn twice has groups of its
    own. The draw is the same for every model, so that differences between models keep the benefit of being measured on
    the same images.

    With a units of b groups each, the draws of one model have the variance S_u / a^2 + S_w / (a b)^2, where S_u is the
    sum of squares of unit means and S_w that of groups within units. It is expected to be (a - 1) / a of the variance
    of the mean of a random-effects design, plus (b - 1) / b of the part within units: a little too large where units
    hardly differ, a little too small where they are few.

    Args:
        correct: whether each model got each image right, [models, images].
        groups: the group of each image, numbers or names, [images].
        units: the unit of each image, [images]. Give the groups themselves to draw groups alone. With one unit, groups
            within it are drawn.
        resamples: number of draws.
        seed: of the draws. Give different test sets different seeds: they are independent samples.
        weights: of the images, greater than 0, [images]; None for all alike. An image keeps its weight in every draw.

    Returns:
        Accuracies as fractions, [resamples, models].

    Raises:
        ValueError: if there are no images, or the shapes do not fit.
    """
    outcomes, labels, above = np.asarray(correct), np.asarray(groups), np.asarray(units)
    if outcomes.ndim != 2 or labels.shape != outcomes.shape[1:] or above.shape != labels.shape:
        raise ValueError(
            f"`correct` has shape {outcomes.shape}, `groups` {labels.shape} and `units` {above.shape}: give [models, "
            "images], [images] and [images]."
        )
    if outcomes.shape[1] == 0:
        raise ValueError("The test set has no images: leave empty test sets out before resampling.")
    group, unit = (np.unique(names, return_inverse=True)[1] for names in (labels, above))
    # The images of a group that lie in two units are two groups. The numbers of a unit's groups follow each other.
    _, first, member = np.unique(unit * (group.max() + 1) + group, return_index=True, return_inverse=True)
    groups_of_units = np.bincount(unit[first])
    of_images = np.ones(labels.shape) if weights is None else np.asarray(weights, dtype=float)
    sizes = np.bincount(member, weights=of_images)
    correct_by_group = np.zeros((outcomes.shape[0], sizes.size))
    for model, row in enumerate(outcomes):
        correct_by_group[model] = np.bincount(member, weights=row * of_images, minlength=sizes.size)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_NUMBERS // sizes.size)
    draws = np.empty((resamples, outcomes.shape[0]))
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        drawn = resample_nested(groups_of_units, stop - start, rng)
        draws[start:stop] = (drawn @ correct_by_group.T) / (drawn @ sizes)[:, None]
    return draws


def resample_counts(correct: ArrayLike, images: ArrayLike, resamples: int, seed: Seed) -> FloatArray:
    """Draw accuracies of models of which only the counts are known (the parametric bootstrap).

    Each model is drawn independently from a binomial with its observed accuracy. Models evaluated on the same images
    are in truth correlated, so intervals of differences between them come out too wide, never too narrow. An accuracy
    of 0 or 1 has no spread here; its own uncertainty is that of `whyrobust.analysis.intervals.clopper_pearson`.

    Args:
        correct: number of correct images of each model, [models].
        images: number of images, one number or [models].
        resamples: number of draws.
        seed: of the draws.

    Returns:
        Accuracies as fractions, [resamples, models].

    Raises:
        ValueError: where a test set has no images or counts are not in 0..images.
    """
    k, n = np.broadcast_arrays(np.asarray(correct, dtype=np.int64), np.asarray(images, dtype=np.int64))
    if np.any(n <= 0) or np.any(k < 0) or np.any(k > n):
        raise ValueError("Counts must lie from 0 to the number of images, and every test set needs an image.")
    rng = np.random.default_rng(seed)
    return np.asarray(rng.binomial(n, k / n, size=(resamples, k.size)) / n, dtype=float)


def resample_weights(units: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each of ``units`` (groups of images, models) is drawn with replacement, [resamples, units]."""
    if units == 0:
        return np.zeros((resamples, 0))
    # One count over (resample, unit) is several times faster than drawing from a multinomial.
    chosen = rng.integers(0, units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(float)


def resample_nested(groups_of_units: IntArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each group is drawn where units are drawn and, in each, as many groups as it has.

    Args:
        groups_of_units: number of groups of each unit, [units].
        resamples: number of draws.
        rng: of the draws.

    Returns:
        Counts, [resamples, groups]: the groups of the first unit, then those of the second, and so on.
    """
    units, groups = len(groups_of_units), int(groups_of_units.sum())
    chosen = rng.integers(0, units, size=(resamples, units))
    if groups == units:
        picked, drawn = chosen.ravel(), np.full(resamples, units)
    else:
        sizes = groups_of_units[chosen]
        first = (np.cumsum(groups_of_units) - groups_of_units)[chosen]
        each, drawn = sizes.ravel(), sizes.sum(axis=1)
        picked = np.repeat(first.ravel(), each) + rng.integers(0, np.repeat(each, each))
    cell = picked + groups * np.repeat(np.arange(resamples), drawn)
    return np.bincount(cell, minlength=resamples * groups).reshape(resamples, groups).astype(float)
