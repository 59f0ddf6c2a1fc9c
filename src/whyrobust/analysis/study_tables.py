"""Effective robustness of all evaluated runs of a study, on all shifts.

`measure_study` measures it beyond one in-distribution test set, as the paper does (Taori et al. 2020);
`measure_study_on_several` beyond several at once (Shi et al. 2023).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.accuracies import (
    KEYS,
    Key,
    ShiftAccuracies,
    axis_of_shift,
    merge_axes,
    outcome_matrix,
    standard_models,
)
from whyrobust.analysis.arrays import FloatArray
from whyrobust.analysis.bootstrap import resample_accuracies, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_effective_robustness, measure_shift

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RobustnessTables:
    """The tables of a study, with the rows of all shifts, and the draws of effective robustness.

    ``draws`` maps each shift to percentage points, [resamples, rows of the shift].
    """

    effective_robustness: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    draws: dict[str, FloatArray]


def draw_accuracies(
    predictions: Path | str, settings: MeasurementSettings, test_set: str, keys: tuple[Key, ...]
) -> FloatArray:
    """Draw the accuracies of evaluated runs on a test set, [resamples, keys], from predictions of single images.

    The same images are drawn for all runs and in every table of the study.

    Raises:
        OutcomeError: as `outcome_matrix`.
    """
    correct, groups = outcome_matrix(predictions, test_set, keys)
    return resample_accuracies(correct, groups, settings.resamples, seed_of(settings.seed, "images", test_set))


def measure_study(
    accuracy: pd.DataFrame,
    predictions: Path | str,
    standard_runs: Collection[str],
    shifts: Sequence[str],
    in_distribution: str,
    settings: MeasurementSettings,
) -> RobustnessTables:
    """Measure every evaluated run on every shift beyond one in-distribution test set.

    Where a shift covers only some classes, both axes are about these: the test set restricted to them is the x axis.

    Args:
        accuracy: ``accuracy.csv``, empty text read as such.
        predictions: path of ``predictions.parquet``.
        standard_runs: names of the runs whose classifiers the baseline is fitted to.
        shifts: shifted test sets, in the order wanted.
        in_distribution: the in-distribution test set.
        settings: of the measurement.
    """
    import pandas as pd

    draw = cache(partial(draw_accuracies, predictions, settings))
    measured = {}
    for shift in shifts:
        x_test_set = axis_of_shift(in_distribution, shift, set(accuracy["test_set"]))
        models = merge_axes(accuracy, x_test_set, shift)
        keys = tuple(models[list(KEYS)].itertuples(index=False, name=None))
        models["standard"] = standard_models(keys, standard_runs)
        measured[shift] = measure_shift(models, shift, x_test_set, draw(x_test_set, keys), draw(shift, keys), settings)
    return RobustnessTables(
        effective_robustness=pd.concat([tables.effective_robustness for tables in measured.values()]),
        baselines=pd.concat([tables.baselines for tables in measured.values()]),
        bands=pd.concat([tables.bands for tables in measured.values()]),
        draws={shift: tables.measurement.draws for shift, tables in measured.items()},
    )


def measure_study_on_several(
    accuracy: pd.DataFrame,
    predictions: Path | str,
    standard_runs: Collection[str],
    shifts: Sequence[str],
    test_sets: Sequence[str],
    settings: MeasurementSettings,
) -> pd.DataFrame:
    """Measure every evaluated run on every shift beyond several in-distribution test sets at once.

    Args:
        accuracy: ``accuracy.csv``, empty text read as such.
        predictions: path of ``predictions.parquet``.
        standard_runs: names of the runs whose classifiers the baseline is fitted to, of several sources.
        shifts: shifted test sets, in the order wanted.
        test_sets: the in-distribution test sets.
        settings: of the measurement.

    Returns:
        ``effective_robustness_several.csv``: one row for each evaluated run and shift. Where there is no baseline,
        ``note`` gives the reason.
    """
    import pandas as pd

    draw = cache(partial(draw_accuracies, predictions, settings))
    wide = accuracy.pivot(index=list(KEYS), columns="test_set", values="accuracy")
    keys = tuple(wide.index)
    standard = standard_models(keys, standard_runs)
    tables = []
    for shift in shifts:
        axes = [axis_of_shift(test_set, shift, set(wide.columns)) for test_set in test_sets]
        accuracies = ShiftAccuracies(
            x=wide[axes].to_numpy(),
            y=wide[shift].to_numpy(),
            x_draws=np.stack([draw(axis, keys) for axis in axes], axis=2),
            y_draws=draw(shift, keys),
            standard=standard,
        )
        measurement = measure_effective_robustness(
            accuracies,
            scale=settings.scale,
            confidence=settings.confidence,
            seed=seed_of(settings.seed, "standard models of several sources", *axes, shift),
        )
        table = pd.DataFrame(keys, columns=list(KEYS)).assign(
            shift=shift,
            x_test_sets=" ".join(axes),
            shift_accuracy=accuracies.y,
            effective_robustness_points=measurement.points,
            low_points=measurement.low_points,
            high_points=measurement.high_points,
            standard=standard,
            extrapolated=measurement.extrapolated,
            r_squared=measurement.baseline.lines["all"].r_squared,
            note=measurement.baseline.note,
        )
        tables.append(table)
    return pd.concat(tables)
