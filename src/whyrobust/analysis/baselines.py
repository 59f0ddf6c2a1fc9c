"""Baselines: accuracy under shift that standard models have, given their in-distribution accuracy.

One class for one in-distribution test set, where the baseline is a line (Taori et al. 2020, arXiv 2007.00644), and for
several, where it is a plane (Shi et al. 2023, arXiv 2302.01381); two lines that meet at a pivot for ImageNet-A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.analysis.bootstrap import Seed, resample_weights
from whyrobust.analysis.intervals import check_confidence, percentile_interval
from whyrobust.analysis.scales import from_scale, to_scale

NO_LINE = "There is no baseline: too few standard models with different, finite accuracies."


@dataclass(frozen=True)
class Baseline:
    """A linear fit to standard models on the scale: shift = intercept + sum over test sets of slope * in-distribution.

    Attributes:
        slopes: one for each in-distribution test set, on the scale; NaN where nothing can be fitted.
        intercept: on the scale; NaN where nothing can be fitted.
        r_squared: NaN where the accuracies under shift are all equal.
        scale: ``logit``, ``probit`` or ``linear``.
        models: standard models that were fitted.
        excluded: standard models left out, since an accuracy is missing or has no finite value on the scale.
        x_low: smallest accuracy (fraction) of the fitted models on each test set.
        x_high: largest accuracy of the fitted models on each test set.
        note: why there is no fit, and what would help; empty if there is one.
    """

    slopes: tuple[float, ...]
    intercept: float
    r_squared: float
    scale: str
    models: int
    excluded: int
    x_low: tuple[float, ...]
    x_high: tuple[float, ...]
    note: str = ""

    @property
    def lines(self) -> dict[str, Baseline]:
        """The fit by its name in ``baselines.csv``."""
        return {"all": self}

    def predict(self, accuracies: ArrayLike) -> FloatArray:
        """Return baseline accuracies, [...], at in-distribution accuracies, [..., test_sets]; fractions.

        At 0 and 1, which have no finite logit or probit, the value is the fit's limit: for a rising line 0 and 1, for
        a flat one the constant; NaN where two test sets pull to opposite ends, and if there is no fit.

        Raises:
            ValueError: where the last axis is not the test sets.
        """
        x = np.asarray(accuracies, dtype=float)
        if x.shape[-1:] != (len(self.slopes),):
            raise ValueError(f"Accuracies have shape {x.shape}: give {len(self.slopes)} test sets on the last axis.")
        return predict_planes(np.array(self.slopes), np.array(self.intercept), x, self.scale)

    def covers(self, accuracies: ArrayLike) -> BoolArray:
        """Return whether accuracies, [..., test_sets], lie within the span of the fitted models, [...]."""
        return _inside(accuracies, self.x_low, self.x_high)


@dataclass(frozen=True)
class TwoLineBaseline:
    """One line for models below a pivot and one for models above it.

    Made for ImageNet-A, whose images were chosen because ResNet-50 gets them wrong, so that the trend breaks at
    ResNet-50's accuracy (Taori et al. 2020). ``pivot`` is an in-distribution accuracy. At the pivot itself the line
    above is used: `predict` takes ``below`` where accuracy < pivot.
    """

    below: Baseline
    above: Baseline
    pivot: float

    @property
    def x_low(self) -> tuple[float, ...]:
        """Smallest in-distribution accuracy of the fitted models of either line."""
        return tuple(np.fmin(self.below.x_low, self.above.x_low).tolist())

    @property
    def x_high(self) -> tuple[float, ...]:
        """Largest in-distribution accuracy of the fitted models of either line."""
        return tuple(np.fmax(self.below.x_high, self.above.x_high).tolist())

    @property
    def lines(self) -> dict[str, Baseline]:
        """Both lines by their names in ``baselines.csv``."""
        return {"below_pivot": self.below, "above_pivot": self.above}

    @property
    def note(self) -> str:
        """Why a side has no line; empty where both have one."""
        return self.below.note or self.above.note

    def predict(self, accuracies: ArrayLike) -> FloatArray:
        """Return baseline accuracies, [...], at in-distribution accuracies, [..., 1]; as `Baseline.predict`."""
        x = np.asarray(accuracies, dtype=float)
        return np.where(x[..., 0] < self.pivot, self.below.predict(x), self.above.predict(x))

    def covers(self, accuracies: ArrayLike) -> BoolArray:
        """Return whether accuracies, [..., 1], lie within the span of the fitted models of both lines, [...]."""
        return _inside(accuracies, self.x_low, self.x_high)


def fit_baseline(x: ArrayLike, y: ArrayLike, scale: str) -> Baseline:
    """Fit accuracy under shift to in-distribution accuracy by least squares on the scale.

    With one test set this is the line of Taori et al. (2020). With several it is the plane of Shi et al. (2023,
    section 3): with one in-distribution test set, models trained on another distribution look robust because this test
    set is not theirs; with a test set for each training distribution, and standard models from all of them, much of
    that robustness goes away. For several test sets, choose standard models from several sources: models of one source
    lie close to one line in x, and then the slopes cannot be distinguished, however many models there are.

    Args:
        x: in-distribution accuracies of the standard models, fractions, [models, test_sets].
        y: their accuracies under shift, [models].
        scale: ``logit``, ``probit`` or ``linear``.

    Returns:
        The fit. Models with an accuracy that is missing, or 0 or 1 on a scale where these are not finite, are left out
        and counted. A line takes two models with different accuracies, a plane one model more than it has coefficients
        and test sets that are no exact combinations of each other; where this is not so, the fit is NaN and ``note``
        says why.

    Raises:
        ValueError: where the shapes do not fit, or the scale is unknown.
    """
    accuracies, shifted = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if accuracies.ndim != 2 or accuracies.shape[1] == 0 or shifted.shape != accuracies.shape[:1]:
        raise ValueError(
            f"x has shape {accuracies.shape} and y {shifted.shape}: give [models, test_sets], at least one test set, "
            "and [models]."
        )
    tx, ty = to_scale(accuracies, scale), to_scale(shifted, scale)
    usable = np.isfinite(tx).all(axis=1) & np.isfinite(ty)
    test_sets, count = accuracies.shape[1], int(usable.sum())
    slopes, intercept = np.full(test_sets, np.nan), np.nan
    # A plane through as many models as it has coefficients has no residuals, so that nothing could contradict it.
    if test_sets == 1 or count >= test_sets + 2:
        slopes, intercept = (fit[0] for fit in fit_planes(tx[None], ty[None], np.ones((1, ty.size))))
    r_squared = np.nan
    if np.isfinite(slopes).all() and np.ptp(ty[usable]) > 0:
        residuals = ty[usable] - (tx[usable] @ slopes + intercept)
        r_squared = 1.0 - np.sum(residuals**2) / np.sum((ty[usable] - ty[usable].mean()) ** 2)
    span = accuracies[usable] if count else np.full((1, test_sets), np.nan)
    return Baseline(
        slopes=tuple(slopes.tolist()),
        intercept=float(intercept),
        r_squared=float(r_squared),
        scale=scale,
        models=count,
        excluded=int((~usable).sum()),
        x_low=tuple(span.min(axis=0).tolist()),
        x_high=tuple(span.max(axis=0).tolist()),
        note="" if np.isfinite(slopes).all() else _why_no_fit(count, test_sets),
    )


def fit_two_lines(x: ArrayLike, y: ArrayLike, pivot: float, scale: str) -> TwoLineBaseline:
    """Fit one line to standard models with x < pivot and one to those with x > pivot.

    A model exactly at the pivot (the pivot model itself) enters neither line, by the strict inequalities.

    Args:
        x: in-distribution accuracies of the standard models on one test set, [models, 1].
        y: their accuracies under shift, [models].
        pivot: in-distribution accuracy at which the trend breaks.
        scale: ``logit``, ``probit`` or ``linear``.

    Raises:
        ValueError: as `fit_baseline`; where there is more than one test set.
    """
    accuracies, shifted = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if accuracies.ndim != 2 or accuracies.shape[1] != 1:
        raise ValueError(f"x has shape {accuracies.shape}: two lines take one in-distribution test set, [models, 1].")
    below, above = accuracies[:, 0] < pivot, accuracies[:, 0] > pivot
    return TwoLineBaseline(
        below=fit_baseline(accuracies[below], shifted[below], scale),
        above=fit_baseline(accuracies[above], shifted[above], scale),
        pivot=float(pivot),
    )


def bootstrap_band(
    x: ArrayLike,
    y: ArrayLike,
    grid: ArrayLike,
    scale: str,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: Seed = 0,
) -> tuple[FloatArray, FloatArray]:
    """Return the pointwise band of a line over resamples of models (Taori et al. 2020).

    Args:
        x: in-distribution accuracies of the standard models on one test set, [models].
        y: accuracies under shift, [models].
        grid: in-distribution accuracies at which the band is wanted, [points].
        scale: ``logit``, ``probit`` or ``linear``.
        resamples: number of resamples of models, with replacement.
        confidence: coverage of the band at each x.
        seed: of the resampling.

    Returns:
        ``(low, high)``, accuracies, [points]. Resamples in which no line can be fitted (one distinct model only) are
        skipped; where all are, the band is NaN.
    """
    check_confidence(confidence)
    tx, ty = to_scale(np.asarray(x, dtype=float), scale), to_scale(np.asarray(y, dtype=float), scale)
    usable = np.isfinite(tx) & np.isfinite(ty)
    weights = resample_weights(int(usable.sum()), resamples, np.random.default_rng(seed))
    slopes, intercepts = fit_planes(tx[None, usable, None], ty[None, usable], weights)
    at = np.asarray(grid, dtype=float)[None, :, None]
    lines = predict_planes(slopes[:, None], intercepts[:, None], at, scale)
    return percentile_interval(lines, confidence)


# --- Weighted least squares for many draws at once ----------------------------------------------------------


def fit_planes(tx: FloatArray, ty: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit ty = intercept + slopes . tx by weighted least squares, once for each draw.

    Args:
        tx: in-distribution accuracies on the scale, [draws or 1, models, test_sets].
        ty: accuracies under shift on the scale, [draws or 1, models].
        weights: how often each model counts, [draws, models].

    Returns:
        Slopes [draws, test_sets] and intercepts [draws], NaN where the weighted models do not determine them. Points
        that are not finite get no weight.
    """
    shape = (len(weights), *tx.shape[-2:])
    tx, ty = np.broadcast_to(tx, shape), np.broadcast_to(ty, shape[:2])
    if shape[2] == 1:
        slope, intercept = _fit_lines(tx[..., 0], ty, weights)
        return slope[:, None], intercept
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


