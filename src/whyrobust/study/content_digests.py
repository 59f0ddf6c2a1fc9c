"""Checksums of files and folders by their content, remembered while a file's size, times and number stay as they are.

A large file is read once, not by every job that uses it. Unlike its time of change, which anybody may set, the time
that the file system notes itself (``ctime``) moves with every write.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from whyrobust.files import checksum, write_text

#: Seconds that a file must have been left alone before its checksum is remembered: file systems count time in steps,
#: and a write in the same step as the last one would not show.
SETTLED_SECONDS = 3.0

#: Pictures of fewer bytes are read each time: a note for each of a million would take more room than it saves time.
LEAST_REMEMBERED_BYTES = 4 * 2**20

#: What Snakemake writes into folders that a job made.
TIMESTAMP = ".snakemake_timestamp"


def files_below(folder: Path) -> list[str]:
    """Return the files of a folder that a job made, relative to it and sorted."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != TIMESTAMP)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def content_digest(path: Path, memory: Path) -> str:
    """Return the SHA-256 of a file, or one of the names and contents of all files of a folder.

    Args:
        path: of a file or folder.
        memory: folder where checksums of files are remembered.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_dir():
        return _file_digest(path, memory)
    listed = [(name, _file_digest(path / name, memory)) for name in files_below(path)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def digest_of_all(paths: Iterable[Path], memory: Path) -> str:
    """Return one SHA-256 of the contents of many files, in their order; arguments and errors as `content_digest`."""
    digest = hashlib.sha256()
    for path in paths:
        is_large = path.stat().st_size >= LEAST_REMEMBERED_BYTES
        digest.update(bytes.fromhex(_file_digest(path, memory) if is_large else checksum(path)))
    return digest.hexdigest()


def _file_digest(path: Path, memory: Path) -> str:
    real = path.resolve()
    note = memory / f"{hashlib.sha256(str(real).encode(errors='surrogateescape')).hexdigest()[:32]}.json"
    began, seen = time.time(), _identity(real)
    with suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(note.read_text(encoding="utf-8"))
        if remembered["identity"] == seen:
            return str(remembered["sha256"])
    digest = checksum(real)
    status = real.stat()
    if _identity(real) == seen and max(status.st_mtime, status.st_ctime) + SETTLED_SECONDS < began:
        with suppress(OSError):
            write_text(note, json.dumps({"identity": seen, "sha256": digest}))
    return digest


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
