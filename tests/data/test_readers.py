"""Readers of photograph data sets that users bring: tables, folders and shards; text cleaning; counts."""

from __future__ import annotations

import bz2
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.archives import Pack, read_bytes
from whyrobust.data.label_matcher import read_classes
from whyrobust.data.photo_sources import (
    YFCC_COLUMNS,
    SourceError,
    check_count,
    clean_web_text,
    list_yfcc_pairs,
    read_image_folder,
    read_image_table,
    read_photographs_of,
    read_webdataset,
    shard_names,
)
from whyrobust.data.records import read_records, write_records
from whyrobust.study.class_table import read_class_names, read_covered_classes, read_prompt_names
from whyrobust.study.config import count_covered_classes, read_class_counts
from whyrobust.study.slices import ShardError

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
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("I <3 my cat > dog", "I <3 my cat > dog"),
        ("<PERSON> with a dog", "<PERSON> with a dog"),
        ("a<br/>b <IMG src=x> c<!-- no -->", "a b c"),
        ("<bold claim>", "<bold claim>"),
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
    reading.write("mine", tmp_path / "streamed.parquet", tmp_path / "locations.parquet")
    pd.testing.assert_frame_equal(*map(read_records, (tmp_path / "records.parquet", tmp_path / "streamed.parquet")))
    reading.need(["tags"])
    assert len(reading.rows) == len(reading) == 1 and reading.left_out["it has no tags"] == 2


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


def test_shards_of_one_name_in_two_folders_lose_nothing(tmp_path):
    image = encoded(picture())
    shards = []
    for folder in ("cc/a", "cc/b"):
        (tmp_path / folder).mkdir(parents=True)
        shards.append(write_tar(tmp_path / folder / "00000.tar", [(f"{n:03}.jpg", image) for n in range(3)]))
    reading = read_webdataset(shards)
    assert [record["uid"] for record, _ in reading.rows] == [f"{f}/00000/{n:03}" for f in "ab" for n in range(3)]
    assert not reading.left_out
    assert shard_names([tmp_path / "cc" / "a" / "00000.tar"]) == ["00000"]
    with pytest.raises(ShardError, match="have one name, '00000'"):
        read_webdataset([shards[0], shards[0]])


def test_yfcc_from_shards_that_are_there_keeps_the_pairs_of_the_subset_once(tmp_path):
    image = encoded(picture())
    texts = {"title": "a+cat%21", "description": "%3Cb%3Eours%3C%2Fb%3E", "usertags": "pet,two+words"}
    members = []
    for key, photo in (("k1", "11"), ("k2", "22"), ("k3", "11"), ("k4", "33")):
        facts = json.dumps({"photoid": int(photo) if key == "k4" else photo} | texts).encode()
        members += [(f"{key}.jpg", image), (f"{key}.json", facts)]
    (tmp_path / "subset.tsv.bz2").write_bytes(bz2.compress(b"1\t11\tabc\n7\t33\tdef\n8\t44\tghi\n"))
    facts = {
        "kind": "yfcc15m",
        "shards": [str(write_tar(tmp_path / "00000.tar", members))],
        "subset": str(tmp_path / "subset.tsv.bz2"),
    }
    reading = read_photographs_of(facts, CLASSES, Pack(io.BytesIO(), "p"))
    records = reading.records("yfcc")
    assert records["uid"].tolist() == ["yfcc/11", "yfcc/33"] and records["label"].isna().all()
    assert records.iloc[0][["title", "description", "tags"]].tolist() == ["a cat!", "ours", ["pet", "two words"]]
    assert reading.left_out == {"it is not in the list of the subset": 1, "it came before": 1}


