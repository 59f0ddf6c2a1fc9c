"""Class folders: labels from the names of folders, with and without a table; links."""

from __future__ import annotations

import csv
import os
import socket
import unicodedata

import pytest

from tests.data.readers.record_buffers import CLASSES, read_dataset, records_of, rows_of, write_picture
from whyrobust.data.archives import DANGLING, NO_FILE
from whyrobust.data.dataset_checks import NO_PICTURE, TEXT_BESIDE, DatasetError
from whyrobust.data.label_matcher import read_classes
from whyrobust.data.readers.caption_files import NOT_UTF8, SEVERAL_LINES
from whyrobust.data.readers.folders import read_class_table, read_image_folder
from whyrobust.data.readers.imagenet import read_wnid_folders
from whyrobust.study.class_table import read_class_names


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


def test_text_files_beside_pictures_are_counted_apart(tmp_path):
    """As img2dataset writes them, with captions; a text file without a picture of its name is no such file."""
    for name in ("cat/1.jpg", "cat/2.webp", "dog/3.jpg"):
        write_picture(tmp_path / name)
    for name in ("cat/1.txt", "cat/1.json", "cat/2.txt", "cat/3.txt", "dog/notes.txt"):
        (tmp_path / name).write_text("a cat")
    assert read_image_folder(tmp_path, CLASSES).left_out == {TEXT_BESIDE: 3, NO_PICTURE: 2}


def test_titles_are_the_text_files_beside_pictures_where_these_are_asked_for(tmp_path):
    for name in ("cat/1.jpg", "cat/2.webp", "cat/3.a.jpg", "dog/1.jpg", "dog/2.jpg", "mug/1.jpg"):
        write_picture(tmp_path / name)
    texts = {
        "cat/1.txt": " a black&amp;white  cat\n", "cat/2.txt": "two\nlines", "cat/3.a.txt": "dotted",
        "cat/1.json": "{}", "cat/9.txt": "of no picture", "dog/1.txt": b"caf\xe9", "dog/notes.txt": "x",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "mug" / "1.txt").symlink_to(tmp_path / "gone.txt")
    read = read_dataset({"kind": "image_folder", "folder": tmp_path, "titles_beside": True})
    titles = {record["uid"]: record["title"] for record, _ in rows_of(read)}
    assert titles == {
        "cat/1.jpg": "a black&white cat", "cat/2.webp": "two lines", "cat/3.a.jpg": "dotted",
        "dog/1.jpg": "caf\ufffd", "dog/2.jpg": "", "mug/1.jpg": "",
    }  # fmt: skip
    assert read.left_out == {SEVERAL_LINES: 1, NOT_UTF8: 1, TEXT_BESIDE: 1, NO_PICTURE: 2}
    plain = read_dataset({"kind": "image_folder", "folder": tmp_path})
    assert {record["title"] for record, _ in rows_of(plain)} == {""} and plain.left_out[TEXT_BESIDE] > 3


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


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("dgo", "dog"),
        ("Dog", "dog"),
        ("DOG ", "dog"),
        ("coffee-mug", "Coffee Mug"),
        ("caf\u00e9s", "caf\u00e9"),
        ("sofa", ""),
    ],
)
def test_a_folder_of_a_test_set_that_is_no_class_is_an_error_with_the_nearest_class(tmp_path, name, nearest):
    classes = ["cat", "dog", "Coffee Mug", "caf\u00e9"]
    for folder in ("cat", name):
        write_picture(tmp_path / "set" / folder / "1.jpg")
    said = rf"1 picture lies in folder '{name}', which is none of the names in data\.classes"
    with pytest.raises(DatasetError, match=said) as caught:
        read_image_folder(tmp_path / "set", classes, is_test_set=True)
    assert (f"(nearest: '{nearest}')" in str(caught.value)) == bool(nearest)
    # Of a training source only a class in other spelling is an error: other folders may be of other classes.
    if name in ("Dog", "DOG ", "coffee-mug"):
        with pytest.raises(DatasetError, match="nearest"):
            read_image_folder(tmp_path / "set", classes)
    else:
        assert len(read_image_folder(tmp_path / "set", classes)) == 1


def test_the_rule_on_folders_reaches_test_sets_and_tables_of_folders(tmp_path):
    for name in ("cat/1.jpg", "dog/1.jpg", "Coffee Mug/1.jpg"):
        write_picture(tmp_path / "set" / name)
    settings = {"kind": "image_folder", "folder": tmp_path / "set"}
    with pytest.raises(DatasetError, match="'Coffee Mug'"):
        read_dataset(settings | {"role": "shift"})
    table = tmp_path / "folders.csv"
    table.write_text("folder,class\ncat,cat\ncoffee mug,mug\n")
    with pytest.raises(DatasetError, match=r"none of the names in class_table \(nearest: 'coffee mug'\)"):
        read_dataset(settings | {"role": "shift", "class_table": table})
    table.write_text("folder,class\ncat,cat\nCoffee Mug,mug\n")  # says that dog is to be left out
    assert len(read_dataset(settings | {"role": "shift", "class_table": table})) == 2
    write_picture(tmp_path / "set" / "2.jpg")
    with pytest.raises(DatasetError, match="1 picture lies in no class folder"):
        read_dataset(settings | {"role": "shift"}, classes=["cat", "dog", "Coffee Mug"])
    (tmp_path / "set" / "2.jpg").unlink()
    (tmp_path / "set" / "mug").mkdir()
    with pytest.raises(DatasetError, match="class folder 'mug' holds no picture"):
        read_dataset(settings | {"role": "shift"}, classes=["cat", "dog", "Coffee Mug", "mug"])


@pytest.mark.parametrize("form_of_table", ["NFC", "NFD"])
@pytest.mark.parametrize("form_of_folder", ["NFC", "NFD"])
def test_names_are_compared_in_one_unicode_form(tmp_path, form_of_table, form_of_folder):
    name = "Zoë Ångström"
    (tmp_path / "classes.csv").write_text("class\n" + unicodedata.normalize(form_of_table, name), encoding="utf-8")
    classes = read_class_names(tmp_path / "classes.csv")
    write_picture(tmp_path / "set" / unicodedata.normalize(form_of_folder, name) / "1.jpg")
    records = records_of(read_image_folder(tmp_path / "set", classes, is_test_set=True), "t")
    assert records["label"].tolist() == classes == read_classes(tmp_path / "classes.csv")["class"].tolist()


@pytest.mark.parametrize("content", [b"folder,class\nn01,caf\xe9\n", b'folder,class\nn01,"cat\nn02,dog\n'])
def test_a_table_of_folders_that_is_no_text_says_so(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"t\.csv cannot be read as a CSV table in UTF-8 \(.*\): save it as one"):
        read_class_table(tmp_path / "t.csv", CLASSES)


@pytest.mark.parametrize("limit", [2**17, 2**24])
def test_a_huge_class_in_a_table_of_folders_is_one_short_line(tmp_path, limit):
    """It is more than the csv module takes, or no class: another reader of this process may have raised the limit."""
    (tmp_path / "t.csv").write_text('folder,class\nn01,"' + "x" * 200_000 + '"\n', encoding="utf-8")
    before = csv.field_size_limit(limit)
    try:
        with pytest.raises(DatasetError, match=r"t\.csv") as error:
            read_class_table(tmp_path / "t.csv", CLASSES)
    finally:
        csv.field_size_limit(before)
    assert len(str(error.value)) < 400
