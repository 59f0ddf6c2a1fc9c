"""Test sets that are too small or too large, and images that are missing."""

from __future__ import annotations

import pytest

from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.dataset_checks import DatasetError, check_count
from whyrobust.data.readers.webdataset import read_webdataset


def test_a_short_test_set_says_how_many_are_missing():
    check_count("v2", 10_000, 10_000, allow_short=False)
    check_count("v2", 9_000, 10_000, allow_short=True)
    with pytest.raises(DatasetError, match=r"9,000 of 10,000 images, 1,000 are missing"):
        check_count("v2", 9_000, 10_000, allow_short=False)
    with pytest.raises(DatasetError, match="1 more than"):
        check_count("v2", 10_001, 10_000, allow_short=True)


def test_pairs_of_a_shard_without_a_picture_are_missing_pictures(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("0.jpg", encoded(picture())), ("0.txt", b"a"), ("1.txt", b"b")])
    buffer = read_webdataset([shard])
    with pytest.raises(DatasetError, match=r"lacks 1 of 2 pictures .*the first 's/1': it has no picture"):
        buffer.presence.check("set", 0.4)
    buffer.presence.check("set", 0.5)
