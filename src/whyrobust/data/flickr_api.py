"""Ask Flickr's API for the title, description and tags of photographs: within its rate limit, with growing waits.

The user's key goes into the body of a request and nowhere else: no address, log or message has it. See
https://www.flickr.com/services/api/flickr.photos.getInfo.html for the answers and their error codes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import requests
import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from whyrobust.data.downloads import (
    LONGEST_WAIT_SECONDS,
    UNUSABLE_ADDRESS,
    TransientError,
    growing_wait,
    may_pass,
    retry_after,
)
from whyrobust.study.caption_build import KEY_PAGE

#: Where a photograph's texts come from.
FLICKR, YFCC100M = "Flickr", "YFCC100M"

#: Why a photograph has no texts, by the code of Flickr's answer: it does not say which photographs are private.
GONE, NOT_ALLOWED = "Flickr: it is gone or private", "Flickr: permission denied"
FINAL = {1: GONE, 2: NOT_ALLOWED}

#: Codes that may pass: the service is unavailable, or an operation failed for the moment.
PASSING = frozenset({105, 106})

#: Codes that every other request would get too, with what to do.
REFUSED = {
    95: "give an address that begins with https",
    96: "the request is not the one that is documented: report this",
    97: "the request is not the one that is documented: report this",
    98: "the request is not the one that is documented: report this",
    99: "the key lacks a permission: make a key of your own",
    100: f"check the key, or make a new one at {KEY_PAGE}",
    111: "the address is not that of Flickr's API",
    112: "the address is not that of Flickr's API",
    116: "the address is not that of Flickr's API",
}

#: Longest answer that is read; Flickr's have some kilobytes.
MAXIMUM_BYTES = 8 * 2**20
CHUNK_BYTES = 2**16


class FlickrError(RuntimeError):
    """Flickr refuses what every photograph needs: asking for others is of no use."""


class UnansweredError(RuntimeError):
    """Flickr gave no answer about a photograph, however often it was asked; the message is the last reason."""


@dataclass(frozen=True)
class PhotoText:
    """What is known of a photograph.

    Attributes:
        photo: its id.
        origin: `FLICKR` or `YFCC100M`.
        left_out: why there are no texts; "" where there are, empty ones among them.
        title: as the user wrote it, as are the others.
        description: with HTML.
        tags: in their order.
        media: photo or video.
        licence: number of its licence at Flickr, or the name in YFCC100M.
    """

    photo: int
    origin: str
    left_out: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    media: str = ""
    licence: str = ""

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"tags": list(self.tags)}


class Pace:
    """Spreads requests evenly over time, so that no hour has more than its share, the first hour after a stop included.

    Args:
        per_hour: most requests an hour.
        clock: returns the time in seconds.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        per_hour: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = 3600 / per_hour, clock, sleep
        # Also before the first request: an earlier job may have made one just now.
        self._next = clock() + self._seconds

    def wait(self) -> None:
        """Wait until the next request may be made."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._seconds


def read_key(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the user's key from an environment variable.

    Raises:
        FlickrError: there is none.
    """
    key = environment.get(variable, "").strip()
    if not key:
        raise FlickrError(
            f"no key for Flickr's API: make one at {KEY_PAGE} and put it into the "
            f"environment variable {variable}, never into a file"
        )
    return key


