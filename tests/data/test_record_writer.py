"""Records are kept in batches: what is written does not depend on their number."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.data.archives import Member
from whyrobust.data.dataset_checks import DatasetError, LabelCounts
from whyrobust.data.record_writer import NO_CLASS_NAMED, NOT_DRAWN, RecordBuffer, check_labels
from whyrobust.data.records import read_records

ROWS = st.lists(
    st.tuples(st.text(max_size=4), st.lists(st.text(max_size=3), max_size=2), st.sampled_from(["cat", "dog", None])),
    min_size=1,
    max_size=20,
)


def fill(rows, rows_per_batch):
    buffer = RecordBuffer(rows_per_batch)
    for number, (title, tags, label) in enumerate(rows):
        buffer.add(f"{number}.jpg", Member("x", f"file{number // 3}", 7 * number, number), label, title, "", tags)
    return buffer


@given(ROWS.filter(lambda rows: all("\x00" not in title for title, _, _ in rows)), st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_batches_change_nothing(tmp_path_factory, rows, size):
    folder = tmp_path_factory.mktemp("buffers")
    written = []
    for number, rows_per_batch in enumerate((size, 1000)):
        buffer = fill(rows, rows_per_batch)
        buffer.require(["title", "label"])
        kept = [row for row in rows if row[0] and row[2]]
        assert len(buffer) == len(kept)
        assert buffer.left_out["it has no title"] == sum(not row[0] for row in rows)
        assert sum(buffer.left_out.values()) == len(rows) - len(kept)
        buffer.write("set", folder / f"r{number}.parquet", folder / f"l{number}.parquet")
        records = read_records(folder / f"r{number}.parquet")
        assert records["title"].tolist() == [row[0] for row in kept]
        assert [list(tags) for tags in records["tags"]] == [row[1] for row in kept]
        places = pq.read_table(folder / f"l{number}.parquet").to_pylist()
        assert [place["uid"] for place in places] == records["uid"].tolist() == records["group"].tolist()
        assert all(place["file"] == f"file{place['length'] // 3}" for place in places)
        written.append((records, places))
    pd.testing.assert_frame_equal(written[0][0], written[1][0])
    assert written[0][1] == written[1][1]


@pytest.mark.parametrize("rows_per_batch", [500, 10_000])
def test_parts_that_are_drawn_share_no_picture_and_are_the_whole_together(tmp_path, rows_per_batch):
    rows = [("a title", [], "cat" if number % 2 else None) for number in range(1200)]
    parts = []
    for between in ((0.0, 0.25), (0.25, 1.0)):
        buffer = fill(rows, rows_per_batch)
        buffer.draw(*between)
        buffer.write("set", tmp_path / "r.parquet", tmp_path / "l.parquet")
        records = read_records(tmp_path / "r.parquet")
        assert len(records) == len(buffer) == 1200 - buffer.left_out[NOT_DRAWN]
        assert buffer.count_unlabelled() == records["label"].isna().sum()
        parts.append(set(records["uid"]))
    assert parts[0].isdisjoint(parts[1]) and len(parts[0] | parts[1]) == 1200
    assert 250 < len(parts[0]) < 350  # 300 are expected, with a standard deviation of 15


@given(ROWS, st.integers(1, 7), st.dictionaries(st.integers(0, 19), st.sampled_from(["mug", "dog"])))
@settings(deadline=None, max_examples=40)
def test_labels_found_in_texts_replace_those_given_and_leave_out_the_rest(rows, size, found):
    buffer = fill(rows, size)
    buffer.known_class("0.jpg", "horse", {"cat"})
    buffer.draw(0.0, 0.5)
    drawn = [uid for batch in buffer.batches() for uid in batch["uid"].to_pylist()]
    buffer.label_by_text({f"{number}.jpg": label for number, label in found.items()})
    kept = [row for batch in buffer.batches() for row in batch.select(["uid", "label", "title"]).to_pylist()]
    numbers = [int(uid.removesuffix(".jpg")) for uid in drawn]
    assert [row["uid"] for row in kept] == [f"{number}.jpg" for number in numbers if number in found]
    assert all((row["label"], row["title"]) == (found[n], rows[n][0]) for row in kept for n in [int(row["uid"][:-4])])
    assert len(buffer) == len(kept) and buffer.left_out[NO_CLASS_NAMED] == len(drawn) - len(kept)
    assert buffer.labels == LabelCounts() and not buffer.unknown_labels


def test_a_name_that_comes_twice_is_named_and_nothing_is_written(tmp_path):
    buffer = RecordBuffer(2)
    for name in ("a", "b", "c", "b"):
        buffer.add(name, Member(name, "f", 0, 1))
    with pytest.raises(DatasetError, match="'set/b' twice"):
        buffer.write("set", tmp_path / "r.parquet", tmp_path / "l.parquet")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="nothing can be added"):
        buffer.add("d", Member("d", "f", 0, 1))
        buffer.add("e", Member("e", "f", 0, 1))


def test_several_classes_of_a_label_are_checked_each():
    buffer = RecordBuffer()
    buffer.add("a", Member("a", "f", 0, 1), "cat;dog")
    check_labels(buffer, "set", ["cat", "dog"])
    with pytest.raises(DatasetError, match="the label 'cat;dog'"):
        check_labels(buffer, "set", ["cat"])
