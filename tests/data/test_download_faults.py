"""Downloads through servers that lie: what is not the file never gets its name, with nothing pinned too."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import whyrobust.data.downloads
from tests.data.test_downloads import GOOD, Server, fetch, server, source, whole  # noqa: F401 - a fixture
from whyrobust.data.downloads import DownloadError, _Session, check_signature, download


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.json", "[]" * 5000)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


ZIP = zipped()


def unpinned(address):
    return source(address, bytes=None, checksum="", file="a.zip")


def fetch_unpinned(tmp_path, address, attempts=3):
    try:
        download(unpinned(address), tmp_path / "a.zip", attempts=attempts, sleep=lambda _: None)
    finally:
        if (tmp_path / "a.zip").exists():
            assert (tmp_path / "a.zip").read_bytes() == ZIP


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, len(GOOD)), max_size=4), st.sampled_from(['"1"', 'W/"1"', ""]))
def test_any_cuts_end_in_the_whole_file(server, tmp_path, cuts, tag):  # noqa: F811
    (tmp_path / "a.tar").unlink(missing_ok=True)
    server.answers["/a"] = [*(whole(cut, tag) for cut in cuts), whole(None, tag)]
    fetch(tmp_path, source(server.address("/a"), file="a.bin"))


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((200, {}, b"<!DOCTYPE html><p>Please accept our terms", None), "no .zip file"),
        ((200, {"Content-Type": "application/zip"}, b"  <HTML>log in</HTML>", None), "no .zip file"),
        ((200, {}, b"", None), "no .zip file"),
        ((200, {"Content-Encoding": "gzip"}, ZIP, None), "compresses the file"),
        ((200, {"Content-Length": None}, ZIP, None), "does not say how long"),
        ((200, {"Content-Length": None}, ZIP, 100), "does not say how long"),
        ((204, {}, b"", None), "204"),
        ((301, {"Location": "ftp://x.invalid/a"}, b"", None), "no address that can be fetched"),
        ((301, {"Location": "file:///etc/passwd"}, b"", None), "no address that can be fetched"),
    ],
)
def test_without_a_checksum_too_what_is_not_the_file_is_refused(server, tmp_path, answer, reason):  # noqa: F811
    server.answers["/a"] = [answer]
    with pytest.raises(DownloadError, match=reason):
        fetch_unpinned(tmp_path, server.address("/a"))
    assert not (tmp_path / "a.zip").exists()


def test_without_a_checksum_a_good_file_is_taken_and_a_cut_is_seen(server, tmp_path):  # noqa: F811
    server.answers["/a"] = [(200, {}, ZIP, 300), (500, {}, b"", None), (200, {}, ZIP, None)]
    fetch_unpinned(tmp_path, server.address("/a"))
    assert (tmp_path / "a.zip").read_bytes() == ZIP


@pytest.mark.parametrize("span", ["bytes 0-9/10", "bytes 7-99/100", "nonsense"])
def test_another_part_than_the_one_asked_for_is_not_put_behind_what_is_there(server, tmp_path, span):  # noqa: F811
    def wrong_part(headers):
        if headers.get("Range"):
            return 206, {"ETag": '"1"', "Content-Range": span}, GOOD[:-50_000], None
        return whole()(headers)

    server.answers["/a"] = [whole(50_000), wrong_part, wrong_part]
    fetch(tmp_path, source(server.address("/a"), file="a.bin", bytes=None))


def no_such_range(total):
    """Answer that there is no such range, with the size that the server has now."""
    headers = {} if total is None else {"Content-Range": f"bytes */{total}"}
    return lambda asked: (416, headers, b"", None) if asked.get("Range") else whole()(asked)


def part_of(first, total, tag='"1"'):
    """Answer a request for a range with the rest of a shorter file, or of another version."""
    rest = {"ETag": tag, "Content-Range": f"bytes {first}-{total - 1}/{total}"}
    return lambda asked: (206, rest, GOOD[first:total], None) if asked.get("Range") else whole()(asked)


@pytest.mark.parametrize(
    "answer",
    [no_such_range(None), no_such_range(50_000), no_such_range(len(GOOD)), part_of(50_000, 60_000),
     part_of(50_000, len(GOOD), '"2"')],
)  # fmt: skip
def test_with_nothing_pinned_a_cut_file_is_never_taken_for_the_whole(server, tmp_path, answer):  # noqa: F811
    server.answers["/a"] = [whole(50_000), answer, answer]
    fetch(tmp_path, source(server.address("/a"), file="a.bin", bytes=None, checksum=""))
    assert len(server.asked) == 3


def test_a_part_that_nobody_asked_for_is_refused(server, tmp_path):  # noqa: F811
    server.answers["/a"] = [(206, {"Content-Range": "bytes 0-999/1000"}, GOOD[:1000], None)]
    with pytest.raises(DownloadError, match="a part of the file, although the whole"):
        fetch(tmp_path, source(server.address("/a"), file="a.bin", bytes=None, checksum=""))


def test_what_is_longer_than_what_is_pinned_stops_at_once(server, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(whyrobust.data.downloads, "CHUNK_BYTES", 1000)
    sizes = []
    monkeypatch.setattr(whyrobust.data.downloads, "_forget", lambda part: sizes.append(part.stat().st_size))
    server.answers["/a"] = [(200, {"Content-Length": None}, GOOD * 50, None)]
    with pytest.raises(DownloadError, match="more bytes came than the 102,400"):
        fetch(tmp_path, source(server.address("/a"), file="a.bin"))
    assert len(GOOD) < sizes[0] <= len(GOOD) + 1000


def test_what_is_secret_in_an_address_is_in_no_message_and_no_file(server, tmp_path, caplog):  # noqa: F811
    host = server.address("/a").removeprefix("http://")
    addresses = [f"http://me:pass-word@{host}?token=s3cret&x=1", "http://me:pass-word@nowhere.invalid/a?token=s3cret"]
    server.answers["/a?token=s3cret&x=1"] = [whole(1000), (500, {}, b"", None)]
    with pytest.raises(DownloadError, match=r"http://\*\*\*@127.*/a\?\*\*\*: the server answers 500") as error:
        fetch(tmp_path, source(*addresses, file="a.bin"), attempts=2)
    written = "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert written
    for text in (str(error.value), caplog.text, written):
        assert "pass-word" not in text and "s3cret" not in text


@pytest.mark.parametrize("target, refused", [("http://x.invalid/b", True), ("//x.invalid/b", False), ("/b", False)])
def test_no_redirect_leads_from_https_to_http(target, refused):
    answer = requests.Response()
    answer.status_code, answer.url, answer.headers["Location"] = 302, "https://x.invalid/a", target
    with _Session() as session:
        if refused:
            with pytest.raises(DownloadError, match="from https to http"):
                session.get_redirect_target(answer)
        else:
            assert session.get_redirect_target(answer) == target


def test_what_was_taken_up_and_is_wrong_is_fetched_anew(server, tmp_path):  # noqa: F811
    # An earlier, interrupted download left bytes that a disk has changed since.
    server.answers["/a"] = [whole()]
    address = server.address("/a")
    (tmp_path / "a.tar.part").write_bytes(b"x" * 1000)
    (tmp_path / "a.tar.part.json").write_text(
        json.dumps({"address": hashlib.sha256(address.encode()).hexdigest(), "version": '"1"'})
    )
    fetch(tmp_path, source(address, file="a.bin"))
    assert [span for _, span in server.asked] == ["bytes=1000-", None]


class Chunked(http.server.BaseHTTPRequestHandler):
    """Answers in chunks without a length; the first answers end in the middle of a chunk."""

    protocol_version = "HTTP/1.1"
    cuts = 0

    def do_GET(self):
        """Send the file."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n" % len(ZIP) + ZIP[: 200 if type(self).cuts else None])
        if type(self).cuts:
            type(self).cuts -= 1
            self.close_connection = True
            return
        self.wfile.write(b"\r\n0\r\n\r\n")

    def log_message(self, *_):
        """Say nothing."""


