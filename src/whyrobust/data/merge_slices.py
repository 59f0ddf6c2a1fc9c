"""Joins what the slices of a data set hold into one table and one store, as if they had been read together.

Stands alone because it is the only place where a data set of hundreds of millions of pairs passes through one process:
everything here is read and written a batch at a time, and what is held grows with the number of files and repeats only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.near_duplicates import INK_SIZE
from whyrobust.data.photo_store import STORE_KIND, PhotoStore
from whyrobust.data.record_writer import uid_hash
from whyrobust.data.records import RECORD_SCHEMA
from whyrobust.files import atomic_path

#: Rows that are held in memory: some 100 MB of records with texts as long as Flickr's.
ROWS_A_BATCH = 50_000

#: Files that the numbers of uids are sorted into: 400 million uids of 8 bytes are then looked at 50 MB at a time.
BUCKETS = 64

#: Uids of each slice that an earlier slice has too.
Repeats = Sequence[pa.Array]


def _uid_batches(path: Path | str) -> Iterator[list[str]]:
    for batch in pq.ParquetFile(path).iter_batches(ROWS_A_BATCH, columns=["uid"]):
        yield batch.column(0).to_pylist()


def find_repeats(records: Sequence[Path | str]) -> list[pa.Array]:
    """Return, for each slice, its uids that an earlier slice has too.

    Two passes: numbers of 8 bytes a uid, sorted into `BUCKETS` temporary files by their size, tell which uids may come
    twice; those few are compared by name.

    Args:
        records: Parquet files with a column ``uid``, each uid once in a file.
    """
    suspects: set[int] = set()
    with ExitStack() as stack:
        buckets = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(BUCKETS)]
        for path in records:
            for uids in _uid_batches(path):
                numbers = np.array([uid_hash(uid) for uid in uids], dtype=np.uint64)
                numbers.sort()
                ends = np.searchsorted(numbers, [number * 2**64 // BUCKETS for number in range(1, BUCKETS)])
                for bucket, part in zip(buckets, np.split(numbers, ends), strict=True):
                    bucket.write(part.tobytes())
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


def join_records(slices: Sequence[Path | str], repeats: Repeats, path: Path | str) -> int:
    """Write the records of all slices without repeats as one Parquet file, whole or not at all; return their number."""
    count = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, RECORD_SCHEMA, compression="zstd") as writer:
        for part, repeated in zip(slices, repeats, strict=True):
            for batch in pq.ParquetFile(part).iter_batches(ROWS_A_BATCH):
                kept = batch.filter(_is_new(batch["uid"], repeated))
                writer.write_batch(kept)
                count += len(kept)
    return count


def join_stores(slices: Sequence[Path | str], repeats: Repeats, path: Path | str) -> int:
    """Write the indices of photographs of all slices without repeats as one; return how many photographs it has.

    Raises:
        ValueError: the slices differ in the border that is cut off.
    """
    stores = [PhotoStore.open(part) for part in slices]
    borders = {store.border for store in stores}
    if len(borders) != 1:
        raise ValueError(f"{path}: slices have borders of {sorted(borders)} pixels: index the images again")
    # Batches of an Arrow file share one dictionary: all files, in the order in which they come.
    files = pa.array(
        dict.fromkeys(name for store in stores for name in pc.unique(store.table["file"]).to_pylist()), pa.string()
    )
    metadata = {b"kind": STORE_KIND, b"border": str(borders.pop()).encode()}
    schema = stores[0].table.schema.with_metadata(metadata)
    count = 0
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        for store, repeated in zip(stores, repeats, strict=True):
            for batch in store.table.to_batches(ROWS_A_BATCH):
                kept = batch.filter(_is_new(batch["uid"], repeated))
                places = pc.index_in(kept["file"].dictionary_decode(), value_set=files)
                columns = [kept["uid"], pa.DictionaryArray.from_arrays(places, files), kept["offset"], kept["length"]]
                writer.write_batch(pa.record_batch(columns, schema=schema))
                count += len(kept)
    return count


def join_ink(
    slices: Sequence[Path | str], stores: Sequence[Path | str], repeats: Repeats, count: int, path: Path | str
) -> None:
    """Write the thumbnails of all slices without repeats as one NumPy file, in the order of the joined store.

    Args:
        slices: thumbnails of each slice, float32 ``[n, 16, 16]``.
        stores: index of photographs of each slice, in the same order.
        repeats: of `find_repeats`.
        count: how many there are in all (`join_stores`).
        path: the file.

    Raises:
        ValueError: the slices have another number of thumbnails.
    """
    shape, start = (count, INK_SIZE, INK_SIZE), 0
    with atomic_path(path) as temporary:
        joined = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for part, store, repeated in zip(slices, stores, repeats, strict=True):
            ink, at = np.load(part, mmap_mode="r"), 0
            for batch in PhotoStore.open(store).table.select(["uid"]).to_batches(ROWS_A_BATCH):
                block = ink[at : at + len(batch)][np.asarray(_is_new(batch["uid"], repeated))]
                if start + len(block) > count:
                    break
                joined[start : start + len(block)] = block
                at, start = at + len(batch), start + len(block)
            if at != len(ink):
                raise ValueError(f"{part} has {len(ink)} thumbnails, its index {at} photographs: index them again")
        joined.flush()
        del joined


def _is_new(uids: pa.Array, repeated: pa.Array) -> pa.BooleanArray:
    return pc.invert(pc.is_in(uids, value_set=repeated))
