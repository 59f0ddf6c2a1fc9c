"""Turn a data set of photographs into records, and note where each picture lies.

Stands alone because everything later works on records and no longer knows about layouts and annotation files. Nothing
is unpacked that can be read in place.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.class_names import read_class_names
from whyrobust.files import atomic_path
from whyrobust.locations import Pack, write_locations
from whyrobust.logs import start_log
from whyrobust.photo_sources import (
    PUBLISHED_IMAGES,
    check_count,
    check_left_out,
    leave_out_without,
    read_photographs_of,
)
from whyrobust.records import write_records

if TYPE_CHECKING:
    from snakemake.script import snakemake


def expected_images(facts: dict[str, object]) -> int | None:
    """Return how many images a test set should have, or None where that is not known."""
    kind = f"imagenet_{facts['split']}" if facts["kind"] == "imagenet" else str(facts["kind"])
    given = facts.get("expected_images", PUBLISHED_IMAGES.get(kind) if "role" in facts else None)
    return int(str(given)) if given is not None else None


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    dataset, facts = snakemake.wildcards.photo_dataset, snakemake.params.facts
    if facts["kind"] == "yfcc15m" and "metadata" in facts:
        manifest = Path(snakemake.input.files[1])
        shards = pd.read_csv(manifest)
        obtained = shards.loc[shards["obtained"] > 0, "shard"]
        facts = facts | {"shards": [(manifest.with_suffix("") / shard).as_posix() for shard in obtained]}
    with atomic_path(snakemake.output.pack) as temporary, temporary.open("wb") as handle:
        reading = read_photographs_of(
            facts, read_class_names(snakemake.input.classes), Pack(handle, snakemake.output.pack)
        )
    check_left_out(reading, dataset, snakemake.params.allowed_failure_share)
    leave_out_without(reading, facts.get("needs", []))
    expected = expected_images(facts)
    if expected is not None:
        check_count(len(reading.rows), expected, dataset, bool(facts.get("allow_short", False)))
    if not reading.rows:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in reading.left_out.most_common())
        raise ValueError(f"data set '{dataset}' has no image that can be used: {reasons or 'it is empty'}")
    counts = Counter({"kept": len(reading.rows)}) + reading.left_out
    logger.info("%s: %s", dataset, ", ".join(f"{count} {reason}" for reason, count in counts.items()))
    write_records(Path(snakemake.output.records), reading.records(dataset))
    write_locations(snakemake.output.locations, reading.locations(dataset))
    with atomic_path(snakemake.output.counts) as temporary:
        table = pd.DataFrame({"dataset": dataset, "what": list(counts), "images": list(counts.values())})
        table.to_csv(temporary, index=False)
