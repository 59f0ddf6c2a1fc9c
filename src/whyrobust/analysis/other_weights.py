"""A sensitivity analysis that every study has: its main comparisons with classes weighted the other way.

Accuracies weigh all images alike or all classes alike (`whyrobust.analysis.accuracies.image_weights`), and verdicts may
depend on which. The other weighting is measured from the same predictions by the same functions as the main answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.accuracies import OTHER_WEIGHTS
from whyrobust.analysis.attribution import CAUSE_COLUMNS, EffectSettings, attribute_causes
from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.measured import IN_DISTRIBUTION, evaluated_runs, read_measured
from whyrobust.analysis.study_tables import measure_study
from whyrobust.study.comparisons import Comparison
from whyrobust.study.display_names import AVERAGE

if TYPE_CHECKING:
    import pandas as pd


def attribute_with_other_weights(
    predictions: Path | str,
    accuracy: pd.DataFrame,
    runs: pd.DataFrame,
    shifts: pd.DataFrame,
    comparisons: Sequence[Comparison],
    measurement: MeasurementSettings,
    settings: EffectSettings,
) -> pd.DataFrame:
    """Measure the main comparison of each cause with the other weighting of classes.

    All comparisons are measured, since variances are moderated and q is adjusted over all of them, and the same shifts
    count as in the main answer.

    Args:
        predictions: path of ``predictions.parquet``.
        accuracy: ``accuracy_other_weights.csv``, empty text read as such.
        runs: ``runs.csv``, read likewise.
        shifts: ``shifts.csv`` of the main answer, read likewise.
        comparisons: the controlled comparisons.
        measurement: of the main answer, with its weighting.
        settings: in what terms effects are stated.

    Returns:
        `CAUSE_COLUMNS` of the main comparisons, and ``class_weights``: the weighting they were measured with.

    Raises:
        ValueError: as `attribute_causes`.
    """
    from dataclasses import replace

    other = replace(measurement, class_weights=OTHER_WEIGHTS[measurement.class_weights])
    standard = runs[runs["standard"].to_numpy(dtype=bool)]
    axes = shifts[shifts["role"] == IN_DISTRIBUTION]
    tables = measure_study(
        accuracy,
        predictions,
        dict(zip(standard["run"], standard["source"], strict=True)),
        [str(name) for name in shifts.loc[~shifts["role"].isin([IN_DISTRIBUTION, AVERAGE]), "test_set"]],
        dict(zip(axes["test_set"], axes["source"], strict=True)),
        other,
    )
    effective = tables.effective_robustness
    measured = read_measured(effective, tables.draws, tables.accuracy_draws, accuracy, shifts)
    causes = attribute_causes(comparisons, evaluated_runs(effective, runs), measured, settings)
    main = causes[causes["main"].astype(bool)].reset_index(drop=True)
    return main[list(CAUSE_COLUMNS)].assign(class_weights=other.class_weights)
