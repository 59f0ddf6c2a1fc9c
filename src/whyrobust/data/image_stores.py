"""Reading images by uid from stores of either kind: pixels of drawings, or photographs where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from whyrobust.data.photo_store import STORE_KIND, PhotoStore, open_locations, read_photographs
from whyrobust.data.pixel_store import Pixels, PixelStore, read_pixels
from whyrobust.data.preprocessing import Preprocessing
from whyrobust.data.records import Uids


def open_store(path: Path | str) -> PixelStore | PhotoStore:
    """Open a store of either kind.

    Raises:
        ValueError: the file is neither.
    """
    with pa.memory_map(str(path)) as source:
        try:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}") from error
    return PhotoStore.open(path) if metadata.get(b"kind") == STORE_KIND else PixelStore.open(path)


def uids_of_store(path: Path | str) -> pa.ChunkedArray:
    """Return the uids of a store of either kind, in its order, as Arrow holds them: 15 million fit into memory."""
    store = open_store(path)
    return store.table["uid"] if isinstance(store, PhotoStore) else store.uid_column


def holds_photographs(paths: Sequence[Path | str]) -> bool:
    """Tell whether stores hold photographs rather than pixels.

    Raises:
        ValueError: some do and some do not.
    """
    kinds = {isinstance(open_store(path), PhotoStore) for path in paths}
    if len(kinds) != 1:
        raise ValueError(f"{len(paths)} stores hold photographs and drawings: give stores of one kind")
    return kinds.pop()


def read_images(
    paths: Sequence[Path | str], uids: Uids, preprocessing: Preprocessing, workers: int = 1
) -> Iterator[Pixels]:
    """Yield the images of ``uids`` in that order, uint8 ``[side, side, 3]``, from stores of either kind.

    Photographs are preprocessed to ``preprocessing.size``; drawings keep the size that they were drawn at.
    """
    if holds_photographs(paths):
        yield from read_photographs(open_locations(paths, uids), preprocessing, workers)
    else:
        yield from read_pixels(paths, uids)
