"""Write ImageNet-Captions from the texts that were found: cleaned, filtered, in the layout of its authors.

Stands alone because filters may change where texts took days to get.
"""

from typing import TYPE_CHECKING

from whyrobust.data.built_captions import build_captions, read_excluded_words, write_captions
from whyrobust.files import read_parquet, write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    words = [word for path in snakemake.input.excluded_words for word in read_excluded_words(path)]
    texts = [read_parquet(path) for path in snakemake.input.texts]
    outcomes = build_captions(read_parquet(snakemake.input.photos), texts, words)
    counts = write_captions(snakemake.output.captions, outcomes)
    for row in counts.itertuples():
        logger.info("%d images: %s", row.images, row.outcome)
    write_table(snakemake.output.counts, counts)
