"""Fetch the images of a list of pairs into tar shards.

Stands alone because it takes days and is stopped and resumed: shards are stored beside the declared output, so that a
failed job keeps what it has fetched.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.data.img2dataset import NO_SHARD, fetch_pairs
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    manifest = Path(snakemake.output.shards)
    found = fetch_pairs(
        snakemake.input.pairs,
        manifest.with_suffix(""),
        snakemake.params.command,
        processes=snakemake.threads,
        threads=32,
        shorter_side=snakemake.params.shorter_side,
    )
    lost = int(found.loc[found["shard"] == NO_SHARD, "pairs"].sum())
    if lost:
        logger.warning("%d pairs were not attempted: remove %s and run again to go on", lost, manifest)
    logger.info("%d of %d pairs obtained", found["obtained"].sum(), found["pairs"].sum())
    write_table(manifest, found)
