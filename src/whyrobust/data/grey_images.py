"""Grey images of a subset: its table says in its schema that they are, and whoever reads the pixels turns them grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.pixel_store import Pixels

#: Weights of red, green and blue in the grey of an image (ITU-R BT.601), in thousandths.
GREY_WEIGHTS = (299, 587, 114)

_KEY, _GREY = b"colour", b"grey"


def mark_grey(subset: pa.Table) -> pa.Table:
    """Return a table of images whose schema says that they are to be turned grey."""
    return subset.replace_schema_metadata({_KEY: _GREY})


def is_grey(table: Path | str) -> bool:
    """Say whether the images of a Parquet table are to be turned grey when they are read."""
    return bool((pq.read_schema(table).metadata or {}).get(_KEY) == _GREY)


def turn_grey(pixels: Pixels) -> Pixels:
    """Return images, uint8 ``[..., 3]``, with the luminance of each pixel in all three channels."""
    weighted = pixels.astype(np.uint32) @ np.array(GREY_WEIGHTS, dtype=np.uint32)
    return np.repeat(((weighted + 500) // 1000).astype(np.uint8)[..., None], 3, axis=-1)
