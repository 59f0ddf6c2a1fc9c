"""Measure how effective robustness rises with the share of one source in mixtures with another.

Stands alone because only a study with mixtures has doses, and another comparison of causes changes none of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.dose_response import measure_doses
from whyrobust.analysis.measured import evaluated_runs, read_measured
from whyrobust.files import read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.study.comparisons import Comparison
from whyrobust.study.doses import DoseSeries

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    files, params = snakemake.input, snakemake.params
    effective = read_csv(files.effective_robustness, keep_empty=True)
    tables = measure_doses(
        [DoseSeries(**series) for series in params.series],
        evaluated_runs(effective, read_csv(files.runs, keep_empty=True)),
        read_measured(
            effective,
            np.load(files.draws),
            np.load(files.accuracy_draws),
            read_csv(files.accuracy, keep_empty=True),
            read_csv(files.shifts, keep_empty=True),
        ),
        params.in_distribution,
        [Comparison(**planned) for planned in params.comparisons],
        scale=params.scale,
        reference=params.reference,
        confidence=params.confidence,
    )
    write_table(snakemake.output.doses, tables.effects)
    write_table(snakemake.output.trends, tables.trends)
    logger.info("%d doses and shifts, %d trends", len(tables.effects), len(tables.trends))
