"""Photographs: where they lie, decoding of odd ones, preprocessing as open_clip's, and loading for training."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.photo_index import index_photographs
from whyrobust.data import archives
from whyrobust.data.archives import (
    MAXIMUM_OPEN,
    LocationError,
    Member,
    Pack,
    content_hash,
    list_archive,
    list_tar,
    read_bytes,
    write_locations,
)
from whyrobust.data.decoding import PhotographError, decode
from whyrobust.data.fingerprints import fingerprint_photograph
from whyrobust.data.image_stores import holds_photographs, read_images
from whyrobust.data.photo_checks import check_photographs
from whyrobust.data.photo_store import PhotoStore, open_locations, write_photographs
from whyrobust.data.pixel_store import MissingImageError, write_pixels
from whyrobust.data.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing, preprocess, study_preprocessing
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import BatchSettings, ImageOrder, PhotographsOnDisk
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.settings import Hyperparameters, TrainingSettings

CPU = ComputeSettings("cpu")
RNG = np.random.default_rng(0)


def picture(width=60, height=40, colour=(200, 30, 30)):
    """A smooth picture with some noise, as photographs are."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = 0.5 + 0.3 * np.sin(6 * x[..., None] + np.array([0, 2, 4])) * np.cos(5 * y[..., None])
    values = waves * np.array(colour) + RNG.integers(0, 20, (height, width, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def jpeg_name(name):
    return name.endswith(".jpg")


def pack_at(tmp_path):
    return (tmp_path / "pack.bin").open("wb"), tmp_path / "pack.bin"


def test_members_of_a_tar_are_read_in_place(tmp_path):
    contents = [(f"a/{n}.jpg", encoded(picture(30 + n, 20))) for n in range(5)]
    inner = write_tar(tmp_path / "n01.tar", [("n01_1.jpg", contents[0][1]), ("n01_2.jpg", contents[1][1])])
    outer = write_tar(tmp_path / "outer.tar", [("n01.tar", inner.read_bytes()), *contents])
    found = list(list_tar(outer, nested=True))
    assert [member.name for member in found[:2]] == ["n01/n01_1.jpg", "n01/n01_2.jpg"]
    bytes_of = {member.name: read_bytes(member.file, member.offset, member.length) for member in found}
    assert bytes_of["n01/n01_2.jpg"] == contents[1][1]
    assert all(bytes_of[name] == content for name, content in contents)


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "folder"])
def test_other_archives_and_folders_give_the_same_bytes(tmp_path, kind):
    contents = {f"top/x {n}/a.jpg": encoded(picture(30 + n, 20)) for n in range(3)} | {"top/README.txt": b"x"}
    place = tmp_path / kind
    if kind == "zip":
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    elif kind == "folder":
        for name, content in contents.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    else:
        write_tar(place, contents.items(), "w:gz")
    handle, path = pack_at(tmp_path)
    with handle:
        found = list(list_archive(place, Pack(handle, path), jpeg_name))
    assert {member.name: read_bytes(member.file, member.offset, member.length) for member in found} == {
        name: content for name, content in contents.items() if jpeg_name(name)
    }


