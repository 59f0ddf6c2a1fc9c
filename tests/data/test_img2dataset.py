"""Fetching pairs: each pair of a list is accounted for, and photographs keep their bytes unless told otherwise."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from PIL import Image

from tests.data.test_photo_store import encoded, picture
from tests.replicas import serve
from whyrobust.data.img2dataset import PairError, count_pairs, fetch_pairs, write_pairs


def test_pairs_of_a_shard_that_was_given_up_are_counted(tmp_path):
    for number, count in ((0, 200), (2, 150)):
        facts = {"count": count, "successes": count - 20, "status_dict": {"success": count - 20, "HTTP 404": 20}}
        (tmp_path / f"{number:05d}_stats.json").write_text(json.dumps(facts))
    whole = count_pairs(tmp_path, 350)
    assert whole["shard"].tolist() == ["00000.tar", "00002.tar"] and whole["obtained"].sum() == 310
    short = count_pairs(tmp_path, 550)
    assert short["pairs"].sum() == 550 and short["obtained"].sum() == 310
    assert short.iloc[-1].tolist() == ["none", 200, 0, '{"not attempted": 200}']
    with pytest.raises(PairError, match="are of 350 pairs, the list has 300"):
        count_pairs(tmp_path, 300)


@pytest.mark.parametrize("shorter_side", [None, 64])
def test_photographs_keep_their_bytes_unless_a_side_is_asked_for(tmp_path, shorter_side):
    content = encoded(picture(400, 300))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.jpg").write_bytes(content)
    with serve(tmp_path / "web") as address:
        row = {"downloadurl": f"{address}/a.jpg", "photoid": "1", "title": "t", "description": "", "usertags": ""}
        write_pairs(tmp_path / "pairs.parquet", [row])
        found = fetch_pairs(tmp_path / "pairs.parquet", tmp_path / "s", "img2dataset", 1, 1, shorter_side=shorter_side)
    assert found["obtained"].sum() == 1
    with tarfile.open(tmp_path / "s" / "00000.tar") as archive:
        (name,) = [name for name in archive.getnames() if name.endswith(".jpg")]
        kept = archive.extractfile(name).read()
    if shorter_side is None:
        assert kept == content
    else:
        assert min(Image.open(io.BytesIO(kept)).size) == 64
