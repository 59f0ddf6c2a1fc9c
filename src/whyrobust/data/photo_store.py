"""The store of photographs: an index by uid of images that decode, which stay where they lie on the disk.

Its counterpart for small images of one size is `whyrobust.data.pixel_store`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whyrobust.data.archives import LocationError, read_bytes
from whyrobust.data.decoding import PhotographError, decode, read_picture
from whyrobust.data.fingerprints import FINGERPRINT_DECODE_PIXELS, fingerprint_photograph, write_fingerprints
from whyrobust.data.pixel_store import Pixels, check_no_image_is_missing
from whyrobust.data.preprocessing import Preprocessing, preprocess
from whyrobust.data.records import Uids, rows_of_uids
from whyrobust.data.worker_pool import Death, map_isolated
from whyrobust.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

PHOTOGRAPHS_PER_TASK = 512

#: What one picture may take to decode: far more than one of `MAXIMUM_PIXELS` does.
DECODING_SECONDS, DECODING_BYTES = 60.0, 4 * 2**30

STORE_KIND = b"photographs"


def _check(task: tuple[str, int, int, int]) -> tuple[npt.NDArray[np.float32] | None, str]:
    """Decode one (file, offset, length, border) in a process of its own: its thumbnail, or None and the reason."""
    file, offset, length, border = task
    try:
        # The whole is decoded (a JPEG at reduced size), so that a picture cut off in the middle is found.
        return fingerprint_photograph(
            decode(read_bytes(file, offset, length), border, at_least=FINGERPRINT_DECODE_PIXELS)
        ), ""
    except (PhotographError, LocationError) as error:
        return None, str(error)


def check_photographs(
    locations: pa.Table, border: int, workers: int, fingerprints: Path | str
) -> tuple[npt.NDArray[np.bool_], pd.DataFrame]:
    """Decode every located picture once, and write thumbnails of those that decode, with memory for a few batches.

    Args:
        locations: of `locations.LOCATION_SCHEMA`.
        border: pixels to cut off each side.
        workers: number of processes; the result is the same for any number.
        fingerprints: file for the fingerprints, a NumPy array float32 ``[decoded, 16, 16]``, whole or not at all.

    Returns:
        Which pictures decode ``[n]``, and ``uid, reason`` of the others.
    """
    import pandas as pd
    from tqdm import tqdm

    decodes = np.zeros(len(locations), dtype=np.bool_)
    reasons: list[tuple[int, str]] = []
    row, files = 0, _file_locations(locations, border)
    with (
        tqdm(total=len(locations), desc="decoding", unit="image") as progress,
        write_fingerprints(fingerprints) as keep,
    ):
        for results in map_isolated(_check, files, workers, PHOTOGRAPHS_PER_TASK, DECODING_SECONDS, DECODING_BYTES):
            thumbnails = []
            for result in results:
                found, reason = (None, result.reason) if isinstance(result, Death) else result
                if found is None:
                    reasons.append((row, reason))
                else:
                    thumbnails.append(found)
                    decodes[row] = True
                row += 1
            keep(thumbnails)
            progress.update(len(results))
    uids = locations["uid"]
    failures = pd.DataFrame([(uids[at].as_py(), why) for at, why in reasons], columns=["uid", "reason"], dtype="str")
    return decodes, failures


def _file_locations(locations: pa.Table, border: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield (file, offset, length, border) of each location, with memory for one batch."""
    for start in range(0, len(locations), PHOTOGRAPHS_PER_TASK):
        part = locations.slice(start, PHOTOGRAPHS_PER_TASK)
        for location in zip(*(part[name].to_pylist() for name in ("file", "offset", "length")), strict=True):
            yield (*location, border)


def write_photographs(path: Path | str, locations: pa.Table, border: int) -> None:
    """Write the index of pictures that decode as one Arrow IPC file, whole or not at all."""
    table = locations.combine_chunks()
    schema = table.schema.with_metadata({b"kind": STORE_KIND, b"border": str(border).encode()})
    table = table.replace_schema_metadata(schema.metadata)
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


_Rows = list[tuple[str, int, int]]


class PhotoStore:
    """Photographs by uid, through an index in an Arrow IPC file that is memory-mapped.

    Attributes:
        table: ``uid, file, offset, length``.
        border: pixels that are cut off each side.
    """

    def __init__(self, table: pa.Table, border: int) -> None:
        self.table, self.border = table, border

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
        return cls(table, int(metadata[b"border"]))

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

    def locate(self, rows: npt.NDArray[np.int64]) -> _Rows:
        """Return (file, offset, length) of rows."""
        found: _Rows = [("", 0, 0)] * len(rows)
        start = 0
        # A batch at a time: Arrow may put those of a whole column together to take from them.
        for batch in self.table.select(["file", "offset", "length"]).to_batches():
            here = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
            part = batch.take(pa.array(rows[here] - start)) if len(here) else batch.slice(0, 0)
            taken = zip(*(column.to_pylist() for column in part.columns), strict=True)
            for row, location in zip(here, taken, strict=True):
                found[row] = location
            start += len(batch)
        return found


def open_locations(paths: Sequence[Path | str], uids: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """Return (file, offset, length, border) of each uid from whichever of several stores has it.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    located: list[tuple[str, int, int, int]] = [("", 0, 0, 0)] * len(uids)
    found = np.zeros(len(uids), dtype=np.bool_)
    for path in paths:
        store = PhotoStore.open(path)
        rows = store.rows_of(uids)
        here = np.flatnonzero(rows >= 0)
        for row, (file, offset, length) in zip(here, store.locate(rows[here]), strict=True):
            located[row] = (file, offset, length, store.border)
        found[here] = True
    check_no_image_is_missing(uids, found, len(paths))
    return located


def read_photographs(
    locations: Sequence[tuple[str, int, int, int]], preprocessing: Preprocessing, workers: int
) -> Iterator[Pixels]:
    """Yield each picture as uint8 ``[size, size, 3]``, decoded by threads (Pillow releases the GIL)."""

    def read(location: tuple[str, int, int, int]) -> Pixels:
        return preprocess(read_picture(*location), preprocessing)

    if workers == 1:
        yield from map(read, locations)
        return
    with ThreadPoolExecutor(workers) as executor:
        # In parts, to limit how many pictures are decoded ahead.
        for start in range(0, len(locations), 64 * workers):
            yield from executor.map(read, locations[start : start + 64 * workers])
