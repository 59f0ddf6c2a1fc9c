"""Turn a data set of photographs, or a slice of it, into records, and note where the bytes of each image are.

Stands alone because everything later works on records and no longer knows about layouts and annotation files. Nothing
is unpacked that can be read in place.
"""

from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.data.archives import Pack
from whyrobust.data.dataset_checks import LabelCounts, write_dataset_counts
from whyrobust.data.fetching import count_failures, obtained_shards
from whyrobust.data.label_matcher import read_matcher
from whyrobust.data.readers.dispatch import load_reader
from whyrobust.data.record_writer import check_labels, classes_between
from whyrobust.data.text_labels import labels_in_batches
from whyrobust.files import atomic_path, read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names, read_covered_classes
from whyrobust.study.slices import Slice, shard_names

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    settings, part = snakemake.params.settings, Slice(**snakemake.params.slice)
    unfetched = Counter[str]()
    for manifest in snakemake.input.fetched:
        shards, table = obtained_shards(manifest), read_csv(manifest)
        settings = settings | {"shards": part.share_of(shards), "shard_names": part.share_of(shard_names(shards))}
        # Every row of the list is counted by one slice.
        unfetched.update(count_failures(table.iloc[list(part.rows_of(len(table)))]))
    classes = read_class_names(snakemake.input.classes)
    with atomic_path(snakemake.output.pack) as temporary, temporary.open("wb") as handle:
        records = load_reader(snakemake.params.reader)(settings, classes, Pack(handle, snakemake.output.pack))
    presence = records.presence
    if "drawn_between" in settings:
        records.draw(*settings["drawn_between"])
    if "text_match" in settings:
        given, how = snakemake.input, settings["text_match"]
        matcher = read_matcher(given.classes, given.nouns, how["shared"], how["possessives"])
        records.label_by_text(
            labels_in_batches(records.batches(), matcher, how["fields"], how["policy"], snakemake.threads)
        )
    reasons = records.labels.reasons()
    if "classes_between" in settings:
        records.keep_classes(classes_between(classes, *settings["classes_between"]))
    # Of the whole data set; where it gives no labels, none is missing from a part.
    if {"drawn_between", "classes_between"} & set(settings) and records.labels != LabelCounts():
        reasons = {"it has no label of the study (kept without one)": records.count_unlabelled()}
    if "role" in settings:
        column = snakemake.params.covered
        allowed = read_covered_classes(snakemake.input.classes, column) if column else classes
        check_labels(records, part.dataset, allowed)
    records.require(settings.get("needs", []))
    # Where a label is needed, those without one are counted among the images left out.
    unlabelled = {} if "label" in settings.get("needs", []) else reasons
    counts = Counter({"kept": len(records)}) + records.left_out + Counter(unlabelled) + unfetched
    logger.info("%s: %s", part.name, ", ".join(f"{count} {reason}" for reason, count in counts.items()))
    records.write(part.dataset, snakemake.output.records, snakemake.output.locations)
    write_dataset_counts(snakemake.output.presence, presence, records.labels, records.unknown_labels)
    write_table(snakemake.output.counts, pd.DataFrame({"what": list(counts), "images": list(counts.values())}))
