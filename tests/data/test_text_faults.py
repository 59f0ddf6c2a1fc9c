"""Text of strangers is kept or left out by a rule and never moves into another record, however odd it is."""

from __future__ import annotations

import csv
import json
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.readers.record_buffers import CLASSES, records_of, rows_of, write_picture
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.tables import TableColumns, read_image_tables
from whyrobust.data.readers.webdataset import PairLayout, read_webdataset
from whyrobust.data.records import RECORD_SCHEMA, read_records, to_table, write_records
from whyrobust.data.text_cleaning import MAXIMUM_TEXT_CHARACTERS, clean_text, clean_web_text
from whyrobust.training.text_encoder import tokenize

#: Every character there is, half ones (surrogates) too, and pieces that readers have stumbled over.
odd = st.lists(
    st.text(st.characters(), max_size=8)
    | st.sampled_from(
        ["\0", "\r\n", '"', '""', ",", "\t", "\u202e", "\u0301\u0316", "\ud800", "😀", "<a href='x'>", "<", "&", "&#",
         "%00", "%", "&#99999999999;", "&#x110000;", "&lt;script&gt;", "http://x.y/z", "\ufeff", "\u2028",
         "שלום", "\x85", "ﷺ"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(odd, st.booleans())
def test_cleaned_text_can_be_stored_and_is_one_line(text, percent_encoded):
    for clean in (clean_web_text(text, percent_encoded), clean_text(text)):
        clean.encode("utf-8")
        assert len(clean.splitlines()) <= 1 and "\0" not in clean and clean == clean.strip()
        assert clean_text(clean) == clean


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        (" \t\n\u2003", ""),
        ("a\0b", "ab"),
        ("half \ud800", "half \ufffd"),
        ("\u05e9\u05dc\u05d5\u05dd \u202eabc", "\u05e9\u05dc\u05d5\u05dd \u202eabc"),
        ("👩‍🚀 and 🇩🇪", "👩‍🚀 and 🇩🇪"),
        ("&#" + "9" * 5000 + "; x", "x"),
        ("&amp;#" + "9" * 5000 + "; x", "x"),
        ("<script>alert(1)</script>", "alert(1)"),
    ],
)
def test_the_rule_for_each_kind_of_odd_text(text, expected):
    assert clean_web_text(text) == expected


@pytest.mark.parametrize(
    "piece", ["word ", "a", "<", "<a", "&lt;", "\u0301\u0316", "😀", "Ã©", "http://", "%20", "&#9", "\0", "א", "\ud800"]
)
def test_a_megabyte_of_anything_is_cut_and_costs_no_more_than_seconds(piece):
    text = "x " + piece * (1_000_000 // len(piece))
    began = time.process_time()
    clean = clean_web_text(text, percent_encoded=True)
    tokens = tokenize([clean_text(clean)], 77)
    assert time.process_time() - began < 10
    assert len(clean) <= 3 * MAXIMUM_TEXT_CHARACTERS and tokens.shape == (1, 77)


def test_what_is_read_of_a_caption_fills_the_context():
    for word in ("word ", "antidisestablishmentarianism ", "Übergrößenträger "):
        assert bool((tokenize([word * 400], 77) == tokenize([word * 80], 77)).all())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(titles=st.lists(odd, min_size=1, max_size=5), separator=st.sampled_from([".csv", ".tsv"]))
def test_a_table_of_any_texts_gives_each_picture_its_own(tmp_path, pack, titles, separator):
    titles = [title.encode("utf-8", "replace").decode() for title in titles]
    for number in range(len(titles)):
        if not (tmp_path / f"{number}.jpg").exists():
            write_picture(tmp_path / f"{number}.jpg")
    table = tmp_path / f"t{separator}"
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t" if separator == ".tsv" else ",")
        writer.writerow(["title", "file"])
        writer.writerows([title, f"{number}.jpg"] for number, title in enumerate(titles))
    buffer = read_image_tables([table], TableColumns("file", "title"), pack)
    assert [record["uid"] for record, _ in rows_of(buffer)] == [f"{number}.jpg" for number in range(len(titles))]
    assert [record["title"] for record, _ in rows_of(buffer)] == [clean_web_text(title) for title in titles]
    records = records_of(buffer, "mine")
    write_records(tmp_path / "r.parquet", records)
    assert read_records(tmp_path / "r.parquet")["title"].tolist() == records["title"].tolist()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"file,title\n0.jpg,a,b\n1.jpg,c,d\n", r"line 2: 3 cells, the header has 2"),
        (b"file,title\n0.jpg\n", "line 2: 1 cells"),
        (b'file,title\n0.jpg,27" screen\n1.jpg,"open\n2.jpg,x\n', "cannot be read"),
        (b'file,title\n0.jpg,"a"b"\n', "cannot be read"),
        (b"file,title\n0.jpg,caf\xe9\n", "UTF-8"),
        (b"file,file\n0.jpg,a\n", "'file' twice"),
        (b"", "is empty: fetch it"),
    ],
)
def test_a_table_whose_cells_could_move_is_refused(tmp_path, pack, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_image_tables([tmp_path / "t.csv"], TableColumns("file", "title"), pack)


def test_the_mark_of_a_spreadsheet_empty_lines_and_impossible_paths_are_no_reason_to_stop(tmp_path, pack):
    write_picture(tmp_path / "0.jpg")
    names = ["0.jpg", "", "x\0y.jpg", "n" * 5000 + ".jpg", "gone.jpg"]
    (tmp_path / "t.csv").write_text("\ufefffile,title\n\n" + "".join(f"{name},t\n" for name in names), encoding="utf-8")
    buffer = read_image_tables([tmp_path / "t.csv"], TableColumns("file", "title"), pack)
    assert len(rows_of(buffer)) == 1
    assert buffer.left_out == {"its file is not there": 3, "it names no picture": 1}
    with pytest.raises(
        DatasetError,
        match=r"lacks 4 of 5 pictures \(3 x its file is not there, 1 x .*\), 80\.00% where 1\.00% are allowed",
    ):
        buffer.presence.check("mine", 0.01)
    buffer.presence.check("mine", 0.8)


def test_a_table_of_numbers_in_place_of_text_is_refused_not_emptied(tmp_path, pack):
    frame = pd.DataFrame({"image": [encoded(picture())], "title": [7], "label": [["cat"]]})
    frame.to_parquet(tmp_path / "t.parquet")
    for key in ("title", "label"):  # a label may be a number, but no list
        with pytest.raises(DatasetError, match=f"column '{key}'"):
            read_image_tables([tmp_path / "t.parquet"], TableColumns("image", **{key: key}), pack, CLASSES)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        read_image_tables([tmp_path / "t.parquet"], TableColumns("image"), pack)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{", b"\xff\xfe", b"", b'"text"', b"NaN", b'{"title": 3}'])
def test_a_json_that_is_none_costs_its_texts_only(tmp_path, content):
    members = [("a.jpg", encoded(picture())), ("a.json", content)]
    members += [("b.jpg", encoded(picture())), ("b.json", json.dumps({"title": "b \ud83d"}).encode())]
    shard = write_tar(tmp_path / "s.tar", members)
    buffer = read_webdataset([shard], PairLayout(fields={"title": "title"}))
    assert [record["title"] for record, _ in rows_of(buffer)] == ["", "b \ufffd"]
    to_table(records_of(buffer, "x"), RECORD_SCHEMA, "test")
