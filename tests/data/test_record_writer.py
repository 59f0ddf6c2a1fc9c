"""Records are put by in batches: what is written does not depend on how many."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.archives import Member
from whyrobust.data.photo_sources import PhotoIds, read_webdataset
from whyrobust.data.record_writer import Reading, SourceError, check_labels
from whyrobust.data.records import read_records

ROWS = st.lists(
    st.tuples(st.text(max_size=4), st.lists(st.text(max_size=3), max_size=2), st.sampled_from(["cat", "dog", None])),
    min_size=1,
    max_size=20,
)


def fill(rows, rows_a_batch):
    reading = Reading(rows_a_batch)
    for number, (title, tags, label) in enumerate(rows):
        reading.add(f"{number}.jpg", Member("x", f"file{number // 3}", 7 * number, number), label, title, "", tags)
    return reading


@given(ROWS.filter(lambda rows: all("\x00" not in title for title, _, _ in rows)), st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_batches_change_nothing(tmp_path_factory, rows, size):
    folder = tmp_path_factory.mktemp("readings")
    written = []
    for number, rows_a_batch in enumerate((size, 1000)):
        reading = fill(rows, rows_a_batch)
        reading.need(["title", "label"])
        kept = [row for row in rows if row[0] and row[2]]
        assert len(reading) == len(kept)
        assert reading.left_out["it has no title"] == sum(not row[0] for row in rows)
        assert sum(reading.left_out.values()) == len(rows) - len(kept)
        reading.write("set", folder / f"r{number}.parquet", folder / f"l{number}.parquet")
        records = read_records(folder / f"r{number}.parquet")
        assert records["title"].tolist() == [row[0] for row in kept]
        assert [list(tags) for tags in records["tags"]] == [row[1] for row in kept]
        places = pq.read_table(folder / f"l{number}.parquet").to_pylist()
        assert [place["uid"] for place in places] == records["uid"].tolist() == records["group"].tolist()
        assert all(place["file"] == f"file{place['length'] // 3}" for place in places)
        written.append((records, places))
    pd.testing.assert_frame_equal(written[0][0], written[1][0])
    assert written[0][1] == written[1][1]


def test_a_name_that_comes_twice_is_named_and_nothing_is_written(tmp_path):
    reading = Reading(2)
    for name in ("a", "b", "c", "b"):
        reading.add(name, Member(name, "f", 0, 1))
    with pytest.raises(SourceError, match="'set/b' twice"):
        reading.write("set", tmp_path / "r.parquet", tmp_path / "l.parquet")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="nothing can be added"):
        reading.add("d", Member("d", "f", 0, 1))
        reading.add("e", Member("e", "f", 0, 1))


def test_several_classes_of_a_label_are_checked_each():
    reading = Reading()
    reading.add("a", Member("a", "f", 0, 1), "cat;dog")
    check_labels(reading, "set", ["cat", "dog"])
    with pytest.raises(SourceError, match="the label 'cat;dog'"):
        check_labels(reading, "set", ["cat"])


def test_pairs_of_a_shard_without_a_picture_are_missing_pictures(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("0.jpg", encoded(picture())), ("0.txt", b"a"), ("1.txt", b"b")])
    reading = read_webdataset([shard])
    with pytest.raises(SourceError, match=r"lacks 1 of 2 pictures .*the first 's/1': it has no picture"):
        reading.presence.check("set", 0.4)
    reading.presence.check("set", 0.5)


@given(st.sets(st.integers(0, 2**62), max_size=30), st.integers(0, 2**62))
def test_ids_are_found_as_in_a_set(numbers, other):
    ids = PhotoIds(numbers)
    for number in [*numbers, other]:
        assert (ids.place(str(number)) >= 0) == (number in numbers)
        assert number not in numbers or ids.numbers[ids.place(str(number))] == number
    assert ids.place("") == ids.place("x1") == ids.place("9" * 19) == ids.place("9" * 5000) == -1
