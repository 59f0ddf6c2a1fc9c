"""Records and drawings: what is written is read back, and what is wrong is refused before anything is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whyrobust.data import records
from whyrobust.data.records import (
    DRAWING_SCHEMA,
    RECORD_SCHEMA,
    MissingUidError,
    check_uids,
    has_uids,
    read_drawings,
    read_records,
    read_rows_of_uids,
    require_rows_of_uids,
    rows_of_uids,
    uids_in_file,
    write_drawings,
    write_records,
)


def make_records(**changes):
    columns = {
        "uid": ["a:cat", "a:dog"],
        "title": ["cat", "dog"],
        "description": ["", "A set by a team"],
        "tags": [["pets", "animals"], []],
        "label": ["cat", None],
        "group": ["a:cat", "a:dog"],
        "collection": ["a", "a"],
    }
    return pd.DataFrame(columns | changes)


def test_records_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "records.parquet"
    write_records(path, make_records())
    found = read_records(path)
    assert list(found.columns) == RECORD_SCHEMA.names
    assert found["uid"].tolist() == ["a:cat", "a:dog"]
    assert found["tags"].tolist() == [["pets", "animals"], []]
    assert found["label"].isna().tolist() == [False, True]
    # A table that was read can be written again, to the same bytes.
    again = tmp_path / "again.parquet"
    write_records(again, found)
    assert again.read_bytes() == path.read_bytes()


def test_column_order_does_not_matter_and_the_stored_types_are_the_schema(tmp_path):
    path = tmp_path / "records.parquet"
    write_records(path, make_records()[RECORD_SCHEMA.names[::-1]])
    assert pq.read_schema(path).remove_metadata().equals(RECORD_SCHEMA)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(text, st.lists(text, max_size=3), st.none() | text.filter(str.strip)), max_size=5))
def test_any_text_survives_the_round_trip(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "records.parquet"
    records = pd.DataFrame(
        [(f"u{i}", t, t, tags, label, "g", "c") for i, (t, tags, label) in enumerate(rows)],
        columns=RECORD_SCHEMA.names,
    )
    write_records(path, records)
    found = read_records(path)
    assert found["title"].tolist() == [t for t, _, _ in rows]
    assert found["tags"].tolist() == [tags for _, tags, _ in rows]
    assert [None if pd.isna(v) else v for v in found["label"]] == [label for _, _, label in rows]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"uid": ["a:cat", "a:cat"]}, "a:cat"),
        ({"uid": ["a:cat", ""]}, "row 1"),
        ({"uid": ["a:cat", None]}, "row 1"),
        ({"uid": [1, 2]}, "row 0"),
        ({"title": ["cat", None]}, "title"),
        ({"tags": [["pets"], None]}, "tags"),
        ({"tags": [["pets"], "animals"]}, "tags"),
        ({"tags": [["pets"], [3]]}, "tags"),
        ({"title": ["cat", 7]}, "title"),
        ({"title": pd.Series(["cat", "\ud800"], dtype=object)}, "title"),
        ({"group": ["g", " "]}, "group"),
        ({"label": ["", None]}, "label"),
        ({"collection": ["c", ""]}, "collection"),
        ({"extra": [1, 2]}, "extra"),
    ],
)
def test_bad_records_are_refused_and_nothing_is_written(tmp_path, changes, named):
    path = tmp_path / "records.parquet"
    with pytest.raises(ValueError, match=named):
        write_records(path, make_records(**changes))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(ValueError, match="group"):
        write_records(tmp_path / "records.parquet", make_records().drop(columns="group"))


def test_a_refused_write_leaves_the_earlier_file_as_it_was(tmp_path):
    path = tmp_path / "records.parquet"
    write_records(path, make_records())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="more than once"):
        write_records(path, make_records(uid=["x", "x"]))
    assert path.read_bytes() == before


def test_missing_values_of_every_kind_and_arrays_as_tags_are_understood(tmp_path):
    path = tmp_path / "records.parquet"
    write_records(path, make_records(label=[float("nan"), pd.NA], tags=[np.array(["x"], dtype=object), ("y",)]))
    found = read_records(path)
    assert found["label"].isna().all()
    assert found["tags"].tolist() == [["x"], ["y"]]


def test_a_file_of_other_columns_or_with_a_repeated_uid_is_refused_when_read(tmp_path):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"uid": [1, 2]}), path)
    with pytest.raises(ValueError, match="uid"):
        read_records(path)
    pq.write_table(pa.table({"uid": ["a", "a"], "svg": ["<svg/>", "<svg/>"]}, schema=DRAWING_SCHEMA), path)
    with pytest.raises(ValueError, match="more than once"):
        read_drawings(path)


def test_drawings_come_back(tmp_path: Path):
    path = tmp_path / "drawings.parquet"
    drawings = pd.DataFrame({"uid": ["a:cat"], "svg": ["<svg/>"]})
    write_drawings(path, drawings)
    assert read_drawings(path).to_dict("list") == {"uid": ["a:cat"], "svg": ["<svg/>"]}
    with pytest.raises(ValueError, match="svg"):
        write_drawings(path, drawings.assign(svg=[None]))


def test_check_uids_accepts_unique_text():
    check_uids(["a", "b"], "table")
    with pytest.raises(ValueError, match="table"):
        check_uids(["a", "a"], "table")


def rows_by_a_loop(table, wanted):
    row_of = {uid: row for row, uid in enumerate(table)}
    return [row_of.get(uid, -1) for uid in wanted]


def as_chunks(uids, length):
    chunks = [pa.array(uids[start : start + length], pa.string()) for start in range(0, len(uids), length)]
    return pa.chunked_array(chunks, pa.string())


@settings(max_examples=200, deadline=None)
@given(
    table=st.permutations(list(map(str, range(31)))).flatmap(lambda uids: st.integers(0, 31).map(lambda n: uids[:n])),
    wanted=st.lists(st.integers(0, 35).map(str), max_size=8) | st.lists(st.integers(0, 35).map(str), max_size=60),
    chunk=st.integers(1, 7),
    at_a_time=st.integers(1, 7),
)
@example(table=["0", "1", "2"], wanted=list(map(str, range(9, -1, -1))), chunk=4, at_a_time=3)
@example(table=list(map(str, range(9, -1, -1))), wanted=["1", "8", "1", "x"], chunk=4, at_a_time=3)
def test_rows_of_uids_are_those_of_a_plain_loop_whatever_is_longer_and_however_it_is_cut(
    table, wanted, chunk, at_a_time
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "MINIMUM_ROWS_LOOKED_UP", at_a_time)
        expected = rows_by_a_loop(table, wanted)
        assert rows_of_uids(table, wanted).tolist() == expected
        found = rows_of_uids(as_chunks(table, chunk), as_chunks(wanted, chunk))
        assert found.tolist() == expected and found.dtype == np.int64
        assert has_uids(as_chunks(table, chunk), wanted).tolist() == [row >= 0 for row in expected]


def test_uids_of_any_arrow_type_are_joined():
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.array(["a", "b", "c"], pa.string()).cast(kind)
        assert rows_of_uids(table, ["c", "x", "c"]).tolist() == [2, -1, 2]
        assert rows_of_uids(["c", "a"], table).tolist() == [1, -1, 0]


def test_a_uid_that_a_table_lacks_is_named_with_the_table():
    assert require_rows_of_uids(["a", "b"], ["b", "a"], "records").tolist() == [1, 0]
    for wanted in (["a", "x", "y"], pa.array(["a", "x", "y"]), as_chunks(["a", "x", "y"], 2)):
        with pytest.raises(MissingUidError, match=r"^here\.parquet lacks 2 of 3 uids, for example 'x', 'y': build"):
            require_rows_of_uids(["a", "b"], wanted, "here.parquet")


def test_rows_of_several_files_are_read_in_the_order_of_the_uids(tmp_path):
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for number, path in enumerate(paths):
        uids = [f"u{number}{row}" for row in range(3)]
        pq.write_table(pa.table({"label": ["cat", None, "dog"], "uid": uids, "other": [1, 2, 3]}), path)
    found = read_rows_of_uids(paths, ["label"], ["u12", "u01", "u00", "u12"])
    assert found.to_pydict() == {"label": ["dog", None, "cat", "dog"]}
    assert read_rows_of_uids(paths, ["uid", "label"], ["u10"]).to_pydict() == {"uid": ["u10"], "label": ["cat"]}
    assert len(read_rows_of_uids(paths, ["uid"], [])) == 0
    with pytest.raises(MissingUidError, match=r"1\.parquet lacks 1 of 2 uids, for example 'u20'"):
        read_rows_of_uids(paths, ["label"], ["u10", "u20"])


def test_uids_are_looked_up_in_a_file(tmp_path):
    path = tmp_path / "kept.parquet"
    pq.write_table(pa.table({"label": ["cat"] * 5, "uid": list("abcde")}), path, row_group_size=2)
    assert uids_in_file(path, ["e", "x", "a", "e"]).tolist() == [True, False, True, True]
    assert uids_in_file(path, pa.array([], pa.string())).tolist() == []
