"""A replica of what ImageNet-Captions is built from: ImageNet's list of addresses, and Flickr's API on a local server.

`make_replica` draws images with every kind of gap and knows what becomes of each; nothing here imports the package that
is tested.
"""

from __future__ import annotations

import http.server
import json
import random
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
WNIDS = ["n01498041", "n01614925", "n02883205", "n04133789"]

GONE, DENIED = "Flickr: it is gone or private", "Flickr: permission denied"
NOT_LISTED, TWO_ADDRESSES = "it is not in the list of addresses", "the list has several addresses for it"
NOT_FLICKR, NO_PHOTO = "its address is not on Flickr", "its address on Flickr names no photograph"
NO_TEXT, VIDEO = "title, description and tags are empty", "it is a video"
UNANSWERED, WRITTEN = "Flickr did not answer: the service answers 500 Internal Server Error", "written"
EXCLUDED = "its text has an excluded word"

#: Texts as users write them, and as people read them.
TEXTS = [
    ("Stingray", "Stingray"),
    ("  My   cat\r\n&amp; I ", "My cat & I"),
    ('Seen on <a href="http://example.org/x" rel="nofollow">this walk</a>.', "Seen on this walk ."),
    ("<b>Bold</b> &lt;i&gt;twice&lt;/i&gt; www.example.org/7", "Bold twice"),
    ("I <3 5 < 6 apples", "I <3 5 < 6 apples"),
    ("cafÃ© ☃", "café ☃"),
    ("half \ud83d of it", "half � of it"),
    ("DSC0\x00123", "DSC0123"),
    ("", ""),
]

#: Addresses of one photograph, with {photo} for its id.
ADDRESSES = [
    "http://farm3.static.flickr.com/2345/{photo}_0a1b2c3d4e.jpg",
    "http://farm1.static.flickr.com/42/{photo}_0a1b2c3d4e_m.jpg",
    "http://static.flickr.com/12/{photo}_0a1b2c3d4e_o.png",
    "http://photos23.flickr.com/{photo}_0a1b2c3d4e.jpg",
    "https://live.staticflickr.com/65535/{photo}_0a1b2c3d4e_3k.jpg",
    "http://c1.staticflickr.com/3/2877/{photo}_0a1b2c3d4e_z.jpg?zz=1",
    "http://www.flickr.com/photos/12345@N00/{photo}/in/photostream/",
    "HTTP://Flickr.com/photos/some_one/{photo}",
]
OTHER_ADDRESSES = [
    "http://www.example.org/flickr.com/1/123_abc.jpg",
    "http://notflickr.com/1/123_abc.jpg",
    "http://[half",
    "http://upload.wikimedia.org/a/123_456.jpg",
]
ADDRESSES_WITHOUT_PHOTO = [
    "http://www.flickr.com/photos/some_one/sets/72157600000/",
    "http://farm1.static.flickr.com/1/buddyicons/12345_67.jpg",
    "http://l.static.flickr.com/images/photo_unavailable.gif",
    "http://www.flickr.com/photos/some_one/",
]

#: What Flickr does where asked for a photograph, with how many in 100; faults pass after the first request.
ANSWERS = {
    "ok": 62, "gone": 12, "denied": 3, "video": 2, "dead": 1, "105": 3, "106": 2, "429": 2, "503": 3, "cut": 3,
    "no json": 3, "other photo": 2, "reset": 2,
}  # fmt: skip


@dataclass
class Photo:
    """A photograph: its texts as Flickr has them and as they should be written, and how Flickr answers."""

    answer: str
    title: tuple[str, str]
    description: tuple[str, str]
    tags: list[tuple[str, str]]

    @property
    def outcome(self) -> str:
        """What becomes of its images."""
        named = {"gone": GONE, "denied": DENIED, "video": VIDEO, "dead": UNANSWERED}
        texts = [self.title[1], self.description[1], *(clean for _, clean in self.tags)]
        return named.get(self.answer, WRITTEN if any(texts) else NO_TEXT)


