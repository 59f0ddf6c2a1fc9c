"""Merge the slices of a data set into one table of records and one image store, as if they had been read together.

Data sets of hundreds of millions of pairs pass through here in one process, so everything is read and written a batch
at a time; memory grows only with the number of files and of repeated uids.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.fingerprints import FINGERPRINT_SIZE
from whyrobust.data.photo_store import PhotoStore, index_metadata
from whyrobust.data.record_writer import REPEATED, ROWS_PER_BATCH, uid_hash
from whyrobust.files import atomic_path, read_csv

#: Files that hashes of uids are sorted into: of 400 million uids of 8 bytes each, 50 MB are then in memory at a time.
BUCKETS = 64

#: For each slice, its uids that an earlier slice has too.
Repeats = Sequence[pa.Array]


def _uid_batches(path: Path | str) -> Iterator[list[str]]:
    for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_BATCH, columns=["uid"]):
        yield batch.column(0).to_pylist()


def find_repeats(records: Sequence[Path | str]) -> list[pa.Array]:
    """Return, for each slice, its uids that an earlier slice has too.

    Two passes: hashes of 8 bytes per uid, partitioned into `BUCKETS` temporary files, tell which uids may come twice;
    those few are compared by name.

    Args:
        records: Parquet files with a column ``uid``, each uid once in a file.
    """
    suspects: set[int] = set()
    with ExitStack() as stack:
        buckets = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(BUCKETS)]
        for path in records:
            for uids in _uid_batches(path):
                hashes = np.array([uid_hash(uid) for uid in uids], dtype=np.uint64)
                hashes.sort()
                ends = np.searchsorted(hashes, [number * 2**64 // BUCKETS for number in range(1, BUCKETS)])
                for bucket, chunk in zip(buckets, np.split(hashes, ends), strict=True):
                    bucket.write(chunk.tobytes())
        for bucket in buckets:
            bucket.seek(0)
            values, counts = np.unique(np.frombuffer(bucket.read(), dtype=np.uint64), return_counts=True)
            suspects.update(values[counts > 1].tolist())
    repeats: list[list[str]] = [[] for _ in records]
    seen: set[str] = set()
    for path, found in zip(records if suspects else [], repeats, strict=False):
        for uids in _uid_batches(path):
            for uid in uids:
                if uid_hash(uid) in suspects:
                    if uid in seen:
                        found.append(uid)
                    seen.add(uid)
    return [pa.array(found, pa.string()) for found in repeats]


def check_repeats(repeats: Repeats, dataset: str) -> None:
    """Check that no slice has a uid of an earlier one.

    Raises:
        DatasetError: one has; the message names the first uid.
    """
    for uids in repeats:
        if len(uids):
            raise DatasetError(f"data set '{dataset}' has '{uids[0].as_py()}' twice: keep one picture of this name")


def merge_counts(paths: Sequence[Path | str], repeated: int) -> Counter[str]:
    """Return how many images were ``kept`` or left out by reason, over all slices.

    Args:
        paths: CSV per slice with ``what`` (``kept`` or a reason) and ``images``.
        repeated: images that an earlier slice has too, which are not kept.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        table = read_csv(path)
        counts.update(dict(zip(table["what"], table["images"].tolist(), strict=True)))
    return counts + Counter({"kept": -repeated, REPEATED: repeated})


def merge_failures(paths: Sequence[Path | str], repeats: Repeats) -> pd.DataFrame:
    """Return the images without repeats that do not decode, from a CSV per slice with ``uid`` and ``reason``."""
    tables = (read_csv(path) for path in paths)
    return pd.concat(
        table[~table["uid"].isin(repeated.to_pylist())] for table, repeated in zip(tables, repeats, strict=True)
    )


def merge_records(slices: Sequence[Path | str], repeats: Repeats, path: Path | str) -> int:
    """Write the records of all slices without repeats as one Parquet file, whole or not at all; return their number."""
    # All slices of a data set have the same further captions.
    count, schema = 0, pq.read_schema(slices[0])
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for records, repeated in zip(slices, repeats, strict=True):
            for batch in pq.ParquetFile(records).iter_batches(ROWS_PER_BATCH):
                kept = batch.filter(_is_new(batch["uid"], repeated))
                writer.write_batch(kept)
                count += len(kept)
    return count


def merge_stores(slices: Sequence[Path | str], repeats: Repeats, path: Path | str) -> int:
    """Write the indices of photographs of all slices without repeats as one; return how many photographs it has.

    Raises:
        ValueError: the slices differ in the border that is cut off, or in the page.
    """
    stores = [PhotoStore.open(index) for index in slices]
    decoded = {(store.border, store.page) for store in stores}
    if len(decoded) != 1:
        raise ValueError(f"{path}: slices have borders and pages {sorted(decoded)}: index the images again")
    # Batches of an Arrow file share one dictionary: all files, in the order in which they come.
    files = pa.array(
        dict.fromkeys(name for store in stores for name in pc.unique(store.table["file"]).to_pylist()), pa.string()
    )
    schema = stores[0].table.schema.with_metadata(index_metadata(*decoded.pop()))
    count = 0
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        for store, repeated in zip(stores, repeats, strict=True):
            for batch in store.table.to_batches(ROWS_PER_BATCH):
                kept = batch.filter(_is_new(batch["uid"], repeated))
                numbers = pc.index_in(kept["file"].dictionary_decode(), value_set=files)
                columns = {name: kept[name] for name in schema.names}
                columns["file"] = pa.DictionaryArray.from_arrays(numbers, files)
                writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
                count += len(kept)
    return count


def merge_fingerprints(
    slices: Sequence[Path | str], stores: Sequence[Path | str], repeats: Repeats, count: int, path: Path | str
) -> None:
    """Write the thumbnails of all slices without repeats as one NumPy file, in the order of the merged store.

    Args:
        slices: thumbnails of each slice, float32 ``[n, 16, 16]``.
        stores: index of photographs of each slice, in the same order.
        repeats: of `find_repeats`.
        count: how many there are in all (`merge_stores`).
        path: the file.

    Raises:
        ValueError: the slices have another number of thumbnails.
    """
    shape, start = (count, FINGERPRINT_SIZE, FINGERPRINT_SIZE), 0
    with atomic_path(path) as temporary:
        merged = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for thumbnails, store, repeated in zip(slices, stores, repeats, strict=True):
            fingerprints, row = np.load(thumbnails, mmap_mode="r"), 0
            for batch in PhotoStore.open(store).table.select(["uid"]).to_batches(ROWS_PER_BATCH):
                block = fingerprints[row : row + len(batch)][np.asarray(_is_new(batch["uid"], repeated))]
                if start + len(block) > count:
                    break
                merged[start : start + len(block)] = block
                row, start = row + len(batch), start + len(block)
            if row != len(fingerprints):
                raise ValueError(
                    f"{thumbnails} has {len(fingerprints)} thumbnails, its index {row} images: index them again"
                )
        merged.flush()
        del merged


def _is_new(uids: pa.Array, repeated: pa.Array) -> pa.BooleanArray:
    return pc.invert(pc.is_in(uids, value_set=repeated))
