"""Files, folders and tables as cameras, spreadsheets, notebooks and other systems leave them."""

from __future__ import annotations

import base64
import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.readers.record_buffers import read_dataset, records_of, write_picture
from tests.data.test_photo_store import encoded, picture
from tests.replicas import write_tar
from whyrobust.data.archives import LocationError
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.decoding import decode
from whyrobust.data.readers.caption_files import SEVERAL_LINES
from whyrobust.data.readers.webdataset import FURTHER_CAPTIONS

RED = Image.new("RGB", (8, 6), (200, 30, 30))
TABLE = 'file,text,class\na.jpg,"a cat, asleep",cat\nb.jpg,"two\nlines",dog\n'


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def labels_of(buffer):
    """Return the label of each record by its name."""
    table = records_of(buffer, "mine")
    return {uid.removeprefix("mine/"): label for uid, label in zip(table["uid"], table["label"], strict=True)}


def read_folder(folder, **settings):
    return read_dataset({"kind": "image_folder", "folder": str(folder)} | settings)


def read_table(folder, name="t.csv", **settings):
    columns = {"image": "file", "title": "text", "label": "class"}
    return read_dataset({"kind": "image_table", "table": [folder / name], "root": folder} | columns | settings)


@pytest.mark.parametrize(
    "content, shade",
    [
        (saved(RED.convert("CMYK"), "JPEG", quality=95), (200, 30, 30)),
        (saved(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 6))]), (200, 30, 30)),
        (saved(RED, "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 6))], lossless=True), (200, 30, 30)),
        (saved(Image.fromarray(np.full((6, 8), 40_000, np.uint16)), "PNG"), (155, 155, 155)),
        (saved(Image.fromarray(np.full((6, 8), 0.5, np.float32)), "TIFF"), (127, 127, 127)),
        (saved(Image.fromarray(np.full((6, 8), 127.0, np.float32)), "TIFF"), (127, 127, 127)),
        (saved(Image.fromarray(np.full((6, 8), 40_000, np.int32)), "TIFF"), (155, 155, 155)),
    ],
    ids=["CMYK", "animated GIF", "animated WebP", "16 bits", "fractions", "floats to 255", "32 bits"],
)
def test_pictures_of_every_depth_and_colour_space_have_their_shade(content, shade):
    assert np.abs(np.subtract(decode(content).getpixel((3, 3)), shade)).max() <= 3


def test_what_systems_add_to_class_folders_is_no_picture_and_no_class(tmp_path):
    for name in ("cat/a.JPG", "cat/b.Jpeg", "dog/c.png", "cat/._a.JPG", "dog/.ipynb_checkpoints/c-checkpoint.png",
                 "cat/@eaDir/a.JPG/SYNOPHOTO_THUMB_M.jpg", ".git/x.jpg", "__MACOSX/cat/._a.jpg"):  # fmt: skip
        write_picture(tmp_path / name)
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    found = read_folder(tmp_path, role="shift")
    assert labels_of(found) == {"cat/a.JPG": "cat", "cat/b.Jpeg": "cat", "dog/c.png": "dog"}
    assert found.left_out["it is hidden, or lies in a hidden folder"] == 3 and not found.unknown_labels
    assert found.left_out["not a picture by its name"] == 5


