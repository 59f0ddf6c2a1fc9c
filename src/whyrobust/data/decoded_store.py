"""The store of decoded photographs: a source's images, decoded once at the resolution that training needs.

Training shows an image many times; a JPEG of 12 megapixels takes a hundred times longer to decode than its reduced
pixels take to read. The file is Arrow IPC, memory-mapped: all runs and seeds share it through the page cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from whyrobust.data.decoding import read_picture
from whyrobust.data.photo_store import Location, PhotoStore
from whyrobust.data.pixel_store import Pixels, check_no_image_is_missing
from whyrobust.data.records import Uids, rows_of_uids
from whyrobust.files import atomic_path
from whyrobust.progress import ProgressBar

#: A JPEG is decoded at no less than this multiple of the stored side, then resized: its own reduction is a plain mean.
DECODED_MARGIN = 2

#: Images by which the size of a store is estimated, spread evenly over the source; few, since they are decoded twice.
SAMPLED_IMAGES = 32

#: Images that are written at a time.
IMAGES_PER_BATCH = 256

STORE_KIND = b"decoded photographs"

SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("pixels", pa.large_binary(), nullable=False),
    ]
)
"""Columns of a store; pixels are uint8 RGB ``[height, width, 3]``."""


def decode_reduced(location: Location, side: int) -> Pixels:
    """Return an image as uint8 ``[height, width, 3]``, its shorter side reduced to ``side`` pixels, never enlarged.

    Raises:
        PhotographError: it was changed since it was indexed.
        LocationError: its file has gone or was changed.
    """
    image = read_picture(*location, at_least=DECODED_MARGIN * side)
    scale = side / min(image.size)
    if scale < 1:
        width, height = (max(side, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def estimate_bytes(photographs: PhotoStore, side: int) -> int:
    """Return about how many bytes the decoded images of an index take, by a sample of them."""
    count = len(photographs)
    rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLED_IMAGES)).astype(np.int64))
    sampled = [decode_reduced(location, side).nbytes for location in photographs.locate(rows)]
    return round(sum(sampled) / max(1, len(sampled)) * count)


def write_decoded(path: Path | str, photographs: PhotoStore, side: int, limit_bytes: float, workers: int) -> str:
    """Decode every image of an index once and write the store, whole or not at all.

    Args:
        path: the file to write.
        photographs: the index.
        side: pixels of the shorter side.
        limit_bytes: a store that would be larger is written empty: its images are decoded each time they are shown.
        workers: number of threads; the result is the same for any number.

    Returns:
        What was written, as a sentence.

    Raises:
        PhotographError: an image was changed since it was indexed.
        LocationError: its file has gone or was changed.
    """
    expected = estimate_bytes(photographs, side)
    stored = expected <= limit_bytes
    size = f"{len(photographs):,} photographs with a shorter side of {side} pixels, about {expected / 1e9:.3g} GB"
    metadata = {b"kind": STORE_KIND, b"side": str(side).encode(), b"stored": str(int(stored)).encode()}
    schema = SCHEMA.with_metadata(metadata)
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        if not stored:
            return f"not stored: {size}, where training.decoded_store_gb allows {limit_bytes / 1e9:g}"
        uids = photographs.uids
        decoded = _decode_all(photographs, side, workers)
        with ProgressBar(len(uids), "decoding once", "images") as bar:
            for start in range(0, len(uids), IMAGES_PER_BATCH):
                named = uids[start : start + IMAGES_PER_BATCH]
                writer.write_batch(_record_batch(named, list(islice(decoded, len(named))), schema))
                bar.update(len(named))
    return f"stored: {size}"


def _decode_all(photographs: PhotoStore, side: int, workers: int) -> Iterator[Pixels]:
    """Yield each image of an index, decoded by threads (Pillow releases Python's lock), a stretch of them ahead."""
    reduce = partial(decode_reduced, side=side)
    with ThreadPoolExecutor(workers) as executor:
        for start in range(0, len(photographs), IMAGES_PER_BATCH):
            rows = np.arange(start, min(start + IMAGES_PER_BATCH, len(photographs)))
            yield from executor.map(reduce, photographs.locate(rows))


def _record_batch(uids: Sequence[str], images: Sequence[Pixels], schema: pa.Schema) -> pa.RecordBatch:
    ends = np.cumsum([0, *(image.nbytes for image in images)], dtype=np.int64)
    values = np.concatenate([image.reshape(-1) for image in images])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(values)]
    pixels = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(images), buffers)
    heights, widths = (pa.array([image.shape[axis] for image in images], pa.int32()) for axis in (0, 1))
    return pa.record_batch([pa.array(uids, pa.string()), heights, widths, pixels], schema=schema)


