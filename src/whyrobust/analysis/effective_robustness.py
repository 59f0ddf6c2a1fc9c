"""Effective robustness: the distance of models to the baseline of the standard models, with intervals, on one shift.

`measure_effective_robustness` takes arrays and any number of in-distribution test sets; the paper's line is the case of
one. `measure_shift` makes the tables of one shift and one in-distribution test set, for the runs of a study and for
published models alike.

Sources: Taori et al. 2020, "Measuring Robustness to Natural Distribution Shifts in Image Classification" (arXiv
2007.00644), equation 1; Shi et al. 2023, "Effective Robustness against Natural Distribution Shifts for Models with
Different Training Data" (arXiv 2302.01381), for several in-distribution test sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from whyrobust.analysis.accuracies import PER_IMAGE, ShiftAccuracies
from whyrobust.analysis.arrays import BoolArray, FloatArray, IntArray
from whyrobust.analysis.baselines import (
    Baseline,
    TwoLineBaseline,
    beyond_leverage,
    bootstrap_band,
    fit_baseline,
    fit_planes,
    fit_two_lines,
    plane_positions,
)
from whyrobust.analysis.bootstrap import Seed, resample_weights, seed_of
from whyrobust.analysis.intervals import accuracy_interval, check_confidence, percentile_interval
from whyrobust.analysis.scales import POINTS_PER_UNIT, from_scale, to_scale

if TYPE_CHECKING:
    import pandas as pd

#: Columns that `measure_shift` needs for each model; further columns are carried to its table unchanged.
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


@dataclass(frozen=True)
class MeasurementSettings:
    """How effective robustness is measured.

    Attributes:
        scale: ``logit``, ``probit`` or ``linear``: the scale of the fit.
        confidence: coverage of the percentile intervals of effective robustness, and of the baseline's band.
        accuracy_confidence: coverage of the Clopper-Pearson intervals of accuracies.
        resamples: draws of test images, and resamples of standard models for the band.
        seed: of all draws (`whyrobust.analysis.bootstrap.seed_of`).
        class_weights: how images are weighted in accuracies (`whyrobust.analysis.accuracies.image_weights`).
        band_points: number of x values of the band, evenly spaced on the scale over the models' accuracies.
        pivots: shift of a study -> accuracy on the first in-distribution test set, restricted to the classes of the
            shift where it covers only some, at which the line over this test set breaks in two.
        average_over: shifts of a study whose average is measured as one more shift; none without any.
    """

    scale: str = "logit"
    confidence: float = 0.95
    accuracy_confidence: float = 0.995
    resamples: int = 1000
    seed: int = 0
    band_points: int = 100
    class_weights: str = PER_IMAGE
    pivots: Mapping[str, float] = field(default_factory=dict)
    average_over: tuple[str, ...] = ()

    @classmethod
    def of_study(
        cls,
        scale: str,
        intervals: Mapping[str, Any],
        class_weights: str,
        pivots: Mapping[str, float],
        average_over: Sequence[str],
    ) -> MeasurementSettings:
        """Return the settings of a study, whose config has ``intervals`` as a section of its own."""
        return cls(
            scale=scale,
            confidence=intervals["effect"],
            accuracy_confidence=intervals["accuracy"],
            resamples=intervals["resamples"],
            seed=intervals["seed"],
            class_weights=class_weights,
            pivots=pivots,
            average_over=tuple(average_over),
        )


@dataclass(frozen=True)
class Measurement:
    """Effective robustness of models on one shift, beyond one or several in-distribution test sets.

    Attributes:
        expected: accuracies of the baseline, fractions, [models].
        points: effective robustness, percentage points, [models].
        low_points: lower end of its interval, [models].
        high_points: upper end, [models].
        draws: bootstrap draws of it, [resamples, models].
        residuals: distance to the baseline on the scale, [models]; NaN where an accuracy is not finite on the scale.
        residual_draws: bootstrap draws of it, [resamples, models].
        extrapolated: models outside the span of the standard models on some test set, outside of their cloud on several
            (`beyond_leverage`), or without a baseline, [models].
        baseline: the fit, or the pair of fits.
    """

    expected: FloatArray
    points: FloatArray
    low_points: FloatArray
    high_points: FloatArray
    draws: FloatArray
    residuals: FloatArray
    residual_draws: FloatArray
    extrapolated: BoolArray
    baseline: Baseline | TwoLineBaseline


@dataclass(frozen=True)
class ShiftTables:
    """One shift measured against one in-distribution test set: rows of the tables of these names, and the arrays."""

    effective_robustness: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    measurement: Measurement


def effective_robustness_points(
    id_accuracies: ArrayLike, shift_accuracy: ArrayLike, baseline: Baseline | TwoLineBaseline
) -> FloatArray:
    """Return accuracy under shift minus the baseline's, in percentage points (Taori et al. 2020, equation 1).

    Args:
        id_accuracies: fractions, [models, test_sets].
        shift_accuracy: fractions, [models].
        baseline: of the standard models.
    """
    return POINTS_PER_UNIT * (np.asarray(shift_accuracy, dtype=float) - baseline.predict(id_accuracies))


def measure_effective_robustness(
    accuracies: ShiftAccuracies,
    *,
    scale: str = "logit",
    confidence: float = 0.95,
    seed: Seed = 0,
    pivot: float | None = None,
) -> Measurement:
    """Measure effective robustness beyond the baseline of one or several in-distribution test sets.

    Args:
        accuracies: of the models, with draws. For several test sets take standard models from several sources.
        scale: ``logit``, ``probit`` or ``linear``.
        confidence: coverage of the percentile intervals.
        seed: of the resampling of standard models.
        pivot: in-distribution accuracy at which the line breaks in two (ImageNet-A), or None. Which line a model is
            measured against is decided by its measured accuracy and stays so in every draw.

    Raises:
        ValueError: as `fit_baseline`, and for a confidence outside 0..1.
    """
    check_confidence(confidence)
    x, y, standard = accuracies.x, accuracies.y, accuracies.standard
    baseline: Baseline | TwoLineBaseline
    if pivot is None:
        baseline = fit_baseline(x[standard], y[standard], scale)
    else:
        baseline = fit_two_lines(x[standard], y[standard], pivot, scale)
    fitted, lines = _fitted_models(accuracies, pivot)
    expected = baseline.predict(x)
    points = effective_robustness_points(x, y, baseline)
    drawn = draw_baselines(accuracies, fitted, lines, scale, seed)
    with np.errstate(invalid="ignore"):
        residuals = to_scale(y, scale) - to_scale(expected, scale)
        residual_draws = to_scale(accuracies.y_draws, scale) - drawn
    # No estimate, no interval: a draw may happen to allow a fit that the measured accuracies do not.
    residual_draws = np.where(np.isfinite(residuals) & np.isfinite(residual_draws), residual_draws, np.nan)
    draws = np.where(np.isfinite(points), POINTS_PER_UNIT * (accuracies.y_draws - from_scale(drawn, scale)), np.nan)
    low, high = percentile_interval(draws, confidence)
    extrapolated = ~baseline.covers(x) | ~np.isfinite(expected)
    if x.shape[1] > 1:
        usable = standard & np.isfinite(to_scale(y, scale))
        extrapolated |= beyond_leverage(x, x[usable], scale)
    return Measurement(
        expected=expected,
        points=points,
        low_points=low,
        high_points=high,
        draws=draws,
        residuals=np.where(np.isfinite(residuals), residuals, np.nan),
        residual_draws=residual_draws,
        extrapolated=extrapolated,
        baseline=baseline,
    )


def draw_baselines(
    accuracies: ShiftAccuracies, fitted: BoolArray, lines: IntArray, scale: str, seed: Seed
) -> FloatArray:
    """Draw what the baseline predicts for every model, with its own uncertainty.

    In each draw the standard models are resampled with replacement, the baseline is refitted to that draw's
    accuracies, and predicts from that draw's accuracies of each model. So the distance to it holds three uncertainties
    together: the test images of the model, those of the standard models, and which standard models there happen to be.

    Args:
        accuracies: of the models, with draws.
        fitted: which models the baseline is fitted to, [models].
        lines: number of the baseline that each model is measured against, [models]. The standard models of each are
            resampled among themselves.
        scale: ``logit``, ``probit`` or ``linear``.
        seed: of the resampling of standard models.

    Returns:
        Positions on the scale, [resamples, models]. A draw whose standard models do not determine the fit is NaN.
    """
    rng = np.random.default_rng(seed)
    result = np.full(accuracies.y_draws.shape, np.nan)
    for number in np.unique(lines):
        measured = lines == number
        standard = measured & fitted
        weights = resample_weights(int(standard.sum()), len(result), rng)
        slopes, intercepts = fit_planes(
            to_scale(accuracies.x_draws[:, standard], scale), to_scale(accuracies.y_draws[:, standard], scale), weights
        )
        result[:, measured] = plane_positions(
            slopes[:, None], intercepts[:, None], accuracies.x_draws[:, measured], scale
        )
    return result


def measure_shift(
    models: pd.DataFrame,
    shift: str,
    x_test_set: str,
    id_draws: FloatArray,
    shift_draws: FloatArray,
    settings: MeasurementSettings,
    pivot: float | None = None,
) -> ShiftTables:
    """Measure effective robustness on one shift beyond one in-distribution test set, with the tables of a study.

    Args:
        models: one row for each model, with the columns of `MODEL_COLUMNS`: accuracies as fractions, numbers of
            images, and ``standard``, whether the baseline is fitted to the model. Standard models are measured as
            well. Further columns are carried along.
        shift: name of the shifted test set.
        x_test_set: name of the in-distribution test set, the x axis.
        id_draws: draws of the in-distribution accuracies, [resamples, models], in the order of the rows.
        shift_draws: draws of the accuracies under shift, the same shape.
        settings: scale, coverages, seed and the points of the band.
        pivot: in-distribution accuracy at which the line breaks in two, or None for one line.

    Returns:
        The tables and the measurement. ``extrapolated`` marks models outside the span of the standard models (all of
        them if there is no line); ``note`` describes what is unusual about a row.

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
    accuracies = ShiftAccuracies(
        x=models["id_accuracy"].to_numpy(dtype=float)[:, None],
        y=models["shift_accuracy"].to_numpy(dtype=float),
        x_draws=np.asarray(id_draws, dtype=float)[:, :, None],
        y_draws=np.asarray(shift_draws, dtype=float),
        standard=models["standard"].to_numpy(dtype=bool),
    )
    measurement = measure_effective_robustness(
        accuracies,
        scale=settings.scale,
        confidence=settings.confidence,
        seed=seed_of(settings.seed, "standard models", x_test_set, shift),
        pivot=pivot,
    )
    names = {"shift": shift, "x_test_set": x_test_set}
    lines = measurement.baseline.lines
    return ShiftTables(
        effective_robustness=robustness_table(models, names, measurement, settings),
        baselines=pd.DataFrame([baseline_row(names, name, line) for name, line in lines.items()]),
        bands=_band_table(accuracies, names, lines, settings, pivot),
        measurement=measurement,
    )


