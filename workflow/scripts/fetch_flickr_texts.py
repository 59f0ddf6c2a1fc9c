"""Ask Flickr's API for the texts of photographs that were found nowhere else.

Stands alone because it takes days and is stopped and resumed: the answers are kept beside the declared output, so that
a failed job keeps what it has asked for.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.data.flickr_addresses import photo_numbers
from whyrobust.data.flickr_api import FlickrClient, Pace, read_key
from whyrobust.data.flickr_texts import fetch_texts, photos_with_texts, write_texts
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    settings, output = snakemake.params.flickr, Path(snakemake.output.texts)
    client = FlickrClient(
        settings["address"],
        read_key(settings["key_variable"]),
        Pace(settings["requests_per_hour"]),
        settings["attempts"],
    )
    wanted = photo_numbers(snakemake.input.photos) - photos_with_texts(snakemake.input.known)
    count = write_texts(output, fetch_texts(wanted, output.with_suffix(".jsonl"), client.ask))
    logger.info("%d photographs were asked for", count)
