"""A wrong archive never gets the final name."""

import base64
import hashlib

import pytest

from whyrobust.downloads import DownloadError, PinnedSource, download, npm_command, read_pinned_sources

GOOD = b"the archive"


def pinned(payload=GOOD, kind="test"):
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(payload).digest()).decode()
    return PinnedSource("x", "1", kind, "x", integrity, len(payload), "MIT", "x")


def fetcher(*payloads):
    waiting = list(payloads)

    def fetch(package, version, folder):
        payload = waiting.pop(0)
        if payload is None:
            raise DownloadError("no network")
        path = folder / "archive.tgz"
        path.write_bytes(payload)
        return path

    return {"test": fetch}


def test_a_right_archive_appears(tmp_path):
    download(pinned(), tmp_path / "a.tgz", attempts=1, fetchers=fetcher(GOOD))
    assert (tmp_path / "a.tgz").read_bytes() == GOOD
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_a_wrong_archive_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(DownloadError, match="sha512"):
        download(pinned(), tmp_path / "a.tgz", attempts=1, fetchers=fetcher(GOOD[:-1]))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_attempt_is_tried_again(tmp_path):
    download(pinned(), tmp_path / "a.tgz", attempts=2, fetchers=fetcher(None, GOOD))
    assert (tmp_path / "a.tgz").read_bytes() == GOOD


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(DownloadError, match="npm"):
        download(pinned(kind="ftp"), tmp_path / "a.tgz")


def test_the_pinned_table_reads_and_there_is_an_npm_client(root):
    assert read_pinned_sources(root / "resources" / "sources.tsv")["iconify"].version == "2.2.535"
    assert npm_command()
