"""Compare ImageNet-Captions as built here with the list that its authors published.

Stands alone because the published list need not be there.
"""

from typing import TYPE_CHECKING

from whyrobust.data.built_captions import compare_captions
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    compared = compare_captions(snakemake.input.captions, snakemake.input.published)
    for row in compared.itertuples():
        logger.info("%s: %d images", row.compared, row.images)
    write_table(snakemake.output.compared, compared)
