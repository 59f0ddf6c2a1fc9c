"""Decontamination from files: reads what training and test images are compared by, and writes what is left of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.fingerprints import Fingerprints
from whyrobust.data.image_stores import uid_column
from whyrobust.data.near_duplicates import Comparison, duplicates_within

COLUMNS = ("uid", "label", "group")

#: Rows that are held of a source that is too large to be held.
ROWS_A_BATCH = 50_000


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


def read_kept_columns(path: Path | str, uids: pa.ChunkedArray) -> pa.Table:
    """Return ``uid, label, group`` of the records of these uids, in their order."""
    table = pq.read_table(path, columns=list(COLUMNS))
    rows = pc.index_in(uids, value_set=table["uid"].combine_chunks())
    if rows.null_count:
        lost = uids.filter(pc.is_null(rows))
        raise ValueError(f"{path} has no record of {len(lost)} images, for example '{lost[0]}': build it again")
    return table.take(rows)


def read_test_set(
    images: Path | str, ink: Path | str, records: Path | str, repeat: float | None
) -> tuple[pa.Table, Fingerprints, int]:
    """Return the records of a test set, its ink, and how many images of it were left out as repeats of others.

    Args:
        images: store of its images.
        ink: of them, in their order.
        records: of the test set.
        repeat: similarity from which an image is a repeat; None: none is.
    """
    table, thumbnails = read_kept_columns(records, uid_column(images)), np.load(ink, mmap_mode="r")
    if repeat is None:
        return table, thumbnails, 0
    repeats = duplicates_within(table["uid"].to_pylist(), thumbnails, repeat)
    stays = pc.invert(pc.is_in(table["uid"], value_set=pa.array(repeats["uid"], pa.string())))
    return table.filter(stays), thumbnails[np.asarray(stays)], len(repeats)


def as_test_set(table: pa.Table, ink: Fingerprints) -> tuple[list[str], list[str], Fingerprints]:
    """Return a test set as `decontamination.decontaminate` takes it."""
    return table["uid"].to_pylist(), table["group"].to_pylist(), np.asarray(ink)


def read_rows(images: Path | str, records: Path | str, rows: range) -> pa.Table:
    """Return ``uid, label, group`` of some rows of a store, whose records are looked for a batch at a time."""
    uids = uid_column(images).slice(rows.start, len(rows))
    found = [batch.filter(pc.is_in(batch["uid"], value_set=uids)) for batch in _record_batches(records)]
    table = pa.Table.from_batches([batch for batch in found if len(batch)], found[0].schema if found else None)
    return table.take(pc.index_in(uids, value_set=table["uid"].combine_chunks())) if len(rows) else table


def stream_kept(images: Path | str, records: Path | str, gone: pa.Array) -> Iterator[pa.Table]:
    """Yield ``uid, label, group`` of the images of a store that are not ``gone``, a batch at a time.

    Raises:
        ValueError: the store is not in the order of the records.
    """
    uids, start = uid_column(images), 0
    for batch in _record_batches(records):
        # A store has records in their order and lacks some, so that none of these stands further behind.
        decoded = batch.filter(pc.is_in(batch["uid"], value_set=uids.slice(start, len(batch))))
        start += len(decoded)
        yield pa.Table.from_batches([decoded.filter(pc.invert(pc.is_in(decoded["uid"], value_set=gone)))])
    if start != len(uids):
        raise ValueError(f"{images} has {len(uids)} images, {start} in the order of {records}: build them again")


def _record_batches(records: Path | str) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(records).iter_batches(ROWS_A_BATCH, columns=list(COLUMNS))


def read_comparison(removed: Path | str, counts: Path | str, pairs: Path | str) -> Comparison:
    """Read the three tables of a slice."""
    tables = [pq.read_table(path).to_pandas() for path in (removed, counts, pairs)]
    return tables[0], tables[1], tables[2]
