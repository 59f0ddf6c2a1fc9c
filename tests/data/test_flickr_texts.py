"""Texts of many photographs: kept as they come, asked for once, and what Flickr does not answer."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from filelock import FileLock

from whyrobust.data.built_captions import KnownTexts
from whyrobust.data.flickr_api import FlickrError, PhotoText, UnansweredError
from whyrobust.data.flickr_texts import MOST_UNANSWERED_IN_A_ROW, fetch_texts, photos_with_texts, write_texts
from whyrobust.files import read_parquet


def asker(fails=(), stops_at=None):
    """Return a function that answers about photographs, and the list of those it was asked for."""
    asked = []

    def ask(photo):
        asked.append(photo)
        if stops_at == len(asked):
            raise KeyboardInterrupt
        if photo in fails:
            raise UnansweredError("busy")
        return PhotoText(photo, "Flickr", title=f"photo {photo}", tags=("a", "b"))

    return ask, asked


def fetch(tmp_path, photos, ask):
    return {text.photo: text for text in fetch_texts(photos, tmp_path / "answers.jsonl", ask)}


@pytest.mark.parametrize("stops_at", [1, 2, 7])
def test_an_interrupted_job_goes_on_where_it_was(tmp_path, stops_at):
    ask, asked = asker(stops_at=stops_at)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, range(9), ask)
    later, asked_later = asker()
    texts = fetch(tmp_path, range(9), later)
    assert asked[:-1] + asked_later == list(range(9))
    assert texts == {photo: PhotoText(photo, "Flickr", title=f"photo {photo}", tags=("a", "b")) for photo in range(9)}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00\x00\x00\n",
        b"[]\n",
        b'{"photo": 3}\n',
        b'{"photo": "3", "tags": []}\n',
        b'{"photo": 3, "origin": "x", "tags": 5}\n',
        b'{"photo": 8, "origin": "F',
    ],
)
def test_lines_that_are_no_answers_are_asked_for_again(tmp_path, damage):
    fetch(tmp_path, range(4), asker()[0])
    path = tmp_path / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + lines[2] + lines[3][:-1])  # the last lacks its end
    ask, asked = asker()
    assert sorted(fetch(tmp_path, range(4), ask)) == [0, 1, 2, 3]
    assert asked == ([1, 3] if damage[-1:] in (b"", b"\n") else [1, 2, 3])
    assert len([json.loads(line) for line in path.read_bytes().splitlines()]) == 4


def test_an_answer_about_another_photograph_is_not_given(tmp_path):
    """The list of addresses may have changed."""
    fetch(tmp_path, [1, 2], asker()[0])
    assert sorted(fetch(tmp_path, [2, 3], asker()[0])) == [2, 3]
    assert fetch(tmp_path, [], asker()[0]) == {}


def test_what_is_not_answered_is_asked_for_once_more_and_by_the_next_job(tmp_path):
    ask, asked = asker(fails={2})
    texts = fetch(tmp_path, [1, 2, 3], ask)
    assert asked == [1, 2, 3, 2]
    assert texts[2].left_out == "Flickr did not answer: busy" and not texts[1].left_out
    ask, asked = asker()
    assert fetch(tmp_path, [1, 2, 3], ask)[2].left_out == "" and asked == [2]


def test_a_service_that_is_down_stops_the_job_and_what_is_answered_stays(tmp_path):
    many = MOST_UNANSWERED_IN_A_ROW
    ask, asked = asker(fails=set(range(5, 100)) - {10})
    with pytest.raises(
        FlickrError, match=r"for 20 photographs in a row \(busy\): run the same command again later; the 6"
    ):
        fetch(tmp_path, range(100), ask)
    assert len(asked) == 11 + many
    ask, asked = asker()
    assert len(fetch(tmp_path, range(100), ask)) == 100 and len(asked) == 94


def test_two_jobs_do_not_ask_at_once(tmp_path):
    ask, asked = asker()
    with FileLock(tmp_path / ".answers.jsonl.lock"):
        job = threading.Thread(target=fetch, args=(tmp_path, [1, 2], ask))
        job.start()
        job.join(0.1)
        assert job.is_alive() and asked == []
    job.join()
    assert asked == [1, 2]


def test_texts_of_a_photograph_come_from_the_first_table_that_has_some(tmp_path):
    tables = []
    for number, texts in enumerate(
        [
            [PhotoText(1, "Flickr", "gone"), PhotoText(2, "Flickr", title="a")],
            [
                PhotoText(2, "YFCC100M", title="b"),
                PhotoText(1, "YFCC100M", title="c"),
                PhotoText(4, "YFCC100M", "gone"),
            ],
        ]
    ):
        write_texts(tmp_path / f"{number}.parquet", texts)
        tables.append(read_parquet(tmp_path / f"{number}.parquet"))
    one, two, three, four = KnownTexts(tables).of(np.array([1, 2, 3, 4]))
    assert (one["title"], two["title"], three, four["left_out"]) == ("c", "a", None, "gone")
    assert KnownTexts([]).of(np.array([1])) == [None]
    assert photos_with_texts([tmp_path / "0.parquet", tmp_path / "1.parquet"]) == {1, 2}
    assert photos_with_texts([tmp_path / "0.parquet"]) == {2}
