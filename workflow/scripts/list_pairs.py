"""List the image-text pairs of a source whose images are on the web: their addresses and texts.

Stands alone because joining a subset with its metadata reads a hundred million lines once, and fetching may be
repeated.
"""

from typing import TYPE_CHECKING

from whyrobust.data.img2dataset import write_pairs
from whyrobust.data.readers.yfcc import list_yfcc_pairs
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    count = write_pairs(snakemake.output.pairs, list_yfcc_pairs(snakemake.input.subset, snakemake.input.metadata))
    logger.info("%d pairs listed", count)
