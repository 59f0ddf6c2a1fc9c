"""Decontamination of a study's data sets, from files to files.

Training images that repeat a test image are removed from every source, and repeats within each test set. Each slice of
a source is compared by a job of its own (`compare_slice`); `decontaminate_study` puts the slices together and removes
what they found. What counts as a repeat is decided in `whyrobust.data.near_duplicates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.fingerprints import Fingerprints
from whyrobust.data.image_stores import uids_of_store
from whyrobust.data.near_duplicates import (
    TRAINING_IMAGES_PER_CHUNK,
    ComparedImages,
    DecontaminationSummary,
    decontaminate_in_chunks,
    duplicates_within,
    merge_summaries,
)
from whyrobust.data.records import RECORD_SCHEMA, has_uids, read_rows_of_uids, require_rows_of_uids
from whyrobust.files import atomic_path, write_table
from whyrobust.study.slices import Slice

#: Columns of what is left of a data set: one row per image.
KEPT_SCHEMA = pa.schema([RECORD_SCHEMA.field(name) for name in ("uid", "label", "group", "collection")])

SIZE_COLUMNS = ("dataset", "decoded", "repeats_removed", "near_duplicates_removed", "kept")

#: Rows in memory of a source that does not fit into it.
ROWS_PER_BATCH = 50_000


@dataclass(frozen=True)
class DatasetFiles:
    """Where a data set lies.

    Attributes:
        images: store of its images.
        fingerprints: of these images, in the store's order: a NumPy array float32 ``[n, 16, 16]``.
        records: its records, of which images may lack some that could not be decoded.
    """

    images: Path | str
    fingerprints: Path | str
    records: Path | str


class ArrowTexts(Sequence[str]):
    """An Arrow column of texts as a sequence: a slice becomes Python strings only when it is asked for."""

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


def compared_images(records: pa.Table, fingerprints: Fingerprints) -> ComparedImages:
    """Return images to compare: their records (``uid, group``), in the order of their fingerprints."""
    return ComparedImages(ArrowTexts(records["uid"]), ArrowTexts(records["group"]), fingerprints)


def read_records_of_images(records: Path | str, uids: pa.ChunkedArray) -> pa.Table:
    """Return `KEPT_SCHEMA` of the records of images, in the order of the images.

    Raises:
        MissingUidError: an image has no record.
    """
    table = pq.read_table(records, columns=KEPT_SCHEMA.names)
    return table.take(pa.array(require_rows_of_uids(table["uid"], uids, str(records))))


def read_test_set(files: DatasetFiles, repeat: float | None) -> tuple[pa.Table, Fingerprints, int]:
    """Read a test set without the images that repeat an earlier one of it.

    Args:
        files: the test set.
        repeat: similarity (correlation) from which an image is a repeat; None: none is.

    Returns:
        `KEPT_SCHEMA` of its images, their fingerprints, and the number of repeats left out.
    """
    table = read_records_of_images(files.records, uids_of_store(files.images))
    fingerprints = np.load(files.fingerprints, mmap_mode="r")
    if repeat is None:
        return table, fingerprints, 0
    repeats = duplicates_within(table["uid"].to_pylist(), fingerprints, repeat)
    stays = ~has_uids(repeats["uid"].tolist(), table["uid"])
    return table.filter(pa.array(stays)), fingerprints[stays], len(repeats)


def read_test_sets(
    test_sets: Mapping[str, DatasetFiles], repeat: float | None
) -> dict[str, tuple[pa.Table, ComparedImages, int]]:
    """Return, by test set, what `read_test_set` returns, with its images as they are compared."""
    found = {}
    for name, files in test_sets.items():
        table, fingerprints, repeats = read_test_set(files, repeat)
        groups = table["group"].to_pylist()
        found[name] = table, ComparedImages(table["uid"].to_pylist(), groups, np.asarray(fingerprints)), repeats
    return found


def read_source_rows(files: DatasetFiles, rows: range) -> pa.Table:
    """Return `KEPT_SCHEMA` of the images in some rows of a store."""
    uids = uids_of_store(files.images).slice(rows.start, len(rows))
    return read_rows_of_uids([files.records], KEPT_SCHEMA.names, uids)


def compare_slice(
    source: DatasetFiles,
    test_sets: Mapping[str, DatasetFiles],
    part: Slice,
    near_duplicate: float,
    repeat: float | None,
) -> tuple[DecontaminationSummary, int]:
    """Compare one slice of the images of a source with all test images.

    Args:
        source: the source.
        test_sets: by name.
        part: which slice of the source. Slices end where chunks do, so that products are rounded as they are where one
            job compares the whole source.
        near_duplicate: similarity (correlation) from which a training image is removed.
        repeat: as in `read_test_set`.

    Returns:
        What was found, and the number of images compared.
    """
    tests = {name: images for name, (_, images, _) in read_test_sets(test_sets, repeat).items()}
    # Fingerprints of millions of photographs stay on the disk.
    fingerprints = np.load(source.fingerprints, mmap_mode="r")
    chunk = TRAINING_IMAGES_PER_CHUNK
    chunks = part.rows_of(-(-len(fingerprints) // chunk))
    rows = range(chunks.start * chunk, min(len(fingerprints), chunks.stop * chunk))
    train = compared_images(read_source_rows(source, rows), fingerprints[rows.start : rows.stop])
    return decontaminate_in_chunks(train, tests, near_duplicate, chunk=chunk), len(rows)


def stream_kept(files: DatasetFiles, removed: Sequence[str]) -> Iterator[pa.Table]:
    """Yield `KEPT_SCHEMA` of the images of a store that were not removed, a batch at a time.

    Raises:
        ValueError: the store is not in the order of the records.
    """
    uids, gone, start = uids_of_store(files.images), pa.array(removed, pa.string()), 0
    for batch in _record_batches(files.records):
        # A store has its records' order and lacks some, so that none of these records is further on in the store.
        decoded = batch.filter(pa.array(has_uids(uids.slice(start, len(batch)), batch["uid"])))
        start += len(decoded)
        yield pa.Table.from_batches([decoded.filter(pa.array(~has_uids(gone, decoded["uid"])))])
    if start != len(uids):
        raise ValueError(
            f"{files.images} has {len(uids)} images, {start} in the order of {files.records}: build them again"
        )


def _record_batches(records: Path | str) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(records).iter_batches(ROWS_PER_BATCH, columns=KEPT_SCHEMA.names)


def write_kept(path: Path | str, tables: Iterable[pa.Table]) -> int:
    """Write what is left of a data set as Parquet, whole or not at all; return the number of images."""
    count = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, KEPT_SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.select(KEPT_SCHEMA.names).cast(KEPT_SCHEMA))
            count += len(table)
    return count


def write_summary(summary: DecontaminationSummary, removed: Path | str, counts: Path | str, pairs: Path | str) -> None:
    """Write the tables of a summary, each to its path, as CSV or Parquet by its ending."""
    write_table(removed, summary.removed)
    write_table(counts, summary.counts)
    write_table(pairs, summary.pairs)


def read_summary(removed: Path | str, counts: Path | str, pairs: Path | str) -> DecontaminationSummary:
    """Read the three Parquet tables of a slice that `write_summary` wrote."""
    return DecontaminationSummary(*(pq.read_table(path).to_pandas() for path in (removed, counts, pairs)))


def decontaminate_study(
    sources: Mapping[str, DatasetFiles],
    test_sets: Mapping[str, DatasetFiles],
    compared: Mapping[str, Sequence[DecontaminationSummary]],
    kept: Mapping[str, str],
    repeat: float | None,
) -> tuple[DecontaminationSummary, pd.DataFrame]:
    """Write what is left of each data set once copies of test images, and repeats within test sets, are removed.

    Args:
        sources: training sources by name.
        test_sets: test sets by name.
        compared: what `compare_slice` found in each slice of a source, by source.
        kept: where what is left of each data set is written, columns of `KEPT_SCHEMA`.
        repeat: similarity from which an image of a test set repeats an earlier one; None: none does.

    Returns:
        What was found, each table with a column ``source``; and `SIZE_COLUMNS`, a row per data set, sources first.
    """
    sizes: dict[str, dict[str, int]] = {}
    for name, files in test_sets.items():
        table, _, repeats = read_test_set(files, repeat)
        left = write_kept(kept[name], [table])
        sizes[name] = {"decoded": left + repeats, "repeats_removed": repeats, "kept": left}
    summaries: dict[str, DecontaminationSummary] = {}
    for name, files in sources.items():
        summaries[name] = merge_summaries(compared[name])
        removed = sorted(set(summaries[name].removed["uid"]))
        left = write_kept(kept[name], stream_kept(files, removed))
        sizes[name] = {
            "decoded": len(uids_of_store(files.images)),
            "near_duplicates_removed": len(removed),
            "kept": left,
        }
    table = pd.DataFrame([sizes[name] for name in (*sources, *test_sets)], columns=list(SIZE_COLUMNS[1:]))
    table = table.fillna(0).astype(int)
    table.insert(0, "dataset", [*sources, *test_sets])
    return _with_sources(summaries), table


def _with_sources(summaries: Mapping[str, DecontaminationSummary]) -> DecontaminationSummary:
    """Return the tables of all sources, each one below the other, with a last column ``source``."""
    return DecontaminationSummary(
        removed=pd.concat([summary.removed.assign(source=name) for name, summary in summaries.items()]),
        counts=pd.concat([summary.counts.assign(source=name) for name, summary in summaries.items()]),
        pairs=pd.concat([summary.pairs.assign(source=name) for name, summary in summaries.items()]),
    )
