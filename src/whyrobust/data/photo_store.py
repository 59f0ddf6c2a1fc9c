"""The store of photographs: an index by uid of images that decode, which stay where they lie on the disk.

Its counterpart for small images of one size is `whyrobust.data.pixel_store`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whyrobust.data.archives import LOCATION_SCHEMA, LocationError, read_bytes
from whyrobust.data.decoding import PhotographError, decode, read_picture
from whyrobust.data.fingerprints import (
    FINGERPRINT_DECODE_PIXELS,
    Fingerprints,
    fingerprint_photograph,
    write_fingerprints,
)
from whyrobust.data.pixel_store import Pixels, check_no_image_is_missing
from whyrobust.data.preprocessing import Preprocessing, preprocess
from whyrobust.data.records import Uids, rows_of_uids
from whyrobust.data.worker_pool import Death, map_isolated
from whyrobust.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

#: Where an image lies: its file, the offset and length of its bytes in it (length -1: the whole file); and how it is
#: decoded: the border in pixels that is cropped off each side, and the colour of its page ("" for none).
Location = tuple[str, int, int, int, str]

#: Images that a worker process is given at a time.
PHOTOGRAPHS_PER_TASK = 512

#: CPU time and memory that decoding one image may take: far more than one of `decoding.MAXIMUM_PIXELS` takes.
DECODING_SECONDS, DECODING_BYTES = 60.0, 4 * 2**30

INDEX_SCHEMA = LOCATION_SCHEMA.append(pa.field("content", pa.uint64(), nullable=False))
"""Columns of an index: where each image lies, and a hash of its bytes, so that an index changes with its images."""

#: Tells an index of photographs from a store of pixels, in the metadata of the file.
STORE_KIND = b"photographs"


def _fingerprint(location: Location) -> tuple[Fingerprints, int] | str:
    """Decode an image in a worker process; return its fingerprint and a hash of its bytes, or why it cannot be."""
    file, offset, length, border, page = location
    try:
        content = read_bytes(file, offset, length)
        # All of it is decoded (a JPEG at a reduced size), so that an image that is cut off in the middle is found.
        image = decode(content, border, FINGERPRINT_DECODE_PIXELS, page)
    except (PhotographError, LocationError) as error:
        return str(error)
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return fingerprint_photograph(image), int.from_bytes(digest, "little")


def check_photographs(
    locations: pa.Table, border: int, workers: int, fingerprints: Path | str, page: str = ""
) -> tuple[pa.Table, pd.DataFrame]:
    """Decode every image once and write fingerprints of those that decode, with memory for a few batches.

    Args:
        locations: of `archives.LOCATION_SCHEMA`.
        border: pixels to crop off each side.
        workers: number of processes; the result is the same for any number.
        fingerprints: the file to write, a NumPy array float32 ``[decoded, 16, 16]``; whole or not at all.
        page: colour behind what is transparent, see `decoding.decode`.

    Returns:
        The images that decode (`INDEX_SCHEMA`), and ``uid, reason`` of the others.
    """
    import pandas as pd
    from tqdm import tqdm

    decodes, contents = np.zeros(len(locations), dtype=np.bool_), array("Q")
    reasons: list[tuple[int, str]] = []
    tasks, row = _iterate_locations(locations, border, page), 0
    with (
        tqdm(total=len(locations), desc="decoding", unit="image") as progress,
        write_fingerprints(fingerprints) as append,
    ):
        for results in map_isolated(
            _fingerprint, tasks, workers, PHOTOGRAPHS_PER_TASK, DECODING_SECONDS, DECODING_BYTES
        ):
            made: list[Fingerprints] = []
            for result in results:
                if isinstance(result, Death | str):
                    reasons.append((row, result.reason if isinstance(result, Death) else result))
                else:
                    made.append(result[0])
                    contents.append(result[1])
                    decodes[row] = True
                row += 1
            append(made)
            progress.update(len(results))
    uids = locations["uid"]
    failures = pd.DataFrame([(uids[row].as_py(), why) for row, why in reasons], columns=["uid", "reason"], dtype="str")
    return index_of(locations.filter(pa.array(decodes)), contents), failures


def index_of(locations: pa.Table, contents: Sequence[int]) -> pa.Table:
    """Return locations (`archives.LOCATION_SCHEMA`) and a hash of each image's bytes as one table of `INDEX_SCHEMA`."""
    return locations.append_column(INDEX_SCHEMA.field("content"), pa.array(contents, pa.uint64()))


def _iterate_locations(locations: pa.Table, border: int, page: str) -> Iterator[Location]:
    """Yield each location, with memory for one batch of them."""
    for start in range(0, len(locations), PHOTOGRAPHS_PER_TASK):
        batch = locations.slice(start, PHOTOGRAPHS_PER_TASK)
        columns = (batch[name].to_pylist() for name in ("file", "offset", "length"))
        for file, offset, length in zip(*columns, strict=True):
            yield file, offset, length, border, page


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
        found: list[Location] = [("", 0, 0, 0, "")] * len(rows)
        start = 0
        # A batch at a time: Arrow may copy a whole column together to take from it.
        for batch in self.table.select(["file", "offset", "length"]).to_batches():
            here = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
            taken = batch.take(pa.array(rows[here] - start)) if len(here) else batch.slice(0, 0)
            columns = (column.to_pylist() for column in taken.columns)
            for row, (file, offset, length) in zip(here, zip(*columns, strict=True), strict=True):
                found[row] = file, offset, length, self.border, self.page
            start += len(batch)
        return found


def open_locations(paths: Sequence[Path | str], uids: Uids) -> list[Location]:
    """Return where each image of ``uids`` lies, from whichever of several stores has it.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    located: list[Location] = [("", 0, 0, 0, "")] * len(uids)
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
    """Yield each image as uint8 ``[size, size, 3]``, decoded by threads: Pillow releases the interpreter's lock."""

    def read(location: Location) -> Pixels:
        return preprocess(read_picture(*location), preprocessing)

    if workers == 1:
        yield from map(read, locations)
        return
    with ThreadPoolExecutor(workers) as executor:
        # A stretch at a time, so that few images are decoded ahead.
        for start in range(0, len(locations), 64 * workers):
            yield from executor.map(read, locations[start : start + 64 * workers])
