"""Draw a seeded subset of a training source at a given size.

Stands alone because a subset is shared by every run of its source, size and seed: runs that differ only in
supervision see the very same images.
"""

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from whyrobust.files import atomic_path
from whyrobust.logs import start_log
from whyrobust.subsets import SubsetError, draw_subset

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    size = int(snakemake.wildcards.train_images)
    kept = pq.read_table(snakemake.input.kept)
    row_of = {uid: row for row, uid in enumerate(kept["uid"].to_pylist())}
    try:
        uids = draw_subset(row_of, size, int(snakemake.wildcards.seed))
    except SubsetError as error:
        raise SubsetError(
            f"config key runs has train_images {size} for source '{snakemake.wildcards.source}': {error}"
        ) from error
    with atomic_path(snakemake.output.subset) as temporary:
        pq.write_table(kept.take([row_of[uid] for uid in uids]), temporary, compression="zstd")
    logger.info("drew %d of %d images", size, len(kept))
