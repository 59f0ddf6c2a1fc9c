"""The store of photographs: an index by uid of images that decode, which stay where they lie on the disk.

Its counterpart for small images of one size is `whyrobust.data.pixel_store`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whyrobust.data.archives import LOCATION_SCHEMA
from whyrobust.data.decoding import read_picture
from whyrobust.data.pixel_store import Pixels, check_no_image_is_missing
from whyrobust.data.preprocessing import Preprocessing, preprocess
from whyrobust.data.records import Uids, rows_of_uids
from whyrobust.files import atomic_path

#: Where an image lies: its file, the offset and length of its bytes in it (length -1: the whole file); how it is
#: decoded: the border in pixels that is cropped off each side, and the colour of its page ("" for none); and the hash
#: of its bytes when it was indexed.
Location = tuple[str, int, int, int, str, int]


@dataclass(frozen=True, eq=False)
class Locations(Sequence[Location]):
    """Locations as columns: 32 bytes per image, where Python's tuples and numbers take some 250.

    Attributes:
        files: that images lie in, each once.
        ways: how images are decoded, border and page, each once.
        file_of: number of each image's file, int32 ``[n]``.
        offsets: int64 ``[n]``.
        lengths: int64 ``[n]``.
        way_of: number of each image's way, int32 ``[n]``.
        contents: hash of each image's bytes, uint64 ``[n]``.
    """

    files: list[str]
    ways: list[tuple[int, str]]
    file_of: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    way_of: npt.NDArray[np.int32]
    contents: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, position: int) -> Location: ...
    @overload
    def __getitem__(self, position: slice) -> list[Location]: ...
    def __getitem__(self, position: int | slice) -> Location | list[Location]:
        """Return a location, or a list of those of a slice."""
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        file, way = self.files[self.file_of[position]], self.ways[self.way_of[position]]
        return file, int(self.offsets[position]), int(self.lengths[position]), *way, int(self.contents[position])

    def disk_order(self) -> npt.NDArray[np.int64]:
        """Return all positions ``[n]`` by the names of their files and by offset."""
        rank = np.empty(len(self.files), dtype=np.int32)
        rank[sorted(range(len(self.files)), key=self.files.__getitem__)] = np.arange(len(self.files))
        return np.lexsort((self.offsets, rank[self.file_of]))


INDEX_SCHEMA = LOCATION_SCHEMA.append(pa.field("content", pa.uint64(), nullable=False))
"""Columns of an index: where each image lies, and a hash of its bytes, so that an index changes with its images."""

#: Tells an index of photographs from a store of pixels, in the metadata of the file.
STORE_KIND = b"photographs"


def index_of(locations: pa.Table, contents: Sequence[int]) -> pa.Table:
    """Return locations (`archives.LOCATION_SCHEMA`) and a hash of each image's bytes as one table of `INDEX_SCHEMA`."""
    return locations.append_column(INDEX_SCHEMA.field("content"), pa.array(contents, pa.uint64()))


def write_photographs(path: Path | str, images: pa.Table, border: int, page: str = "") -> None:
    """Write the index of images that decode as one Arrow IPC file, whole or not at all.

    Args:
        path: the file to write.
        images: of `INDEX_SCHEMA`.
        border: pixels to crop off each side.
        page: colour behind what is transparent, see `decoding.decode`.
    """
    table = images.select(INDEX_SCHEMA.names).combine_chunks().replace_schema_metadata(index_metadata(border, page))
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


def index_metadata(border: int, page: str) -> dict[bytes, bytes]:
    """Return what an index says of all its images: how they are decoded."""
    return {b"kind": STORE_KIND, b"border": str(border).encode(), b"page": page.encode()}


