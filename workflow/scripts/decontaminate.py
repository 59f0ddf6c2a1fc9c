"""Remove every training image that repeats a test image, and repeats within a test set.

Stands alone, and does all data sets in one job, because whether a training image may stay depends on all test sets
at once. Its counts and sample pairs go into the report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.decontamination import decontaminate_in_chunks, duplicates_within
from whyrobust.files import atomic_path
from whyrobust.logs import start_log
from whyrobust.photographs import uid_column

if TYPE_CHECKING:
    from snakemake.script import snakemake


class ArrowTexts(Sequence[str]):
    """A column of texts that are made into Python's only where a slice of them is asked for."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    def __len__(self) -> int:
        """How many there are."""
        return len(self.column)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        """Return one text, or a list of those of a slice."""
        found: str | list[str]
        found = self.column[at].to_pylist() if isinstance(at, slice) else self.column[at].as_py()
        return found


def read_kept_columns(path: str, uids: pa.ChunkedArray) -> pa.Table:
    """Return ``uid, label, group`` of the records of these uids, in their order."""
    table = pq.read_table(path, columns=["uid", "label", "group"])
    rows = pc.index_in(uids, value_set=table["uid"].combine_chunks())
    if rows.null_count:
        lost = uids.filter(pc.is_null(rows))
        raise ValueError(f"{path} has no record of {len(lost)} images, for example '{lost[0]}': build it again")
    return table.take(rows)


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
        records[name] = read_kept_columns(path, uid_column(images))
        # Thumbnails of millions of photographs stay on the disk.
        ink[name] = np.load(ink_path, mmap_mode="r")
        sizes[name] = {"dataset": name, "drawn": len(records[name])}

    for name in snakemake.params.test_sets:
        if snakemake.params.repeat is not None:
            repeats = duplicates_within(records[name]["uid"].to_pylist(), ink[name], snakemake.params.repeat)
            stays = pc.invert(pc.is_in(records[name]["uid"], value_set=pa.array(repeats["uid"], pa.string())))
            records[name], ink[name] = records[name].filter(stays), ink[name][np.asarray(stays)]
            sizes[name]["repeats_removed"] = len(repeats)
            logger.info("%s: %d images, %d repeats removed", name, len(records[name]), len(repeats))
    test_sets = {
        name: (records[name]["uid"].to_pylist(), records[name]["group"].to_pylist(), np.asarray(ink[name]))
        for name in snakemake.params.test_sets
    }
    removed: list[pd.DataFrame] = []
    counts: list[pd.DataFrame] = []
    pairs: list[pd.DataFrame] = []
    for name in snakemake.params.sources:
        found = decontaminate_in_chunks(
            ArrowTexts(records[name]["uid"]),
            ArrowTexts(records[name]["group"]),
            ink[name],
            test_sets,
            snakemake.params.near_duplicate,
        )
        gone = pa.array(sorted(set(found[0]["uid"])), pa.string())
        records[name] = records[name].filter(pc.invert(pc.is_in(records[name]["uid"], value_set=gone)))
        sizes[name]["test_twins_removed"] = len(gone)
        logger.info("%s: %d images, %d removed", name, len(records[name]), len(gone))
        for tables, table in zip((removed, counts, pairs), found, strict=True):
            tables.append(table.assign(source=name))

    for name, path in zip(names, snakemake.output.kept, strict=True):
        sizes[name]["kept"] = len(records[name])
        with atomic_path(Path(path)) as temporary:
            pq.write_table(records[name].select(["uid", "label", "group"]), temporary, compression="zstd")
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
