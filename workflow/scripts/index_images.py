"""Decode every photograph of a slice once: those that decode become its index, the others are listed.

Stands alone because sizes are matched on images that were obtained and decode, and because a broken image must not
stop a run days later. The fingerprints that decontamination compares are made on the way.
"""

import sys
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from whyrobust.data.archives import list_files
from whyrobust.data.dataset_checks import log_failures
from whyrobust.data.photo_checks import check_photographs
from whyrobust.data.photo_store import write_photographs
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    locations = pq.read_table(snakemake.input.locations)
    # Pictures count by their bytes, not by their times.
    work = FinishedWork.of_job("index_images", snakemake, ["pictures"], lambda: list_files(locations))
    if work.take():
        sys.exit()
    border, page = snakemake.params.border_pixels, snakemake.params.page_colour
    decoded, failures = check_photographs(locations, border, snakemake.threads, snakemake.output.fingerprints, page)
    logger.info("%d of %d photographs decode", len(decoded), len(locations))
    write_table(snakemake.output.failures, failures)
    log_failures(failures)
    write_photographs(snakemake.output.images, decoded, border, page)
    work.keep()
