"""The store of small images: what is written is read back, by uid, and what is wrong is refused."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.data.pixel_store import MissingImageError, PixelStore, write_pixels


def some_pixels(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@given(st.lists(st.text(max_size=5), unique=True, max_size=6), st.integers(1, 5), st.randoms())
@settings(max_examples=25, deadline=None)
def test_a_store_gives_back_what_was_written(tmp_path_factory, uids, size, random):
    uids = [uid.encode("utf-8", "ignore").decode() + str(i) for i, uid in enumerate(uids)]
    path = tmp_path_factory.mktemp("store") / "images.arrow"
    pixels = some_pixels(len(uids), size)
    write_pixels(path, uids, pixels)
    store = PixelStore.open(path)
    assert (store.uids, store.size, len(store)) == (uids, size, len(uids))
    np.testing.assert_array_equal(store.array, pixels)
    wanted = random.choices(range(len(uids)), k=8) if uids else []
    np.testing.assert_array_equal(store.pixels([uids[i] for i in wanted]), pixels[wanted])


def test_a_store_is_a_view_of_the_file_in_the_agreed_format(tmp_path):
    path = tmp_path / "images.arrow"
    pixels = some_pixels(3, 4)
    write_pixels(path, ["a", "b", "c"], pixels)
    table = pa.ipc.open_file(str(path)).read_all()
    assert table.schema.field("pixels").type == pa.binary(48)
    assert table.schema.metadata == {b"height": b"4", b"width": b"4"}
    assert table["pixels"][1].as_py() == pixels[1].tobytes()
    store = PixelStore.open(path)
    assert not store.array.flags.owndata
    assert not store.array.flags.writeable
    assert store.pixels(["a"]).flags.writeable


def test_a_store_of_several_batches_is_read_whole(tmp_path):
    pixels = some_pixels(4, 2)
    schema = pa.schema([("uid", pa.string()), ("pixels", pa.binary(12))], metadata={"height": "2", "width": "2"})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), schema) as writer:
        for start in (0, 3):
            rows = [image.tobytes() for image in pixels[start : start + 3]]
            uids = [str(i) for i in range(start, start + len(rows))]
            writer.write_batch(pa.record_batch([pa.array(uids), pa.array(rows, pa.binary(12))], schema=schema))
    np.testing.assert_array_equal(PixelStore.open(tmp_path / "x.arrow").array, pixels)


def test_missing_images_are_named(tmp_path):
    write_pixels(tmp_path / "x.arrow", ["a"], some_pixels(1, 2))
    store = PixelStore.open(tmp_path / "x.arrow")
    assert store.rows_of(["b", "a"]).tolist() == [-1, 0]
    with pytest.raises(MissingImageError, match=r"2 of 3.*'b', 'c'"):
        store.pixels(["a", "b", "c"])


def test_a_failed_write_leaves_the_old_store(tmp_path):
    path = tmp_path / "x.arrow"
    write_pixels(path, ["a"], some_pixels(1, 2))
    for uids, pixels in (
        (["a", "a"], some_pixels(2, 2)),
        (["a"], some_pixels(2, 2)),
        (["a"], some_pixels(1, 2).astype(np.float32)),
        (["a"], some_pixels(1, 4)[:, :2]),
    ):
        with pytest.raises(ValueError):
            write_pixels(path, uids, pixels)

    class Uids(list):
        def __iter__(self) -> Iterator[str]:
            raise OSError("disk full")

    with pytest.raises(OSError):
        write_pixels(path, Uids(["b"]), some_pixels(1, 2))
    assert PixelStore.open(path).uids == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.arrow"]


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "x.arrow").write_bytes(b"not arrow at all")
    with pytest.raises(ValueError, match="Arrow"):
        PixelStore.open(tmp_path / "x.arrow")
    table = pa.table({"uid": ["a"]})
    with pa.ipc.new_file(str(tmp_path / "y.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="not an image store"):
        PixelStore.open(tmp_path / "y.arrow")
