"""Attribute effective robustness to its possible causes: by the planned comparisons, and by one regression.

Stands alone because comparisons are cheap and change often: another comparison needs no run to be measured again. The
regression is a second opinion that shares no assumption with the comparisons; the report shows both.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whyrobust.analysis.cause_tables import make_cause_tables, read_effective_robustness
from whyrobust.files import write_table, write_text
from whyrobust.logs import start_log
from whyrobust.study.comparisons import Comparison

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    tables = make_cause_tables(
        read_effective_robustness(snakemake.input.effective_robustness),
        np.load(snakemake.input.draws),
        pd.read_csv(snakemake.input.runs, keep_default_na=False),
        [Comparison(**planned) for planned in snakemake.params.comparisons],
        snakemake.params.scale,
        snakemake.params.confidence,
    )
    write_table(snakemake.output.causes, tables.causes)
    write_table(snakemake.output.regression, tables.regression)
    write_text(snakemake.output.summary, tables.summary)
    logger.info("%d comparisons and shifts", len(tables.causes))
