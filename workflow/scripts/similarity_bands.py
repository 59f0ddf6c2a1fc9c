"""Compare the runs of two sources by how near the sources come to the test images.

Stands alone because it needs similarities of images and predictions of runs, and no baseline.
"""

from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.analysis.accuracies import KEYS
from whyrobust.analysis.similarity_bands import BandSettings, compare_in_bands
from whyrobust.files import read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.study.comparisons import Comparison

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    intervals = snakemake.params.intervals
    accuracy = read_csv(snakemake.input.accuracy, keep_empty=True)
    evaluated = accuracy.drop_duplicates(list(KEYS))
    rows = [{str(name): value for name, value in row.items()} for row in evaluated.to_dict("records")]
    bands = compare_in_bands(
        pd.read_parquet(snakemake.input.similarity),
        snakemake.input.predictions,
        rows,
        [Comparison(**planned) for planned in snakemake.params.comparisons],
        BandSettings(intervals["effect"], intervals["resamples"], intervals["seed"]),
    )
    write_table(snakemake.output.bands, bands)
    logger.info("%d bands", len(bands))
