"""Count the training images of each class and fit how accuracy depends on them (concept frequency).

Stands alone because it reads every subset, which nothing after training does.
"""

from functools import cache
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from whyrobust.analysis.concept_frequency import count_concepts, fit_concepts
from whyrobust.files import read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.study.table_cells import LABEL_SEPARATOR

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    read = cache(lambda path: pq.read_table(path, columns=["label"])["label"].to_pylist())
    frequency = count_concepts(
        read_csv(snakemake.input.class_accuracy, keep_empty=True),
        read_csv(snakemake.input.runs, keep_empty=True),
        {run: read(path) for run, path in snakemake.params.subsets.items()},
        LABEL_SEPARATOR,
    )
    write_table(snakemake.output.frequency, frequency)
    fits = fit_concepts(frequency, snakemake.params.confidence)
    write_table(snakemake.output.fits, fits)
    logger.info("%d rows, %d fits", len(frequency), len(fits))
