"""YFCC-15M: the subset's photos once each, from shards and from the metadata; ids."""

from __future__ import annotations

import bz2
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.readers.record_buffers import read_dataset, records_of
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.yfcc import YFCC_COLUMNS, PhotoIds, list_yfcc_pairs


def test_yfcc_from_shards_that_are_there_keeps_the_pairs_of_the_subset_once(tmp_path):
    image = encoded(picture())
    texts = {"title": "a+cat%21", "description": "%3Cb%3Eours%3C%2Fb%3E", "usertags": "pet,two+words"}
    members = []
    for key, photo in (("k1", "11"), ("k2", "22"), ("k3", "11"), ("k4", "33")):
        metadata = json.dumps({"photoid": int(photo) if key == "k4" else photo} | texts).encode()
        members += [(f"{key}.jpg", image), (f"{key}.json", metadata)]
    (tmp_path / "subset.tsv.bz2").write_bytes(bz2.compress(b"1\t11\tabc\n7\t33\tdef\n8\t44\tghi\n"))
    settings = {
        "kind": "yfcc15m",
        "shards": [str(write_tar(tmp_path / "00000.tar", members))],
        "subset": str(tmp_path / "subset.tsv.bz2"),
    }
    buffer = read_dataset(settings)
    records = records_of(buffer, "yfcc")
    assert records["uid"].tolist() == ["yfcc/11", "yfcc/33"] and records["label"].isna().all()
    assert records.iloc[0][["title", "description", "tags"]].tolist() == ["a cat!", "ours", ["pet", "two words"]]
    assert buffer.left_out == {"it is not in the list of the subset": 1, "it came before": 1}


@pytest.mark.parametrize("columns", [25, 23])
def test_both_layouts_of_the_yfcc_metadata_are_read(tmp_path, columns):
    (tmp_path / "subset.bz2").write_bytes(bz2.compress(b"1\t11\tabc\n2\t22\tdef\n"))
    lines = []
    for photo, marker in (("11", "0"), ("22", "1"), ("99", "0")):
        row = dict.fromkeys(YFCC_COLUMNS, "") | {
            "photoid": photo, "title": "a+cat", "downloadurl": f"http://x/{photo}.jpg", "marker": marker,
        }  # fmt: skip
        names = [name for name in YFCC_COLUMNS if columns == 25 or name not in ("line", "hash")]
        assert len(names) == columns
        lines.append("\t".join(row[name] for name in names))
    (tmp_path / "metadata.bz2").write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))
    (pair,) = list_yfcc_pairs(tmp_path / "subset.bz2", tmp_path / "metadata.bz2")
    assert (pair["photoid"], pair["title"], pair["downloadurl"]) == ("11", "a+cat", "http://x/11.jpg")
    (tmp_path / "metadata.bz2").write_bytes(bz2.compress(b"a\tb\n"))
    with pytest.raises(DatasetError, match="2 columns, expected 25 or 23"):
        list(list_yfcc_pairs(tmp_path / "subset.bz2", tmp_path / "metadata.bz2"))


@given(st.sets(st.integers(0, 2**62), max_size=30), st.integers(0, 2**62))
def test_ids_are_found_as_in_a_set(numbers, other):
    ids = PhotoIds(numbers)
    for number in [*numbers, other]:
        assert (ids.position(str(number)) >= 0) == (number in numbers)
        assert number not in numbers or ids.numbers[ids.position(str(number))] == number
    assert ids.position("") == ids.position("x1") == ids.position("9" * 19) == ids.position("9" * 5000) == -1
