"""List the image-text pairs of a source whose images are on the web: their addresses and texts.

Stands alone because joining a subset with its metadata reads a hundred million lines once, and fetching may be
repeated.
"""

from typing import TYPE_CHECKING

from whyrobust.data.img2dataset import write_pairs
from whyrobust.data.readers.dispatch import load_lister
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    texts, rows = load_lister(snakemake.params.lister)(snakemake.params.settings)
    count = write_pairs(snakemake.output.pairs, texts, rows)
    logger.info("%d pairs listed", count)