@pytest.mark.parametrize("columns", [25, 23])
def test_both_layouts_of_the_yfcc_metadata_are_read(tmp_path, columns):
    (tmp_path / "subset.bz2").write_bytes(bz2.compress(b"1\t11\tabc\n2\t22\tdef\n"))
    lines = []
    for photo, marker in (("11", "0"), ("22", "1"), ("99", "0")):
        row = dict.fromkeys(YFCC_COLUMNS, "") | {
            "photoid": photo, "title": "a+cat", "downloadurl": f"http://x/{photo}.jpg", "marker": marker,
        }  # fmt: skip
        names = [name for name in YFCC_COLUMNS if columns == 25 or name not in ("line", "hash")]
        assert len(names) == columns
        lines.append("\t".join(row[name] for name in names))
    (tmp_path / "metadata.bz2").write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))
    (pair,) = list_yfcc_pairs(tmp_path / "subset.bz2", tmp_path / "metadata.bz2")
    assert (pair["photoid"], pair["title"], pair["downloadurl"]) == ("11", "a+cat", "http://x/11.jpg")
    (tmp_path / "metadata.bz2").write_bytes(bz2.compress(b"a\tb\n"))
    with pytest.raises(SourceError, match="2 columns, expected 25 or 23"):
        list(list_yfcc_pairs(tmp_path / "subset.bz2", tmp_path / "metadata.bz2"))


@pytest.mark.parametrize("gap", [False, True])
def test_labels_of_a_table_may_be_numbers(tmp_path, pack, gap):
    frame = pd.DataFrame({"image": [encoded(picture())] * 3, "kind": [0, None if gap else 1, 7]})
    frame.to_parquet(tmp_path / "t.parquet")
    reading = read_image_table(tmp_path / "t.parquet", pack, "image", label="kind", classes=["0", "1"])
    assert reading.records("t")["label"].tolist() == ["0", None if gap else "1", None]
    assert reading.no_class == ("row_2", "7")


def test_several_captions_of_one_picture_are_an_error_that_names_it(tmp_path, pack):
    write_picture(tmp_path / "a.jpg")
    pd.DataFrame({"file": ["a.jpg", "a.jpg"], "text": ["x", "y"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SourceError, match=r"row 2: 'a\.jpg' is the picture of row 1 too"):
        read_image_table(tmp_path / "t.csv", pack, "file", "text")


def test_tables_may_start_with_a_byte_order_mark(tmp_path, pack):
    write_picture(tmp_path / "set" / "x" / "1.jpg")
    for name, text in (("c.csv", "class,imagenet_r\ncat,true\n"), ("f.csv", "folder,class\nx,cat\n"),
                       ("t.csv", "file,text\nset/x/1.jpg,hello\n")):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    classes = read_class_names(tmp_path / "c.csv")
    assert classes == read_prompt_names(tmp_path / "c.csv") == read_covered_classes(tmp_path / "c.csv", "imagenet_r")
    assert classes == read_classes(tmp_path / "c.csv")["class"].tolist() == ["cat"]
    assert count_covered_classes(tmp_path / "c.csv")["imagenet_r"] == 1 and read_class_counts(tmp_path / "c.csv") == {}
    assert len(read_image_folder(tmp_path / "set", classes, tmp_path / "f.csv").rows) == 1
    assert len(read_image_table(tmp_path / "t.csv", pack, "file", "text").rows) == 1


def test_linked_class_folders_are_read(tmp_path):
    write_picture(tmp_path / "all" / "cat" / "1.jpg")
    write_picture(tmp_path / "all" / "dog" / "1.jpg")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "cat").symlink_to(tmp_path / "all" / "cat")
    (tmp_path / "some" / "dog").mkdir()
    (tmp_path / "some" / "dog" / "2.jpg").symlink_to(tmp_path / "all" / "dog" / "1.jpg")
    (tmp_path / "some" / "again").symlink_to(tmp_path / "some")  # a loop ends
    names = [record["uid"] for record, _ in read_image_folder(tmp_path / "some", CLASSES).rows]
    assert names == ["cat/1.jpg", "dog/2.jpg"]


def test_a_short_test_set_says_how_many_are_missing():
    check_count(10_000, 10_000, "v2", allow_short=False)
    check_count(9_000, 10_000, "v2", allow_short=True)
    with pytest.raises(SourceError, match=r"9,000 of 10,000 images, 1,000 are missing"):
        check_count(9_000, 10_000, "v2", allow_short=False)
    with pytest.raises(SourceError, match="1 more than"):
        check_count(10_001, 10_000, "v2", allow_short=True)
