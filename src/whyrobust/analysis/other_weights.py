"""A sensitivity analysis that every study has: its main comparisons with classes weighted the other way.

Accuracies weigh all images alike or all classes alike (`whyrobust.analysis.accuracies.image_weights`), and verdicts may
depend on which. The other weighting is measured from the same predictions by the same functions as the main answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from whyrobust.analysis.accuracies import EQUAL_CLASSES, KEYS, PER_IMAGE, accuracy_table, count_correct
from whyrobust.analysis.attribution import CAUSE_COLUMNS, EffectSettings, attribute_causes
from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.measured import IN_DISTRIBUTION, evaluated_runs, read_measured
from whyrobust.analysis.study_tables import measure_study
from whyrobust.study.comparisons import Comparison
from whyrobust.study.plan import HEAD_FIELDS, Head

if TYPE_CHECKING:
    import pandas as pd

OTHER_WEIGHTS: Final = {PER_IMAGE: EQUAL_CLASSES, EQUAL_CLASSES: PER_IMAGE}
"""The other weighting of classes, by that of a study."""


def recount(
    predictions: Path | str, accuracy: pd.DataFrame, runs: pd.DataFrame, confidence: float, class_weights: str
) -> pd.DataFrame:
    """Return ``accuracy.csv`` as it would be with another weighting.

    Args:
        predictions: path of ``predictions.parquet``, which is read a run and test set at a time.
        accuracy: ``accuracy.csv``, empty text read as such.
        runs: ``runs.csv``, read likewise.
        confidence: coverage of the intervals of accuracies.
        class_weights: the weighting wanted, see `image_weights`.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    evaluated = accuracy[[*KEYS, "main"]].drop_duplicates()
    heads: dict[str, list[Head]] = {}
    for run, head, prompts, fitted_on, main in evaluated.itertuples(index=False, name=None):
        heads.setdefault(run, []).append(Head(head, prompts, fitted_on, main))
    counts = []
    file = pq.ParquetFile(predictions)
    for number in range(file.num_row_groups):
        table = file.read_row_group(number).to_pandas()
        for run, part in table.groupby("run", sort=False, observed=True):
            # Names are codes in the file; as texts, groups are those that are there.
            named = part.astype(dict.fromkeys(["run", *HEAD_FIELDS, "test_set"], "object"))
            counts.append(count_correct(named, heads[str(run)], confidence, class_weights))
    return accuracy_table(runs, pd.concat(counts, ignore_index=True), confidence)


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
        accuracy: ``accuracy.csv``, empty text read as such.
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
    weighted = recount(predictions, accuracy, runs, other.accuracy_confidence, other.class_weights)
    standard = runs[runs["standard"].to_numpy(dtype=bool)]
    axes = shifts[shifts["role"] == IN_DISTRIBUTION]
    tables = measure_study(
        weighted,
        predictions,
        dict(zip(standard["run"], standard["source"], strict=True)),
        [str(name) for name in shifts.loc[shifts["role"] != IN_DISTRIBUTION, "test_set"]],
        dict(zip(axes["test_set"], axes["source"], strict=True)),
        other,
    )
    effective = tables.effective_robustness
    measured = read_measured(effective, tables.draws, tables.accuracy_draws, weighted, shifts)
    causes = attribute_causes(comparisons, evaluated_runs(effective, runs), measured, settings)
    main = causes[causes["main"].astype(bool)].reset_index(drop=True)
    return main[list(CAUSE_COLUMNS)].assign(class_weights=other.class_weights)
