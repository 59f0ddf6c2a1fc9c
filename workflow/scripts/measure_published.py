"""Answer the five questions from published models.

Stands alone because it depends on committed tables only, not on any study: no download, no training, seconds.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.published_study import make_tables
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    tables = make_tables(Path(snakemake.input.pretraining).parent)
    for name, table in tables.items():
        write_table(snakemake.output[name], table)
    logger.info("%d models, %d comparisons", len(tables["models"]), len(tables["claims_by_line"]))
