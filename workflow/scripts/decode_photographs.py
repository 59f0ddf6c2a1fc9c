"""Decode the photographs of a training source once, at the resolution that training needs.

Stands alone because all runs and seeds share what is decoded: each would otherwise decode an image every time it is
shown.
"""

import sys
from typing import TYPE_CHECKING

from whyrobust.data.archives import list_files
from whyrobust.data.decoded_store import write_decoded
from whyrobust.data.photo_store import PhotoStore
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    photographs = PhotoStore.open(snakemake.input.images)
    work = FinishedWork.of_job("decode_photographs", snakemake, list_named=lambda: list_files(photographs.table))
    if work.take():
        sys.exit()
    limit = snakemake.params.limit_gb * 1e9
    outcome = write_decoded(snakemake.output.decoded, photographs, snakemake.params.side, limit, snakemake.threads)
    logger.info("%s", outcome)
    work.keep()
