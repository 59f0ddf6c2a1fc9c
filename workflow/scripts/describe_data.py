"""Describe the data of a study: classes, captions, the filters, samples, and pairs of near-duplicates.

Stands alone because it looks at data only: it is done before the first model is trained, and no result of a model
redraws it. The page shows its tables.
"""

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.label_matcher import LabelMatcher, other_nouns, read_classes
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.report.data_summary import (
    CAPTION_COLUMNS,
    PAIR_SCHEMA,
    SAMPLE_SCHEMA,
    choose_samples,
    count_classes,
    describe_captions,
    list_filters,
    read_captions,
    read_pictures,
    sample_pairs,
)

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Pictures of each data set, and pairs of each band of similarity, that are shown.
SAMPLES = 40
PAIRS_PER_BAND = 20


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    files, roles, sources = snakemake.input, snakemake.params.roles, snakemake.params.sources
    records = dict(zip(roles, files.records, strict=True))
    failures = dict(zip(roles, files.failures, strict=True))
    fetched = {
        name: (int(table["pairs"].sum()), int(table["obtained"].sum()))
        for name, table in zip(snakemake.params.fetched, map(pd.read_csv, files.fetched), strict=True)
    }
    sizes = {
        str(row["dataset"]): {str(column): int(count) for column, count in row.items() if column != "dataset"}
        for row in pd.read_csv(files.sizes).to_dict("records")
    }
    classes = read_classes(files.classes, shared=snakemake.params.shared)
    nouns = other_nouns(read_classes(files.nouns), classes) if files.nouns else None
    matcher = LabelMatcher(classes, nouns, shared=snakemake.params.shared)

    class_rows, filter_rows, samples = [], [], {}
    for (name, role), path in zip(roles.items(), files.kept, strict=True):
        kept = pq.read_table(path, columns=["uid", "label"])
        found = {item["values"]: item["counts"] for item in kept["label"].drop_null().value_counts().to_pylist()}
        class_rows += [(name, role, *row) for row in count_classes(found, list(classes["class"])).items()]
        steps = list_filters(
            name,
            recorded=pq.read_metadata(records[name]).num_rows,
            failures=len(pd.read_csv(failures[name])),
            sizes=sizes[name],
            is_test_set=name not in sources,
            fetched=fetched.get(name),
        )
        filter_rows += [(name, *row) for row in steps.items()]
        samples[name] = choose_samples(records[name], kept["uid"], SAMPLES, seed=0)
        logger.info("%s: %s", name, ", ".join(f"{count} {step}" for step, count in steps.items()))
    write_table(snakemake.output.classes, pd.DataFrame(class_rows, columns=["dataset", "role", "class", "images"]))
    write_table(snakemake.output.filters, pd.DataFrame(filter_rows, columns=["dataset", "step", "images"]))

    caption_rows, captions = [], iter(files.captions)
    for name, kept_path in zip(sources, files.kept[: len(sources)], strict=True):
        kept = pq.read_table(kept_path, columns=["uid", "label"])
        paths = list(islice(captions, snakemake.params.text_slices[name]))
        for variant in pq.read_schema(paths[0]).names[1:]:
            described = describe_captions(read_captions(paths, variant, kept), matcher)
            caption_rows.append({"source": name, "caption": variant} | described)
    write_table(snakemake.output.captions, pd.DataFrame(caption_rows, columns=["source", "caption", *CAPTION_COLUMNS]))

    pairs = sample_pairs(pd.read_csv(files.pairs), PAIRS_PER_BAND)
    wanted = defaultdict(list, {name: table["uid"].to_pylist() for name, table in samples.items()})
    for dataset, uid in ("source", "uid"), ("test_set", "test_uid"):
        for name, of_dataset in pairs.groupby(dataset):
            wanted[str(name)] += of_dataset[uid].tolist()
    pictures = {name: read_pictures(path, wanted[name]) for name, path in zip(roles, files.images, strict=True)}
    tables = [
        pa.Table.from_pylist(
            [row | {"dataset": name, "role": roles[name], "picture": pictures[name][row["uid"]]}
             for row in table.to_pylist()],
            SAMPLE_SCHEMA,
        )
        for name, table in samples.items()
    ]  # fmt: skip
    write_table(snakemake.output.samples, pa.concat_tables(tables))
    pair_rows = [
        row
        | {"picture": pictures[row["source"]][row["uid"]], "test_picture": pictures[row["test_set"]][row["test_uid"]]}
        for row in pairs.to_dict("records")
    ]
    write_table(snakemake.output.pairs, pa.Table.from_pylist(pair_rows, PAIR_SCHEMA))
    logger.info("%d samples, %d pairs", sum(map(len, tables)), len(pair_rows))
