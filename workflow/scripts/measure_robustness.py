"""Measure every run's effective robustness on every shift, and say what part each test set takes in the answer.

Stands alone because it turns counts into the study's main quantity. Fitting the baselines is part of it, not a stage
of its own: the intervals need them refitted in every bootstrap draw, on the same draw's accuracies.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.shift_roles import count_answers, describe_test_sets
from whyrobust.analysis.study_tables import measure_study
from whyrobust.analysis.testbed_line import draw_testbed
from whyrobust.files import atomic_path, read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork
from whyrobust.study.paper_measurement import BESIDES

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("measure_robustness", snakemake)
    if work.take():
        sys.exit()
    files, params = snakemake.input, snakemake.params
    runs = read_csv(files.runs, keep_empty=True)
    standard = runs[runs["standard"]]
    accuracy = read_csv(files.accuracy, keep_empty=True)
    settings = MeasurementSettings.of_study(
        params.scale, params.intervals, params.class_weights, params.pivots, params.average_over
    )
    tables = measure_study(
        accuracy,
        files.predictions,
        dict(zip(standard["run"], standard["source"], strict=True)),
        params.shifts,
        params.in_distribution,
        settings,
        draw_testbed(Path(files.testbed[0]).parent, params.kinds, settings, params.testbed == BESIDES)
        if files.testbed
        else {},
    )
    answers = count_answers(files.classes, params.class_coverage)
    shifts = describe_test_sets(params.test_sets, answers, accuracy, files.predictions, tables, settings.average_over)
    logger.info("baselines:\n%s", tables.baselines.to_string(index=False))
    logger.info("test sets:\n%s", shifts.to_string(index=False))
    for path, table in (
        (snakemake.output.effective_robustness, tables.effective_robustness),
        (snakemake.output.single_lines, tables.single_lines),
        (snakemake.output.baselines, tables.baselines),
        (snakemake.output.bands, tables.bands),
        (snakemake.output.shifts, shifts),
    ):
        write_table(path, table)
    for path, draws in (
        (snakemake.output.draws, tables.draws),
        (snakemake.output.line_draws, tables.line_draws),
        (snakemake.output.accuracy_draws, tables.accuracy_draws),
    ):
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **{name: values.astype(np.float32) for name, values in draws.items()})  # type: ignore[arg-type]
    work.keep()
