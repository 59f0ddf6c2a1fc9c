"""Join the slices of a data set of photographs into one table of records and one index of images.

Stands alone because slices are built alone, so that one that fails is retried alone: what needs all of them (no picture
twice, not too many missing, a test set that is whole) is looked at here.
"""

from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.data.dataset_checks import (
    DatasetError,
    Presence,
    check_not_empty,
    check_whole,
    keeps_first_of_repeats,
    read_presence,
)
from whyrobust.data.merge_slices import find_repeats, join_ink, join_records, join_stores
from whyrobust.data.pixel_store import check_failure_share
from whyrobust.data.record_writer import REPEATED
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    given, made = snakemake.input, snakemake.output
    dataset, facts = snakemake.wildcards.sliced_dataset, snakemake.params.facts
    allowed = snakemake.params.allowed_failure_share

    sum(map(read_presence, given.presence), Presence()).check(dataset, allowed)
    repeats = find_repeats(given.records)
    repeated = sum(map(len, repeats))
    if repeated and not keeps_first_of_repeats(facts["kind"]):
        first = next(uids[0].as_py() for uids in repeats if len(uids))
        raise DatasetError(f"data set '{dataset}' has '{first}' twice: keep one picture of this name")
    counts: Counter[str] = Counter()
    for path in given.counts:
        table = pd.read_csv(path)
        counts.update(dict(zip(table["what"], table["images"].tolist(), strict=True)))
    counts += Counter({"kept": -repeated, REPEATED: repeated})
    check_whole(counts["kept"], facts, dataset)
    check_not_empty(counts["kept"], counts, dataset)
    logger.info("%s: %s", dataset, ", ".join(f"{count} {reason}" for reason, count in counts.items()))

    failures = pd.concat(
        table[~table["uid"].isin(uids.to_pylist())]
        for table, uids in zip((pd.read_csv(path, dtype=str) for path in given.failures), repeats, strict=True)
    )
    check_whole(counts["kept"] - len(failures), facts, dataset)
    check_failure_share(failures, counts["kept"], allowed)
    recorded = join_records(given.records, repeats, made.records)
    decoded = join_stores(given.images, repeats, made.images)
    if recorded != counts["kept"] or decoded != recorded - len(failures):
        raise ValueError(
            f"data set '{dataset}': {counts['kept']} images by the counts of its slices, {recorded} records, {decoded} "
            f"images that decode and {len(failures)} that do not: build its slices again"
        )
    join_ink(given.ink, given.images, repeats, decoded, made.ink)
    write_table(made.failures, failures)
    table = pd.DataFrame({"dataset": dataset, "what": list(counts), "images": list(counts.values())})
    write_table(made.counts, table)
    logger.info("%d of %d photographs decode, %d came in an earlier slice", decoded, recorded, repeated)
