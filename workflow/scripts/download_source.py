"""Fetch a file that the table of sources pins.

Stands alone because it is the only stage that uses the network, and because its result is shared by all studies.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.data.downloads import download
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork
from whyrobust.study.pinned_sources import read_pinned_sources

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    work = FinishedWork.of_job("download_source", snakemake, leave_out=["table"])
    if work.take():
        sys.exit()
    pinned = read_pinned_sources(snakemake.params.table)[snakemake.params.name]
    logger.info("fetching %s %s as %s", pinned.name, pinned.version, pinned.file)
    download(pinned, Path(snakemake.output.archive))
    work.keep()
