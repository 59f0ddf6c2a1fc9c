"""WebDataset shards: files grouped by key, and names of pairs that are unique over all shards."""

from __future__ import annotations

import json

import pytest

from tests.data.readers.record_buffers import CLASSES, read_dataset, records_of, rows_of
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.readers.webdataset import PairLayout, read_webdataset
from whyrobust.study.slices import ShardError, shard_names


def test_shards_are_grouped_by_key(tmp_path):
    image = encoded(picture())
    metadata = json.dumps({"caption": "a+dog", "label": "dog"}).encode()
    shard = write_tar(
        tmp_path / "00000.tar",
        [
            ("000.jpg", image), ("000.txt", b"a <i>cat</i>"), ("000.json", metadata),
            ("001.txt", b"no picture"),
            ("002.jpg", image), ("002.json", b"{broken"), ("002.txt", b"\xff\xfe caf"),
            ("sub/002.PNG", image),
        ],
    )  # fmt: skip
    buffer = read_webdataset([shard], PairLayout(label="label"), CLASSES)
    records = records_of(buffer, "cc")
    assert records["uid"].tolist() == ["cc/00000/000", "cc/00000/002", "cc/00000/sub/002"]
    assert records["title"].tolist()[0] == "a cat" and records["label"].tolist() == ["dog", None, None]
    assert buffer.left_out["it has no picture"] == 1
    by_json = read_dataset({"kind": "webdataset", "shards": [str(shard)], "fields": {"title": "caption"}})
    assert records_of(by_json, "cc")["title"].tolist() == ["a+dog", "", ""]


def test_shards_of_one_name_in_two_folders_lose_nothing(tmp_path):
    image = encoded(picture())
    shards = []
    for folder in ("cc/a", "cc/b"):
        (tmp_path / folder).mkdir(parents=True)
        shards.append(write_tar(tmp_path / folder / "00000.tar", [(f"{n:03}.jpg", image) for n in range(3)]))
    buffer = read_webdataset(shards)
    assert [record["uid"] for record, _ in rows_of(buffer)] == [f"{f}/00000/{n:03}" for f in "ab" for n in range(3)]
    assert not buffer.left_out
    assert shard_names([tmp_path / "cc" / "a" / "00000.tar"]) == ["00000"]
    with pytest.raises(ShardError, match="have one name, '00000'"):
        read_webdataset([shards[0], shards[0]])
