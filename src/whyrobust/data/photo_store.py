"""The store of photographs: an index by uid of images that decode, which stay where they lie on the disk.

Its counterpart for small images of one size is `whyrobust.data.pixel_store`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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

_NOWHERE: Location = ("", 0, 0, 0, "", 0)

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

    def locate(self, rows: npt.NDArray[np.int64]) -> list[Location]:
        """Return the locations of rows."""
        found = [_NOWHERE] * len(rows)
        start = 0
        # A batch at a time: Arrow may copy a whole column together to take from it.
        for batch in self.table.select(["file", "offset", "length", "content"]).to_batches():
            here = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
            taken = batch.take(pa.array(rows[here] - start)) if len(here) else batch.slice(0, 0)
            columns = (column.to_pylist() for column in taken.columns)
            for row, (file, offset, length, content) in zip(here, zip(*columns, strict=True), strict=True):
                found[row] = file, offset, length, self.border, self.page, content
            start += len(batch)
        return found


def open_locations(paths: Sequence[Path | str], uids: Uids) -> list[Location]:
    """Return where each image of ``uids`` lies, from whichever of several stores has it.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    located = [_NOWHERE] * len(uids)
    found = np.zeros(len(uids), dtype=np.bool_)
    for path in paths:
        store = PhotoStore.open(path)
        rows = store.rows_of(uids)
        here = np.flatnonzero(rows >= 0)
        for row, location in zip(here, store.locate(rows[here]), strict=True):
            located[row] = location
        found[here] = True
    check_no_image_is_missing(uids, found, len(paths))
    return located


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