@dataclass
class Replica:
    """Lines of the list of addresses, the training images, and what is true of them.

    Attributes:
        lines: of the list, as bytes.
        photo_of: the photograph of each training image, or why it has none.
        photos: by id.
    """

    lines: list[bytes] = field(default_factory=list)
    photo_of: dict[str, int | str] = field(default_factory=dict)
    photos: dict[int, Photo] = field(default_factory=dict)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write the list of addresses and a list of the training images; return their paths."""
        addresses, names = folder / "fall11_urls.txt", folder / "train.txt"
        addresses.write_bytes(b"\n".join(self.lines) + b"\n")
        names.write_text("".join(f"{name.partition('_')[0]}/{name} 0\n" for name in reversed(self.photo_of)))
        return addresses, names

    def expected(self, excluded: str = "") -> tuple[list[dict[str, object]], Counter[str]]:
        """Return the list of captions in its order, and how many images have each outcome, image by image."""
        rows, counts = [], Counter[str]()
        for name in sorted(self.photo_of, key=lambda name: (name[:9], int(name[10:-5]))):
            found = self.photo_of[name]
            if isinstance(found, str):
                counts[found] += 1
                continue
            photo = self.photos[found]
            row = {
                "filename": name,
                "title": photo.title[1],
                "tags": [clean for _, clean in photo.tags if clean],
                "description": photo.description[1],
                "wnid": name[:9],
            }
            outcome = photo.outcome
            words = " ".join([row["title"], row["description"], *row["tags"]]).lower().split()
            if outcome == WRITTEN and excluded in words:
                outcome = EXCLUDED
            counts[outcome] += 1
            rows += [row] if outcome == WRITTEN else []
        return rows, counts


def make_replica(lines: int = 2000, seed: int = 0) -> Replica:
    """Draw a replica whose list has so many lines, most of them of an address on Flickr."""
    rng, replica = random.Random(seed), Replica()
    answers = list(ANSWERS)
    for number in range(lines):
        wnid = WNIDS[number % len(WNIDS)]
        name = f"{wnid}_{3 + 7 * number}.JPEG"
        image = name.removesuffix(".JPEG")
        kind = rng.random()
        if kind < 0.12:
            address, found = rng.choice(OTHER_ADDRESSES), NOT_FLICKR
        elif kind < 0.16:
            address, found = rng.choice(ADDRESSES_WITHOUT_PHOTO), NO_PHOTO
        else:
            again = rng.random() < 0.05 and replica.photos
            photo = rng.choice(list(replica.photos)) if again else 1_000_000 + 977 * number
            if not again:
                answer = rng.choices(answers, ANSWERS.values())[0]
                tags = rng.choices(TEXTS, k=rng.choice([0, 0, 1, 3]))
                replica.photos[photo] = Photo(answer, rng.choice(TEXTS), rng.choice(TEXTS), tags)
            address, found = rng.choice(ADDRESSES).format(photo=photo), photo
        line = f"{image}\t{address}".encode()
        if kind > 0.985:
            line, found = rng.choice([f"{image} {address}".encode(), f"{image}\t".encode(), b"\xff\xfe"]), NOT_LISTED
        elif kind > 0.97:
            line += b"\n" + line
        elif kind > 0.96:
            line, found = line + f"\n{image}\thttp://www.example.org/other.jpg".encode(), TWO_ADDRESSES
        elif kind > 0.95:
            line, found = image.encode() + b"\thttp://farm1.static.flickr.com/1/\xe9\xff.jpg", NO_PHOTO
        replica.lines.append(line)
        if rng.random() < 0.9:  # the others are in ImageNet, and not in ILSVRC-2012
            replica.photo_of[name] = found
    for number in range(lines // 40):
        replica.photo_of[f"{WNIDS[0]}_{number * 7}.JPEG"] = NOT_LISTED
    used = {found for found in replica.photo_of.values() if isinstance(found, int)}
    replica.photos = {number: photo for number, photo in replica.photos.items() if number in used}
    return replica


@dataclass
class FlickrServer:
    """A server that answers as Flickr's API does.

    Attributes:
        address: of the API.
        asked: how often each photograph was asked for.
        seen: what came besides the bodies of requests: addresses and headers.
    """

    photos: dict[int, Photo]
    address: str = ""
    asked: Counter[int] = field(default_factory=Counter)
    seen: list[str] = field(default_factory=list)

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer; a body that is shorter than its headers say is cut off."""
        if form["api_key"] != KEY:
            return 200, {}, fail(100, f"Invalid API Key (Key {form['api_key']} not found)")
        wanted = form["method"] == "flickr.photos.getInfo" and form["format"] == "json" and form["nojsoncallback"]
        if not wanted:
            return 200, {}, fail(112, "Method not found")
        number = int(form["photo_id"])
        self.asked[number] += 1
        photo = self.photos.get(number, Photo("gone", ("", ""), ("", ""), []))
        if photo.answer in ("gone", "denied"):
            return 200, {}, fail(1, "Photo not found") if photo.answer == "gone" else fail(2, "Permission denied")
        if photo.answer == "dead":
            return 500, {}, b"<html>oops</html>"
        body = found(number, photo)
        if self.asked[number] > 1:
            return 200, {}, body
        return {
            "105": (200, {}, fail(105, "Service currently unavailable")),
            "106": (200, {}, fail("106", "Write operation failed")),
            "429": (429, {"Retry-After": "3"}, b"slow down"),
            "503": (503, {}, b"<html>busy</html>"),
            "cut": (200, {"Content-Length": str(len(body))}, body[: len(body) // 2]),
            "no json": (200, {}, b"<html>log in first</html>"),
            "other photo": (200, {}, found(number + 1, photo)),
            "reset": (0, {}, b""),
            "stall": (200, {"Content-Length": "100000"}, b"{"),
        }.get(photo.answer, (200, {}, body))


def fail(code: object, message: str) -> bytes:
    """Return Flickr's answer about an error."""
    return json.dumps({"stat": "fail", "code": code, "message": message}).encode()


def found(number: int, photo: Photo) -> bytes:
    """Return Flickr's answer about a photograph: the parts that are read, and some others."""
    tags = [{"id": f"1-{n}", "raw": raw, "_content": raw.lower().replace(" ", "")} for n, (raw, _) in
            enumerate(photo.tags)]  # fmt: skip
    return json.dumps(
        {
            "photo": {
                "id": str(number), "secret": "0a1b2c3d4e", "server": "2345", "farm": 3, "license": "4",
                "owner": {"nsid": "1@N00", "username": "some one"}, "title": {"_content": photo.title[0]},
                "description": {"_content": photo.description[0]}, "visibility": {"ispublic": 1},
                "tags": {"tag": tags}, "media": "video" if photo.answer == "video" else "photo",
            },
            "stat": "ok",
        }
    ).encode()  # fmt: skip


@contextmanager
def serve_flickr(photos: dict[int, Photo]) -> Iterator[FlickrServer]:
    """Serve photographs as Flickr's API does, on this machine."""
    flickr, stopped = FlickrServer(photos), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            flickr.seen.append(f"{self.path} {self.headers}")
            status, headers, body = flickr.answer(dict(urllib.parse.parse_qsl(sent)))
            if not status:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)
                self.wfile.flush()
                while headers.get("Content-Length") == "100000" and not stopped.wait(0.02):
                    self.wfile.write(b" ")
                    self.wfile.flush()
            # A body that is cut off ends with the connection.
            self.close_connection = "Content-Length" in headers

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError, ValueError):
                super().handle()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        flickr.address = f"http://127.0.0.1:{server.server_address[1]}/services/rest/"
        try:
            yield flickr
        finally:
            stopped.set()
            server.shutdown()
            thread.join()