def _fit_lines(tx: FloatArray, ty: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slopes and intercepts of lines, [draws], from [draws, models] each, as `fit_planes`.

    The closed form on centred values, slope = sum w dx dy / sum w dx^2: several times faster than a decomposition.
    """
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


def predict_planes(slopes: FloatArray, intercepts: FloatArray, accuracies: FloatArray, scale: str) -> FloatArray:
    """Return the accuracies of fits at in-distribution accuracies, the limit of the fit at 0 and 1.

    Args:
        slopes: [..., test_sets], broadcast against ``accuracies``.
        intercepts: [...].
        accuracies: fractions, [..., test_sets].
        scale: ``logit``, ``probit`` or ``linear``.
    """
    return from_scale(plane_positions(slopes, intercepts, accuracies, scale), scale)


def plane_positions(slopes: FloatArray, intercepts: FloatArray, accuracies: FloatArray, scale: str) -> FloatArray:
    """Return what `predict_planes` returns before it is transformed from the scale to accuracies."""
    position = to_scale(accuracies, scale)
    with np.errstate(invalid="ignore"):
        # A flat direction adds nothing even at an infinite position, where 0 times infinity would be NaN.
        rise: FloatArray = np.where((slopes == 0) & ~np.isnan(position), 0.0, slopes * position).sum(axis=-1)
    return rise + intercepts


def beyond_leverage(accuracies: ArrayLike, fitted: ArrayLike, scale: str) -> BoolArray:
    """Return which models have a higher leverage than every model that a plane is fitted to: hidden extrapolation.

    A model may lie within the span of the fitted models on every test set and still outside of their cloud. Leverage,
    h = x' (X'X)^-1 x with the constant in x, measures that (Montgomery, Peck and Vining, "Introduction to Linear
    Regression Analysis", section 3.8).

    Args:
        accuracies: fractions, [models, test_sets].
        fitted: those of the fitted models, [fitted models, test_sets]; rows that are not finite on the scale are left
            out.
        scale: ``logit``, ``probit`` or ``linear``.

    Returns:
        [models]; all of them where the fitted models determine no plane.
    """
    x, standard = to_scale(accuracies, scale), to_scale(fitted, scale)
    standard = standard[np.isfinite(standard).all(axis=1)]
    if len(standard) <= standard.shape[1]:
        return np.ones(len(x), dtype=bool)
    centre = standard.mean(axis=0)
    _, singular, right = np.linalg.svd(standard - centre, full_matrices=False)
    if singular[-1] <= 1e-10 * singular[0]:
        return np.ones(len(x), dtype=bool)
    with np.errstate(invalid="ignore"):
        # The part of the constant, 1 / n, is the same for all.
        leverage, largest = ((((rows - centre) @ right.T / singular) ** 2).sum(axis=1) for rows in (x, standard))
    beyond: BoolArray = ~(leverage <= largest.max() * (1 + 1e-9))
    return beyond


def _inside(accuracies: ArrayLike, low: tuple[float, ...], high: tuple[float, ...]) -> BoolArray:
    x = np.asarray(accuracies, dtype=float)
    inside: BoolArray = np.asarray(((x >= np.array(low)) & (x <= np.array(high))).all(axis=-1))
    return inside


def _why_no_fit(count: int, test_sets: int) -> str:
    if test_sets == 1:
        return NO_LINE
    if count < test_sets + 2:
        return (
            f"Found {count} standard models with finite accuracies for {test_sets} in-distribution test sets: the fit "
            f"has {test_sets + 1} coefficients and takes {test_sets + 2} models or more. Name more standard models, or "
            "fewer test sets."
        )
    return (
        f"The accuracies of {count} standard models on {test_sets} in-distribution test sets are exact combinations of "
        "each other, so the test sets cannot be told apart. Name standard models from several sources, or leave a test "
        "set out."
    )
