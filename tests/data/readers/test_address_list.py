"""Lists of addresses and captions in the forms that people have them, and the shards that are fetched from them."""

from __future__ import annotations

import gzip
import json

import pandas as pd
import pytest

from tests.data.readers.record_buffers import read_dataset, records_of
from tests.data.test_photo_store import encoded, picture, write_tar
from tests.studies import ROOT, short_config
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.dispatch import load_lister
from whyrobust.study.data_kinds import DATA_KINDS
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study

ROWS = [("http://x/1.jpg", 'a "red" fox, asleep'), ("https://x/2.jpg", "caf\u00e9"), ("", "no address")]


def write_list(folder, form):
    """Write a list as data sets of the web are published; return the settings that read it."""
    urls, captions = zip(*ROWS, strict=True)
    if form == "CC3M":  # captions first, no header, quotes are letters
        (folder / "cc.tsv").write_text("".join(f"{caption}\t{url}\n" for url, caption in ROWS), encoding="utf-8")
        return {"addresses": ["cc.tsv"], "columns": ["caption", "url"], "quoting": "none", "title": "caption"}
    if form == "CC12M":
        (folder / "cc.tsv").write_text("".join(f"{url}\t{caption}\n" for url, caption in ROWS), encoding="utf-8")
        return {"addresses": "cc.tsv", "columns": ["url", "caption"], "quoting": "none", "title": "caption"}
    if form == "RedCaps":
        lines = [json.dumps({"url": url, "raw_caption": caption, "score": 1}) + "\n" for url, caption in ROWS]
        (folder / "redcaps.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
        return {"addresses": "redcaps.jsonl.gz", "title": "raw_caption"}
    (folder / "laion").mkdir()
    frame = pd.DataFrame({"URL": urls, "TEXT": captions, "NSFW": 0.1})
    frame[:1].to_parquet(folder / "laion" / "part-00000.parquet")
    frame[1:].to_parquet(folder / "laion" / "part-00001.parquet")
    return {"addresses": "laion", "url": "URL", "title": "TEXT"}


@pytest.mark.parametrize("form", ["CC3M", "CC12M", "RedCaps", "LAION"])
def test_lists_are_read_as_they_are_published(tmp_path, monkeypatch, form):
    config = short_config({"mine": {"kind": "address_list"} | write_list(tmp_path, form)}, "test")
    (tmp_path / "test" / "cat").mkdir(parents=True)
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n")
    datasets = Study.load(config, tmp_path, ROOT).datasets
    assert datasets.fetched == ["mine"] and datasets.files_of_slice("mine") == []
    monkeypatch.chdir(tmp_path)
    texts, rows = load_lister(DATA_KINDS["address_list"].lister)(datasets.list_settings("mine"))
    assert list(texts) == ["title"]
    assert [(row["url"], row["title"]) for row in rows] == ROWS
    settings = datasets.slice_settings("mine") | {"shards": []}
    assert len(read_dataset(settings)) == 0


def test_cells_of_every_type_are_text(tmp_path):
    frame = pd.DataFrame({"u": ["http://x/1", None], "k": [["a", "b"], None], "c": [3, None], "d": ["x", "y"]})
    frame.to_parquet(tmp_path / "t.parquet")
    given = {"addresses": [tmp_path / "t.parquet"], "url": "u", "tags": "k", "label": "c", "description": "d"}
    texts, rows = load_lister(DATA_KINDS["address_list"].lister)(given)
    assert list(texts) == ["description", "tags", "label"]
    assert list(rows) == [
        {"url": "http://x/1", "tags": "a,b", "label": "3", "description": "x"},
        {"url": "", "tags": "", "label": "", "description": "y"},
    ]
    with pytest.raises(DatasetError, match=r"has no column 'u2' \(key 'url'\)"):
        list(load_lister(DATA_KINDS["address_list"].lister)(given | {"url": "u2"})[1])


def test_what_was_fetched_is_named_by_the_row_of_the_list_and_counts_once(tmp_path):
    image, shards = encoded(picture()), []
    for number, rows in enumerate(([7, 2], [2, 9])):
        members = []
        for key, row in enumerate(rows):
            said = {"row": row, "title": f"<b>of {row}</b>", "tags": "a, b", "label": str(row % 2), "key": "0"}
            members += [(f"{key:03}.jpg", image), (f"{key:03}.json", json.dumps(said).encode())]
        members += [("9.jpg", image), ("9.json", b"{}")] if number else []
        shards.append(write_tar(tmp_path / f"{number}.tar", members))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    settings = {"kind": "address_list", "shards": shards, "label": "c", "class_names": tmp_path / "names.txt"}
    buffer = read_dataset(settings)
    records = records_of(buffer, "web")
    assert records["uid"].tolist() == ["web/7", "web/2", "web/9"]
    assert records["title"].tolist() == ["of 7", "of 2", "of 9"] and records["tags"].tolist() == [["a", "b"]] * 3
    assert records["label"].tolist() == ["dog", "cat", "dog"]
    assert buffer.left_out == {"it came before": 1, "its JSON names no row of the list": 1}


def test_a_list_as_an_address_itself_says_to_fetch_it_first(tmp_path):
    config = short_config({"mine": {"kind": "address_list", "addresses": "https://x/cc.tsv"}}, "test")
    (tmp_path / "test" / "cat").mkdir(parents=True)
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n")
    with pytest.raises(ConfigError, match=r"sources.mine.addresses is 'https://x/cc.tsv', an address: .*fetch them"):
        Study.load(config, tmp_path, ROOT)
