"""Decode every photograph of a data set once: those that decode become its index, the others are counted.

Stands alone because sizes are matched on images that were obtained and decode, and because a broken picture must not
stop a run days later. The thumbnails that decontamination compares are made on the way.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.files import atomic_path
from whyrobust.images import check_failure_share
from whyrobust.logs import start_log
from whyrobust.photo_sources import border_of, check_count, expected_images
from whyrobust.photographs import check_photographs, write_photographs

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Reasons that also go to the log, which stays where the job stops; the table has all of them.
FAILURES_LOGGED = 1000


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    locations = pq.read_table(snakemake.input.locations)
    dataset, facts = snakemake.wildcards.photo_dataset, snakemake.params.facts
    border = border_of(facts["kind"])
    decodes, failures = check_photographs(locations, border, snakemake.threads, snakemake.output.ink)
    logger.info("%d of %d photographs decode", int(decodes.sum()), len(locations))
    with atomic_path(snakemake.output.failures) as temporary:
        failures.to_csv(temporary, index=False)
    for uid, reason in failures.head(FAILURES_LOGGED).itertuples(index=False):
        logger.info("left out %s: %s", uid, reason)
    expected = expected_images(facts)
    if expected is not None:
        # Whole when it was listed is not whole when it is scored: what does not decode is missing too.
        check_count(int(decodes.sum()), expected, dataset, bool(facts.get("allow_short", False)))
    check_failure_share(failures, len(locations), snakemake.params.allowed_failure_share)
    write_photographs(snakemake.output.images, locations.filter(pa.array(decodes)), border)
