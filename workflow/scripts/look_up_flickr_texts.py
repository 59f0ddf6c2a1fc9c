"""Look the texts of Flickr's photographs up in YFCC100M's metadata.

Stands alone because a hundred million lines are read once, however often Flickr is asked for the others.
"""

from typing import TYPE_CHECKING

from whyrobust.data.flickr_addresses import photo_numbers
from whyrobust.data.flickr_texts import look_up_texts, write_texts
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    wanted = photo_numbers(snakemake.input.photos)
    found = write_texts(snakemake.output.texts, look_up_texts(wanted, snakemake.input.metadata))
    logger.info("%d of %d photographs are in YFCC100M", found, len(wanted))
