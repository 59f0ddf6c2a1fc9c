"""Choose the classes of the icons study: candidate nouns that every part draws often enough.

Stands alone, outside the study, because the classes are a decision that is made once and committed
(`resources/icons/classes.csv`); this is the rule that repeats it.
"""

from typing import TYPE_CHECKING

from whyrobust.data.choose_classes import choose_icon_classes
from whyrobust.data.icon_parts import read_sets
from whyrobust.data.label_matcher import read_classes
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    nouns = read_classes(snakemake.input.nouns)
    classes = choose_icon_classes(
        snakemake.input.archive,
        read_sets(snakemake.input.sets),
        nouns,
        snakemake.params.held_out_share,
        snakemake.params.seed,
    )
    write_table(snakemake.output.classes, classes)
    logger.info("%d classes of %d candidates", len(classes), len(nouns))
