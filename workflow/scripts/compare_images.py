"""Compare a slice of the images of a training source with all test images.

Stands alone because it is most of the work of decontamination, shared among one job per slice of a source:
`decontaminate` merges what the slices found.
"""

import sys
from typing import TYPE_CHECKING

from whyrobust.data.decontamination import DatasetFiles, compare_slice, write_summary
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork
from whyrobust.study.slices import Slice

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("compare_images", snakemake)
    if work.take():
        sys.exit()
    given, params = snakemake.input, snakemake.params
    part = Slice(**params.slice)
    found, compared = compare_slice(
        DatasetFiles(given.images, given.fingerprints, given.records),
        {
            name: DatasetFiles(images, params.test_fingerprints[name], params.test_records[name])
            for name, images in params.test_images.items()
        },
        part,
        params.near_duplicate,
        params.repeat,
    )
    logger.info("%s: %d images compared", part.name, compared)
    write_summary(found, snakemake.output.removed, snakemake.output.counts, snakemake.output.pairs)
    work.keep()
