"""One list of formats: what the decoder reads is found in class folders, archives, shards and tables."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.data.readers.record_buffers import read_dataset, rows_of
from tests.data.test_photo_store import encoded, picture, write_tar
from tests.data.test_svg import HOUSE
from whyrobust.data.archives import read_bytes
from whyrobust.data.decoding import DRAWING_PIXELS, decode
from whyrobust.data.readers.folders import read_image_folder
from whyrobust.study.picture_formats import PICTURE_ENDINGS, PICTURE_FORMATS, UNREAD_ENDINGS

Image.init()
CONTENTS = {
    ending: encoded(picture(), name)
    for name, endings in PICTURE_FORMATS.items() if name in Image.SAVE for ending in endings
} | {"svg": HOUSE.encode()}  # fmt: skip


def decoded(buffer):
    """Return the names of pictures that decode."""
    found = []
    for record, member in rows_of(buffer):
        content = read_bytes(member.file, member.offset, member.length)
        drawing = content == CONTENTS["svg"]
        assert decode(content).size == ((DRAWING_PIXELS, DRAWING_PIXELS) if drawing else picture().size)
        found.append(record["uid"].rpartition("/")[2])
    return sorted(found)


def test_every_format_of_the_list_is_read_here():
    # Pillow opens MPO as the JPEG that it begins as.
    assert set(CONTENTS) == set(PICTURE_ENDINGS) and set(PICTURE_FORMATS) - {"MPO", "SVG"} <= set(Image.OPEN)
    # What Pillow calls a picture by its name is read, or is known not to be, where people have it in data sets.
    common = {"jfif", "avif", "jp2", "jpe", "mpo", "pgm", "heic", "svg", "jxl", "tga"}
    assert common <= {*PICTURE_ENDINGS, *UNREAD_ENDINGS} and not set(PICTURE_ENDINGS) & set(UNREAD_ENDINGS)


@pytest.mark.parametrize("kind", ["image_folder", "imagenet_r", "webdataset", "image_table"])
def test_every_format_is_found_wherever_pictures_lie(tmp_path, pack, kind):
    names = [f"{ending}_{'x' * len(ending)}.{ending.upper() if number % 2 else ending}"
             for number, ending in enumerate(CONTENTS)]  # fmt: skip
    files = dict(zip(names, CONTENTS.values(), strict=True))
    for name, content in files.items():
        (tmp_path / "set" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "cat" / name).write_bytes(content)
    tar = write_tar(tmp_path / "a.tar", [(f"cat/{name}", content) for name, content in files.items()])
    (tmp_path / "t.csv").write_text("file\n" + "".join(f"set/cat/{name}\n" for name in files))
    settings = {
        "image_folder": {"folder": tmp_path / "set"},
        "imagenet_r": {"archive": tar},
        "webdataset": {"shards": [tar]},
        "image_table": {"table": [tmp_path / "t.csv"], "image": "file"},
    }[kind]
    found = decoded(read_dataset({"kind": kind} | settings, pack))
    wanted = sorted(name.rpartition(".")[0] if kind == "webdataset" else name for name in files)
    assert found == wanted


def test_pictures_in_formats_that_are_not_read_are_counted_by_ending(tmp_path):
    (tmp_path / "set" / "cat").mkdir(parents=True)
    for name in ("1.jpg", "2.HEIC", "3.heic", "4.eps", "notes.txt"):
        (tmp_path / "set" / "cat" / name).write_bytes(b"x")
    assert read_image_folder(tmp_path / "set", ["cat"]).left_out == {
        "a picture in a format that is not read (.heic)": 2,
        "a picture in a format that is not read (.eps)": 1,
        "not a picture by its name": 1,
    }
