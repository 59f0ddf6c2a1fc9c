"""Merge the slices of a data set of photographs into one table of records and one index of images.

Stands alone because slices are built alone, so that one that fails is retried alone: what needs all of them (no image
twice, not too many missing, a test set that is whole) is checked here.
"""

from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.data.dataset_checks import (
    LabelCounts,
    Presence,
    check_count,
    check_failure_share,
    check_not_empty,
    read_dataset_counts,
)
from whyrobust.data.merge_slices import (
    check_repeats,
    find_repeats,
    merge_counts,
    merge_failures,
    merge_fingerprints,
    merge_records,
    merge_stores,
)
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    given, made, params = snakemake.input, snakemake.output, snakemake.params
    dataset = snakemake.wildcards.photo_dataset

    presence, labels, unknown = zip(*map(read_dataset_counts, given.presence), strict=True)
    sum(presence, Presence()).check(dataset, params.allowed_failure_share)
    sum(labels, LabelCounts()).check(dataset, params.allowed_unknown_label_share)
    repeats = find_repeats(given.records)
    if not params.keeps_first_of_repeats:
        check_repeats(repeats, dataset)
    counts = merge_counts(given.counts, sum(map(len, repeats)))
    check_count(dataset, counts["kept"], **params.whole_size)
    check_not_empty(counts["kept"], counts, dataset)
    logger.info("%s: %s", dataset, ", ".join(f"{count} {reason}" for reason, count in counts.items()))

    failures = merge_failures(given.failures, repeats)
    # A test set that is whole when it is listed need not be when it is scored: images that do not decode are missing.
    check_count(dataset, counts["kept"] - len(failures), **params.whole_size)
    check_failure_share(failures, counts["kept"], params.allowed_failure_share)
    recorded = merge_records(given.records, repeats, made.records)
    decoded = merge_stores(given.images, repeats, made.images)
    if recorded != counts["kept"] or decoded != recorded - len(failures):
        raise ValueError(
            f"data set '{dataset}': {counts['kept']} images by the counts of its slices, {recorded} records, {decoded} "
            f"images that decode and {len(failures)} that do not: build its slices again"
        )
    merge_fingerprints(given.fingerprints, given.images, repeats, decoded, made.fingerprints)
    write_table(made.failures, failures)
    table = pd.DataFrame({"dataset": dataset, "what": list(counts), "images": list(counts.values())})
    write_table(made.counts, table)
    unknown_labels: Counter[str] = sum(unknown, Counter())
    write_table(made.unknown_labels, pd.DataFrame(unknown_labels.most_common(), columns=["label", "images"]))
    logger.info("%d of %d photographs decode", decoded, recorded)