def _fitted_models(accuracies: ShiftAccuracies, pivot: float | None) -> tuple[BoolArray, IntArray]:
    """Return which models a baseline is fitted to, and the number of the line that each is measured against, [models].

    With a pivot, the models at the pivot itself fit no line.
    """
    if pivot is None:
        return accuracies.standard, np.zeros(accuracies.y.size, dtype=np.int64)
    x = accuracies.x[:, 0]
    return accuracies.standard & (x != pivot), np.where(x < pivot, 0, 1)


def robustness_table(
    models: pd.DataFrame, names: Mapping[str, str], measurement: Measurement, settings: MeasurementSettings
) -> pd.DataFrame:
    """Return the rows of ``effective_robustness.csv`` for one shift.

    Args:
        models: as `measure_shift` takes them.
        names: ``shift`` and ``x_test_set``, whose accuracies the models have.
        measurement: of the models.
        settings: of the measurement.
    """
    import pandas as pd

    x = models["id_accuracy"].to_numpy(dtype=float)
    y = models["shift_accuracy"].to_numpy(dtype=float)
    confidence = settings.accuracy_confidence
    id_low, id_high = accuracy_interval(x, models["id_images"].to_numpy(dtype=float), confidence)
    shift_low, shift_high = accuracy_interval(y, models["shift_images"].to_numpy(dtype=float), confidence)
    reason = measurement.baseline.note
    table = pd.DataFrame(
        {
            "run": models["run"].to_numpy(),
            "head": models["head"].to_numpy(),
            "prompts": models["prompts"].to_numpy(),
            **names,
            "id_accuracy": x,
            "id_low": id_low,
            "id_high": id_high,
            "shift_accuracy": y,
            "shift_low": shift_low,
            "shift_high": shift_high,
            "baseline_accuracy": measurement.expected,
            "effective_robustness_points": measurement.points,
            "low_points": measurement.low_points,
            "high_points": measurement.high_points,
            "standard": models["standard"].to_numpy(dtype=bool),
            "extrapolated": measurement.extrapolated,
            "note": [
                _note(*values, names["shift"], settings.scale, reason)
                for values in zip(x, y, measurement.expected, strict=True)
            ],
        }
    )
    for column in models.columns:
        if column not in table.columns and column not in MODEL_COLUMNS:
            table[column] = models[column].to_numpy()
    return table


