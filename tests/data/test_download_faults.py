"""Downloads through servers that lie: what is not the file never gets its name, with nothing pinned too."""

from __future__ import annotations

import http.server
import io
import json
import tarfile
import threading
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.test_downloads import GOOD, Server, fetch, server, source, whole  # noqa: F401 - a fixture
from whyrobust.data.downloads import DownloadError, check_signature, download


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


def test_what_was_taken_up_and_is_wrong_is_fetched_anew(server, tmp_path):  # noqa: F811
    # An earlier, interrupted download left bytes that a disk has changed since.
    server.answers["/a"] = [whole()]
    address = server.address("/a")
    (tmp_path / "a.tar.part").write_bytes(b"x" * 1000)
    (tmp_path / "a.tar.part.json").write_text(json.dumps({"address": address, "version": '"1"'}))
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
