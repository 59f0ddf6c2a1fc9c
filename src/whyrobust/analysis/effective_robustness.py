"""Effective robustness: intervals for accuracies, the line of the standard models, and the distance to it.

This module stands alone because the same arithmetic serves the runs of a study and the published models: it
takes arrays of accuracies (fractions from 0 to 1) and knows nothing of where they come from.

Sources: Taori et al. 2020, "Measuring Robustness to Natural Distribution Shifts in Image Classification"
(arXiv 2007.00644), for effective robustness, the logit axes and the bootstrap band; Clopper and Pearson 1934
for the interval of one accuracy; Shi et al. 2023, "Effective Robustness against Natural Distribution Shifts for
Models with Different Training Data" (arXiv 2302.01381), for several in-distribution test sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.analysis.scales import POINTS_PER_UNIT, from_scale, to_scale

if TYPE_CHECKING:
    import pandas as pd


# What `measure_robustness` must be told of each model; further columns are carried to its table unchanged.
MODEL_COLUMNS = (
    "run",
    "head",
    "prompts",
    "id_accuracy",
    "id_images",
    "shift_accuracy",
    "shift_images",
    "standard",
)

# Weights are drawn in blocks of about this many numbers, so that memory stays flat for large test sets.
_BLOCK_NUMBERS = 4_000_000


# --- Intervals of single accuracies -------------------------------------------------------------------------


def clopper_pearson(correct: ArrayLike, images: ArrayLike, confidence: float = 0.995) -> tuple[FloatArray, FloatArray]:
    """Return the exact binomial interval of accuracies (Clopper and Pearson 1934).

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

    _check_confidence(confidence)
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


# --- Baselines ----------------------------------------------------------------------------------------------


class BaselinePredictor(Protocol):
    """What a baseline can do, whether it is one line or two."""

    @property
    def x_low(self) -> float:
        """Smallest in-distribution accuracy of the standard models that were fitted."""

    @property
    def x_high(self) -> float:
        """Largest in-distribution accuracy of the standard models that were fitted."""

    def predict(self, accuracy: ArrayLike) -> FloatArray:
        """Return the accuracy under shift that standard models of this accuracy have."""


@dataclass(frozen=True)
class Baseline:
    """A line fitted to standard models on transformed axes.

    ``slope`` and ``intercept`` are NaN where no line can be fitted, and then `predict` gives NaN.
    ``models`` were fitted, ``excluded`` were left out since an accuracy has no finite value on the scale.
    ``x_low`` and ``x_high`` are the span of the fitted models' in-distribution accuracies (fractions).
    ``r_squared`` is NaN where the accuracies under shift are all equal.
    """

    slope: float
    intercept: float
    r_squared: float
    scale: str
    models: int
    x_low: float
    x_high: float
    excluded: int

    def predict(self, accuracy: ArrayLike) -> FloatArray:
        """Return the baseline accuracy at in-distribution accuracies; both are fractions, same shape.

        At 0 and 1, which have no finite logit or probit, the value is the line's limit: 0 and 1 for a rising
        line, 1 and 0 for a falling one, the constant for a flat one.
        """
        return _predict(np.float64(self.slope), np.float64(self.intercept), accuracy, self.scale)


@dataclass(frozen=True)
class TwoLineBaseline:
    """One line for models below a pivot and one for models above it.

    Made for ImageNet-A, whose images were chosen because ResNet-50 gets them wrong, so that the trend breaks
    at ResNet-50's accuracy (Taori et al. 2020). ``pivot`` is an in-distribution accuracy.
    At the pivot itself the line above serves: `predict` uses ``below`` where accuracy < pivot.
    """

    below: Baseline
    above: Baseline
    pivot: float

    @property
    def x_low(self) -> float:
        """Smallest in-distribution accuracy of the fitted models of either line."""
        return float(np.fmin(self.below.x_low, self.above.x_low))

    @property
    def x_high(self) -> float:
        """Largest in-distribution accuracy of the fitted models of either line."""
        return float(np.fmax(self.below.x_high, self.above.x_high))

    def predict(self, accuracy: ArrayLike) -> FloatArray:
        """Return the baseline accuracy at in-distribution accuracies; both are fractions, same shape."""
        x = np.asarray(accuracy, dtype=float)
        return np.where(x < self.pivot, self.below.predict(x), self.above.predict(x))


