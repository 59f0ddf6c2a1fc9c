"""Every photograph decoded once: which of them decode, and their fingerprints.

Apart from `whyrobust.data.photo_store`, which training reads: how photographs are checked trains no model again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from whyrobust.data.archives import LocationError, content_hash, read_bytes
from whyrobust.data.decoding import PhotographError, decode
from whyrobust.data.fingerprints import (
    FINGERPRINT_DECODE_PIXELS,
    Fingerprints,
    fingerprint_photograph,
    write_fingerprints,
)
from whyrobust.data.photo_store import index_of
from whyrobust.data.worker_pool import Death, map_isolated

if TYPE_CHECKING:
    import pandas as pd

#: Images that a worker process is given at a time.
PHOTOGRAPHS_PER_TASK = 64

#: CPU time and memory that decoding one image may take: far more than one of `decoding.MAXIMUM_PIXELS` takes.
DECODING_SECONDS, DECODING_BYTES = 60.0, 4 * 2**30


#: Where the bytes of an image lie, and how it is decoded: file, offset, length, border in pixels, colour of its page.
_Listed = tuple[str, int, int, int, str]


def _fingerprint(listed: _Listed) -> tuple[Fingerprints, int] | str:
    """Decode an image in a worker process; return its fingerprint and a hash of its bytes, or why it cannot be."""
    file, offset, length, border, page = listed
    try:
        content = read_bytes(file, offset, length)
        # All of it is decoded (a JPEG at a reduced size), so that an image that is cut off in the middle is found.
        image = decode(content, border, FINGERPRINT_DECODE_PIXELS, page)
    except (PhotographError, LocationError) as error:
        return str(error)
    return fingerprint_photograph(image), content_hash(content)


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
        The images that decode (`photo_store.INDEX_SCHEMA`), and ``uid, reason`` of the others.
    """
    import pandas as pd

    from whyrobust.progress import ProgressBar

    decodes, contents = np.zeros(len(locations), dtype=np.bool_), array("Q")
    reasons: list[tuple[int, str]] = []
    tasks, row = _iterate_locations(locations, border, page), 0
    with (
        ProgressBar(len(locations), "decoding", "images") as progress,
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


def _iterate_locations(locations: pa.Table, border: int, page: str) -> Iterator[_Listed]:
    """Yield each location, with memory for one batch of them."""
    for start in range(0, len(locations), PHOTOGRAPHS_PER_TASK):
        batch = locations.slice(start, PHOTOGRAPHS_PER_TASK)
        columns = (batch[name].to_pylist() for name in ("file", "offset", "length"))
        for file, offset, length in zip(*columns, strict=True):
            yield file, offset, length, border, page
