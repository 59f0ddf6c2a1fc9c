"""Decode every photograph of a data set once: those that decode become its index, the others are counted.

Stands alone because sizes are matched on images that were obtained and decode, and because a broken picture must not
stop a run days later. The thumbnails that decontamination compares are made on the way.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.dataset_checks import border_pixels, check_whole
from whyrobust.data.photo_store import check_photographs, write_photographs
from whyrobust.data.pixel_store import check_failure_share
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.slices import Slice

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Reasons that also go to the log, which stays where the job stops; the table has all of them.
FAILURES_LOGGED = 1000


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    locations = pq.read_table(snakemake.input.locations)
    facts, part = snakemake.params.facts, Slice(**snakemake.params.slice)
    border = border_pixels(facts["kind"])
    decodes, failures = check_photographs(locations, border, snakemake.threads, snakemake.output.ink)
    logger.info("%d of %d photographs decode", int(decodes.sum()), len(locations))
    write_table(snakemake.output.failures, failures)
    for uid, reason in failures.head(FAILURES_LOGGED).itertuples(index=False):
        logger.info("left out %s: %s", uid, reason)
    if part.count == 1:  # else shares are those of all slices, looked at when they are joined
        # Whole when it was listed is not whole when it is scored: what does not decode is missing too.
        check_whole(int(decodes.sum()), facts, part.dataset)
        check_failure_share(failures, len(locations), snakemake.params.allowed_failure_share)
    write_photographs(snakemake.output.images, locations.filter(pa.array(decodes)), border)