def test_what_an_archive_holds_besides_files_is_missing_and_names_are_never_paths(tmp_path):
    path = tmp_path / "evil.tar"
    content = encoded(picture())
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        device = tarfile.TarInfo("device.jpg")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
        info = tarfile.TarInfo("../../outside.jpg")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    before = sorted(tmp_path.parent.rglob("*"))
    found = list(list_tar(path))
    assert [bool(member.missing) for member in found] == [True, True, False]
    found = found[2:]
    assert [member.name for member in found] == ["../../outside.jpg"]
    assert read_bytes(found[0].file, found[0].offset, found[0].length) == content
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_damaged_archives_are_errors_that_name_them(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", [("a.jpg", b"x" * 5000), ("b.jpg", b"y" * 5000)]).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:8000])
    with pytest.raises(LocationError, match=r"cut\.tar"):
        list(list_tar(tmp_path / "cut.tar"))
    (tmp_path / "none.tar").write_bytes(b"<html>log in first</html>" * 100)
    handle, path = pack_at(tmp_path)
    with handle, pytest.raises(LocationError, match=r"none\.tar"):
        list(list_archive(tmp_path / "none.tar", Pack(handle, path), jpeg_name))
    with pytest.raises(LocationError, match="holds 3 of 10"):
        (tmp_path / "short").write_bytes(b"abc")
        read_bytes(str(tmp_path / "short"), 0, 10)
    with pytest.raises(LocationError, match="put it back"):
        read_bytes(str(tmp_path / "gone"), 0, 10)


ODD = {
    "cmyk": lambda image: encoded(image.convert("CMYK")),
    "grey": lambda image: encoded(image.convert("L")),
    "png in disguise": lambda image: encoded(image, "PNG"),
    "palette with transparency": lambda image: encoded(image.quantize(8), "PNG", transparency=0),
    "transparent": lambda image: encoded(image.convert("RGBA"), "PNG"),
    "16-bit": lambda image: encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
    "animated": lambda image: encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
    "1x1": lambda image: encoded(image.resize((1, 1)), "PNG"),
    "webp": lambda image: encoded(image, "WEBP"),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_pictures_decode_to_rgb(name):
    image = picture()
    found = decode(ODD[name](image))
    assert found.mode == "RGB" and found.size == (image.size if name != "1x1" else (1, 1))
    if name in ("png in disguise", "transparent"):
        assert (np.asarray(found) == np.asarray(image)).all()
    if name == "16-bit":
        assert (np.asarray(found)[..., 0] == np.asarray(image.convert("L"))).all()
    assert preprocess(found, Preprocessing(24)).shape == (24, 24, 3)


def test_what_is_no_picture_is_refused_with_a_reason():
    whole = encoded(picture(300, 200))
    for content in (whole[: len(whole) // 2], b"", b"<html></html>", whole[:20]):
        with pytest.raises(PhotographError, match="does not decode"):
            decode(content)
    # 20,000 x 20,000 pixels in a few bytes.
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with pytest.raises(PhotographError, match="pixels"):
        decode(bomb.getvalue())


def test_a_border_is_cut_off_and_orientation_is_left_alone():
    image = Image.new("RGB", (40, 30), (255, 0, 0))
    image.paste(Image.new("RGB", (36, 26), (0, 0, 255)), (2, 2))
    assert np.unique(np.asarray(decode(encoded(image, "PNG"), border=2)).reshape(-1, 3), axis=0).tolist() == [
        [0, 0, 255]
    ]
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(picture(60, 40), exif=exif)).size == (60, 40)
    with pytest.raises(PhotographError, match="not larger than its border"):
        decode(encoded(Image.new("RGB", (4, 4)), "PNG"), border=2)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(61, 40), (40, 97), (33, 33), (20, 300), (32, 32), (5, 7), (75, 74), (49, 139)])
def test_preprocessing_equals_open_clips_bit_for_bit(mode, interpolation, size):
    from open_clip.transform import image_transform

    from whyrobust.training.augmentation import normalise_pixels

    image = picture(*size)
    theirs = image_transform(
        32, is_train=False, mean=CLIP_MEAN, std=CLIP_STD, resize_mode=mode, interpolation=interpolation
    )(image)
    how = Preprocessing(32, CLIP_MEAN, CLIP_STD, interpolation, mode)
    ours = normalise_pixels(torch.from_numpy(preprocess(image, how)[None]), how.mean, how.std)[0]
    assert torch.equal(ours, theirs)


@pytest.fixture
def store(tmp_path):
    contents = [(f"{n}.jpg", encoded(picture(40 + n, 50, RNG.integers(50, 250, 3)))) for n in range(30)]
    contents[7] = ("7.jpg", contents[7][1][:300])
    tar = write_tar(tmp_path / "photos.tar", contents)
    rows = [(f"set/{member.name}", member) for member in list_tar(tar)]
    write_locations(tmp_path / "locations.parquet", rows)
    locations = pq.read_table(tmp_path / "locations.parquet")
    decoded, failures = check_photographs(locations, 0, 1, tmp_path / "fingerprints.npy")
    fingerprints = np.load(tmp_path / "fingerprints.npy")
    write_photographs(tmp_path / "photos.arrow", decoded, 0)
    return tmp_path / "photos.arrow", dict(contents), fingerprints, failures


def test_pictures_that_do_not_decode_are_counted_and_left_out(store):
    path, contents, fingerprints, failures = store
    assert failures["uid"].tolist() == ["set/7.jpg"] and "does not decode" in failures["reason"][0]
    assert len(PhotoStore.open(path)) == len(fingerprints) == 29
    assert np.allclose(np.linalg.norm(fingerprints.reshape(29, -1), axis=1), 1)
    uids = ["set/20.jpg", "set/3.jpg"]
    how = study_preprocessing(24, "clip")
    for uid, pixels in zip(uids, read_images([path], uids, how, workers=2), strict=True):
        assert (pixels == preprocess(decode(contents[uid.removeprefix("set/")]), how)).all()
    with pytest.raises(MissingImageError, match=r"set/7\.jpg"):
        open_locations([path], ["set/1.jpg", "set/7.jpg"])


def test_locations_in_columns_are_those_of_each_image_of_several_stores(tmp_path):
    expected, stores = {}, []
    for border, (page, tars) in enumerate((("white", "dc"), ("", "ba"))):
        rows = []
        for name in tars:
            path = tmp_path / f"{name}.tar"
            rows += list_tar(write_tar(path, [(f"{name}/{number}.jpg", bytes(number)) for number in range(5)]))
        for row in rows:
            content = content_hash(read_bytes(row.file, row.offset, row.length))
            expected[row.name] = row.file, row.offset, row.length, border, page, content
        write_locations(tmp_path / "l.parquet", [(rows[at].name, rows[at]) for at in RNG.permutation(len(rows))])
        stores.append(tmp_path / f"{page}.arrow")
        located = pq.read_table(tmp_path / "l.parquet")
        write_photographs(stores[-1], index_photographs(located), border, page)
    uids = [str(uid) for uid in RNG.permutation(list(expected))]
    found, wanted = open_locations(stores, uids), [expected[uid] for uid in uids]
    assert list(found) == wanted and found[3:7] == wanted[3:7]
    assert found.disk_order().tolist() == sorted(range(len(uids)), key=lambda position: wanted[position][:2])


def test_an_archive_stays_open_while_it_is_read_though_nothing_else_keeps_it(tmp_path, monkeypatch):
    """As where two threads open it at once, of which only one's is kept, or others push it out."""
    (tmp_path / "a.tar").write_bytes(b"content")
    monkeypatch.setattr(archives, "_opened", archives._opened.__wrapped__)
    assert read_bytes(str(tmp_path / "a.tar"), 3, 4) == b"tent"


def test_archives_stay_open_but_not_all_and_not_when_they_were_replaced(tmp_path):
    paths = [tmp_path / f"{number}.tar" for number in range(2 * MAXIMUM_OPEN)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number] * 4))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number, path in enumerate(2 * paths):
        assert read_bytes(str(path), 1, 2) == bytes([number % len(paths)] * 2)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + MAXIMUM_OPEN
    (tmp_path / "new").write_bytes(b"new!")
    (tmp_path / "new").replace(paths[-1])
    assert read_bytes(str(paths[-1]), 0, 4) == b"new!"
    paths[-1].write_bytes(b"cut")
    with pytest.raises(LocationError, match="3 of 4 bytes"):
        read_bytes(str(paths[-1]), 0, 4)
    paths[-1].unlink()
    with pytest.raises(LocationError, match="put it back"):
        read_bytes(str(paths[-1]), 0, 2)


