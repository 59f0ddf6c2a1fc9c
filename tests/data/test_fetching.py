"""Which addresses are tried when: each pair of a list is accounted for, whatever interrupts a fetch."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whyrobust.data.fetching
from tests.data.test_photo_store import write_tar
from whyrobust.data.fetching import count_failures, fetch_pairs, obtained_shards
from whyrobust.data.img2dataset import FetchSettings, PairError, write_pairs
from whyrobust.files import write_table


class StandIn:
    """Takes the place of img2dataset: ``answers`` has for each address its answers, one per try; the last stays."""

    def __init__(self, answers):
        self.answers, self.calls = answers, []

    def __call__(self, pairs, folder, settings, pairs_per_shard):
        """Write shards, their tables and their statistics, or what is left of them."""
        rows = pq.read_table(pairs).to_pylist()
        self.calls.append((pairs_per_shard, [row["row"] for row in rows]))
        folder.mkdir(parents=True)
        for number in range(0, len(rows), pairs_per_shard):
            name = f"{number // pairs_per_shard:05d}"
            shard = rows[number : number + pairs_per_shard]
            answers = [self._answer(row["url"]) for row in shard]
            good = [(f"{row['row']}.jpg", b"x") for row, each in zip(shard, answers, strict=True) if each == "ok"]
            write_tar(folder / f"{name}.tar", good)
            if "killed" in answers:
                raise KeyboardInterrupt
            if "stall" in answers:
                return False
            if "lost" in answers:
                continue
            if "full disk" in answers:  # img2dataset leaves out what it cannot write
                shard, answers = shard[:-1], ["ok"] * (len(shard) - 1)
            done = [("success", None) if each == "ok" else ("failed_to_download", each) for each in answers]
            columns = {"row": [row["row"] for row in shard], "status": [status for status, _ in done],
                       "error_message": pa.array([message for _, message in done], pa.string())}  # fmt: skip
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
            counts = {"count": len(rows[number : number + pairs_per_shard]), "successes": len(good)}
            (folder / f"{name}_stats.json").write_text(json.dumps(counts))
        return True

    def _answer(self, url):
        given = self.answers[url.removeprefix("http://x/")]
        return given.pop(0) if len(given) > 1 else given[0]


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Fetch a list from a stand-in; return what was found and the stand-in."""

    def call(answers, attempts=3, pairs_per_shard=100):
        stand_in = StandIn(answers)
        monkeypatch.setattr(whyrobust.data.fetching, "call_img2dataset", stand_in)
        rows = [{"url": f"http://x/{name}", "title": name} for name in answers]
        write_pairs(tmp_path / "pairs.parquet", ["title"], rows)
        how = FetchSettings("img2dataset", 1, 1, None, attempts, 0, 1, pairs_per_shard)
        try:
            return fetch_pairs(tmp_path / "pairs.parquet", tmp_path / "pairs", how), stand_in
        except KeyboardInterrupt:
            return None, stand_in

    return call


def test_what_failed_is_tried_again_after_all_others_and_what_is_gone_is_not(fetch, tmp_path):
    found, img2dataset = fetch({
        "a": ["ok"], "b": ["HTTP Error 503", "ok"], "c": ["HTTP Error 404: Not Found"], "d": ["timed out"],
        "e": ["Use of image disallowed by X-Robots-Tag directive"], "f": ["timed out", "IncompleteRead", "ok"],
    })  # fmt: skip
    assert img2dataset.calls == [(100, [0, 1, 2, 3, 4, 5]), (10, [1, 3, 5]), (1, [3, 5])]
    rows = found.to_dict("records")
    assert [(row["shard"], row["pairs"], row["obtained"]) for row in rows] == [
        ("call_000001/00000.tar", 3, 1), ("call_000002/00000.tar", 1, 1), ("call_000003/00000.tar", 1, 0),
        ("call_000003/00001.tar", 1, 1),
    ]  # fmt: skip
    assert count_failures(found) == {
        "it could not be fetched: HTTP Error 404: Not Found": 1,
        "it could not be fetched: Use of image disallowed by X-Robots-Tag directive": 1,
        "it could not be fetched: timed out": 1,
    }
    write_table(tmp_path / "pairs.csv", found)
    assert [name.removeprefix(f"{tmp_path}/pairs/call_00000") for name in obtained_shards(tmp_path / "pairs.csv")] == [
        "1/00000.tar", "2/00000.tar", "3/00001.tar"
    ]  # fmt: skip