class DecodedPhotographs:
    """Decoded photographs by position: views of memory-mapped stores, so that few bytes of each are held in memory."""

    def __init__(
        self,
        buffers: Sequence[Pixels],
        buffer_of: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        shapes: npt.NDArray[np.int64],
    ) -> None:
        """Keep where each image is.

        Args:
            buffers: bytes that images lie in.
            buffer_of: number of each image's buffer ``[n]``.
            offsets: of its first byte there ``[n]``.
            shapes: height and width in pixels ``[n, 2]``.
        """
        self._buffers, self._buffer_of, self._offsets, self.shapes = buffers, buffer_of, offsets, shapes

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, position: int) -> Pixels:
        """Return an image, uint8 ``[height, width, 3]``, read-only."""
        height, width = self.shapes[position]
        start = self._offsets[position]
        flat: Pixels = self._buffers[self._buffer_of[position]][start : start + height * width * 3]
        return flat.reshape(height, width, 3)

    def disk_order(self) -> npt.NDArray[np.int64]:
        """Return all positions ``[n]`` in the order on the disk."""
        return np.lexsort((self._offsets, self._buffer_of))


def store_metadata(path: Path | str) -> dict[str, str]:
    """Return what a store says of itself: ``kind``, ``side`` and ``stored`` (0: it was too large and is empty).

    Raises:
        ValueError: the file is no such store.
    """
    with pa.memory_map(str(path)) as source:
        try:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}") from error
    if metadata.get(b"kind") != STORE_KIND:
        raise ValueError(f"{path} is not a store of decoded photographs: write it with write_decoded")
    return {key.decode(): value.decode() for key, value in metadata.items()}


def are_stored(paths: Iterable[Path | str]) -> bool:
    """Return whether there are stores and all of them hold their images: none was too large."""
    stored = [store_metadata(path)["stored"] == "1" for path in paths]
    return bool(stored) and all(stored)


def open_decoded(paths: Sequence[Path | str], uids: Uids) -> DecodedPhotographs:
    """Return the decoded images of ``uids``, in that order, from whichever of several stores has them.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    buffers: list[Pixels] = []
    buffer_of, offsets = (np.zeros(len(uids), dtype=np.int64) for _ in range(2))
    shapes, found = np.zeros((len(uids), 2), dtype=np.int64), np.zeros(len(uids), dtype=np.bool_)
    for path in paths:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        rows, first = rows_of_uids(table["uid"], uids), 0
        for batch in table.to_batches():
            here = np.flatnonzero((rows >= first) & (rows < first + len(batch)))
            inside = rows[here] - first
            pixels = batch.column("pixels")
            starts = np.frombuffer(pixels.buffers()[1], dtype=np.int64)[pixels.offset :]
            buffer_of[here], offsets[here] = len(buffers), starts[inside]
            shapes[here] = np.stack([batch.column(name).to_numpy()[inside] for name in ("height", "width")], axis=1)
            buffers.append(np.frombuffer(pixels.buffers()[2], dtype=np.uint8))
            found[here] = True
            first += len(batch)
    check_no_image_is_missing(uids, found, len(paths))
    return DecodedPhotographs(buffers, buffer_of, offsets, shapes)