def test_a_chunked_answer_has_its_own_end(tmp_path):
    Chunked.cuts = 2
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chunked)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    fetch_unpinned(tmp_path, f"http://127.0.0.1:{running.server_address[1]}/a")
    assert (tmp_path / "a.zip").read_bytes() == ZIP
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.bz2", "A.ZIP"])
def test_a_file_begins_as_its_name_says(tmp_path, name):
    (tmp_path / "x").write_bytes(GOOD)
    with pytest.raises(DownloadError, match="begins with"):
        check_signature(tmp_path / "x", name)
    (tmp_path / "x").write_bytes(ZIP)
    check_signature(tmp_path / "x", "a.zip")
    (tmp_path / "x").write_bytes(tarred())
    check_signature(tmp_path / "x", "a.tar")
    check_signature(tmp_path / "x", "a.anything")


def test_a_full_disk_is_said_and_what_came_is_kept(server, tmp_path, monkeypatch):  # noqa: F811
    import resource

    server.answers["/a"] = [whole()]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            download(source(server.address("/a"), file="a.bin"), tmp_path / "a.tar", sleep=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "a.tar").exists() and (tmp_path / "a.tar.part").stat().st_size <= 50_000
    fetch(tmp_path, source(server.address("/a"), file="a.bin"))
    assert server.asked[-1][1] is not None