def test_photographs_are_read_without_torch(store):
    """Its import, and torchvision's, would take longer than a page's samples."""
    path, *_ = store
    code = (
        "import sys; from whyrobust.data.image_stores import read_images; "
        "from whyrobust.data.preprocessing import Preprocessing; "
        "print(len(list(read_images([sys.argv[1]], ['set/3.jpg'], Preprocessing(24)))), "
        "*[name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_thumbnails_are_those_of_each_picture_in_order_whatever_the_number_of_processes(tmp_path, monkeypatch):
    contents = [encoded(picture(40, 50, RNG.integers(50, 250, 3))) for _ in range(50)]
    contents[20] = b"x"
    tar = write_tar(tmp_path / "t.tar", [(f"{n}.jpg", content) for n, content in enumerate(contents)])
    write_locations(tmp_path / "l.parquet", [(member.name, member) for member in list_tar(tar)])
    monkeypatch.setattr("whyrobust.data.photo_checks.PHOTOGRAPHS_PER_TASK", 4)
    wanted = np.stack([fingerprint_photograph(decode(c, at_least=64)) for n, c in enumerate(contents) if n != 20])
    for workers in (1, 2):
        path = tmp_path / f"{workers}.npy"
        decoded, failures = check_photographs(pq.read_table(tmp_path / "l.parquet"), 0, workers, path)
        assert (np.load(path) == wanted).all() and np.load(path).dtype == np.float32
        assert decoded["uid"].to_pylist() == [f"{n}.jpg" for n in range(50) if n != 20]
        assert failures["uid"].tolist() == ["20.jpg"]
    plain = io.BytesIO()
    np.save(plain, wanted)
    assert path.read_bytes() == plain.getvalue()


def test_stores_of_two_kinds_are_told_apart(store, tmp_path):
    write_pixels(tmp_path / "pixels.arrow", ["a"], np.zeros((1, 8, 8, 3), dtype=np.uint8))
    assert holds_photographs([store[0]]) and not holds_photographs([tmp_path / "pixels.arrow"])
    with pytest.raises(ValueError, match="of one kind"):
        holds_photographs([store[0], tmp_path / "pixels.arrow"])


def training_batches(store, workers, views=1, strong=False, seed=5):
    uids = [f"set/{n}.jpg" for n in range(30) if n != 7]
    images = PhotographsOnDisk(open_locations([store[0]], uids), study_preprocessing(24, "clip"), workers)
    augmentation = Augmentation(flip=True, min_crop_area=0.3, strong=strong)
    order = list(ImageOrder(len(images), 8, 12, seed).batches())
    settings = BatchSettings(views, augmentation, seed, torch.device("cpu"))
    batches = images.batches(order, settings, torch.Generator().manual_seed(seed))
    return order, [images.finish(batch, settings) for batch in batches]


@pytest.mark.parametrize("views, strong", [(1, False), (2, True)])
def test_batches_do_not_depend_on_the_number_of_threads(store, views, strong):
    _, one = training_batches(store, 1, views, strong)
    _, four = training_batches(store, 4, views, strong)
    assert len(one) == 12 and one[0].shape == (8 * views, 3, 24, 24)
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))
    assert not torch.equal(one[0][:8], one[1][:8])
    if views == 2:
        assert not torch.equal(one[0][:8], one[0][8:])


