"""Turn a data set of photographs into records, and note where each picture lies.

Stands alone because everything later works on records and no longer knows about layouts and annotation files. Nothing
is unpacked that can be read in place.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.class_names import read_class_names, read_covered_classes
from whyrobust.files import atomic_path
from whyrobust.locations import Pack
from whyrobust.logs import start_log
from whyrobust.photo_sources import check_count, expected_images, read_photographs_of
from whyrobust.readings import check_labels, check_not_there

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    dataset, facts = snakemake.wildcards.photo_dataset, snakemake.params.facts
    if facts["kind"] == "yfcc15m" and "metadata" in facts:
        manifest = Path(snakemake.input.files[1])
        shards = pd.read_csv(manifest)
        obtained = shards.loc[shards["obtained"] > 0, "shard"]
        facts = facts | {"shards": [(manifest.with_suffix("") / shard).as_posix() for shard in obtained]}
    classes = read_class_names(snakemake.input.classes)
    with atomic_path(snakemake.output.pack) as temporary, temporary.open("wb") as handle:
        reading = read_photographs_of(facts, classes, Pack(handle, snakemake.output.pack))
    check_not_there(reading, dataset, snakemake.params.allowed_failure_share)
    if "role" in facts:
        column = snakemake.params.covered
        allowed = read_covered_classes(snakemake.input.classes, column) if column else classes
        check_labels(reading, dataset, allowed)
    reading.need(facts.get("needs", []))
    expected = expected_images(facts)
    if expected is not None:
        check_count(len(reading), expected, dataset, bool(facts.get("allow_short", False)))
    if not len(reading):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in reading.left_out.most_common())
        raise ValueError(f"data set '{dataset}' has no image that can be used: {reasons or 'it is empty'}")
    counts = Counter({"kept": len(reading)}) + reading.left_out
    logger.info("%s: %s", dataset, ", ".join(f"{count} {reason}" for reason, count in counts.items()))
    reading.write(dataset, snakemake.output.records, snakemake.output.locations)
    with atomic_path(snakemake.output.counts) as temporary:
        table = pd.DataFrame({"dataset": dataset, "what": list(counts), "images": list(counts.values())})
        table.to_csv(temporary, index=False)
