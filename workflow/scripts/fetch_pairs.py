"""Fetch the images of a list of pairs into tar shards.

Stands alone because it takes days and is stopped and resumed: shards are stored beside the declared output, so that a
failed job keeps what it has fetched.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.data.fetching import count_failures, fetch_pairs
from whyrobust.data.img2dataset import FetchSettings
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    manifest = Path(snakemake.output.shards)
    settings = FetchSettings(snakemake.params.command, snakemake.threads, threads=32, **snakemake.params.how)
    found = fetch_pairs(snakemake.input.pairs, manifest.with_suffix(""), settings)
    for reason, count in count_failures(found).items():
        logger.info("%d pairs: %s", count, reason)
    logger.info("%d of %d pairs obtained", found["obtained"].sum(), found["pairs"].sum())
    write_table(manifest, found)
