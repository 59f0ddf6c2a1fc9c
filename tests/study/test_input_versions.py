"""Any change of what a user gives changes its version: content of small files, name, size and time of others."""

from __future__ import annotations

import os
import shutil

import pytest

from whyrobust.study import input_versions
from whyrobust.study.input_versions import input_version, listing_version


@pytest.fixture(autouse=True)
def read_anew():
    """Read files anew, as another start of the workflow does."""
    input_version.cache_clear()
    yield
    input_version.cache_clear()


def version(path):
    input_version.cache_clear()
    return input_version(path)


def keep_time(path, change):
    """Change a file and give it its old time, or an older one."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))


def test_a_small_file_counts_by_content_and_a_large_one_by_size_and_time(tmp_path, monkeypatch):
    table = tmp_path / "t.csv"
    table.write_text("file,text\na.jpg,one\n")
    first = version(table)
    keep_time(table, lambda path: path.write_text("file,text\na.jpg,two\n"))
    second = version(table)
    assert second != first
    os.utime(table)  # a copy of the same content
    assert version(table) == second
    monkeypatch.setattr(input_versions, "MAXIMUM_BYTES_READ", 3)
    large = version(table)
    os.utime(table, ns=(0, 0))
    assert version(table) != large


CHANGES = {
    "moved": lambda set_: (set_ / "cat" / "1.jpg").rename(set_ / "dog" / "1.jpg"),
    "added": lambda set_: (set_ / "cat" / "3.jpg").write_bytes(b"x"),
    "deleted": lambda set_: (set_ / "cat" / "1.jpg").unlink(),
    "overwritten": lambda set_: keep_time(set_ / "cat" / "1.jpg", lambda path: path.write_bytes(b"other")),
    "overwritten with as many bytes": lambda set_: keep_time(set_ / "cat" / "1.jpg", lambda p: p.write_bytes(b"y")),
    "target of a link overwritten": lambda set_: keep_time(
        set_.parent / "store" / "7.jpg", lambda path: path.write_bytes(b"xyz")
    ),
    "target of a link gone": lambda set_: (set_.parent / "store" / "7.jpg").unlink(),
    "folder renamed": lambda set_: (set_ / "cat").rename(set_ / "Cat"),
    "linked folder changed": lambda set_: (set_.parent / "more" / "9.jpg").write_bytes(b"z"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_counts_by_name_size_and_time_of_each_file_below(tmp_path, change):
    found = tmp_path / "set"
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/5.jpg", "../store/7.jpg", "../more/8.jpg"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_bytes(b"x")
    (found / "dog" / "7.jpg").symlink_to(tmp_path / "store" / "7.jpg")
    (found / "mug").symlink_to(tmp_path / "more")
    (found / "mug" / "again").symlink_to(found)  # a loop ends
    first = version(found)
    (found / "cat" / ".DS_Store").write_bytes(b"of a file browser")
    (found / "Thumbs.db").write_bytes(b"of a file browser")
    assert version(found) == first
    CHANGES[change](found)
    assert version(found) != first


def test_a_listing_does_not_depend_on_order_and_tells_missing_files(tmp_path):
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    paths[0].write_bytes(b"x")
    missing = listing_version(paths)
    assert listing_version(reversed(paths)) == missing != listing_version(paths[:1])
    shutil.copy(*paths)
    assert listing_version(paths) != missing
    assert listing_version([tmp_path / ("n" * 5000), tmp_path / "zero\0byte"]) != listing_version([])
