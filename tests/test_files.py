"""Files appear whole or not at all."""

import hashlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whyrobust.files import atomic_folder, atomic_path, checksum, read_csv, write_json, write_table


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert checksum(tmp_path / "a.json") == checksum(tmp_path / "b.json")
    assert checksum(tmp_path / "a.json") == hashlib.sha256((tmp_path / "b.json").read_bytes()).hexdigest()


def test_a_folder_is_whole_or_not_there_and_the_last_to_end_leaves_all_of_it(tmp_path):
    """One that lost its parent goes on writing while another one removes the folder and writes it too."""
    final = tmp_path / "figures"
    with atomic_folder(final) as first:
        (first / "a").write_text("1")
        with atomic_folder(final) as second:
            (second / "a").write_text("1")
            assert not final.exists()
        assert [path.name for path in final.iterdir()] == ["a"]
        (first / "b").write_text("2")
    assert sorted(path.name for path in final.iterdir()) == ["a", "b"]
    with pytest.raises(ValueError, match="stop"), atomic_folder(final) as third:
        (third / "c").write_text("3")
        raise ValueError("stop")
    assert sorted(path.name for path in final.iterdir()) == ["a", "b"] and len(list(tmp_path.iterdir())) == 1


def test_tables_are_csv_or_parquet_by_the_ending_of_their_name(tmp_path):
    frame = pd.DataFrame({"uid": ["a", "b"], "share": [0.5, None]}, index=[7, 9])
    write_table(tmp_path / "t.csv", frame)
    assert (tmp_path / "t.csv").read_bytes() == b"uid,share\na,0.5\nb,\n"
    write_table(tmp_path / "t.parquet", frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame.reset_index(drop=True))
    assert pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(0).compression == "ZSTD"
    schema = pa.schema([("uid", pa.string()), ("share", pa.string())])
    write_table(tmp_path / "empty.parquet", frame.assign(share=None), schema)
    assert pq.read_schema(tmp_path / "empty.parquet").remove_metadata() == schema
    write_table(tmp_path / "arrow.parquet", pa.table({"uid": ["a"]}))
    assert pq.read_table(tmp_path / "arrow.parquet").to_pydict() == {"uid": ["a"]}
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"t\.xlsx is no name of a table"):
        write_table(tmp_path / "t.xlsx", frame)
    with pytest.raises(pa.ArrowInvalid):
        write_table(tmp_path / "t.parquet", pd.DataFrame({"a": [1, "x"]}))
    assert sorted(tmp_path.iterdir()) == before and len(pd.read_parquet(tmp_path / "t.parquet")) == 2


@pytest.mark.parametrize("names", [["001", "01", "1", "1e2"], ["null", "NA", "n/a", "nan"], ["true", "false"], ["inf"]])
def test_names_that_look_like_numbers_or_like_nothing_stay_names(tmp_path, names):
    """Three classes called 001, 01 and 1 are three, and a test set or a source may be called null."""
    table = pd.DataFrame(
        {"class": names, "test_set": names, "source": names, "images": 3, "share": [None] * len(names)}
    )
    write_table(tmp_path / "t.csv", table)
    for keep_empty in (False, True):
        found = read_csv(tmp_path / "t.csv", keep_empty)
        assert found["class"].tolist() == found["test_set"].tolist() == found["source"].tolist() == names
        assert found["images"].dtype == int
    assert read_csv(tmp_path / "t.csv")["share"].isna().all()
    assert read_csv(tmp_path / "t.csv", keep_empty=True)["share"].eq("").all()


def test_tables_of_a_study_are_read_by_one_function(root):
    """Pandas alone would take some names of classes for numbers, and others for nothing."""
    files = [*(root / "workflow" / "scripts").glob("*.py"), *(root / "src" / "whyrobust" / "report").rglob("*.py")]
    assert not [path.name for path in files if "pd.read_csv" in path.read_text(encoding="utf-8")]
