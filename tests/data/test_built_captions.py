"""ImageNet-Captions built from a replica of 2,000 addresses: every kind of gap, a kill, and a plain re-computation."""

from __future__ import annotations

import bz2
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from io import BytesIO
from urllib.parse import quote_plus

import pytest

from tests.flickr_replica import ANSWERS, EXCLUDED, KEY, make_replica, serve_flickr
from whyrobust.data.archives import Pack
from whyrobust.data.built_captions import WRITTEN, compare_captions, read_excluded_words, write_captions
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.imagenet import read_caption_list, read_imagenet_captions
from whyrobust.files import read_csv, read_parquet

#: Asks for the photographs of a table as the stage does, without waiting between attempts.
PROGRAM = """
import sys
from pathlib import Path
from whyrobust.data.flickr_addresses import photo_numbers
from whyrobust.data.flickr_api import FlickrClient, Pace, read_key
from whyrobust.data.flickr_texts import fetch_texts, write_texts
photos, texts, address = sys.argv[1:]
client = FlickrClient(address, read_key("FLICKR_API_KEY"), Pace(10**9), 3, sleep=lambda seconds: None)
write_texts(texts, fetch_texts(photo_numbers(photos), Path(texts).with_suffix(".jsonl"), client.ask))
"""


def build(stage, folder, texts, excluded=()):
    """Write the list from tables of texts, and return it with the counts of outcomes."""
    outputs = {"captions": folder / "imagenet_captions.json", "counts": folder / "counts.csv"}
    inputs = {"photos": folder / "photos.parquet", "texts": texts, "excluded_words": excluded}
    stage("write_imagenet_captions", {}, inputs, outputs)
    counts = read_csv(outputs["counts"])
    return json.loads(outputs["captions"].read_text(encoding="utf-8")), dict(
        zip(counts["outcome"], counts["images"], strict=True)
    )