def test_pictures_in_folders_below_a_class_folder_are_of_the_class(tmp_path):
    for name in ("cat/2020/a.jpg", "cat/2021/a.jpg", "animals/dog/b.jpg", "cat/dog/c.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "cat" / "2020" / "again").symlink_to(tmp_path / "cat")  # which never ends
    labels = {"cat/2020/a.jpg": "cat", "cat/2021/a.jpg": "cat", "animals/dog/b.jpg": "dog", "cat/dog/c.jpg": "dog"}
    assert labels_of(read_folder(tmp_path)) == labels_of(read_folder(tmp_path, role="shift")) == labels


def test_names_may_hold_anything_that_is_utf_8(tmp_path):
    names = ["cat/my cat \U0001f408 \u00e9.jpg", "dog/-rf *.jpg", "dog/a\nb.jpg", "dog/%s{x}.jpg"]
    for name in names:
        write_picture(tmp_path / name)
    assert sorted(labels_of(read_folder(tmp_path))) == sorted(names)
    write_picture(tmp_path / "dog" / os.fsdecode(b"lat\xe9.jpg"))
    with pytest.raises(LocationError, match="which is no UTF-8: rename it"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace("\n", "\r\n").encode("utf-8-sig"),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace("file,text,class", " file , text, class").encode(),
        TABLE.replace("dog\n", "dog\n\n\n").encode(),
    ],
    ids=["mark and CRLF", "CR", "blanks in the header", "empty lines"],
)
def test_tables_of_spreadsheets_are_read(tmp_path, content):
    for name in ("a.jpg", "b.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "t.csv").write_bytes(content)
    found = records_of(read_table(tmp_path), "mine")
    assert list(found["label"]) == ["cat", "dog"] and list(found["title"]) == ["a cat, asleep", "two lines"]


@pytest.mark.parametrize(
    "content, message",
    [
        (TABLE.replace(",", ";").encode(), "its cells are separated by semicolons: separate them by commas"),
        (TABLE.replace(",", "\t").encode(), "its cells are separated by tabs"),
        (TABLE.encode("utf-16"), "save it as UTF-8"),
        (TABLE.replace("asleep", "caf\u00e9").encode("latin-1"), "save it as UTF-8"),
        (
            TABLE.replace("file", "File").encode(),
            r"no column 'file' \(key 'image'\): it has File, text, class; name",
        ),
        (b"", "is empty"),
        (b"file,text,class\nhttps://x.org/a.jpg,x,cat\n", "row 1: 'https://x.org/a.jpg' is an address"),
        (b"file,text,class\ndata:image/jpeg;base64,AAAA,x,cat\n", "4 cells, the header has 3: put text"),
        (b"file,text,class\n" + base64.b64encode(bytes(6000)) + b",x,cat\n", r"row 1: 'A{40}...' is no path but text"),
    ],
    ids=["semicolons", "tabs", "UTF-16", "Latin-1", "capitals", "nothing", "addresses", "data address", "base64"],
)
def test_tables_that_are_written_otherwise_say_what_to_do(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        read_table(tmp_path)
    assert len(str(error.value)) < 400 and str(tmp_path / "t.csv") in str(error.value)


def test_columns_of_codes_and_of_other_widths_are_read_like_plain_ones(tmp_path):
    content = encoded(picture())
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    write_picture(tmp_path / "b.jpg")
    for images in (
        pa.array([content, content], pa.large_binary()),
        pa.array([{"bytes": content, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}], struct),
    ):
        texts, labels = pa.array(["x", "y"], pa.large_string()), pa.array(["cat", "dog"]).dictionary_encode()
        pq.write_table(pa.table({"file": images, "text": texts, "class": labels}), tmp_path / "t.parquet")
        found = records_of(read_table(tmp_path, "t.parquet"), "mine")
        assert list(found["label"]) == ["cat", "dog"] and list(found["title"]) == ["x", "y"]


def test_members_of_shards_keep_apart_and_are_no_paths(tmp_path):
    content = encoded(picture())
    for folder, text in (("x", b"one"), ("y", b"two")):
        members = [(".DS_Store", b""), ("._a.jpg", b"x"), ("a.JPG", content), ("a.TXT", text)]
        members += [("/etc/b.jpg", content), ("../../c.jpg", content)]
        write_tar(tmp_path / folder / "0.tar", members)
    shards = [(tmp_path / folder / "0.tar").as_posix() for folder in ("x", "y")]
    found = read_dataset({"kind": "webdataset", "shards": shards, "shard_names": ["x/0", "y/0"]})
    table = records_of(found, "mine").set_index("uid")["title"]
    assert dict(table) == {"mine/x/0/a": "one", "mine/x/0//etc/b": "", "mine/x/0/../../c": "",
                           "mine/y/0/a": "two", "mine/y/0//etc/b": "", "mine/y/0/../../c": ""}  # fmt: skip
    assert not found.missing


def test_of_several_captions_in_json_the_first_is_taken_and_lines_are_one_caption(tmp_path):
    content = encoded(picture())
    captions = {"a": ["", " a cat ", "a dog"], "b": ["one"], "c": [], "d": "plain"}
    members = [(f"{key}.jpg", content) for key in captions]
    members += [(f"{key}.json", json.dumps({"captions": value}).encode()) for key, value in captions.items()]
    members += [("a.txt", b"a cat\na dog\n"), ("b.txt", b"a cat\n")]
    write_tar(tmp_path / "0.tar", members)
    settings = {"kind": "webdataset", "shards": [(tmp_path / "0.tar").as_posix()]}
    found = read_dataset(settings | {"fields": {"title": "captions"}})
    assert list(records_of(found, "mine")["title"]) == ["a cat", "one", "", "plain"]
    assert dict(found.left_out) == {FURTHER_CAPTIONS: 1}
    found = read_dataset(settings)
    assert list(records_of(found, "mine")["title"]) == ["a cat a dog", "a cat", "", ""]
    assert dict(found.left_out) == {SEVERAL_LINES: 1}


def test_a_list_of_captions_in_a_table_is_an_error_that_names_row_and_column(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        write_picture(tmp_path / name)
    rows = [{"file": "a.jpg", "text": "one", "class": "cat"},
            {"file": "b.jpg", "text": ["a dog"] * 1000, "class": "dog"}]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = r"t\.jsonl, row 2: column 'text' \(key 'title'\) holds \['a dog', .*: give a column of text$"
    with pytest.raises(DatasetError, match=said) as error:
        read_table(tmp_path, "t.jsonl")
    assert len(str(error.value)) < 400