class PhotoStore:
    """Photographs by uid, through an index in a memory-mapped Arrow IPC file.

    Attributes:
        table: of `INDEX_SCHEMA`.
        border: pixels that are cropped off each side.
        page: colour behind what is transparent; empty where there is none.
    """

    def __init__(self, table: pa.Table, border: int, page: str) -> None:
        self.table, self.border, self.page = table, border, page

    @classmethod
    def open(cls, path: Path | str) -> PhotoStore:
        """Open an index that `write_photographs` wrote.

        Raises:
            ValueError: the file is not such an index.
        """
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}") from error
        metadata = table.schema.metadata or {}
        if metadata.get(b"kind") != STORE_KIND:
            raise ValueError(f"{path} is not an index of photographs: write it with write_photographs")
        return cls(table, int(metadata[b"border"]), metadata[b"page"].decode())

    @property
    def uids(self) -> list[str]:
        """All uids, in the order of the index."""
        found: list[str] = self.table["uid"].to_pylist()
        return found

    def __len__(self) -> int:
        return len(self.table)

    def rows_of(self, uids: Uids) -> npt.NDArray[np.int64]:
        """Return the row of each uid, int64 ``[len(uids)]``; -1 where the store lacks it.

        Memory grows with ``uids``, not with the store.
        """
        return rows_of_uids(self.table["uid"], uids)

    def locate(self, rows: npt.NDArray[np.int64]) -> Locations:
        """Return the locations of rows."""
        number: dict[str, int] = {}
        file_of, contents = np.zeros(len(rows), dtype=np.int32), np.zeros(len(rows), dtype=np.uint64)
        offsets, lengths = np.zeros((2, len(rows)), dtype=np.int64)
        start = 0
        # A batch at a time: Arrow may copy a whole column together to take from it.
        for batch in self.table.select(["file", "offset", "length", "content"]).to_batches():
            here = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
            taken = batch.take(pa.array(rows[here] - start)) if len(here) else batch.slice(0, 0)
            names, offset, length, content = taken.columns
            numbers = [number.setdefault(name, len(number)) for name in names.dictionary.to_pylist()]
            file_of[here] = np.array(numbers, dtype=np.int32)[names.indices.to_numpy()]
            offsets[here], lengths[here], contents[here] = offset.to_numpy(), length.to_numpy(), content.to_numpy()
            start += len(batch)
        way_of = np.zeros(len(rows), dtype=np.int32)
        return Locations(list(number), [(self.border, self.page)], file_of, offsets, lengths, way_of, contents)


def open_locations(paths: Sequence[Path | str], uids: Uids) -> Locations:
    """Return where each image of ``uids`` lies, from whichever of several stores has it.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    number: dict[str, int] = {}
    file_of, way_of = np.zeros((2, len(uids)), dtype=np.int32)
    offsets, lengths = np.zeros((2, len(uids)), dtype=np.int64)
    contents, ways = np.zeros(len(uids), dtype=np.uint64), list[tuple[int, str]]()
    found = np.zeros(len(uids), dtype=np.bool_)
    for path in paths:
        store = PhotoStore.open(path)
        rows = store.rows_of(uids)
        here = np.flatnonzero(rows >= 0)
        located = store.locate(rows[here])
        numbers = [number.setdefault(name, len(number)) for name in located.files]
        file_of[here], way_of[here] = np.array(numbers, dtype=np.int32)[located.file_of], len(ways)
        offsets[here], lengths[here], contents[here] = located.offsets, located.lengths, located.contents
        ways += located.ways
        found[here] = True
    check_no_image_is_missing(uids, found, len(paths))
    return Locations(list(number), ways, file_of, offsets, lengths, way_of, contents)


def read_photographs(locations: Sequence[Location], preprocessing: Preprocessing, workers: int) -> Iterator[Pixels]:
    """Yield each image as uint8 ``[size, size, 3]``, decoded by threads: Pillow releases the interpreter's lock.

    Raises:
        PhotographError: an image was changed since it was indexed.
        LocationError: its file has gone or was changed.
    """

    def read(location: Location) -> Pixels:
        return preprocess(read_picture(*location), preprocessing)

    if workers == 1:
        yield from map(read, locations)
        return
    with ThreadPoolExecutor(workers) as executor:
        # A stretch at a time, so that few images are decoded ahead.
        for start in range(0, len(locations), 64 * workers):
            yield from executor.map(read, locations[start : start + 64 * workers])
