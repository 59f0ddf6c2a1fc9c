"""The training image of each source that is nearest to a test image, after decontamination.

A model may do well on a shift because its source has images like those of the shift. How near a source comes to a test
image is the highest correlation of their fingerprints (`whyrobust.data.fingerprints`), mirrored or not, over all images
of the source that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.fingerprints import Fingerprints
from whyrobust.data.image_stores import uids_of_store
from whyrobust.data.near_duplicates import TRAINING_IMAGES_PER_CHUNK, Indices, best_matches
from whyrobust.data.records import require_rows_of_uids

#: Columns of ``similarity.parquet``: a row for each test image and source.
SIMILARITY_SCHEMA = pa.schema(
    [
        ("test_set", pa.dictionary(pa.int32(), pa.string())),
        ("uid", pa.string()),
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("nearest_uid", pa.string()),
        ("similarity", pa.float32()),
    ]
)


def nearest_training_images(
    train: Fingerprints, rows: Indices, test: Fingerprints, chunk: int = TRAINING_IMAGES_PER_CHUNK
) -> tuple[Indices, npt.NDArray[np.float32]]:
    """Find the training image that is nearest to each test image.

    Args:
        train: of a source ``[n, 16, 16]``; may lie on the disk.
        rows: which of them are compared, at least one.
        test: ``[m, 16, 16]``.
        chunk: training images that are compared at a time.

    Returns:
        For each test image the position in ``rows`` of the nearest (the first of equals), int64 ``[m]``, and its
        similarity, a correlation, float32 ``[m]``.

    Raises:
        ValueError: there is no training image.
    """
    if not len(rows):
        raise ValueError("the source has no image left to compare with: give one that has")
    nearest = np.zeros(len(test), dtype=np.int64)
    similarity = np.full(len(test), -np.inf, dtype=np.float32)
    for start in range(0, len(rows), chunk):
        part = np.asarray(train[rows[start : start + chunk]])
        index, found, _ = best_matches(test, part)
        nearer = found > similarity
        nearest[nearer], similarity[nearer] = start + index[nearer], found[nearer]
    return nearest, similarity


def read_kept_fingerprints(
    images: Path | str, fingerprints: Path | str, kept: Path | str
) -> tuple[pa.ChunkedArray, Fingerprints, Indices]:
    """Return the uids of the images that are left of a data set, all its fingerprints, and which rows are theirs.

    Args:
        images: its image store.
        fingerprints: of the images of the store, in its order.
        kept: what decontamination left of it.
    """
    uids = pq.read_table(kept, columns=["uid"])["uid"]
    rows = require_rows_of_uids(uids_of_store(images), uids, str(images))
    return uids, np.load(fingerprints, mmap_mode="r"), rows


def measure_similarity(
    images: Mapping[str, Path | str],
    fingerprints: Mapping[str, Path | str],
    kept: Mapping[str, Path | str],
    sources: Sequence[str],
    test_sets: Sequence[str],
) -> pa.Table:
    """Measure how near every source comes to every test image.

    Args:
        images: image store of each data set, by name.
        fingerprints: of the images of each store, in its order.
        kept: what decontamination left of each data set.
        sources: names of the training sources.
        test_sets: names of the test sets.

    Returns:
        A table of `SIMILARITY_SCHEMA`, source by source, each with the images of one test set after the other.
    """

    def read(name: str) -> tuple[pa.ChunkedArray, Fingerprints, Indices]:
        return read_kept_fingerprints(images[name], fingerprints[name], kept[name])

    tests = {name: read(name) for name in test_sets}
    names = np.repeat(list(tests), [len(uids) for uids, _, _ in tests.values()])
    uids = pa.chunked_array([chunk for test, _, _ in tests.values() for chunk in test.chunks], pa.string())
    test = np.concatenate([values[rows] for _, values, rows in tests.values()])
    parts = []
    for source in sources:
        train_uids, values, rows = read(source)
        nearest, similarity = nearest_training_images(values, rows, test)
        columns = {
            "test_set": pa.array(names, pa.string()).dictionary_encode(),
            "uid": uids,
            "source": pa.array([source] * len(names), pa.string()).dictionary_encode(),
            "nearest_uid": train_uids.take(pa.array(nearest)),
            "similarity": pa.array(similarity),
        }
        parts.append(pa.table(columns).cast(SIMILARITY_SCHEMA))
    return pa.concat_tables(parts).unify_dictionaries()