def test_an_image_is_cut_anew_each_time_it_is_shown(store):
    order, batches = training_batches(store, 2)
    shown = [batch[list(positions).index(0)] for positions, batch in zip(order, batches, strict=True) if 0 in positions]
    assert len(shown) >= 3
    assert not torch.equal(shown[0], shown[1])


@pytest.mark.parametrize("images, block, window", [(100, 1, 1), (100, 7, 3), (101, 10, 1), (5, 16, 2)])
def test_every_image_is_shown_once_a_pass_with_blocks_too(images, block, window):
    seen = torch.cat(list(ImageOrder(images, 1, images * 2, 0, block, window).batches())).tolist()
    assert sorted(seen[:images]) == sorted(seen[images:]) == list(range(images))
    assert seen[:images] != seen[images:]
    if block == 10:  # with a window of one block, the images of a block stay together
        assert all(len({at // 10 for at in seen[i : i + 10]}) <= 2 for i in range(0, images, 10))


def test_blocks_are_read_from_one_place_and_in_its_order(store, monkeypatch):
    """The subset comes in random order, as `draw_subset` gives it; what is told apart is where a run reads."""
    uids = [f"set/{n}.jpg" for n in RNG.permutation(30) if n not in (7, 8)]
    places = open_locations([store[0]], uids)
    rank = {offset: position for position, offset in enumerate(sorted(place[1] for place in places))}
    block, seen, labels = 7, [], []

    def spy(file, offset, length):
        seen.append(rank[offset])
        return read_bytes(file, offset, length)

    def keep(objective, features, targets):
        labels.extend(targets.tolist())
        return next(objective.parameters()).sum()

    monkeypatch.setattr("whyrobust.data.decoding.read_bytes", spy)
    monkeypatch.setattr("whyrobust.training.objectives.CrossEntropyObjective.loss", keep)
    config = {"embed_dim": 4, "vision_cfg": {"timm_model_name": "icon_cnn"}, "text_cfg": {}}
    hyper = Hyperparameters(56, block, 1e-3, 0.0, 0.1, "adamw", Augmentation(flip=True))
    targets = torch.tensor([rank[place[1]] for place in places])
    spans = {}
    for size in (block, 1):
        seen.clear()
        labels.clear()
        images = PhotographsOnDisk(places, study_preprocessing(24, "clip"), 1)
        train(images, targets, TrainingSettings("cross_entropy", config, 28, 0, hyper, CPU, size), lambda _: None)
        assert sorted(labels[:28]) == sorted(labels[28:]) == list(range(28))
        batches = [seen[start : start + block] for start in range(0, 56, block)]
        assert all(batch == sorted(batch) for batch in batches)
        # Each picture goes with its own label, whatever the order of reading.
        assert [sorted(labels[start : start + block]) for start in range(0, 56, block)] == batches
        spans[size] = [max(batch) - min(batch) for batch in batches]
    assert spans[block] == [block - 1] * 8
    assert min(spans[1]) > block


def test_a_member_knows_whether_it_is_a_picture():
    names = ["a.JPEG", "b/c.png", "README.txt", "._a.jpg", "a"]
    assert [Member(name, "f", 0, 1).is_image for name in names] == [True, True, False, False, False]
