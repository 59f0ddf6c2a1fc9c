"""Downloads from a local server with faults: a wrong file never gets the final name, a right one always does."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import http.server
import threading
import time

import pytest

import whyrobust.data.downloads
from whyrobust.data.downloads import DownloadError, download, npm_command, pack_npm, verify
from whyrobust.study.pinned_sources import PinnedSource

GOOD = bytes(range(256)) * 400


class Server:
    """Answers from a script: for each path a list of answers, the last one for ever.

    An answer is (code, headers, body, bytes sent before the connection is cut or None). ``asked`` has the paths and
    ranges that came.
    """

    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.path, self.headers.get("Range")))
                waiting = outer.answers.get(self.path, [(404, {}, b"", None)])
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                code, headers, body, cut = answer(self.headers) if callable(answer) else answer
                self.send_response(code)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[:cut])
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def address(self, path):
        """Return the whole address of a path."""
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"


@pytest.fixture
def server():
    started = Server()
    yield started
    started.server.shutdown()
    started.server.server_close()


def whole(cut=None, tag='"1"', body=GOOD):
    """Answer with the file, or the rest of it where a range of this version is asked for."""

    def answer(headers):
        wanted = headers.get("Range")
        if wanted and headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return 206, {"ETag": tag, "Content-Range": span}, body[start:], cut
        return 200, {"ETag": tag}, body, cut

    return answer


def source(*addresses, body=GOOD, **changes):
    checksum = "sha256:" + hashlib.sha256(body).hexdigest()
    facts = {"version": "1", "file": "a.bin", "how_to_get": "", "bytes": len(body), "checksum": checksum}
    facts |= {"licence": "MIT", "images": None, "citation": "x"} | changes
    return PinnedSource(name="x", addresses=tuple(addresses), **facts)


def fetch(tmp_path, pinned, **options):
    waits = []
    try:
        download(pinned, tmp_path / "a.tar", sleep=waits.append, **options)
        assert (tmp_path / "a.tar").read_bytes() == GOOD
        assert sorted(path.name for path in tmp_path.iterdir()) == [".a.tar.lock", "a.tar"]
    except DownloadError:
        assert not (tmp_path / "a.tar").exists()
        raise
    return waits


@pytest.mark.parametrize("cut", [0, 1, 1000, len(GOOD) // 2, len(GOOD) - 1])
def test_a_connection_cut_at_any_byte_is_taken_up(server, tmp_path, cut):
    server.answers["/a"] = [whole(cut), whole()]
    assert len(fetch(tmp_path, source(server.address("/a")))) == 1
    if cut > 1:
        assert server.asked[1][1] == f"bytes={cut}-"


def test_a_new_process_takes_up_what_is_there(server, tmp_path):
    def end_the_process(_):
        raise KeyboardInterrupt

    server.answers["/a"] = [whole(50_000)]
    with pytest.raises(KeyboardInterrupt):
        download(source(server.address("/a")), tmp_path / "a.tar", sleep=end_the_process)
    server.answers["/a"] = [whole()]
    fetch(tmp_path, source(server.address("/a")), attempts=1)
    assert server.asked[-1][1] == "bytes=50000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    server.answers["/a"] = [whole(50_000, '"old"', GOOD[::-1]), whole(None, '"new"')]
    fetch(tmp_path, source(server.address("/a")))


def test_a_line_that_breaks_often_still_brings_the_file(server, tmp_path):
    server.answers["/a"] = [whole(10_000)]
    assert len(fetch(tmp_path, source(server.address("/a")), attempts=2)) == len(GOOD) // 10_000


def test_a_line_that_brings_nothing_new_is_given_up(server, tmp_path):
    server.answers["/a"] = [whole(50_000), (503, {}, b"", None)]
    with pytest.raises(DownloadError, match="503"):
        fetch(tmp_path, source(server.address("/a")), attempts=3)
    assert len(server.asked) == 1 + 3


def test_another_address_leaves_what_came_from_the_first(server, tmp_path):
    server.answers["/a"] = [whole(90_000), (503, {}, b"", None), (503, {}, b"", None), whole()]
    server.answers["/b"] = [(200, {}, GOOD[:10], None)]
    pinned = source(server.address("/a"), server.address("/b"))
    with pytest.raises(DownloadError):
        fetch(tmp_path, pinned, attempts=2)
    fetch(tmp_path, pinned)
    assert [asked for asked in server.asked if asked[0] == "/a"][-1][1] == "bytes=90000-"


def test_a_server_that_asks_to_wait_for_hours_is_left_alone(server, tmp_path):
    server.answers["/a"] = [(429, {"Retry-After": "7200"}, b"", None)]
    with pytest.raises(DownloadError, match="7,200 s"):
        fetch(tmp_path, source(server.address("/a")))
    assert len(server.asked) == 1


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.answers["/a"] = [(200, {}, GOOD, 60_000), (200, {"ETag": '"1"'}, GOOD, None)]
    fetch(tmp_path, source(server.address("/a")))


def test_a_chunked_answer_without_length_is_checked_by_what_is_pinned(server, tmp_path):
    server.answers["/a"] = [(200, {"Content-Length": None}, GOOD, 10), (200, {"Content-Length": None}, GOOD, None)]
    fetch(tmp_path, source(server.address("/a")))


def test_server_errors_are_asked_again_with_growing_waits(server, tmp_path):
    server.answers["/a"] = [(500, {}, b"", None), (503, {}, b"", None), (500, {}, b"", None), whole()]
    waits = fetch(tmp_path, source(server.address("/a")))
    assert len(waits) == 3 and waits == sorted(waits) and waits[0] < waits[-1]


def test_a_server_that_asks_to_wait_is_waited_for(server, tmp_path):
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    server.answers["/a"] = [(429, {"Retry-After": "37"}, b"", None), (503, {"Retry-After": date}, b"", None), whole()]
    first, second = fetch(tmp_path, source(server.address("/a")))
    assert first == 37 and 90 < second <= 100


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((404, {}, b"", None), "404"),
        ((403, {}, b"", None), "403"),
        ((200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Please log in</html>", None), "web page"),
        (whole(body=GOOD + b"more"), "102,404 bytes"),
        (whole(body=GOOD[:-1] + b"x"), "sha256"),
        ((302, {"Location": "/a"}, b"", None), "without end"),
    ],
)
def test_what_is_not_the_file_is_refused_and_the_next_address_tried(server, tmp_path, answer, reason):
    server.answers["/a"], server.answers["/b"] = [answer], [whole()]
    with pytest.raises(DownloadError, match=reason):
        fetch(tmp_path, source(server.address("/a")))
    assert not list(tmp_path.glob("a.tar"))
    fetch(tmp_path, source(server.address("/a"), server.address("/b")))


def test_the_error_has_the_reason_of_every_address(server, tmp_path):
    server.answers["/a"] = [(500, {}, b"", None)]
    with pytest.raises(DownloadError, match=r"/a: the server answers 500.*/gone: the server answers 404.*nowhere"):
        fetch(tmp_path, source(server.address("/a"), server.address("/gone"), "http://nowhere.invalid/x"), attempts=2)
    assert [path for path, _ in server.asked] == ["/a", "/a", "/gone"]


def test_a_file_that_must_be_asked_for_says_how(tmp_path):
    with pytest.raises(DownloadError, match=r"register at example\.org; then put it at .*a\.tar"):
        fetch(tmp_path, source(how_to_get="register at example.org"))


def test_an_npm_package_is_verified_too(tmp_path, monkeypatch):
    def pack(package, version, folder):
        (folder / "p.tgz").write_bytes(packed)
        return folder / "p.tgz"

    monkeypatch.setattr(whyrobust.data.downloads, "pack_npm", pack)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(GOOD).digest()).decode()
    packed = GOOD[:-1] + b"x"
    with pytest.raises(DownloadError, match="sha512"):
        fetch(tmp_path, source("npm:@x/y", checksum=integrity))
    packed = GOOD
    fetch(tmp_path, source("npm:@x/y", checksum=integrity))


def test_a_file_that_is_there_can_be_verified(tmp_path):
    (tmp_path / "a.tar").write_bytes(GOOD)
    verify(source(), tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(GOOD[:-5])
    with pytest.raises(DownloadError, match="102,395 bytes"):
        verify(source(), tmp_path / "a.tar")


def test_two_processes_bring_a_file_once(server, tmp_path):
    """Two workflows with one folder for downloads: the second waits for the first and takes what it brought."""

    def slowly(headers):
        time.sleep(0.3)
        return whole()(headers)

    server.answers["/a"] = [slowly]
    errors = []

    def bring():
        try:
            download(source(server.address("/a")), tmp_path / "a.tar")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=bring) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(server.asked) == 1
    assert (tmp_path / "a.tar").read_bytes() == GOOD


def test_nothing_of_an_npm_package_is_run(tmp_path, monkeypatch):
    """Npm gets no option, folder or git address as a package, runs no scripts, and reads no settings of a project."""
    client = tmp_path / "npm"
    client.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@" > "$(dirname "$0")/asked"\ntouch p.tgz\n')
    client.chmod(0o755)
    monkeypatch.setattr(whyrobust.data.downloads, "npm_command", lambda: [str(client)])
    folder = tmp_path / "new"
    folder.mkdir()
    assert pack_npm("@x/y", "1.0.0", folder) == folder / "p.tgz"
    where, command, *options, last_but_one, package = (tmp_path / "asked").read_text().splitlines()
    assert (where, command, last_but_one, package) == (str(folder), "pack", "--", "@x/y@1.0.0")
    assert "--ignore-scripts" in options


def test_there_is_an_npm_client():
    assert npm_command()
