"""Effective robustness of all evaluated runs of a study, on all shifts.

The main measurement is beyond all in-distribution test sets together, by a plane that is fitted to standard models of
every source (Shi et al. 2023, arXiv 2302.01381). Beside it stands a line for each in-distribution test set, fitted to
the standard models of its source: the first is the paper's measurement (Taori et al. 2020), the others are its mirrors.
A study with one in-distribution test set has one line, which is its main measurement.

The plane may weigh the test sets as it likes, so that it predicts whatever is proportional to their difference, and a
source that makes all its models better on a shift does that. A line over the mean of the test sets, fitted to all
standard models, weighs them equally: it shows such an effect, and takes a shift that is nearer to one source for one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.accuracies import (
    KEYS,
    Key,
    ShiftAccuracies,
    axis_of_shift,
    image_weights,
    merge_axes,
    read_outcomes,
    standard_models,
)
from whyrobust.analysis.arrays import FloatArray
from whyrobust.analysis.average_shift import DrawAccuracies, add_average, draw_average
from whyrobust.analysis.bootstrap import resample_accuracies, seed_of
from whyrobust.analysis.effective_robustness import (
    MeasurementSettings,
    ShiftTables,
    baseline_row,
    measure_effective_robustness,
    measure_shift,
    robustness_table,
)
from whyrobust.analysis.intervals import percentile_interval
from whyrobust.analysis.measured import MEAN_AXIS, MIRROR, OF_MEAN, PAPER, line_key
from whyrobust.analysis.scales import from_scale, to_scale
from whyrobust.analysis.testbed_line import PublishedModels, measure_with_published
from whyrobust.study.display_names import AVERAGE
from whyrobust.study.restricted_names import restricted_name, split_restricted_name

if TYPE_CHECKING:
    import pandas as pd

#: ``line`` of a plane in ``baselines.csv``.
PLANE = "plane"


@dataclass(frozen=True)
class RobustnessTables:
    """The tables of a study, with the rows of all shifts, and the draws of residuals.

    Attributes:
        effective_robustness: the main measurement.
        single_lines: the paper's measurement, its mirrors, and, with several test sets, the line over their mean.
        baselines: all lines and planes.
        bands: of the lines.
        draws: shift -> draws of the main measurement's residuals, [resamples, rows of the shift].
        line_draws: `line_key` -> the same of a single line.
        accuracy_draws: test set, restricted where it is the axis of such a shift -> draws of accuracies,
            [resamples, rows of a shift].
    """

    effective_robustness: pd.DataFrame
    single_lines: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    draws: dict[str, FloatArray]
    line_draws: dict[str, FloatArray]
    accuracy_draws: dict[str, FloatArray]


def draw_accuracies(
    predictions: Path | str, settings: MeasurementSettings, test_set: str, keys: tuple[Key, ...]
) -> FloatArray:
    """Draw the accuracies of evaluated runs on a test set, [resamples, keys], from predictions of single images.

    The same images are drawn for all runs and in every table of the study. A draw in which no image is right, or every
    one, counts as half an image away from that: 0 and 1 have no finite logit.

    Raises:
        OutcomeError: as `read_outcomes`.
    """
    outcomes = read_outcomes(predictions, test_set, keys)
    seed = seed_of(settings.seed, "images", test_set)
    weights = image_weights(outcomes.labels, settings.class_weights)
    draws = resample_accuracies(outcomes.correct, outcomes.groups, outcomes.units, settings.resamples, seed, weights)
    half = 0.5 / outcomes.correct.shape[1]
    return np.clip(draws, half, 1.0 - half)


def measure_study(
    accuracy: pd.DataFrame,
    predictions: Path | str,
    standard: Mapping[str, str],
    shifts: Sequence[str],
    in_distribution: Mapping[str, str],
    settings: MeasurementSettings,
    testbed: Mapping[str, PublishedModels] = MappingProxyType({}),
) -> RobustnessTables:
    """Measure every evaluated run on every shift, beyond all in-distribution test sets together and beyond each.

    Where a shift covers only some classes, all axes are about these: test sets restricted to them predict it.

    Args:
        accuracy: ``accuracy.csv``, empty text read as such.
        predictions: path of ``predictions.parquet``.
        standard: source of each run whose classifier the baseline is fitted to.
        shifts: shifted test sets, in the order wanted.
        in_distribution: source of each in-distribution test set, the first that of the paper's measurement; "" where it
            is not known: the line over it is fitted to all standard models.
        settings: of the measurement.
        testbed: shift -> published models that fit the line over the first in-distribution test set
            (`whyrobust.analysis.testbed_line`); none: the study's own standard models alone fit it.

    Returns:
        The rows of each shift in turn, then those of the average over shifts where the settings name some
        (`whyrobust.analysis.average_shift`).

    Raises:
        ValueError: as `add_average`.
    """
    import pandas as pd

    draw: DrawAccuracies = cache(partial(draw_accuracies, predictions, settings))
    if settings.average_over:
        accuracy, draw = add_average(accuracy, settings.average_over), draw_average(draw, settings.average_over)
        shifts = [*shifts, AVERAGE]
    evaluated = _Evaluated(accuracy, draw, settings)
    main, line_tables, baselines, bands = [], [], [], []
    draws, line_draws = {}, {}
    accuracy_draws: dict[str, FloatArray] = {}
    for shift in shifts:
        axes = [axis_of_shift(test_set, shift, set(accuracy["test_set"])) for test_set in in_distribution]
        lines = []
        for number, (axis, source) in enumerate(zip(axes, in_distribution.values(), strict=True)):
            of_source = {run for run, its_source in standard.items() if source in ("", its_source)}
            pivot, published = (None, None) if number else (settings.pivots.get(shift), testbed.get(shift))
            lines.append(evaluated.beyond_line(shift, axis, of_source, pivot, published))
            line_draws[line_key(axis, shift)] = lines[-1].measurement.residual_draws
        line_tables += [
            evaluated.with_residuals(line, [axis]).assign(measurement=MIRROR if number else PAPER)
            for number, (axis, line) in enumerate(zip(axes, lines, strict=True))
        ]
        baselines += [_with_slopes(line, [axis]) for axis, line in zip(axes, lines, strict=True)]
        measured = lines[0]
        if len(axes) > 1:
            measured = evaluated.beyond_plane(shift, axes, set(standard))
            of_mean = evaluated.beyond_mean(shift, axes, set(standard))
            axis = of_mean.effective_robustness["x_test_set"].iloc[0]
            line_tables.append(evaluated.with_residuals(of_mean, axes).assign(measurement=OF_MEAN))
            line_draws[line_key(axis, shift)] = of_mean.measurement.residual_draws
            baselines += [_with_slopes(of_mean, axes), _with_slopes(measured, axes)]
            lines.append(of_mean)
        bands += [line.bands for line in lines]
        main.append(evaluated.with_residuals(measured, axes))
        draws[shift] = measured.measurement.residual_draws
        keys = tuple(main[-1][list(KEYS)].itertuples(index=False, name=None))
        accuracy_draws |= {test_set: draw(test_set, keys) for test_set in (*axes, shift)}
    return RobustnessTables(
        effective_robustness=pd.concat(main, ignore_index=True),
        single_lines=pd.concat(line_tables, ignore_index=True),
        baselines=pd.concat(baselines, ignore_index=True),
        bands=pd.concat(bands, ignore_index=True),
        draws=draws,
        line_draws=line_draws,
        accuracy_draws=accuracy_draws,
    )


@dataclass(frozen=True)
class _Evaluated:
    """The evaluated runs of a study, which are measured shift by shift.

    Attributes:
        accuracy: ``accuracy.csv``.
        draw: of accuracies on a test set, see `draw_accuracies`.
        settings: of the measurement.
    """

    accuracy: pd.DataFrame
    draw: DrawAccuracies
    settings: MeasurementSettings

    def beyond_line(
        self,
        shift: str,
        axis: str,
        standard_runs: Collection[str],
        pivot: float | None = None,
        published: PublishedModels | None = None,
    ) -> ShiftTables:
        """Measure beyond a line over one test set, or beyond two that meet at a pivot.

        It is fitted to some runs, and to published models, or to these alone.
        """
        models, keys = self._models(shift, axis, standard_runs)
        draws = self.draw(axis, keys), self.draw(shift, keys)
        if published is not None:
            return measure_with_published(models, (shift, axis), draws, published, self.settings, pivot)
        return measure_shift(models, shift, axis, *draws, self.settings, pivot)

    def beyond_plane(self, shift: str, axes: Sequence[str], standard_runs: Collection[str]) -> ShiftTables:
        """Measure beyond a plane over several test sets; the tables have the accuracies on the first."""
        import pandas as pd

        models, keys = self._models(shift, axes[0], standard_runs)
        accuracies = ShiftAccuracies(
            x=self._on_axes(keys, axes),
            y=models["shift_accuracy"].to_numpy(dtype=float),
            x_draws=np.stack([self.draw(axis, keys) for axis in axes], axis=2),
            y_draws=self.draw(shift, keys),
            standard=models["standard"].to_numpy(dtype=bool),
        )
        measurement = measure_effective_robustness(
            accuracies,
            scale=self.settings.scale,
            confidence=self.settings.confidence,
            seed=seed_of(self.settings.seed, "standard models of several sources", *axes, shift),
        )
        names = {"shift": shift, "x_test_set": axes[0]}
        return ShiftTables(
            effective_robustness=robustness_table(models, names, measurement, self.settings),
            baselines=pd.DataFrame([baseline_row(names, PLANE, measurement.baseline.lines["all"])]).assign(
                slope=np.nan
            ),
            bands=pd.DataFrame(),
            measurement=measurement,
        )

    def beyond_mean(self, shift: str, axes: Sequence[str], standard_runs: Collection[str]) -> ShiftTables:
        """Measure beyond a line over the mean, on the scale, of the accuracies on several test sets."""
        models, keys = self._models(shift, axes[0], standard_runs)
        scale = self.settings.scale
        draws = from_scale(np.mean([to_scale(self.draw(axis, keys), scale) for axis in axes], axis=0), scale)
        models["id_accuracy"] = from_scale(to_scale(self._on_axes(keys, axes), scale).mean(axis=1), scale)
        _, restricted_to = split_restricted_name(axes[0])
        axis = restricted_name(MEAN_AXIS, restricted_to) if restricted_to else MEAN_AXIS
        tables = measure_shift(models, shift, axis, draws, self.draw(shift, keys), self.settings)
        # A mean of accuracies has no number of images: its interval is that of its draws.
        low, high = percentile_interval(draws, self.settings.accuracy_confidence)
        return replace(tables, effective_robustness=tables.effective_robustness.assign(id_low=low, id_high=high))

    def with_residuals(self, tables: ShiftTables, axes: Sequence[str]) -> pd.DataFrame:
        """Return the rows of a shift with the residuals and what they are beyond."""
        table, measurement = tables.effective_robustness, tables.measurement
        keys = tuple(table[list(KEYS)].itertuples(index=False, name=None))
        low, high = percentile_interval(measurement.residual_draws, self.settings.confidence)
        if (table["shift"] == AVERAGE).all():
            # An average of accuracies has no number of images: its interval is that of its draws.
            ends = percentile_interval(self.draw(AVERAGE, keys), self.settings.accuracy_confidence)
            table = table.assign(shift_low=ends[0], shift_high=ends[1])
        return table.assign(
            x_test_sets=" ".join(axes),
            mean_id_accuracy=self._on_axes(keys, axes).mean(axis=1),
            residual=measurement.residuals,
            residual_low=low,
            residual_high=high,
        )

    def _models(self, shift: str, axis: str, standard_runs: Collection[str]) -> tuple[pd.DataFrame, tuple[Key, ...]]:
        models = merge_axes(self.accuracy, axis, shift)
        keys = tuple(models[list(KEYS)].itertuples(index=False, name=None))
        return models.assign(standard=standard_models(keys, standard_runs)), keys

    def _on_axes(self, keys: Sequence[Key], axes: Sequence[str]) -> FloatArray:
        """Return accuracies on test sets, [keys, test_sets]."""
        on_axes = self.accuracy[self.accuracy["test_set"].isin(axes)]
        wide = on_axes.pivot(index=list(KEYS), columns="test_set", values="accuracy")
        values: FloatArray = wide.reindex(list(keys))[list(axes)].to_numpy(dtype=float)
        return values


def _with_slopes(tables: ShiftTables, axes: Sequence[str]) -> pd.DataFrame:
    """Return rows of ``baselines.csv`` with the slope on each test set."""
    slopes = [" ".join(f"{slope:.10g}" for slope in fit.slopes) for fit in tables.measurement.baseline.lines.values()]
    return tables.baselines.assign(x_test_sets=" ".join(axes), slopes=slopes)
