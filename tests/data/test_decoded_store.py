"""Photographs that are decoded once: what is stored, what a run sees of it, and that it is what decoding each shows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.datasets
import torch
from PIL import Image

from tests.data.test_photo_store import encoded, picture, write_tar
from tests.photo_index import index_photographs
from whyrobust.data.archives import LocationError, list_tar, write_locations
from whyrobust.data.decoded_store import are_stored, decode_reduced, open_decoded, store_metadata, write_decoded
from whyrobust.data.decoding import PhotographError, decode
from whyrobust.data.image_stores import read_images
from whyrobust.data.photo_store import PhotoStore, write_photographs
from whyrobust.data.pixel_store import MissingImageError, write_pixels
from whyrobust.data.preprocessing import draw_crop_boxes, study_preprocessing
from whyrobust.study.decoded_photographs import stored_side
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import BatchSettings, DecodedOnce, ImageOrder, PhotographsOnDisk
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks

#: Photographs of 640 x 427 pixels that scikit-learn brings along.
REAL = sorted(Path(sklearn.datasets.__file__).parent.glob("images/*.jpg"))

SIZE, MIN_AREA, EVERYTHING = 24, 0.35, 1e12
SIDE = stored_side(SIZE, MIN_AREA)


def index_at(folder, contents, border=0):
    tar = write_tar(folder / "photos.tar", contents)
    write_locations(folder / "locations.parquet", [(member.name, member) for member in list_tar(tar)])
    located = pq.read_table(folder / "locations.parquet")
    write_photographs(folder / "index.arrow", index_photographs(located), border)
    return PhotoStore.open(folder / "index.arrow")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two real photographs, upright and wide pictures, and one that is smaller than what is stored."""
    contents = [(path.name, path.read_bytes()) for path in REAL]
    contents += [(f"{n}.jpg", encoded(picture(50 + 3 * n, 90 - 2 * n))) for n in range(12)]
    contents += [("small.png", encoded(picture(30, 20), "PNG"))]
    folder = tmp_path_factory.mktemp("photographs")
    return index_at(folder, contents), dict(contents)


