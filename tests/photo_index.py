"""The index of photographs that a test wrote: what `index_images` makes, without the processes that check them."""

from __future__ import annotations

import pyarrow as pa

from whyrobust.data.archives import content_hash, read_bytes
from whyrobust.data.photo_store import index_of


def index_photographs(located: pa.Table) -> pa.Table:
    """Return locations (`archives.LOCATION_SCHEMA`) with the hash of each image's bytes."""
    places = zip(*(located[name].to_pylist() for name in ("file", "offset", "length")), strict=True)
    return index_of(located, [content_hash(read_bytes(*place)) for place in places])