def test_a_replica_of_2000_addresses_killed_and_resumed_is_what_a_plain_computation_gives(stage, tmp_path):
    replica = make_replica()
    addresses, names = replica.write(tmp_path)
    rows, counts = replica.expected()
    assert {photo.answer for photo in replica.photos.values()} == set(ANSWERS)
    assert len(counts) == 10 and min(counts.values()) >= 5 and len(rows) > 500
    photos, texts = tmp_path / "photos.parquet", tmp_path / "flickr.parquet"
    stage("list_flickr_photos", {}, {"addresses": addresses, "images": names}, {"photos": photos})
    with serve_flickr(replica.photos) as flickr:
        command = [sys.executable, "-c", PROGRAM, str(photos), str(texts), flickr.address]
        environment = os.environ | {"FLICKR_API_KEY": KEY}
        first = subprocess.Popen(command, env=environment)
        while flickr.asked.total() < 400 and first.poll() is None:
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before, answers = flickr.asked.total(), tmp_path / "flickr.jsonl"
        assert before < 1000 and not texts.exists()
        # As if the kill had come in the middle of a line.
        answers.write_bytes(answers.read_bytes()[:-9])
        kept = answers.read_bytes().count(b"\n")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        asked = Counter(flickr.asked)
    built, found = build(stage, tmp_path, [texts])
    assert built == rows
    assert found == counts and sum(found.values()) == len(replica.photo_of)
    assert kept > 300 and answers.read_bytes().count(b"\n") == len(replica.photos) - sum(
        photo.answer == "dead" for photo in replica.photos.values()
    )
    # What was answered before the kill is asked for once; a photograph that never answers, three times in two rounds.
    usual = {"ok": 1, "gone": 1, "denied": 1, "video": 1, "dead": 6}
    more = [number for number, photo in replica.photos.items() if asked[number] > usual.get(photo.answer, 2)]
    assert len(more) <= 2 + sum(replica.photos[number].answer == "dead" for number in more)
    assert KEY not in "".join(flickr.seen)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_texts_are_looked_up_first_and_asked_for_where_they_are_not_found(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("FLICKR_API_KEY", KEY)
    replica = make_replica(60, seed=1)
    for photo in replica.photos.values():
        photo.answer = "ok" if photo.answer not in ("gone", "video") else photo.answer
    addresses, names = replica.write(tmp_path)
    photos, known, texts = (tmp_path / name for name in ("photos.parquet", "yfcc100m.parquet", "flickr.parquet"))
    stage("list_flickr_photos", {}, {"addresses": addresses, "images": names}, {"photos": photos})
    in_yfcc = sorted(replica.photos)[::3]
    metadata = tmp_path / "metadata.bz2"
    metadata.write_bytes(yfcc_metadata({number: replica.photos[number] for number in in_yfcc}))
    stage("look_up_flickr_texts", {}, {"photos": photos, "metadata": metadata}, {"texts": known})
    assert sorted(read_parquet(known)["photo"].to_pylist()) == in_yfcc
    for number in in_yfcc:  # they are in YFCC100M, whatever became of them
        replica.photos[number].answer = "ok"
    settings = {"key_variable": "FLICKR_API_KEY", "requests_per_hour": 10**9, "attempts": 1}
    with serve_flickr(replica.photos) as flickr:
        stage("fetch_flickr_texts", {}, {"photos": photos, "known": [known]}, {"texts": texts},
              flickr={"address": flickr.address} | settings)  # fmt: skip
    assert set(flickr.asked) == set(replica.photos) - set(in_yfcc)
    built, found = build(stage, tmp_path, [known, texts])
    assert (built, found) == replica.expected()
    (tmp_path / "words.txt").write_text("# words\n\n  BOLD \n", encoding="utf-8")
    built, found = build(stage, tmp_path, [known, texts], [tmp_path / "words.txt"])
    assert (built, found) == replica.expected("bold") and found[EXCLUDED] > 1
    # Another word in which the excluded one is a part is no reason.
    (tmp_path / "words.txt").write_text("bol", encoding="utf-8")
    assert EXCLUDED not in build(stage, tmp_path, [known, texts], [tmp_path / "words.txt"])[1]
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*.log"))


def yfcc_metadata(photos):
    """Return metadata as YFCC100M has them: percent-encoded texts, tags between commas."""
    lines = []
    for line, (number, photo) in enumerate(photos.items()):
        texts = [photo.title[0], photo.description[0]]
        quoted = [quote(text) for text in texts] + [",".join(quote(raw) for raw, _ in photo.tags)]
        columns = [str(line), str(number), "hash", "1@N00", "x", "", "", "", *quoted, *[""] * 6, "Attribution License"]
        lines.append("\t".join([*columns, *[""] * 5, "jpg", "0"]))
    return bz2.compress(("\n".join(lines) + "\n").encode())


def quote(text):
    return quote_plus(text.replace("\ud83d", "\ufffd"))


def test_two_lists_are_compared_by_their_clean_texts(tmp_path):
    def write(name, *rows):
        keys = ("filename", "wnid", "title", "description", "tags")
        (tmp_path / name).write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return tmp_path / name

    built = write("a.json", ("1", "a", "x", "y", ["t"]), ("2", "a", "x", "y", []), ("3", "a", "x", "", []),
                  ("4", "a", "x", "", []))  # fmt: skip
    published = write("b.json", ("1", "a", " x", "<b>y</b>", ["t", ""]), ("2", "b", "x", "other", []),
                      ("3", "a", "x", "", ["one more"]), ("9", "a", "", "", []), ("8", "a", "", "", []))  # fmt: skip
    compared = compare_captions(built, published).set_index("compared")
    assert compared["images"].to_dict() == {
        "built": 4, "published": 5, "in both": 3, "built only": 1, "published only": 2, "equal class": 2,
        "equal title": 3, "equal description": 2, "equal tags": 2, "all texts equal": 1,
    }  # fmt: skip
    assert compared.loc["equal tags", "share_of_common"] == 2 / 3
    assert compared["share_of_common"].isna().sum() == 5
    nothing = compare_captions(built, write("c.json", ("7", "a", "", "", [])))
    assert nothing["images"].sum() == 4 + 1 + 4 + 1 and nothing["share_of_common"].isna().all()


def test_a_list_without_a_caption_is_not_written(tmp_path):
    with pytest.raises(DatasetError, match=r"no training image has a caption \(2 x it is gone\): check"):
        write_captions(tmp_path / "a.json", [("it is gone", {}), ("it is gone", {})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content, reason", [(b"\n# none\n", "has no word"), (b"\xff\xfe", "no text in UTF-8")])
def test_a_file_without_words_is_an_error(tmp_path, content, reason):
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        read_excluded_words(tmp_path / "words.txt")


def test_the_list_is_read_as_the_published_one_is(tmp_path):
    """The reader of data sets of kind imagenet_captions takes what is written here."""
    texts = {"title": "caf\u00e9", "tags": ["a b"], "description": ""}
    rows = [
        {"filename": f"{wnid}_{number}.JPEG", **texts, "wnid": wnid}
        for wnid in ("n01498041", "n01614925")
        for number in (1, 2)
    ]
    write_captions(tmp_path / "built.json", [(WRITTEN, row) for row in rows])
    assert read_caption_list(tmp_path / "built.json") == rows
    for row in rows[1:]:
        (tmp_path / "train" / row["wnid"]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / row["wnid"] / row["filename"]).touch()
    read = read_imagenet_captions(
        tmp_path / "built.json", tmp_path / "train", ["n01498041", "n01614925"], Pack(BytesIO(), "")
    )
    assert read.left_out["its caption has no image"] == 1 and read.left_out.total() == 1
