"""Effective robustness of all evaluated runs of a study, on all shifts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.accuracies import (
    KEYS,
    Key,
    axis_of_shift,
    merge_axes,
    outcome_matrix,
    standard_models,
)
from whyrobust.analysis.arrays import FloatArray
from whyrobust.analysis.bootstrap import resample_accuracies, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_shift

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
