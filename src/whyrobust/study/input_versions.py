"""Versions of files that users give, as rule parameters: any change of them reruns what reads them.

Snakemake compares times, so that a table put back with its old date, or a picture overwritten deep inside a folder,
would go unnoticed. Here a small file counts by its content; a large one, and each file below a folder, by its size and
time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

#: Files of up to so many bytes are read; reading larger ones at every start would take too long.
MAXIMUM_BYTES_READ = 4 * 2**20

#: Files that desktops leave in folders which they show.
OF_DESKTOPS = frozenset({"thumbs.db", "desktop.ini"})

MISSING = "missing"


@cache
def input_version(path: Path) -> str:
    """Return a text that changes with a file or with the files below a folder; it is read once per process."""
    if path.is_dir():
        return listing_version(_files_below(path, frozenset()))
    try:
        status = path.stat()
        if status.st_size <= MAXIMUM_BYTES_READ and path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return MISSING
    return f"{status.st_size} {status.st_mtime_ns}"


def input_versions(paths: Iterable[Path]) -> str:
    """Return a text that changes with any of several files and folders; empty where there are none."""
    digest, found = hashlib.sha256(), False
    for path in paths:
        digest.update(f"{path}\0{input_version(path)}\0".encode(errors="surrogateescape"))
        found = True
    return digest.hexdigest()[:16] if found else ""


def listing_version(paths: Iterable[Path]) -> str:
    """Return a text that changes with the name, size or time of any of many files, in whatever order they come."""
    total = 0
    for path in paths:
        try:
            status = path.stat()
            seen = f"{status.st_size} {status.st_mtime_ns}"
        except (OSError, ValueError):  # a dangling link, a name that is too long or holds a zero byte
            seen = MISSING
        digest = hashlib.blake2b(f"{path}\0{seen}".encode(errors="surrogateescape"), digest_size=16)
        total += int.from_bytes(digest.digest(), "little")
    return f"{total % 2**128:032x}"


def _files_below(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield the files below a folder but hidden ones; ``above`` are its parents, which a link may point back to."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in OF_DESKTOPS:
            continue
        if entry.is_dir():
            yield from _files_below(Path(entry.path), above | {here})
        else:
            yield Path(entry.path)
