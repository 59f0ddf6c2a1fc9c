"""Files appear whole or not at all."""

import hashlib

import pytest

from whyrobust.files import atomic_folder, atomic_path, checksum, write_json


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
