"""The store of small images: uint8 RGB squares of one size by uid, in a memory-mapped Arrow IPC file.

Its counterpart for images that keep their own size and bytes is `whyrobust.data.photo_store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whyrobust.data.records import Uids, rows_of_uids, uid_column
from whyrobust.files import atomic_path

Pixels = npt.NDArray[np.uint8]


class MissingImageError(ValueError):
    """Images asked for by uid that the store does not hold."""


def _check_unique(uids: pa.ChunkedArray, where: str) -> None:
    if pc.count_distinct(uids).as_py() != len(uids):
        twice = sorted(item["values"] for item in pc.value_counts(uids).to_pylist() if item["counts"] > 1)
        raise ValueError(f"{where} holds {len(twice)} uid(s) more than once, e.g. {twice[:3]}; keep one of each")


def _check_pixels(pixels: npt.NDArray[Any]) -> None:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(f"pixels must be uint8 [n, size, size, 3]; got {pixels.dtype} {list(shape)}")


def write_pixels(path: Path | str, uids: Sequence[str], pixels: Pixels) -> None:
    """Write images as one Arrow IPC file, whole or not at all.

    Args:
        path: the file to write.
        uids: one per image, each once.
        pixels: uint8 ``[n, size, size, 3]``, RGB.

    Raises:
        ValueError: counts differ, a uid comes twice, or the pixels have another type or shape.
    """
    _check_pixels(pixels)
    if len(uids) != len(pixels):
        raise ValueError(f"{len(uids)} uids for {len(pixels)} images; give one uid for each image")
    column = pa.array(list(uids), pa.string())
    _check_unique(pa.chunked_array([column]), f"the list for {path}")
    size = pixels.shape[1]
    if size < 1:
        raise ValueError("images of 0 pixels cannot be stored; give a size of 1 or more")
    pixel_type = pa.binary(size * size * 3)
    values = pa.FixedSizeBinaryArray.from_buffers(
        pixel_type, len(pixels), [None, pa.py_buffer(np.ascontiguousarray(pixels))]
    )
    schema = pa.schema(
        [pa.field("uid", pa.string(), nullable=False), pa.field("pixels", pixel_type, nullable=False)],
        metadata={"height": str(size), "width": str(size)},
    )
    # One batch, so that a reader can view all pixels as one array without copying.
    batch = pa.record_batch([column, values], schema=schema)
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        writer.write_batch(batch)


class PixelStore:
    """Images of one size by uid, from a memory-mapped Arrow IPC file: opening one reads no pixels.

    Attributes:
        uid_column: uids in the file's order, as Arrow holds them.
        array: uint8 ``[n, size, size, 3]``, RGB, read-only; a view of the file where it holds one batch.
        size: side of the images in pixels.
    """

    def __init__(self, uids: Uids, array: Pixels) -> None:
        _check_pixels(array)
        if len(uids) != len(array):
            raise ValueError(f"{len(uids)} uids for {len(array)} images; give one uid for each image")
        self.uid_column = uid_column(uids)
        _check_unique(self.uid_column, "the image store")
        self.array = array
        self.size = int(array.shape[1])

    @classmethod
    def open(cls, path: Path | str) -> PixelStore:
        """Open a store that `write_pixels` wrote.

        Raises:
            ValueError: the file is not such a store.
        """
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            schema = reader.schema
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}; write it with write_pixels") from error
        metadata = schema.metadata or {}
        if schema.names != ["uid", "pixels"] or b"height" not in metadata or b"width" not in metadata:
            raise ValueError(
                f"{path} is not an image store: columns {schema.names}, metadata {sorted(metadata)}; "
                "it needs columns uid, pixels and metadata height, width"
            )
        height, width = int(metadata[b"height"]), int(metadata[b"width"])
        if height != width or schema.field("pixels").type != pa.binary(height * width * 3):
            raise ValueError(
                f"{path}: pixels are {schema.field('pixels').type} for a size of {height} x {width}; "
                f"square images of {height * width * 3} bytes are needed"
            )
        arrays = []
        for batch in batches:
            values = batch.column("pixels")
            flat = np.frombuffer(values.buffers()[1] or b"", dtype=np.uint8)
            start = values.offset * height * width * 3
            arrays.append(flat[start : start + len(values) * height * width * 3].reshape(-1, height, width, 3))
        if not arrays:
            arrays = [np.empty((0, height, width, 3), dtype=np.uint8)]
        uids = pa.chunked_array([batch.column("uid") for batch in batches], pa.string())
        return cls(uids, arrays[0] if len(arrays) == 1 else np.concatenate(arrays))

    @property
    def uids(self) -> list[str]:
        """All uids, in the file's order."""
        found: list[str] = self.uid_column.to_pylist()
        return found

    def __len__(self) -> int:
        return len(self.array)

    def rows_of(self, uids: Uids) -> npt.NDArray[np.int64]:
        """Return the row of each uid in `array`, int64 ``[len(uids)]``; -1 where the store lacks it."""
        return rows_of_uids(self.uid_column, uids)

    def pixels(self, uids: Sequence[str]) -> Pixels:
        """Return a copy of the images of ``uids``, in that order: uint8 ``[len(uids), size, size, 3]``.

        Raises:
            MissingImageError: some uids are not in the store; the message names them.
        """
        rows = self.rows_of(uids)
        check_no_image_is_missing(uids, rows >= 0, 1)
        return np.asarray(self.array[rows])


def check_no_image_is_missing(uids: Uids, found: npt.NDArray[np.bool_], stores: int) -> None:
    """Check that each of ``uids`` was found in one of several stores.

    Args:
        uids: uids asked for.
        found: which of them were found, ``[len(uids)]``.
        stores: number of stores, for the message.

    Raises:
        MissingImageError: some were not; the message names the first five.
    """
    missing = np.flatnonzero(~found)
    if len(missing):
        examples = ", ".join(f"'{uids[int(row)]}'" for row in missing[:5])
        raise MissingImageError(
            f"{len(missing)} of {len(uids)} images are in none of {stores} stores, for example {examples}. Keep to "
            "uids of the stores."
        )


def read_pixels(paths: Sequence[Path | str], uids: Uids) -> Pixels:
    """Return the images of ``uids`` from whichever of several stores has them, in the order of ``uids``.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    stores = [PixelStore.open(path) for path in paths]
    pixels = np.empty((len(uids), stores[0].size, stores[0].size, 3), dtype=np.uint8)
    found = np.zeros(len(uids), dtype=np.bool_)
    for store in stores:
        rows = store.rows_of(uids)
        here = rows >= 0
        pixels[here] = store.array[rows[here]]
        found |= here
    check_no_image_is_missing(uids, found, len(stores))
    return pixels
