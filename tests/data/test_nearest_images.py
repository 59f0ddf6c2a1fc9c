"""The nearest training image of each source to each test image, against a plain loop over all pairs."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from whyrobust.data.decontamination import KEPT_SCHEMA
from whyrobust.data.nearest_images import SIMILARITY_SCHEMA, measure_similarity, nearest_training_images
from whyrobust.data.pixel_store import write_pixels
from whyrobust.files import write_table


def fingerprints(seed, number):
    values = np.random.default_rng(seed).standard_normal((number, 16, 16)).astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    return values / np.linalg.norm(values, axis=(1, 2), keepdims=True)


def nearest_by_loop(train, rows, test):
    found = []
    for image in test:
        values = [max(float((train[row] * image).sum()), float((train[row][:, ::-1] * image).sum())) for row in rows]
        found.append((int(np.argmax(values)), max(values)))
    return found


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_the_nearest_is_that_of_a_loop_over_all_pairs_that_are_left(chunk):
    train, test, rows = fingerprints(0, 9), fingerprints(1, 5), np.array([0, 2, 3, 5, 8])
    # A mirrored copy, and a nearer one that was removed.
    test[1] = 0.9 * train[5][:, ::-1] + 0.1 * test[1]
    test[2] = train[4]
    index, similarity = nearest_training_images(train, rows, test, chunk)
    expected = nearest_by_loop(train, rows, test)
    assert index.tolist() == [position for position, _ in expected] and index[1] == 3
    assert similarity == pytest.approx([value for _, value in expected], abs=1e-6)
    assert similarity[2] < 0.5


def test_a_source_without_images_is_refused():
    with pytest.raises(ValueError, match="no image left"):
        nearest_training_images(fingerprints(0, 3), np.array([], dtype=np.int64), fingerprints(1, 2))


def test_every_test_image_has_a_row_for_each_source(tmp_path):
    values, left = {}, {}
    for number, (name, uids) in enumerate(
        {"studio": ["s0", "s1", "s2"], "web": ["w0", "w1"], "same": ["a"], "shift": ["b", "c"]}.items()
    ):
        values[name] = fingerprints(number, len(uids))
        left[name] = uids[1:] if name == "studio" else uids[::-1]
        write_pixels(tmp_path / f"{name}.arrow", uids, np.zeros((len(uids), 4, 4, 3), dtype=np.uint8))
        np.save(tmp_path / f"{name}.npy", values[name])
        kept = pd.DataFrame({"uid": left[name], "label": "x", "group": left[name], "collection": name})
        write_table(tmp_path / f"{name}.parquet", kept, KEPT_SCHEMA)
    # Nearest to the image of studio that was removed, and next to the last.
    values["shift"][0] = 0.8 * values["studio"][0] + 0.2 * values["studio"][2]
    np.save(tmp_path / "shift.npy", values["shift"])

    def files(ending):
        return {name: tmp_path / f"{name}.{ending}" for name in values}

    table = measure_similarity(files("arrow"), files("npy"), files("parquet"), ["studio", "web"], ["same", "shift"])
    assert table.schema == SIMILARITY_SCHEMA
    write_table(tmp_path / "similarity.parquet", table)
    rows = pq.read_table(tmp_path / "similarity.parquet").to_pylist()
    assert [(row["source"], row["test_set"], row["uid"]) for row in rows] == [
        (source, *image) for source in ("studio", "web") for image in (("same", "a"), ("shift", "c"), ("shift", "b"))
    ]
    assert rows[2]["nearest_uid"] == "s2"
    assert rows[2]["similarity"] == pytest.approx(float((values["shift"][0] * values["studio"][2]).sum()), abs=1e-6)