def test_a_stall_costs_a_try_to_what_was_under_way_and_to_nothing_else(fetch):
    answers = {name: ["ok"] for name in "abcdefghijkl"} | {"f": ["stall"]}
    found, img2dataset = fetch(answers, pairs_per_shard=4)
    # The shard of e to h had begun; i to l were not tried.
    assert img2dataset.calls == [(4, list(range(12))), (4, [8, 9, 10, 11]), (1, [4, 5, 6, 7]), (1, [6, 7]), (1, [5])]
    assert found["obtained"].sum() == 11 and found["pairs"].sum() == 12
    assert count_failures(found) == {"it could not be fetched: the fetch stalled": 1}


def test_an_interrupted_fetch_goes_on_with_what_is_missing(fetch, tmp_path):
    answers = {name: ["ok"] for name in "abcdef"} | {"d": ["killed", "ok"]}
    assert fetch(answers, pairs_per_shard=2)[0] is None
    before = (tmp_path / "pairs" / "call_000001" / "00000.parquet").stat().st_mtime_ns
    found, img2dataset = fetch(answers, pairs_per_shard=2)
    assert img2dataset.calls == [(2, [2, 3, 4, 5])] and found["obtained"].sum() == 6
    assert (tmp_path / "pairs" / "call_000001" / "00000.parquet").stat().st_mtime_ns == before
    again, img2dataset = fetch(answers)
    assert img2dataset.calls == [] and again.equals(found)
    # What a process of the interrupted call brings later does not count.
    for ending in (".parquet", "_stats.json"):
        source = tmp_path / "pairs" / "call_000002" / f"00000{ending}"
        (tmp_path / "pairs" / "call_000001" / f"00001{ending}").write_bytes(source.read_bytes())
    assert fetch(answers)[0].equals(found)


def test_pairs_of_a_shard_that_was_given_up_are_counted(fetch):
    found, img2dataset = fetch({"a": ["ok"], "b": ["ok"], "c": ["lost"]}, attempts=2, pairs_per_shard=2)
    assert img2dataset.calls == [(2, [0, 1, 2]), (1, [2])]
    assert found.iloc[-1].tolist() == ["none", 1, 0, json.dumps({"img2dataset gave its shard up": 1})]


def test_shards_that_a_full_disk_left_in_parts_are_fetched_again(fetch, tmp_path):
    answers = {"a": ["ok"], "b": ["ok"], "c": ["full disk", "ok"], "d": ["ok"], "e": ["killed", "ok"], "f": ["ok"]}
    assert fetch(answers, pairs_per_shard=2)[0] is None
    shard = tmp_path / "pairs" / "call_000001" / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:600])
    found, img2dataset = fetch(answers, pairs_per_shard=2)
    assert img2dataset.calls == [(2, [0, 1, 2, 3, 4, 5])] and found["obtained"].sum() == 6


def test_many_reasons_are_summed_up(fetch):
    answers = {str(number): [f"reason {number % 9}"] for number in range(90)} | {"good": ["ok"]}
    found, _ = fetch(answers, attempts=1)
    assert count_failures(found)["it could not be fetched: another reason"] == 40
    assert sum(count_failures(found).values()) == 90


def test_another_list_is_never_mixed_with_what_is_there_and_nothing_at_all_is_an_error(fetch, tmp_path):
    fetch({"a": ["ok"]})
    with pytest.raises(PairError, match="from another list or at another size: remove the folder"):
        fetch({"a": ["ok"], "b": ["ok"]})
    with pytest.raises(PairError, match="from another list or at another size"):
        how = FetchSettings("img2dataset", 1, 1, shorter_side=64)
        write_pairs(tmp_path / "pairs.parquet", ["title"], [{"url": "http://x/a", "title": "a"}])
        fetch_pairs(tmp_path / "pairs.parquet", tmp_path / "pairs", how)
    shutil.rmtree(tmp_path / "pairs")
    with pytest.raises(PairError, match=r"none of the pairs .* could be fetched .*HTTP Error 404"):
        fetch({"b": ["HTTP Error 404"], "c": ["HTTP Error 404"]})
