"""Fetching lists of addresses with img2dataset itself, from a server that stalls, cuts, fails and lies."""

from __future__ import annotations

import io
import tarfile

import pytest
from PIL import Image

from tests.data.test_photo_store import encoded, picture
from tests.faulty_server import serve_faults
from whyrobust.data.fetching import NO_SHARD, count_failures, fetch_pairs
from whyrobust.data.img2dataset import FetchSettings, PairError, find_img2dataset, write_pairs


def pictures_in(folder):
    """Return the bytes of all pictures in the finished shards below a folder, by name."""
    found = {}
    for stats in sorted(folder.rglob("*_stats.json")):
        shard = stats.with_name(stats.name.replace("_stats.json", ".tar"))
        with tarfile.open(shard) as archive:
            names = [name for name in archive.getnames() if name.endswith(".jpg")]
            found |= {f"{shard.parent.name}/{name}": archive.extractfile(name).read() for name in names}
    return found


def test_what_a_server_does_wrong_costs_no_other_picture_and_is_counted(tmp_path):
    content = encoded(picture(400, 300))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.jpg").write_bytes(content)
    with serve_faults(tmp_path / "web") as address:
        paths = ["ok", "gone", "fails/5", "cut/5", "stall/1", "page"]
        rows = [{"url": f"{address}/{path}/a.jpg", "title": path} for path in paths]
        rows += [{"url": url, "title": ""} for url in (f"file://{tmp_path}/web/a.jpg", "")]
        write_pairs(tmp_path / "pairs.parquet", ["title"], rows)
        how = FetchSettings("img2dataset", 2, 8, None, attempts=2, retry_after_seconds=0, stall_seconds=3)
        found = fetch_pairs(tmp_path / "pairs.parquet", tmp_path / "s", how)
    assert found["pairs"].sum() == 8 and found["obtained"].sum() == 4
    reasons = {reason.removeprefix("it could not be fetched: "): n for reason, n in count_failures(found).items()}
    assert reasons.pop("it is no address of http or https") == 2 == found.iloc[-1]["pairs"]
    assert found.iloc[-1]["shard"] == NO_SHARD
    assert reasons.pop("HTTP Error 404: Not Found") == 1 and list(reasons.values()) == [1]
    assert list(pictures_in(tmp_path / "s").values()) == [content] * 4  # photographs keep their bytes


def test_photographs_are_resized_where_a_side_is_asked_for(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.jpg").write_bytes(encoded(picture(400, 300)))
    with serve_faults(tmp_path / "web") as address:
        write_pairs(tmp_path / "pairs.parquet", [], [{"url": f"{address}/ok/a.jpg"}])
        fetch_pairs(tmp_path / "pairs.parquet", tmp_path / "s", FetchSettings("img2dataset", 1, 1, shorter_side=64))
    (kept,) = pictures_in(tmp_path / "s").values()
    assert min(Image.open(io.BytesIO(kept)).size) == 64


def test_a_command_that_is_missing_says_how_to_get_it():
    with pytest.raises(PairError, match="no command 'gone': run 'make img2dataset'"):
        find_img2dataset("gone")