def fit_baseline(x: ArrayLike, y: ArrayLike, scale: str) -> Baseline:
    """Fit the line of the standard models by least squares on transformed axes (Taori et al. 2020).

    Args:
        x: in-distribution accuracies of the standard models, fractions, [models].
        y: their accuracies under shift, [models].
        scale: ``logit``, ``probit`` or ``linear``.

    Returns:
        The line. Models with an accuracy that is missing, or 0 or 1 on a scale where these are not finite,
        are left out and counted. Fewer than two usable models, or only one distinct x, give a line of NaN.

    Raises:
        ValueError: where x and y are not two lists of one length, or the scale is unknown.
    """
    accuracy, tx, ty = _standard_points(x, y, scale)
    usable = np.isfinite(tx) & np.isfinite(ty)
    slope, intercept = _fit_lines(tx, ty, np.ones(tx.shape))
    r_squared = np.nan
    if np.isfinite(slope) and np.ptp(ty[usable]) > 0:
        residuals = ty[usable] - (slope * tx[usable] + intercept)
        r_squared = 1.0 - np.sum(residuals**2) / np.sum((ty[usable] - ty[usable].mean()) ** 2)
    span = accuracy[usable] if usable.any() else np.array([np.nan])
    return Baseline(
        slope=float(slope),
        intercept=float(intercept),
        r_squared=float(r_squared),
        scale=scale,
        models=int(usable.sum()),
        x_low=float(span.min()),
        x_high=float(span.max()),
        excluded=int((~usable).sum()),
    )


def fit_two_lines(x: ArrayLike, y: ArrayLike, pivot: float, scale: str) -> TwoLineBaseline:
    """Fit one line to standard models with x < pivot and one to those with x > pivot.

    A model exactly at the pivot (the pivot model itself) enters neither line, by the strict inequalities.

    Raises:
        ValueError: as `fit_baseline`.
    """
    accuracy, _, _ = _standard_points(x, y, scale)
    shift = np.asarray(y, dtype=float)
    below, above = accuracy < pivot, accuracy > pivot
    return TwoLineBaseline(
        below=fit_baseline(accuracy[below], shift[below], scale),
        above=fit_baseline(accuracy[above], shift[above], scale),
        pivot=float(pivot),
    )


