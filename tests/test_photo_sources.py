"""Readers of photograph data sets that users bring: tables, folders and shards; text cleaning; counts."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_photographs import encoded, picture, write_tar
from whyrobust.locations import Pack, read_bytes
from whyrobust.photo_sources import (
    SourceError,
    check_count,
    clean_web_text,
    leave_out_without,
    read_image_folder,
    read_image_table,
    read_photographs_of,
    read_webdataset,
)
from whyrobust.records import write_records

CLASSES = ["cat", "dog", "mug"]


@pytest.fixture
def pack(tmp_path):
    with (tmp_path / "pack.bin").open("wb") as handle:
        yield Pack(handle, tmp_path / "pack.bin")


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture()))


@pytest.mark.parametrize(
    "text, clean",
    [
        ("plain words", "plain words"),
        ("A+cat%2C+asleep", "A cat, asleep"),
        ("<a href=%22http%3A%2F%2Fx.y%22>see</a>+www.z.org+now", "see now"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("two%0Alines%00", "two lines"),
        ("3 > 2", "3 > 2"),
        ("", ""),
    ],
)
def test_text_from_the_web_is_cleaned(text, clean):
    assert clean_web_text(text, percent_encoded=True) == clean


@given(st.text(max_size=80))
def test_cleaning_never_fails_and_leaves_no_line_breaks(text):
    cleaned = clean_web_text(text, percent_encoded=True)
    assert cleaned == cleaned.strip() and "\n" not in cleaned and "\x00" not in cleaned


def test_a_table_of_paths_keeps_texts_with_their_pictures(tmp_path, pack):
    for name in ("a.jpg", "sub/b c.jpg", "\u00fcber.jpg"):
        write_picture(tmp_path / "photos" / name)
    rows = pd.DataFrame(
        {
            "file": ["a.jpg", "sub/b c.jpg", "gone.jpg", "\u00fcber.jpg", ""],
            "text": [
                'a "quoted", comma',
                "two\nlines <b>bold</b>",
                "x",
                "\u0645\u0631\u062d\u0628\u0627 \u2603",
                "y",
            ],
            "words": ["pet, cat", "", "z", "", ""],
            "kind": ["cat", "horse", "dog", "", "cat"],
        }
    )
    rows.to_csv(tmp_path / "table.csv", index=False)
    reading = read_image_table(
        tmp_path / "table.csv", pack, "file", "text", tags="words", label="kind", classes=CLASSES,
        root=tmp_path / "photos",
    )  # fmt: skip
    records = reading.records("mine")
    assert records["uid"].tolist() == ["mine/a.jpg", "mine/sub/b c.jpg", "mine/\u00fcber.jpg"]
    assert records["title"].tolist()[:2] == ['a "quoted", comma', "two lines bold"]
    assert records["tags"].tolist() == [["pet", "cat"], [], []]
    assert records["label"].tolist() == ["cat", None, None]
    assert reading.left_out == {"its file is not there": 1, "it names no picture": 1}
    write_records(tmp_path / "records.parquet", records)
    leave_out_without(reading, ["tags"])
    assert len(reading.rows) == 1 and reading.left_out["it has no tags"] == 2


def test_a_table_may_hold_the_pictures_themselves(tmp_path, pack):
    contents = [encoded(picture()), encoded(picture(), "PNG")]
    frame = pd.DataFrame({"image": [{"bytes": contents[0], "path": None}, {"bytes": contents[1], "path": "x"}]})
    frame.assign(tags=[np.array(["a", "b"]), []]).to_parquet(tmp_path / "table.parquet")
    reading = read_image_table(tmp_path / "table.parquet", pack, "image", tags="tags")
    pack._handle.flush()
    assert [read_bytes(m.file, m.offset, m.length) for _, m in reading.rows] == contents
    assert reading.rows[0][0]["tags"] == ["a", "b"]


def test_a_table_that_leads_outside_or_lacks_a_column_is_an_error(tmp_path, pack):
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "secret.jpg")
    pd.DataFrame({"file": ["../secret.jpg"]}).to_csv(tmp_path / "in" / "t.csv", index=False)
    with pytest.raises(SourceError, match="leads out of"):
        read_image_table(tmp_path / "in" / "t.csv", pack, "file")
    with pytest.raises(SourceError, match="no column 'caption'"):
        read_image_table(tmp_path / "in" / "t.csv", pack, "file", title="caption")
    (tmp_path / "latin.csv").write_bytes("file,text\na.jpg,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(SourceError, match="UTF-8"):
        read_image_table(tmp_path / "latin.csv", pack, "file")


def test_class_folders_with_and_without_a_table(tmp_path):
    for folder in ("cat", "Coffee Mug", "sofa"):
        write_picture(tmp_path / "set" / folder / "1.jpg")
    (tmp_path / "set" / "cat" / "notes.txt").write_text("x")
    plain = read_image_folder(tmp_path / "set", CLASSES)
    assert plain.records("t")["label"].tolist() == ["cat"]
    assert plain.left_out == {"its folder is no class of the study": 2, "not a picture by its name": 1}
    table = tmp_path / "classes.csv"
    table.write_text("folder,class\ncat,cat\nCoffee Mug,mug;cat\n")
    mapped = read_image_folder(tmp_path / "set", CLASSES, table)
    assert sorted(mapped.records("t")["label"]) == ["cat", "cat;mug"]
    table.write_text("folder,class\ncat,lion\n")
    with pytest.raises(SourceError, match="'lion' is no class"):
        read_image_folder(tmp_path / "set", CLASSES, table)


def test_shards_are_grouped_by_key(tmp_path):
    image = encoded(picture())
    facts = json.dumps({"caption": "a+dog", "label": "dog"}).encode()
    shard = write_tar(
        tmp_path / "00000.tar",
        [
            ("000.jpg", image), ("000.txt", b"a <i>cat</i>"), ("000.json", facts),
            ("001.txt", b"no picture"),
            ("002.jpg", image), ("002.json", b"{broken"), ("002.txt", b"\xff\xfe caf"),
            ("sub/002.PNG", image),
        ],
    )  # fmt: skip
    reading = read_webdataset([shard], label="label", classes=CLASSES)
    records = reading.records("cc")
    assert records["uid"].tolist() == ["cc/00000/000", "cc/00000/002", "cc/00000/sub/002"]
    assert records["title"].tolist()[0] == "a cat" and records["label"].tolist() == ["dog", None, None]
    assert reading.left_out["it has no picture"] == 1
    by_json = read_photographs_of(
        {"kind": "webdataset", "shards": [str(shard)], "fields": {"title": "caption"}}, CLASSES, Pack(io.BytesIO(), "p")
    )
    assert by_json.records("cc")["title"].tolist() == ["a+dog", "", ""]


def test_a_short_test_set_says_how_many_are_missing():
    check_count(10_000, 10_000, "v2", allow_short=False)
    check_count(9_000, 10_000, "v2", allow_short=True)
    with pytest.raises(SourceError, match=r"9,000 of 10,000 images, 1,000 are missing"):
        check_count(9_000, 10_000, "v2", allow_short=False)
    with pytest.raises(SourceError, match="1 more than"):
        check_count(10_001, 10_000, "v2", allow_short=True)
