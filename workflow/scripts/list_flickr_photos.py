"""List the training images of ImageNet that come from Flickr, with their photographs.

Stands alone because the list of addresses has 14 million lines, and its texts may be asked for again.
"""

from collections import Counter
from typing import TYPE_CHECKING

from whyrobust.data.flickr_addresses import find_photos, read_addresses, read_training_names
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    names = read_training_names(snakemake.input.images)
    photos = find_photos(names, read_addresses(snakemake.input.addresses))
    for reason, count in Counter(photos["left_out"].to_pylist()).most_common():
        logger.info("%d images: %s", count, reason or "a photograph on Flickr")
    write_table(snakemake.output.photos, photos)