@pytest.fixture(scope="module")
def store(photographs, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "store.arrow"
    write_decoded(path, photographs[0], SIDE, EVERYTHING, workers=2)
    return path


def test_the_smallest_square_crop_is_not_enlarged():
    assert stored_side(64, 0.35) == 109 and stored_side(64, 1.0) == 64
    assert 0.35 * stored_side(64, 0.35) ** 2 >= 64**2 > 0.35 * (stored_side(64, 0.35) - 1) ** 2


def test_images_keep_their_shape_at_the_stored_side_and_none_is_enlarged(photographs, store):
    index, contents = photographs
    assert len(REAL) == 2 and sorted(index.uids) == sorted(contents)
    decoded = open_decoded([store], index.uids)
    for uid, pixels in zip(index.uids, (decoded[at] for at in range(len(decoded))), strict=True):
        whole = decode(contents[uid])
        if uid == "small.png":
            assert (pixels == np.asarray(whole)).all()
            continue
        height, width = pixels.shape[:2]
        assert min(height, width) == SIDE
        assert width / height == pytest.approx(whole.width / whole.height, rel=0.5 / SIDE)
        near = np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
        assert np.abs(pixels - near).mean() < 1.5


def test_uids_find_their_images_in_any_of_several_stores_and_batches(photographs, store, tmp_path, monkeypatch):
    monkeypatch.setattr("whyrobust.data.decoded_store.IMAGES_PER_BATCH", 4)
    index, _ = photographs
    for workers in (1, 3):
        path = tmp_path / f"{workers}.arrow"
        assert write_decoded(path, index, SIDE, EVERYTHING, workers).startswith("stored: 15 photographs")
    assert (tmp_path / "1.arrow").read_bytes() == (tmp_path / "3.arrow").read_bytes()
    other = index_at(tmp_path, [("other.jpg", encoded(picture(80, 60)))])
    write_decoded(tmp_path / "other.arrow", other, SIDE, EVERYTHING, 1)
    uids = ["9.jpg", "other.jpg", "flower.jpg", "0.jpg"]
    found = open_decoded([tmp_path / "1.arrow", tmp_path / "other.arrow"], uids)
    one_batch, alone = open_decoded([store], index.uids), open_decoded([tmp_path / "other.arrow"], ["other.jpg"])
    for at, uid in enumerate(uids):
        expected = alone[0] if uid == "other.jpg" else one_batch[index.uids.index(uid)]
        assert (found[at] == expected).all(), uid
    order = found.disk_order().tolist()
    assert [uids[at] for at in order] == [*sorted(set(uids) - {"other.jpg"}, key=index.uids.index), "other.jpg"]
    with pytest.raises(MissingImageError, match="'gone'"):
        open_decoded([store], ["0.jpg", "gone"])


def test_the_border_is_cut_off_and_what_has_gone_is_an_error(tmp_path):
    image = Image.new("RGB", (90, 80), (255, 0, 0))
    image.paste(Image.new("RGB", (86, 76), (0, 0, 255)), (2, 2))
    index = index_at(tmp_path, [("a.png", encoded(image, "PNG"))], border=2)
    write_decoded(tmp_path / "store.arrow", index, SIDE, EVERYTHING, 1)
    pixels = open_decoded([tmp_path / "store.arrow"], ["a.png"])[0]
    assert pixels.shape[0] == SIDE and not pixels[..., 0].any()
    (tmp_path / "photos.tar").unlink()
    with pytest.raises(LocationError, match=r"photos\.tar"):
        write_decoded(tmp_path / "store.arrow", index, SIDE, EVERYTHING, 1)
    assert open_decoded([tmp_path / "store.arrow"], ["a.png"])[0].shape[0] == SIDE, "a store is whole or not there"


def test_a_picture_that_was_changed_since_it_was_indexed_stops_whoever_reads_it(tmp_path):
    """As long as the old one, at its old time: neither the archive nor a decoder notices, only the index's hash."""
    contents = [
        (name, encoded(picture(90, 80, colour))) for name, colour in (("a.jpg", (200, 30, 30)), ("b.jpg", (90, 90, 9)))
    ]
    index = index_at(tmp_path, contents)
    how, tar = study_preprocessing(SIZE, "clip"), tmp_path / "photos.tar"
    whole, times = tar.read_bytes(), tar.stat()
    another = encoded(picture(20, 20, (0, 0, 250)))
    at = whole.index(contents[1][1])
    another += bytes(len(contents[1][1]) - len(another))
    assert decode(another).size == (20, 20) and len(another) == len(contents[1][1])
    readers = [
        lambda: write_decoded(tmp_path / "store.arrow", index, SIDE, EVERYTHING, 1),
        lambda: list(read_images([tmp_path / "index.arrow"], ["a.jpg", "b.jpg"], how)),
        lambda: list(
            PhotographsOnDisk(index.locate(np.arange(2)), how, 1).batches(
                [torch.arange(2)], BatchSettings(1, Augmentation(MIN_AREA), 0, torch.device("cpu")), torch.Generator()
            )
        ),
    ]
    for read in readers:
        tar.write_bytes(whole[:at] + another + whole[at + len(another) :])
        os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(
            PhotographError,
            match=rf"photos\.tar, {len(another)} bytes at {at} decoded when it was indexed and was changed since: "
            rf"its {len(another):,} bytes have another checksum; put the old one back, or start the study again",
        ):
            read()
        assert not (tmp_path / "store.arrow").exists()
        tar.write_bytes(whole)
        assert read()
        (tmp_path / "store.arrow").unlink(missing_ok=True)


def test_a_store_that_would_be_too_large_is_empty_and_not_read_from(photographs, store, tmp_path):
    index, _ = photographs
    held = sum(decode_reduced(location, SIDE).nbytes for location in index.locate(np.arange(len(index))))
    assert write_decoded(tmp_path / "all.arrow", index, SIDE, held, 1).startswith("stored")
    told = write_decoded(tmp_path / "none.arrow", index, SIDE, held - 1, 1)
    assert told.startswith("not stored: 15 photographs") and "training.decoded_store_gb" in told
    assert (tmp_path / "none.arrow").stat().st_size < 2000 < held < store.stat().st_size
    assert are_stored([store]) and not are_stored([]) and not are_stored([store, tmp_path / "none.arrow"])
    assert store_metadata(tmp_path / "none.arrow") == store_metadata(store) | {"stored": "0"}
    write_pixels(tmp_path / "pixels.arrow", ["a"], np.zeros((1, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="not a store of decoded photographs"):
        are_stored([tmp_path / "pixels.arrow"])


def test_a_large_jpeg_is_decoded_small(tmp_path, monkeypatch):
    """An eighth of each side is decoded of 2,400 x 1,600 pixels, and the result is the same but for rounding."""
    wide = picture(600, 400).resize((2400, 1600), Image.Resampling.BICUBIC)
    index = index_at(tmp_path, [("a.jpg", encoded(wide))])
    sizes = []
    convert = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda image, mode: sizes.append(image.size) or convert(image, mode))
    reduced = decode_reduced(index.locate(np.array([0]))[0], SIDE)
    assert sizes == [(300, 200)]
    near = np.asarray(wide.resize(reduced.shape[1::-1], Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(reduced - near).mean() < 1


def test_boxes_lie_within_their_image_and_have_areas_and_aspects_as_asked_for():
    shapes = np.tile([[60, 90], [90, 60], [50, 50], [1, 1], [400, 40]], (2000, 1))
    boxes = draw_crop_boxes(shapes, 0.2, np.random.default_rng(0))
    top, left, height, width = boxes.T
    assert min(top.min(), left.min()) == 0 and min(height.min(), width.min()) == 1
    assert (top + height <= shapes[:, 0]).all() and (left + width <= shapes[:, 1]).all()
    square = shapes[:, 0] == 50
    areas, aspects = (height * width)[square] / 2500, (width / height)[square]
    assert areas.min() > 0.19 and areas.max() == 1 and areas.mean() == pytest.approx(0.6, abs=0.02)
    assert aspects.min() > 0.7 and aspects.max() < 1.43 and np.log(aspects).mean() == pytest.approx(0, abs=0.01)
    room = (50 - height)[square] > 5
    assert (top[square] / (50 - height[square]).clip(1))[room].mean() == pytest.approx(0.5, abs=0.02)


def batches_of(store, uids, threads=1, views=1, strong=False, ranks=SINGLE_PROCESS, first_step=0, flip=True):
    images = DecodedOnce(open_decoded([store], uids), study_preprocessing(SIZE, "clip"), threads)
    order = ImageOrder(len(images), 8, 6, seed=5)
    augmentation = Augmentation(flip=flip, min_crop_area=MIN_AREA, strong=strong)
    settings = BatchSettings(views, augmentation, 5, torch.device("cpu"), ranks)
    generator = torch.Generator().manual_seed(5)
    shown = images.batches(order.batches(first_step), settings, generator, first_step * 8)
    return list(order.batches(first_step)), [images.finish(batch, settings) for batch in shown]


@pytest.mark.parametrize("views, strong", [(1, False), (2, True)])
def test_batches_follow_from_the_seed_alone(photographs, store, views, strong):
    """Not from threads, from stops in between, or from how many processes share a batch."""
    uids = photographs[0].uids
    order, one = batches_of(store, uids, 1, views, strong)
    _, five = batches_of(store, uids, 5, views, strong)
    assert len(one) == 6 and one[0].shape == (8 * views, 3, SIZE, SIZE) and one[0].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(one, five, strict=True))
    if not strong:  # the colours of SimCLR continue from the state of their generator
        assert all(torch.equal(a, b) for a, b in zip(one[2:], batches_of(store, uids, first_step=2)[1], strict=True))
    shares = [batches_of(store, uids, 2, views, strong, Ranks(rank, 2, rank))[1] for rank in range(2)]
    for whole, first, second in zip(one, *shares, strict=True):
        halves = [torch.cat([first[4 * view :][:4], second[4 * view :][:4]]) for view in range(views)]
        assert torch.equal(torch.cat(halves), whole)
    at = [positions.tolist().index(0) for positions in order if 0 in positions]
    shown = [
        batch[index] for batch, index in zip((b for o, b in zip(order, one, strict=True) if 0 in o), at, strict=True)
    ]
    assert len(shown) >= 3 and not torch.equal(shown[0], shown[1])
    if views == 2:
        assert not torch.equal(one[0][:8], one[0][8:])


def test_half_of_the_crops_are_mirrored(photographs, store):
    uids = photographs[0].uids
    _, plain = batches_of(store, uids, flip=False)
    _, both = batches_of(store, uids)
    pairs = [(a, b) for x, y in zip(plain, both, strict=True) for a, b in zip(x, y, strict=True)]
    kept = sum(torch.equal(a, b) for a, b in pairs)
    assert kept + sum(torch.equal(a, b.flip(2)) for a, b in pairs) == 48 and 10 < kept < 38


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_crops_of_real_photographs_look_as_if_decoded_each_time(path, tmp_path):
    """A box of the store against the same box of the whole photograph, and of a store of too few pixels."""
    size, area = 64, 0.35
    index, whole = index_at(tmp_path, [("a.jpg", path.read_bytes())]), decode(path.read_bytes())
    differences = {}
    for side in (stored_side(size, area), 40):
        write_decoded(tmp_path / "store.arrow", index, side, EVERYTHING, 1)
        images = DecodedOnce(open_decoded([tmp_path / "store.arrow"], ["a.jpg"]), study_preprocessing(size, "clip"), 1)
        height, width = images.photographs.shapes[0]
        boxes = draw_crop_boxes(np.tile([height, width], (20, 1)), area, np.random.default_rng(0))
        pixels = torch.empty((20, size, size, 3), dtype=torch.uint8)
        images._crop(pixels, np.zeros(20, dtype=np.int64), boxes)
        found = []
        for crop, (top, left, high, wide) in zip(pixels.numpy().astype(float), boxes, strict=True):
            scale = np.array([whole.width / width, whole.height / height] * 2)
            box = tuple(np.array([left, top, left + wide, top + high]) * scale)
            direct = whole.resize((size, size), Image.Resampling.BICUBIC, box=box)
            found.append(np.abs(crop - np.asarray(direct)).mean())
        differences[side] = np.mean(found)
    assert differences[stored_side(size, area)] < 3 and differences[40] > 2 * differences[stored_side(size, area)]
