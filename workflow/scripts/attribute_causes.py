"""Attribute effective robustness to its possible causes: by the planned comparisons, and by one regression.

Stands alone because comparisons are cheap and change often: another comparison needs no run to be measured again. The
regression is a second opinion that shares no assumption with the comparisons; the report shows both.
"""

from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.attribution import EffectSettings
from whyrobust.analysis.cause_tables import OtherWeights, make_cause_tables
from whyrobust.analysis.measured import evaluated_runs, read_measured, read_measured_lines
from whyrobust.analysis.team_differences import differences_by_team
from whyrobust.files import read_csv, write_table, write_text
from whyrobust.logs import start_log
from whyrobust.study.comparisons import Comparison
from whyrobust.study.doses import DoseSeries

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    effective_robustness = read_csv(snakemake.input.effective_robustness, keep_empty=True)
    accuracy = read_csv(snakemake.input.accuracy, keep_empty=True)
    shifts = read_csv(snakemake.input.shifts, keep_empty=True)
    lines = read_csv(snakemake.input.single_lines, keep_empty=True)
    accuracy_draws = np.load(snakemake.input.accuracy_draws)
    measured = read_measured(effective_robustness, np.load(snakemake.input.draws), accuracy_draws, accuracy, shifts)
    runs = read_csv(snakemake.input.runs, keep_empty=True)
    comparisons = [Comparison(**planned) for planned in snakemake.params.comparisons]
    settings = EffectSettings(**snakemake.params.settings)
    tables = make_cause_tables(
        effective_robustness,
        measured,
        read_measured_lines(lines, np.load(snakemake.input.single_line_draws), accuracy_draws, accuracy, shifts),
        runs,
        comparisons,
        settings,
        OtherWeights(read_csv(snakemake.input.other_weights), snakemake.params.weights_note),
        [DoseSeries(**series) for series in snakemake.params.series],
    )
    by_team = differences_by_team(
        comparisons,
        evaluated_runs(effective_robustness, runs),
        measured,
        shifts,
        snakemake.input.predictions,
        settings.scale,
        snakemake.params.class_weights,
    )
    write_table(snakemake.output.causes, tables.causes)
    write_table(snakemake.output.single_lines, tables.single_lines)
    write_table(snakemake.output.by_seed, tables.by_seed)
    write_table(snakemake.output.by_team, by_team)
    write_table(snakemake.output.architectures, tables.architectures)
    write_table(snakemake.output.regression, tables.regression)
    write_text(snakemake.output.summary, tables.summary)
    logger.info("%d comparisons and shifts", len(tables.causes))
