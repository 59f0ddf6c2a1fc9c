"""Addresses of Flickr's photographs, and ImageNet's list of addresses in its forms."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from tests.flickr_replica import (
    ADDRESSES,
    ADDRESSES_WITHOUT_PHOTO,
    NOT_FLICKR,
    NOT_LISTED,
    OTHER_ADDRESSES,
    TWO_ADDRESSES,
)
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.flickr_addresses import (
    find_photos,
    is_on_flickr,
    photo_numbers,
    photo_of,
    read_addresses,
    read_training_names,
)
from whyrobust.files import write_table

LIST = b"n01440764_10026\thttp://farm1.static.flickr.com/1/5_a.jpg\nn01440764_3\thttp://example.org/\xe9\nno tab\n\n"
LIST += b"n01440764_4\t \nsynset\thttp://farm1.static.flickr.com/1/6_a.jpg\n"
ROWS = [("n01440764_10026", "http://farm1.static.flickr.com/1/5_a.jpg"), ("n01440764_3", "http://example.org/\ufffd")]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_form_of_an_address_names_its_photograph(address):
    assert photo_of(address.format(photo=2041810051)) == 2041810051


@pytest.mark.parametrize(
    "address",
    [
        "www.flickr.com/photos/a_b/2041810051/sizes/o/",
        "http://www.flickr.com/photo.gne?id=2041810051",
        "http://farm3.staticflickr.com/2/2041810051_abc_b_d.jpg",
        "http://farm3.static.flickr.com/2/2041810051_ABC.JPG",
    ],
)
def test_rarer_forms_too(address):
    assert photo_of(address) == 2041810051


def test_a_short_address_is_a_number_in_base_58():
    digits, number, short = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ", 53208249252, ""
    while number:
        number, digit = divmod(number, 58)
        short = digits[digit] + short
    assert photo_of(f"https://flic.kr/p/{short}") == 53208249252 and short == "2p4QbKN"


@pytest.mark.parametrize("address", [*OTHER_ADDRESSES, *ADDRESSES_WITHOUT_PHOTO, "", "http://", "flic.kr/p/0",
                                     "http://www.flickr.com/photo.gne?id=x", "http://flickr.com.example.org/photos/a/5",
                                     "http://www.flickr.com/photos/a/12345678901234567890"])  # fmt: skip
def test_other_addresses_name_none(address):
    assert photo_of(address) == -1
    assert is_on_flickr(address) == (address not in OTHER_ADDRESSES and "flic" in address and "example" not in address)


def as_tgz(content, name="fall11_urls.txt"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


@pytest.mark.parametrize(
    "name, content", [("a.txt", LIST), ("a.txt.gz", gzip.compress(LIST, mtime=0)), ("a.tgz", as_tgz(LIST))]
)
def test_the_list_is_read_in_each_of_its_forms(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert list(read_addresses(tmp_path / name)) == ROWS


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("a.txt.gz", gzip.compress(LIST * 99, mtime=0)[:-30], "cannot be read after line"),
        ("a.txt.gz", LIST, "cannot be read after line 0"),
        ("a.tgz", as_tgz(LIST * 99)[:-30], "cannot be read after line"),
        ("a.tgz", as_tgz(LIST, "readme.md"), "holds no text"),
        ("a.txt", b"<html>log in</html>\n" + b"x" * 10**6, "has no line with an image and an address"),
    ],
)
def test_a_damaged_list_is_an_error(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        list(read_addresses(tmp_path / name))


def test_names_of_training_images_come_from_a_tar_of_tars_a_folder_or_a_text(tmp_path):
    names = ["n01440764_3.JPEG", "n01440764_20.JPEG", "n02119789_1.JPEG"]
    with tarfile.open(tmp_path / "train.tar", "w") as outer:
        for wnid in ("n02119789", "n01440764"):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for name in names:
                    if name.startswith(wnid):
                        inner.addfile(tarfile.TarInfo(name))
                        (tmp_path / "train" / wnid).mkdir(parents=True, exist_ok=True)
                        (tmp_path / "train" / wnid / name).touch()
            info = tarfile.TarInfo(f"{wnid}.tar")
            info.size = len(buffer.getvalue())
            outer.addfile(info, io.BytesIO(buffer.getvalue()))
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for name in names:
            archive.writestr(f"train/{name}", b"x")
    (tmp_path / "train.txt").write_text("".join(f"{name[:9]}/{name} 0\n" for name in names[::-1]))
    for given in ("train.tar", "train", "train.zip", "train.txt"):
        assert read_training_names(tmp_path / given) == names


@pytest.mark.parametrize(
    "text, reason",
    [
        ("n01440764_3.JPEG\nx/n01440764_3.JPEG\n", "comes twice"),
        ("\n", "no training"),
        ("ILSVRC2012_val_00000001.JPEG 5", "is no name of a training image"),
        ("n01440764_3\n", "is no name of a training image"),
    ],
)
def test_names_that_are_none_are_an_error(tmp_path, text, reason):
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(DatasetError, match=reason):
        read_training_names(tmp_path / "train.txt")


def test_photographs_are_listed_once(tmp_path):
    same = "http://farm1.static.flickr.com/1/5_a.jpg"
    addresses = [("a_1", same), ("a_2", same), ("a_2", same), ("b_9", same), ("a_3", "x")]
    addresses += [("a_4", same), ("a_4", "x"), ("a_4", same)]
    photos = find_photos([f"a_{number}.JPEG" for number in range(1, 6)], addresses)
    assert photos["photo"].to_pylist() == [5, 5, -1, -1, -1]
    assert photos["left_out"].to_pylist() == ["", "", NOT_FLICKR, TWO_ADDRESSES, NOT_LISTED]
    write_table(tmp_path / "photos.parquet", photos)
    assert photo_numbers(tmp_path / "photos.parquet") == {5}