def baseline_row(names: Mapping[str, str], name: str, line: Baseline) -> dict[str, Any]:
    """Return a row of ``baselines.csv``; the slope is that on the first test set."""
    return {
        **names,
        "models": line.models,
        "slope": line.slopes[0],
        "intercept": line.intercept,
        "r_squared": line.r_squared,
        "scale": line.scale,
        "x_low": line.x_low[0],
        "x_high": line.x_high[0],
        "excluded": line.excluded,
        "line": name,
    }


def _band_table(
    accuracies: ShiftAccuracies,
    names: dict[str, str],
    lines: dict[str, Baseline],
    settings: MeasurementSettings,
    pivot: float | None,
) -> pd.DataFrame:
    """Return the rows of ``baseline_bands.csv``: each line with its bootstrap band over its models' accuracies."""
    import pandas as pd

    fitted, number_of_line = _fitted_models(accuracies, pivot)
    x, y, scale = accuracies.x[:, 0], accuracies.y, settings.scale
    bands = []
    for number, (name, line) in enumerate(lines.items()):
        measured = number_of_line == number
        grid = _grid(x[measured], scale, settings.band_points)
        low, high = bootstrap_band(
            x[measured & fitted],
            y[measured & fitted],
            grid,
            scale,
            settings.resamples,
            settings.confidence,
            seed_of(settings.seed, "band", names["x_test_set"], names["shift"], name),
        )
        columns = {"x": grid, "y": line.predict(grid[:, None]), "low": low, "high": high, "line": name}
        bands.append(pd.DataFrame({**names, **columns}))
    return pd.concat(bands, ignore_index=True)


def _grid(x: FloatArray, scale: str, count: int) -> FloatArray:
    """Return accuracies evenly spaced on the scale over the finite part of ``x``, if there is one."""
    position = to_scale(x, scale)
    position = position[np.isfinite(position)]
    if position.size == 0:
        return np.empty(0)
    return from_scale(np.linspace(position.min(), position.max(), count), scale)


def _note(x: float, y: float, expected: float, shift: str, scale: str, reason: str) -> str:
    """Say what a reader must know about one row, or nothing; ``reason`` is why there is no baseline."""
    notes = []
    for value, test_set in ((x, "the in-distribution test set"), (y, shift)):
        if np.isnan(value):
            notes.append(f"There is no accuracy on {test_set}.")
        elif value in (0.0, 1.0) and scale != "linear":
            notes.append(
                f"The accuracy on {test_set} is {value:.0f}, which has no finite {scale}: "
                "the row cannot help to fit a line, and resampling shows no spread."
            )
    if np.isnan(expected) and not np.isnan(x):
        notes.append(reason)
    return " ".join(notes)
