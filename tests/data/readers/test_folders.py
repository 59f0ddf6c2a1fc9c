"""Class folders: labels from the names of folders, with and without a table; links."""

from __future__ import annotations

import os
import socket

import pytest

from tests.data.readers.record_buffers import CLASSES, records_of, rows_of, write_picture
from whyrobust.data.archives import DANGLING, NO_FILE
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.folders import read_image_folder
from whyrobust.data.readers.imagenet import read_wnid_folders


def test_class_folders_with_and_without_a_table(tmp_path):
    for folder in ("cat", "Coffee Mug", "sofa"):
        write_picture(tmp_path / "set" / folder / "1.jpg")
    (tmp_path / "set" / "cat" / "notes.txt").write_text("x")
    plain = read_image_folder(tmp_path / "set", CLASSES)
    assert records_of(plain, "t")["label"].tolist() == ["cat"]
    assert plain.left_out == {"its folder is no class of the study": 2, "not a picture by its name": 1}
    table = tmp_path / "classes.csv"
    table.write_text("folder,class\ncat,cat\nCoffee Mug,mug;cat\n")
    mapped = read_image_folder(tmp_path / "set", CLASSES, table)
    assert sorted(records_of(mapped, "t")["label"]) == ["cat", "cat;mug"]
    table.write_text("folder,class\ncat,lion\n")
    with pytest.raises(DatasetError, match="'lion' is no class"):
        read_image_folder(tmp_path / "set", CLASSES, table)


def test_linked_class_folders_are_read(tmp_path):
    write_picture(tmp_path / "all" / "cat" / "1.jpg")
    write_picture(tmp_path / "all" / "dog" / "1.jpg")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "cat").symlink_to(tmp_path / "all" / "cat")
    (tmp_path / "some" / "dog").mkdir()
    (tmp_path / "some" / "dog" / "2.jpg").symlink_to(tmp_path / "all" / "dog" / "1.jpg")
    (tmp_path / "some" / "again").symlink_to(tmp_path / "some")  # a loop ends
    names = [record["uid"] for record, _ in rows_of(read_image_folder(tmp_path / "some", CLASSES))]
    assert names == ["cat/1.jpg", "dog/2.jpg"]


def test_what_is_no_file_in_a_class_folder_counts_as_missing(tmp_path):
    write_picture(tmp_path / "set" / "cat" / "1.jpg")
    (tmp_path / "set" / "cat" / "2.jpg").symlink_to(tmp_path / "annex" / "2.jpg")
    (tmp_path / "set" / "cat" / "3.jpg").symlink_to("3.jpg")  # to itself
    os.mkfifo(tmp_path / "set" / "cat" / "4.jpg")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(tmp_path / "set" / "cat" / "5.jpg"))
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "annex" / "dog")  # a class folder that was not fetched
    records = read_image_folder(tmp_path / "set", CLASSES)
    assert [record["uid"] for record, _ in rows_of(records)] == ["cat/1.jpg"]
    assert records.presence.found == 1 and records.presence.missing == {DANGLING: 3, NO_FILE: 2}
    with pytest.raises(DatasetError, match=r"lacks 5 of 6 pictures .* first 'cat/2\.jpg': it is a link to a file"):
        records.presence.check("t", 0.01)
    _, members = zip(*rows_of(read_wnid_folders(tmp_path / "set", CLASSES, None)), strict=True)
    assert len(members) == 1 and read_wnid_folders(tmp_path / "set", CLASSES, None).missing == {DANGLING: 3, NO_FILE: 2}
