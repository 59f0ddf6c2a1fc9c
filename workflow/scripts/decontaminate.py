"""Remove every training image that repeats a test image, and repeats within a test set.

Stands alone, and does all data sets in one job, because whether a training image may stay depends on all test sets
at once. Its counts and sample pairs go into the report.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.decontamination import borderline_pairs, decontaminate, duplicates_within
from whyrobust.files import atomic_path
from whyrobust.logs import start_log
from whyrobust.photographs import open_store
from whyrobust.records import read_records

if TYPE_CHECKING:
    from snakemake.script import snakemake


def write_table(path: str, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    names = [*snakemake.params.sources, *snakemake.params.test_sets]
    records, ink, sizes = {}, {}, {}
    paths = zip(snakemake.input.images, snakemake.input.ink, snakemake.input.records, strict=True)
    for name, (images, ink_path, path) in zip(names, paths, strict=True):
        store = open_store(images)
        uids = list(store.uids)
        records[name] = read_records(path).set_index("uid").loc[uids].reset_index()
        ink[name] = np.load(ink_path)
        sizes[name] = {"dataset": name, "drawn": len(uids)}

    for name in snakemake.params.test_sets if snakemake.params.repeat is not None else []:
        repeats = duplicates_within(list(records[name]["uid"]), ink[name], snakemake.params.repeat)
        stays = ~records[name]["uid"].isin(repeats["uid"]).to_numpy()
        records[name], ink[name] = records[name][stays].reset_index(drop=True), ink[name][stays]
        sizes[name]["repeats_removed"] = len(repeats)
        logger.info("%s: %d images, %d repeats removed", name, len(records[name]), len(repeats))

    test_sets = {
        name: (list(records[name]["uid"]), list(records[name]["group"]), ink[name])
        for name in snakemake.params.test_sets
    }
    removed: list[pd.DataFrame] = []
    counts: list[pd.DataFrame] = []
    pairs: list[pd.DataFrame] = []
    for name in snakemake.params.sources:
        found = decontaminate(
            list(records[name]["uid"]),
            list(records[name]["group"]),
            ink[name],
            test_sets,
            snakemake.params.near_duplicate,
        )
        gone = set(found.removed_uids)
        records[name] = records[name][~records[name]["uid"].isin(gone)].reset_index(drop=True)
        sizes[name]["test_twins_removed"] = len(gone)
        logger.info("%s: %d images, %d removed", name, len(records[name]), len(gone))
        for tables, table in (
            (removed, found.removed),
            (counts, found.counts),
            (pairs, borderline_pairs(found.matches)),
        ):
            tables.append(table.assign(source=name))

    for name, path in zip(names, snakemake.output.kept, strict=True):
        sizes[name]["kept"] = len(records[name])
        with atomic_path(Path(path)) as temporary:
            kept = pa.Table.from_pandas(records[name][["uid", "label", "group"]], preserve_index=False)
            pq.write_table(kept, temporary, compression="zstd")
    write_table(snakemake.output.removed, pd.concat(removed))
    write_table(snakemake.output.counts, pd.concat(counts))
    write_table(snakemake.output.pairs, pd.concat(pairs))
    columns = ["dataset", "drawn", "repeats_removed", "test_twins_removed", "kept"]
    write_table(
        snakemake.output.sizes,
        pd.DataFrame(sizes.values(), columns=columns)
        .fillna(0)
        .astype({"repeats_removed": int, "test_twins_removed": int}),
    )