def bootstrap_band(
    x: ArrayLike,
    y: ArrayLike,
    grid: ArrayLike,
    scale: str,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Return the pointwise band of a baseline over resamples of models (Taori et al. 2020).

    Args:
        x: in-distribution accuracies of the standard models, [models].
        y: accuracies under shift, [models].
        grid: in-distribution accuracies at which the band is wanted, any shape.
        scale: the axis of the fit.
        resamples: number of resamples of models, with replacement.
        confidence: coverage of the band at each x.
        seed: of the resampling.

    Returns:
        ``(low, high)``, accuracies in the shape of ``grid``. Resamples in which no line can be fitted (one
        distinct model only) are skipped; where all are, the band is NaN.
    """
    _check_confidence(confidence)
    _, tx, ty = _standard_points(x, y, scale)
    at = np.asarray(grid, dtype=float)
    usable = np.isfinite(tx) & np.isfinite(ty)
    tx, ty = tx[usable], ty[usable]
    weights = _resample_weights(tx.size, resamples, np.random.default_rng(seed))
    slope, intercept = _fit_lines(tx, ty, weights)
    lines = _predict(slope[:, None], intercept[:, None], at.reshape(1, -1), scale)
    low, high = _interval(lines, confidence)
    return low.reshape(at.shape), high.reshape(at.shape)


def effective_robustness_points(
    id_accuracy: ArrayLike, shift_accuracy: ArrayLike, baseline: BaselinePredictor
) -> FloatArray:
    """Return accuracy under shift minus the baseline's, in percentage points (Taori 2020, equation 1)."""
    return POINTS_PER_UNIT * (np.asarray(shift_accuracy, dtype=float) - baseline.predict(id_accuracy))


# --- Resampling ---------------------------------------------------------------------------------------------


def resample_accuracies(correct: NDArray[np.bool_], groups: ArrayLike, resamples: int, seed: int) -> FloatArray:
    """Draw accuracies by a cluster bootstrap over the images of one test set.

    Images of one group (say, variants of one drawing) are not independent, so whole groups are drawn with
    replacement (Davison and Hinkley 1997, section 3.8). The draw is the same for every model, so that
    differences between models keep the benefit of being measured on the same images.

    Args:
        correct: whether each model got each image right, [models, images].
        groups: the group of each image, numbers or names, [images]. With one group all draws are the same.
        resamples: number of draws.
        seed: of the draws. Give different test sets different seeds: they are independent samples.

    Returns:
        Accuracies as fractions, [resamples, models].

    Raises:
        ValueError: where there are no images, or the shapes do not fit.
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
        weights = _resample_weights(sizes.size, stop - start, rng)
        draws[start:stop] = (weights @ correct_by_group.T) / (weights @ sizes)[:, None]
    return draws


def resample_counts(correct: ArrayLike, images: ArrayLike, resamples: int, seed: int) -> FloatArray:
    """Draw accuracies of models of which only the counts are known (the parametric bootstrap).

    Each model is drawn alone from a binomial with its observed accuracy. Models evaluated on the same images
    are in truth correlated, so intervals of differences between them come out too wide, never too narrow.
    An accuracy of 0 or 1 has no spread here; its own uncertainty is that of `clopper_pearson`.

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


def effective_robustness_draws(
    id_draws: FloatArray,
    shift_draws: FloatArray,
    standard_mask: NDArray[np.bool_],
    scale: str,
    seed: int,
    segments: NDArray[np.int64] | None = None,
) -> FloatArray:
    """Draw every model's effective robustness, with the baseline's own uncertainty.

    In each draw the standard models are resampled with replacement, the line is fitted anew to that draw's
    accuracies, and each model's distance to it is taken. So a draw holds three uncertainties together: the
    test images of the model, those of the standard models, and which standard models there happen to be.

    Args:
        id_draws: in-distribution accuracies, [resamples, models].
        shift_draws: accuracies under shift, [resamples, models].
        standard_mask: which models fit the baseline, [models].
        scale: the axis of the fit.
        seed: of the resampling of standard models.
        segments: number of the line that serves each model, [models]; one line for all where it is None. A
            segment's standard models are resampled among themselves.

    Returns:
        Percentage points, [resamples, models]. A draw without two distinct usable standard models is NaN.

    Raises:
        ValueError: where the shapes do not fit.
    """
    identity, shifted = np.asarray(id_draws, dtype=float), np.asarray(shift_draws, dtype=float)
    standard = np.asarray(standard_mask, dtype=bool)
    if identity.ndim != 2 or identity.shape != shifted.shape or standard.shape != identity.shape[1:]:
        raise ValueError(
            f"Draws have shapes {identity.shape} and {shifted.shape} and the standard mask {standard.shape}: "
            "give [resamples, models] twice and [models]."
        )
    line = np.zeros(standard.shape, dtype=np.int64) if segments is None else np.asarray(segments)
    if line.shape != standard.shape:
        raise ValueError(f"`segments` has shape {line.shape}: give one number for each of {standard.size} models.")
    rng = np.random.default_rng(seed)
    result = np.full(identity.shape, np.nan)
    for number in np.unique(line):
        served = line == number
        fitted = served & standard
        weights = _resample_weights(int(fitted.sum()), identity.shape[0], rng)
        slope, intercept = _fit_lines(
            to_scale(identity[:, fitted], scale), to_scale(shifted[:, fitted], scale), weights
        )
        expected = _predict(slope[:, None], intercept[:, None], identity[:, served], scale)
        result[:, served] = POINTS_PER_UNIT * (shifted[:, served] - expected)
    return result


# --- One shift, measured ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """All that is measured on one shift against one in-distribution test set.

    ``effective_robustness``, ``baselines`` and ``bands`` are rows of the tables of these names; ``points``
    [models] and ``draws`` [resamples, models] are the effective robustness in percentage points, in the order
    of the models given, for comparisons between models. ``baseline`` is the fitted line or pair of lines.
    """

    effective_robustness: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    points: FloatArray
    draws: FloatArray
    baseline: Baseline | TwoLineBaseline


def measure_robustness(
    models: pd.DataFrame,
    shift: str,
    x_test_set: str,
    id_draws: FloatArray,
    shift_draws: FloatArray,
    *,
    scale: str = "logit",
    pivot: float | None = None,
    confidence: float = 0.95,
    point_confidence: float = 0.995,
    band_resamples: int = 1000,
    band_points: int = 100,
    seed: int = 0,
) -> Measurement:
    """Measure the effective robustness of every model on one shift.

    Args:
        models: one row a model, with the columns of `MODEL_COLUMNS`: accuracies as fractions, numbers of
            images, and ``standard``, whether the model fits the baseline. Standard models are measured as
            well. Further columns are carried along.
        shift: name of the shifted test set.
        x_test_set: name of the in-distribution test set that is the x axis.
        id_draws: draws of the in-distribution accuracies, [resamples, models], in the order of the rows.
        shift_draws: draws of the accuracies under shift, the same shape.
        scale: the axis of the fit.
        pivot: an in-distribution accuracy at which the line breaks in two (ImageNet-A), or None for one line.
            Which line serves a model is decided by its measured accuracy and stays so in every draw.
        confidence: coverage of the percentile intervals of effective robustness, and of the band.
        point_confidence: coverage of the Clopper-Pearson intervals of the accuracies.
        band_resamples: resamples of standard models for the band.
        band_points: number of x values of the band, evenly spaced on the scale over the models' accuracies.
        seed: of the resampling of standard models.

    Returns:
        The tables and draws. ``extrapolated`` marks models outside the span of the standard models (all of
        them where there is no line), ``note`` says in words what is unusual about a row.

    Raises:
        ValueError: for missing columns, or draws that do not fit the models.
    """
    import pandas as pd

    missing = [column for column in MODEL_COLUMNS if column not in models.columns]
    if missing:
        raise ValueError(f"The table of models for {shift} lacks the columns {missing}: add them.")
    for name, draws in (("id_draws", id_draws), ("shift_draws", shift_draws)):
        if np.ndim(draws) != 2 or np.shape(draws)[1] != len(models):
            raise ValueError(
                f"`{name}` for {shift} has shape {np.shape(draws)}: give [resamples, {len(models)} models]."
            )
    x = models["id_accuracy"].to_numpy(dtype=float)
    y = models["shift_accuracy"].to_numpy(dtype=float)
    standard = models["standard"].to_numpy(dtype=bool)
    baseline: Baseline | TwoLineBaseline
    if pivot is None:
        baseline = fit_baseline(x[standard], y[standard], scale)
        lines = {"all": baseline}
        fits, segments = standard, np.zeros(len(models), dtype=np.int64)
    else:
        baseline = fit_two_lines(x[standard], y[standard], pivot, scale)
        lines = {"below_pivot": baseline.below, "above_pivot": baseline.above}
        fits, segments = standard & (x != pivot), np.where(x < pivot, 0, 1)

    expected = baseline.predict(x)
    points = effective_robustness_points(x, y, baseline)
    draws = effective_robustness_draws(id_draws, shift_draws, fits, scale, seed, segments)
    # No estimate, no interval: a draw may happen to allow a line that the measured accuracies do not.
    draws = np.where(np.isfinite(points), draws, np.nan)
    low, high = _interval(draws, confidence)
    id_low, id_high = _accuracy_interval(x, models["id_images"].to_numpy(dtype=float), point_confidence)
    shift_low, shift_high = _accuracy_interval(y, models["shift_images"].to_numpy(dtype=float), point_confidence)
    table = pd.DataFrame(
        {
            "run": models["run"].to_numpy(),
            "head": models["head"].to_numpy(),
            "prompts": models["prompts"].to_numpy(),
            "shift": shift,
            "x_test_set": x_test_set,
            "id_accuracy": x,
            "id_low": id_low,
            "id_high": id_high,
            "shift_accuracy": y,
            "shift_low": shift_low,
            "shift_high": shift_high,
            "baseline_accuracy": expected,
            "effective_robustness_points": points,
            "low_points": low,
            "high_points": high,
            "standard": standard,
            "extrapolated": ~((x >= baseline.x_low) & (x <= baseline.x_high)) | ~np.isfinite(expected),
            "note": [_note(*pair, shift, scale) for pair in zip(x, y, expected, strict=True)],
        }
    )
    for column in models.columns:
        if column not in table.columns and column not in MODEL_COLUMNS:
            table[column] = models[column].to_numpy()
    baselines = pd.DataFrame([_baseline_row(shift, x_test_set, name, line) for name, line in lines.items()])
    bands = []
    for number, (name, line) in enumerate(lines.items()):
        served = segments == number
        grid = _grid(x[served], scale, band_points)
        band_low, band_high = bootstrap_band(
            x[served & fits], y[served & fits], grid, scale, band_resamples, confidence, seed
        )
        columns = {"x": grid, "y": line.predict(grid), "low": band_low, "high": band_high, "line": name}
        bands.append(pd.DataFrame({"shift": shift, "x_test_set": x_test_set, **columns}))
    return Measurement(table, baselines, pd.concat(bands, ignore_index=True), points, draws, baseline)


def _baseline_row(shift: str, x_test_set: str, name: str, line: Baseline) -> dict[str, Any]:
    return {
        "shift": shift,
        "x_test_set": x_test_set,
        "models": line.models,
        "slope": line.slope,
        "intercept": line.intercept,
        "r_squared": line.r_squared,
        "scale": line.scale,
        "x_low": line.x_low,
        "x_high": line.x_high,
        "excluded": line.excluded,
        "line": name,
    }


def _grid(x: FloatArray, scale: str, count: int) -> FloatArray:
    """Return accuracies evenly spaced on the scale over the finite part of ``x``, if there is one."""
    position = to_scale(x, scale)
    position = position[np.isfinite(position)]
    if position.size == 0:
        return np.empty(0)
    return from_scale(np.linspace(position.min(), position.max(), count), scale)


def _accuracy_interval(accuracy: FloatArray, images: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return Clopper-Pearson intervals of accuracies, NaN where the accuracy is missing."""
    low, high = np.full(accuracy.shape, np.nan), np.full(accuracy.shape, np.nan)
    known = np.isfinite(accuracy)
    # Published accuracies are rounded, so the count is the nearest whole number of images.
    low[known], high[known] = clopper_pearson(np.rint(accuracy[known] * images[known]), images[known], confidence)
    return low, high


def _note(x: float, y: float, expected: float, shift: str, scale: str) -> str:
    """Say in plain English what a reader must know about one row, or nothing."""
    notes = []
    for value, where in ((x, "the in-distribution test set"), (y, shift)):
        if np.isnan(value):
            notes.append(f"There is no accuracy on {where}.")
        elif value in (0.0, 1.0) and scale != "linear":
            notes.append(
                f"The accuracy on {where} is {value:.0f}, which has no finite {scale}: "
                "the row cannot help to fit a line, and resampling shows no spread."
            )
    if np.isnan(expected) and not np.isnan(x):
        notes.append("There is no baseline: too few standard models with different, finite accuracies.")
    return " ".join(notes)


# --- Several in-distribution test sets at once --------------------------------------------------------------


@dataclass(frozen=True)
class MultiBaseline:
    """A plane fitted to standard models: accuracy under shift from accuracies on several test sets.

    Attributes:
        slopes: one a test set, on the scale.
        intercept: on the scale.
        r_squared: NaN where the accuracies under shift are all equal.
        scale: axis of all accuracies.
        models: standard models that were fitted.
        excluded: those left out, since an accuracy has no finite value on the scale.
        x_low: smallest accuracy of the fitted models on each test set, fractions.
        x_high: largest.
    """

    slopes: tuple[float, ...]
    intercept: float
    r_squared: float
    scale: str
    models: int
    excluded: int
    x_low: tuple[float, ...]
    x_high: tuple[float, ...]

    def predict(self, accuracies: ArrayLike) -> FloatArray:
        """Return the baseline accuracy, [...], at accuracies on all test sets, [..., test_sets]; fractions.

        An accuracy of 0 or 1 gives the plane's limit, NaN where two of them pull to opposite ends.
        """
        x = np.asarray(accuracies, dtype=float)
        if x.shape[-1:] != (len(self.slopes),):
            raise ValueError(f"Accuracies have shape {x.shape}: give {len(self.slopes)} test sets on the last axis.")
        return _predict_plane(np.array(self.slopes), np.array(self.intercept), x, self.scale)


@dataclass(frozen=True)
class MultiMeasurement:
    """Effective robustness beyond several in-distribution test sets, in percentage points.

    ``points, low_points, high_points`` and ``extrapolated`` (outside the span of the standard models on some test
    set) are [models], ``draws`` [resamples, models]. ``note`` says why there is nothing where there is no fit.
    """

    points: FloatArray
    low_points: FloatArray
    high_points: FloatArray
    draws: FloatArray
    extrapolated: BoolArray
    baseline: MultiBaseline
    note: str = ""


class NoBaselineError(ValueError):
    """Accuracies to which nothing can be fitted; the message says why and what would help."""


def fit_multi_baseline(x: ArrayLike, y: ArrayLike, scale: str) -> MultiBaseline:
    """Fit accuracy under shift to accuracies on several in-distribution test sets (Shi et al. 2023, section 3).

    Shi et al. (arXiv 2302.01381): with one in-distribution test set, models trained on another distribution look
    robust because this test set is not theirs. With a test set for each training distribution, and standard models
    from all of them, much of that robustness goes away. The fit is least squares on the scale,
    y = intercept + sum over test sets of slope * x. With one test set it is the line of `fit_baseline`.

    Choose standard models from several sources: models of one source lie close to one line in x, and then the
    slopes of the test sets cannot be told apart, however many models there are.

    Args:
        x: accuracies of the standard models on the in-distribution test sets, fractions, [models, test_sets].
        y: their accuracies under shift, [models].
        scale: ``logit``, ``probit`` or ``linear``.

    Returns:
        The plane. Models with an accuracy that is missing, or 0 or 1 on a scale where these are not finite, are
        left out and counted.

    Raises:
        ValueError: where the shapes do not fit, or the scale is unknown.
        NoBaselineError: there are fewer usable models than coefficients (test sets and intercept) + 1, or the test
            sets are exact combinations of each other.
    """
    accuracy, shifted = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if accuracy.ndim != 2 or accuracy.shape[1] == 0 or shifted.shape != accuracy.shape[:1]:
        raise ValueError(
            f"x has shape {accuracy.shape} and y {shifted.shape}: give [models, test_sets], at least one test set, "
            "and [models]."
        )
    tx, ty = to_scale(accuracy, scale), to_scale(shifted, scale)
    usable = np.isfinite(tx).all(axis=1) & np.isfinite(ty)
    test_sets, count = accuracy.shape[1], int(usable.sum())
    if count < test_sets + 2:
        raise NoBaselineError(
            f"Found {count} standard models with finite accuracies for {test_sets} in-distribution test sets: the fit "
            f"has {test_sets + 1} coefficients and takes {test_sets + 2} models or more. Name more standard models, or "
            "fewer test sets."
        )
    slopes, intercept = _fit_planes(tx, ty, np.ones((1, ty.size)))
    if not np.isfinite(slopes).all():
        raise NoBaselineError(
            f"The accuracies of {count} standard models on {test_sets} in-distribution test sets are exact "
            "combinations of each other, so the test sets cannot be told apart. Name standard models from several "
            "sources, or leave a test set out."
        )
    r_squared = np.nan
    if np.ptp(ty[usable]) > 0:
        residuals = ty[usable] - (tx[usable] @ slopes[0] + intercept[0])
        r_squared = float(1.0 - np.sum(residuals**2) / np.sum((ty[usable] - ty[usable].mean()) ** 2))
    return MultiBaseline(
        slopes=tuple(slopes[0].tolist()),
        intercept=float(intercept[0]),
        r_squared=r_squared,
        scale=scale,
        models=count,
        excluded=int((~usable).sum()),
        x_low=tuple(accuracy[usable].min(axis=0).tolist()),
        x_high=tuple(accuracy[usable].max(axis=0).tolist()),
    )


def multi_effective_robustness_draws(
    id_draws: FloatArray,
    shift_draws: FloatArray,
    standard_mask: BoolArray,
    scale: str,
    seed: int,
) -> FloatArray:
    """Draw effective robustness beyond several in-distribution test sets, as `effective_robustness_draws` for one.

    Args:
        id_draws: in-distribution accuracies, [resamples, models, test_sets].
        shift_draws: accuracies under shift, [resamples, models].
        standard_mask: which models fit the baseline, [models].
        scale: the axis of the fit.
        seed: of the resampling of standard models.

    Returns:
        Percentage points, [resamples, models]. A draw whose standard models do not determine the plane is NaN.

    Raises:
        ValueError: where the shapes do not fit.
    """
    identity, shifted = np.asarray(id_draws, dtype=float), np.asarray(shift_draws, dtype=float)
    standard = np.asarray(standard_mask, dtype=bool)
    if identity.ndim != 3 or identity.shape[:2] != shifted.shape or standard.shape != identity.shape[1:2]:
        raise ValueError(
            f"Draws have shapes {identity.shape} and {shifted.shape} and the standard mask {standard.shape}: "
            "give [resamples, models, test_sets], [resamples, models] and [models]."
        )
    weights = _resample_weights(int(standard.sum()), len(identity), np.random.default_rng(seed))
    slopes, intercept = _fit_planes(
        to_scale(identity[:, standard], scale), to_scale(shifted[:, standard], scale), weights
    )
    expected = _predict_plane(slopes[:, None, :], intercept[:, None], identity, scale)
    result: FloatArray = POINTS_PER_UNIT * (shifted - expected)
    return result


def multi_effective_robustness(
    x: ArrayLike,
    y: ArrayLike,
    standard_mask: BoolArray,
    id_draws: FloatArray,
    shift_draws: FloatArray,
    *,
    scale: str = "logit",
    confidence: float = 0.95,
    seed: int = 0,
) -> MultiMeasurement:
    """Measure effective robustness beyond several in-distribution test sets at once (Shi et al. 2023).

    Args:
        x: accuracies on the in-distribution test sets, fractions, [models, test_sets].
        y: accuracies under shift, [models].
        standard_mask: which models fit the baseline, [models]; take them from several sources.
        id_draws: draws of x, [resamples, models, test_sets].
        shift_draws: draws of y, [resamples, models].
        scale: the axis of the fit.
        confidence: coverage of the percentile intervals.
        seed: of the resampling of standard models.

    Raises:
        ValueError: as `fit_multi_baseline` and `multi_effective_robustness_draws`.
    """
    _check_confidence(confidence)
    accuracy, shifted = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    standard = np.asarray(standard_mask, dtype=bool)
    if accuracy.ndim != 2 or standard.shape != accuracy.shape[:1] or shifted.shape != accuracy.shape[:1]:
        raise ValueError(
            f"x has shape {accuracy.shape}, y {shifted.shape} and the standard mask {standard.shape}: give "
            "[models, test_sets], [models] and [models]."
        )
    note = ""
    try:
        baseline = fit_multi_baseline(accuracy[standard], shifted[standard], scale)
    except NoBaselineError as error:
        # Models at chance on one shift must not stop a study: what is not known is said.
        baseline, note = _no_plane(accuracy.shape[1], int(standard.sum()), scale), str(error)
    points = POINTS_PER_UNIT * (shifted - baseline.predict(accuracy))
    draws = multi_effective_robustness_draws(id_draws, shift_draws, standard, scale, seed)
    if draws.shape[1:] != points.shape:
        raise ValueError(
            f"Draws are of {draws.shape[1]} models and accuracies of {points.size}: give both of the same."
        )
    draws = np.where(np.isfinite(points), draws, np.nan)
    low, high = _interval(draws, confidence)
    inside: BoolArray = np.asarray(((accuracy >= baseline.x_low) & (accuracy <= baseline.x_high)).all(axis=1))
    return MultiMeasurement(points, low, high, draws, np.logical_not(inside), baseline, note)


def _no_plane(test_sets: int, models: int, scale: str) -> MultiBaseline:
    unknown = (float("nan"),) * test_sets
    return MultiBaseline(
        slopes=unknown, intercept=float("nan"), r_squared=float("nan"), scale=scale, models=0, excluded=models,
        x_low=unknown, x_high=unknown,
    )  # fmt: skip


# --- Shared arithmetic --------------------------------------------------------------------------------------


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"A confidence of {confidence} is not between 0 and 1: give 0.95 for 95 %.")


