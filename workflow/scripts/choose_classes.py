"""Choose the classes of the icons study: candidate nouns that every part draws often enough.

Stands alone, outside the study, because the classes are a decision that is made once and committed
(`resources/icons/classes.csv`); this is the rule that repeats it.
"""

from typing import TYPE_CHECKING

from whyrobust.data.choose_classes import choose_classes
from whyrobust.data.icon_parts import build_icon_records, read_sets
from whyrobust.data.label_matcher import other_nouns, read_classes
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.data_kinds import ICON_PARTS

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Fewest drawings of a class: enough to learn it from either source and to test it on most shifts.
MINIMUM_DRAWINGS = {"studio": 10, "web": 20, "studio_test": 2, "v2": 1, "rendition": 5}

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    nouns = read_classes(snakemake.input.nouns)
    sets = read_sets(snakemake.input.sets)
    split = {"held_out_share": snakemake.params.held_out_share, "seed": snakemake.params.seed}
    found, _ = build_icon_records(snakemake.input.archive, sets, nouns, **split)
    classes = choose_classes({part: records for part, (records, _) in found.items()}, nouns, MINIMUM_DRAWINGS)
    # Images are counted anew: with fewer classes, other icons have one label only.
    chosen, _ = build_icon_records(snakemake.input.archive, sets, classes, other_nouns(nouns, classes), **split)
    for part in ICON_PARTS:
        images = chosen[part][0]["label"].value_counts()
        classes[f"{part}_images"] = [int(images.get(name, 0)) for name in classes["class"]]
    write_table(snakemake.output.classes, classes)
    logger.info("%d classes of %d candidates", len(classes), len(nouns))
