"""Bootstrap: resampling of test images by group, of counts, and of models; one seed for every draw.

Sources: Davison and Hinkley 1997, "Bootstrap Methods and their Application", section 3.8, for clusters.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import ArrayLike

from whyrobust.analysis.arrays import BoolArray, FloatArray

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


def resample_accuracies(correct: BoolArray, groups: ArrayLike, resamples: int, seed: Seed) -> FloatArray:
    """Draw accuracies by a cluster bootstrap over the images of one test set.

    Images of one group (say, variants of one drawing) are not independent, so whole groups are drawn with replacement
    (Davison and Hinkley 1997, section 3.8). The draw is the same for every model, so that differences between models
    keep the benefit of being measured on the same images.

    Args:
        correct: whether each model got each image right, [models, images].
        groups: the group of each image, numbers or names, [images]. With one group all draws are the same.
        resamples: number of draws.
        seed: of the draws. Give different test sets different seeds: they are independent samples.

    Returns:
        Accuracies as fractions, [resamples, models].

    Raises:
        ValueError: if there are no images, or the shapes do not fit.
    """
    outcomes = np.asarray(correct)
    labels = np.asarray(groups)
    if outcomes.ndim != 2 or labels.shape != outcomes.shape[1:]:
        raise ValueError(
            f"`correct` has shape {outcomes.shape} and `groups` {labels.shape}: give [models, images] and [images]."
        )
    if outcomes.shape[1] == 0:
        raise ValueError("The test set has no images: leave empty test sets out before resampling.")
    _, member = np.unique(labels, return_inverse=True)
    sizes = np.bincount(member).astype(float)
    correct_by_group = np.zeros((outcomes.shape[0], sizes.size))
    for model, row in enumerate(outcomes):
        correct_by_group[model] = np.bincount(member, weights=row, minlength=sizes.size)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_NUMBERS // sizes.size)
    draws = np.empty((resamples, outcomes.shape[0]))
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        weights = resample_weights(sizes.size, stop - start, rng)
        draws[start:stop] = (weights @ correct_by_group.T) / (weights @ sizes)[:, None]
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