class FlickrClient:
    """Asks Flickr's API about photographs, one after another.

    Args:
        address: of the API.
        key: of the user.
        pace: limits the number of requests, repeated ones included.
        attempts: how often a photograph is asked for while the failure may pass.
        sleep: waits for a number of seconds before another attempt.
        timeout_seconds: longest time without a connection, and for a whole answer.
    """

    def __init__(
        self,
        address: str,
        key: str,
        pace: Pace,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._address, self._key, self._pace = address, key, pace
        self._attempts, self._sleep, self._timeout = attempts, sleep, timeout_seconds
        self._session = requests.Session()

    def ask(self, photo: int) -> PhotoText:
        """Return what Flickr says of a photograph.

        Raises:
            FlickrError: it refuses the key or the request, or asks to wait for more than ten minutes.
            UnansweredError: it gave no answer in all attempts.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=growing_wait,
            sleep=self._sleep,
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        try:
            return retrying(self._ask_once, photo)
        except TransientError as error:
            raise UnansweredError(str(error)) from None

    def _ask_once(self, photo: int) -> PhotoText:
        self._pace.wait()
        form = {
            "method": "flickr.photos.getInfo",
            "api_key": self._key,
            "photo_id": str(photo),
            "format": "json",
            "nojsoncallback": "1",
        }
        try:
            with self._session.post(
                self._address,
                data=form,
                stream=True,
                timeout=self._timeout,
                headers={"Accept-Encoding": "identity"},
                # A redirect would carry the key to wherever it leads.
                allow_redirects=False,
            ) as response:
                self._check_status(response)
                content = self._read(response)
        # Without its cause: libraries may show the request in their messages.
        except UNUSABLE_ADDRESS:
            raise FlickrError("config key imagenet_captions.flickr.address is no address that can be asked") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(f"the connection broke ({type(error).__name__})") from None
        return self._read_answer(photo, content)

    def _check_status(self, response: requests.Response) -> None:
        """Raise where an answer brings nothing about a photograph."""
        code = response.status_code
        what = f"the service answers {code} {self._without_key(response.reason or '')}"
        if may_pass(code):
            wait = retry_after(response)
            if wait is not None and wait > LONGEST_WAIT_SECONDS:
                raise FlickrError(f"{what} and asks to wait {wait:,.0f} s: run the same command again then")
            raise TransientError(what, wait)
        if code != 200:
            raise FlickrError(f"{what}: check config key imagenet_captions.flickr.address, and the key")

    def _read(self, response: requests.Response) -> bytes:
        """Return the body of an answer that comes in time: one byte now and then keeps a connection open for ever."""
        began, content = time.monotonic(), b""
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            content += chunk
            if len(content) > MAXIMUM_BYTES:
                raise TransientError("the answer is too long")
            if time.monotonic() - began > self._timeout:
                raise TransientError("the answer did not end in time")
        return content

    def _read_answer(self, photo: int, content: bytes) -> PhotoText:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise TransientError("the answer is no JSON, or was cut off") from None
        if not isinstance(answer, dict):
            raise TransientError("the answer is not one of Flickr's")
        if answer.get("stat") == "fail":
            return self._read_failure(photo, answer)
        try:
            return _read_photo(photo, answer)
        except (KeyError, TypeError, ValueError):
            raise TransientError("the answer is not one of Flickr's") from None

    def _read_failure(self, photo: int, answer: Mapping[str, Any]) -> PhotoText:
        code, message = answer.get("code"), self._without_key(str(answer.get("message", "")))
        # Some answers have the code as text.
        number = int(str(code)) if str(code).isdecimal() else -1
        if number in FINAL:
            return PhotoText(photo, FLICKR, FINAL[number])
        if number in REFUSED:
            raise FlickrError(f"Flickr refuses the request (code {number}: {message}): {REFUSED[number]}")
        what = "is not available" if number in PASSING else "fails"
        raise TransientError(f"the service {what} (code {number}: {message})")

    def _without_key(self, text: str) -> str:
        """Return a message of the server, on one line and without the key if it repeats it."""
        return " ".join(text.replace(self._key, "***").split())[:200]


def _read_photo(photo: int, answer: Mapping[str, Any]) -> PhotoText:
    """Return the texts of an answer that has some.

    Raises:
        KeyError, TypeError, ValueError: it is laid out in another way, or about another photograph.
    """
    found = answer["photo"]
    if answer["stat"] != "ok" or int(found["id"]) != photo:
        raise ValueError("not what was asked for")
    return PhotoText(
        photo=photo,
        origin=FLICKR,
        title=_text(found["title"]["_content"]),
        description=_text(found["description"]["_content"]),
        tags=tuple(_text(tag["raw"]) for tag in found["tags"]["tag"]),
        media=_text(found.get("media", "photo")),
        licence=_text(str(found.get("license", ""))),
    )


def _text(value: object) -> str:
    """Return a text of JSON; halves of characters, which no file can hold, become replacement characters.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