def _standard_points(x: ArrayLike, y: ArrayLike, scale: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return x, and x and y on the scale, after checking that they are lists of one length."""
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"x has shape {first.shape} and y {second.shape}: give one accuracy a standard model for each."
        )
    return first, to_scale(first, scale), to_scale(second, scale)


def _resample_weights(units: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each of ``units`` is drawn with replacement, [resamples, units]."""
    if units == 0:
        return np.zeros((resamples, 0))
    # One count over (resample, unit) is several times faster than drawing from a multinomial.
    chosen = rng.integers(0, units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(float)


def _fit_lines(tx: FloatArray, ty: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slope and intercept of weighted least squares over the last axis, NaN where there is no line.

    The closed form, on centred values: slope = sum w dx dy / sum w dx^2. Points that are not finite get no
    weight.
    """
    tx, ty, weights = np.broadcast_arrays(tx, ty, weights)
    used = np.isfinite(tx) & np.isfinite(ty) & (weights > 0)
    w = np.where(used, weights, 0.0)
    x, y = np.where(used, tx, 0.0), np.where(used, ty, 0.0)
    # Two equal accuracies make no line; compared exactly, since rounding can leave sum w dx^2 above zero.
    distinct = np.max(np.where(used, tx, -np.inf), axis=-1, initial=-np.inf) > np.min(
        np.where(used, tx, np.inf), axis=-1, initial=np.inf
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        total = w.sum(axis=-1)
        mean_x, mean_y = (w * x).sum(axis=-1) / total, (w * y).sum(axis=-1) / total
        dx, dy = x - mean_x[..., None], y - mean_y[..., None]
        spread = (w * dx * dx).sum(axis=-1)
        slope = np.where(distinct & (spread > 0), (w * dx * dy).sum(axis=-1) / spread, np.nan)
    return slope, mean_y - slope * mean_x


def _fit_planes(tx: FloatArray, ty: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slopes [draws, test_sets] and intercepts [draws] of weighted least squares, NaN where not determined.

    ``tx`` is [draws, models, test_sets] or [models, test_sets], ``ty`` and ``weights`` [draws, models]. Points that
    are not finite get no weight.
    """
    shape = (len(weights), *tx.shape[-2:])
    tx, ty = np.broadcast_to(tx, shape), np.broadcast_to(ty, shape[:2])
    used = np.isfinite(tx).all(axis=2) & np.isfinite(ty) & (weights > 0)
    w = np.where(used, weights, 0.0)
    x, y = np.where(used[:, :, None], tx, 0.0), np.where(used, ty, 0.0)
    total = np.maximum(w.sum(axis=1), 1.0)
    mean_x, mean_y = np.einsum("rm,rmk->rk", w, x) / total[:, None], (w * y).sum(axis=1) / total
    root = np.sqrt(w)
    left, singular, right = np.linalg.svd(root[:, :, None] * (x - mean_x[:, None]), full_matrices=False)
    if singular.shape[1] < shape[2]:
        return np.full((shape[0], shape[2]), np.nan), np.full(shape[0], np.nan)
    # Rounding leaves singular values of about 1e-16 of the largest where a test set adds nothing.
    determined = (singular > 1e-10 * np.maximum(singular[:, :1], 1e-10)).all(axis=1)
    scores = np.einsum("rmk,rm->rk", left, root * (y - mean_y[:, None])) / np.where(determined[:, None], singular, 1.0)
    slopes = np.where(determined[:, None], np.einsum("rkj,rk->rj", right, scores), np.nan)
    return slopes, mean_y - (slopes * mean_x).sum(axis=1)


def _predict_plane(slopes: FloatArray, intercept: FloatArray, accuracies: FloatArray, scale: str) -> FloatArray:
    """Return the plane's accuracy at ``accuracies`` [..., test_sets], its limit at 0 and 1."""
    position = to_scale(accuracies, scale)
    with np.errstate(invalid="ignore"):
        # A flat direction adds nothing even at an infinite position, where 0 times infinity would be NaN.
        rise = np.where((slopes == 0) & ~np.isnan(position), 0.0, slopes * position).sum(axis=-1)
    return from_scale(rise + intercept, scale)


def _predict(slope: ArrayLike, intercept: ArrayLike, accuracy: ArrayLike, scale: str) -> FloatArray:
    """Return the line's accuracy at ``accuracy``, its limit where the position on the scale is infinite."""
    gradient, position = np.broadcast_arrays(np.asarray(slope, dtype=float), to_scale(accuracy, scale))
    with np.errstate(invalid="ignore"):
        # A flat line has its constant everywhere; 0 times infinity would make it NaN.
        rise = np.where((gradient == 0) & ~np.isnan(position), 0.0, gradient * position)
    return from_scale(rise + np.asarray(intercept, dtype=float), scale)


def _interval(draws: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return percentiles over the first axis; draws that are NaN are left out, all NaN gives NaN."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.full(draws.shape[1:], np.nan), np.full(draws.shape[1:], np.nan)
    some = np.isfinite(draws).any(axis=0)
    if some.any():
        low[some], high[some] = np.nanquantile(draws[:, some], [tail, 1.0 - tail], axis=0)
    return low, high
