"""Flickr's API on a server that fails, lies and stalls; the user's key, and the pace of requests."""

from __future__ import annotations

import itertools
import json
import traceback

import pytest

from tests.flickr_replica import DENIED, GONE, KEY, FlickrServer, Photo, found, serve_flickr
from whyrobust.data.downloads import LONGEST_WAIT_SECONDS
from whyrobust.data.flickr_api import FlickrClient, FlickrError, Pace, PhotoText, UnansweredError, read_key

TEXTS = {"title": ("a <b>title</b>", ""), "description": ("", ""), "tags": [("New York", ""), ("2009", "")]}


@pytest.fixture(scope="module")
def flickr():
    with serve_flickr({}) as server:
        yield server


@pytest.fixture
def ask(flickr):
    """Ask for photograph 7, which the server answers as named; waits are kept and not waited."""
    flickr.waits = []

    def asked(answer, attempts=3, key=KEY, timeout=30.0):
        flickr.asked.clear()
        flickr.photos[7] = Photo(answer, **TEXTS)
        pace = Pace(10**9)
        return FlickrClient(flickr.address, key, pace, attempts, flickr.waits.append, timeout).ask(7)

    return asked


def test_texts_are_as_the_user_wrote_them(ask):
    """Raw tags, not those without blanks and capitals that Flickr searches by."""
    assert ask("ok") == PhotoText(7, "Flickr", "", "a <b>title</b>", "", ("New York", "2009"), "photo", "4")


@pytest.mark.parametrize("answer, reason", [("gone", GONE), ("denied", DENIED)])
def test_a_photograph_that_is_gone_is_an_answer(flickr, ask, answer, reason):
    assert ask(answer).left_out == reason
    assert flickr.asked.total() == 1


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("105", "the service is not available .code 105: Service currently unavailable"),
        ("106", "the service is not available .code 106"),
        ("503", "the service answers 503"),
        ("429", "the service answers 429"),
        ("cut", "the answer is no JSON, or was cut off|the connection broke"),
        ("no json", "the answer is no JSON"),
        ("other photo", "the answer is not one of Flickr's"),
        ("reset", "the connection broke"),
        ("stall", "the answer did not end in time"),
    ],
)
def test_what_may_pass_is_asked_for_again(flickr, ask, answer, reason):
    timeout = 0.1 if answer == "stall" else 30
    assert ask(answer, timeout=timeout).title == "a <b>title</b>"
    assert flickr.asked.total() == 2 and len(flickr.waits) == 1
    assert flickr.waits == ([3.0] if answer == "429" else [2.0]), "what the server asks for, or else two seconds"
    with pytest.raises(UnansweredError, match=reason):
        ask(answer, attempts=1, timeout=timeout)


def test_waits_grow_and_a_photograph_without_an_answer_is_given_up(flickr, ask):
    with pytest.raises(UnansweredError, match="500"):
        ask("dead", attempts=5)
    assert flickr.asked.total() == 5 and flickr.waits == [2.0, 4.0, 8.0, 16.0]


def answering(flickr, monkeypatch, *answer):
    monkeypatch.setattr(FlickrServer, "answer", lambda self, form: (self.asked.update([7]), answer)[1])


@pytest.mark.parametrize(
    "body",
    [b"[]", b"7", b"null", b"{}", b'{"stat": "ok"}', b'{"stat": "ok", "photo": 5}', b'{"stat": "fail"}',
     b'{"stat": "fail", "code": 1.5, "message": null}', b"[" * 100_000,
     json.dumps({"stat": "ok", "photo": json.loads(found(7, Photo("ok", (5, ""), ("", ""), [])))["photo"]}).encode()],
)  # fmt: skip
def test_an_answer_of_another_form_is_none(flickr, ask, monkeypatch, body):
    answering(flickr, monkeypatch, 200, {}, body)
    with pytest.raises(UnansweredError):
        ask("ok", attempts=2)
    assert flickr.asked.total() == 2


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "302 .*check config key imagenet_captions.flickr.address"),
        ((404, {}, b""), "404"),
        ((403, {}, b""), "403"),
        ((429, {"Retry-After": str(int(LONGEST_WAIT_SECONDS) + 1)}, b""), "asks to wait 601 s: run the same"),
        ((200, {}, b'{"stat": "fail", "code": 112, "message": "Method"}'), "code 112: Method.*not that of Flickr's"),
        ((200, {}, b'{"stat": "fail", "code": 95, "message": "SSL is required"}'), "begins with https"),
    ],
)  # fmt: skip
def test_what_every_request_would_get_stops_at_once(flickr, ask, monkeypatch, answer, reason):
    answering(flickr, monkeypatch, *answer)
    with pytest.raises(FlickrError, match=reason):
        ask("ok")
    assert flickr.asked.total() == 1 and flickr.waits == []


def test_a_wrong_key_stops_at_once_and_is_in_no_message(flickr, ask):
    """Not in the error, nor in what led to it, though the server repeats it."""
    wrong = "feedfacefeedfacefeedfacefeedface"
    with pytest.raises(
        FlickrError, match=r"code 100: Invalid API Key \(Key \*\*\* not found\)\): check the key"
    ) as told:
        ask("ok", key=wrong)
    assert wrong not in "".join(traceback.format_exception(told.value))
    assert flickr.waits == [] and wrong not in "".join(flickr.seen)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x", "https://127.0.0.1:9/x", "http://nowhere.invalid/", "x://y"]
)
def test_the_key_is_in_no_message_about_a_connection(address):
    client = FlickrClient(address, KEY, Pace(10**9), 2, lambda seconds: None, 0.5)
    with pytest.raises((UnansweredError, FlickrError), match=r"the connection broke|no address") as told:
        client.ask(7)
    assert KEY not in "".join(traceback.format_exception(told.value))


def test_no_key_is_an_error_that_says_how_to_get_one():
    assert read_key("MY_KEY", {"MY_KEY": " abc\n"}) == "abc"
    for environment in ({}, {"MY_KEY": " "}):
        with pytest.raises(FlickrError, match=r"services/apps/create/ and put it into the environment variable MY_KEY"):
            read_key("MY_KEY", environment)


def test_no_hour_has_more_requests_than_allowed():
    """Whatever the answers take, and from a stop before the first request on."""
    now, times = [100.0], []

    def sleep(seconds):
        now[0] += seconds

    pace = Pace(3600, lambda: now[0], sleep)
    for took in [0, 0.3, 5, 0, 0, 0.9, 2] * 3:
        pace.wait()
        times.append(now[0])
        now[0] += took
    assert times[0] == 101.0
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) == pytest.approx(1.0)
    assert times[-1] - times[0] == pytest.approx(3 * (4 * 1 + 5 + 1 + 2) - 2), "slow answers cost nothing more"


def test_every_request_keeps_the_pace_also_a_repeated_one(flickr):
    now = [0.0]
    pace = Pace(3600, lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    flickr.photos[7] = Photo("dead", **TEXTS)
    with pytest.raises(UnansweredError):
        FlickrClient(flickr.address, KEY, pace, 4, lambda seconds: None).ask(7)
    assert now == [4.0]


def test_an_answer_without_end_is_given_up(flickr, ask, monkeypatch):
    monkeypatch.setattr("whyrobust.data.flickr_api.MAXIMUM_BYTES", 1000)
    answering(flickr, monkeypatch, 200, {}, b" " * 100_000)
    with pytest.raises(UnansweredError, match="too long"):
        ask("ok", attempts=1)
