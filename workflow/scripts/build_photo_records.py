"""Turn a data set of photographs into records, and note where each picture lies.

Stands alone because everything later works on records and no longer knows about layouts and annotation files. Nothing
is unpacked that can be read in place.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.data.archives import Pack
from whyrobust.data.dataset_checks import check_not_empty, check_whole, write_presence
from whyrobust.data.readers.dispatch import read_dataset
from whyrobust.data.record_writer import check_labels
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names, read_covered_classes
from whyrobust.study.slices import Slice, shard_names

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    facts, part = snakemake.params.facts, Slice(**snakemake.params.slice)
    dataset = part.dataset
    if facts["kind"] == "yfcc15m" and "metadata" in facts:
        manifest = Path(snakemake.input.files[1])
        table = pd.read_csv(manifest)
        obtained = table.loc[table["obtained"] > 0, "shard"]
        shards = [(manifest.with_suffix("") / shard).as_posix() for shard in obtained]
        facts = facts | {"shards": part.share_of(shards), "shard_names": part.share_of(shard_names(shards))}
    classes = read_class_names(snakemake.input.classes)
    with atomic_path(snakemake.output.pack) as temporary, temporary.open("wb") as handle:
        buffer = read_dataset(facts, classes, Pack(handle, snakemake.output.pack))
    presence = buffer.presence
    if part.count == 1:  # else shares are those of all slices, looked at when they are joined
        presence.check(dataset, snakemake.params.allowed_failure_share)
    if "role" in facts:
        column = snakemake.params.covered
        allowed = read_covered_classes(snakemake.input.classes, column) if column else classes
        check_labels(buffer, dataset, allowed)
    buffer.require(facts.get("needs", []))
    if part.count == 1:
        check_whole(len(buffer), facts, dataset)
        check_not_empty(len(buffer), buffer.left_out, dataset)
    counts = Counter({"kept": len(buffer)}) + buffer.left_out
    logger.info("%s: %s", part.name, ", ".join(f"{count} {reason}" for reason, count in counts.items()))
    buffer.write(dataset, snakemake.output.records, snakemake.output.locations)
    write_presence(snakemake.output.presence, presence)
    table = pd.DataFrame({"dataset": dataset, "what": list(counts), "images": list(counts.values())})
    write_table(snakemake.output.counts, table)
