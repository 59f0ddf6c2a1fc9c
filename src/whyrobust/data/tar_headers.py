"""Headers of tar members that are read strictly: damage is an error, and never the end, an endless loop or pixels.

The standard library takes some damage for the end of an archive, follows headers that follow headers as deep as there
are any, and goes backwards where a size is negative (CVE-2025-8194).
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Self

#: Extended headers (long names, PAX) that may stand before one member; archivers write up to four.
MAXIMUM_HEADERS = 16

#: Size of an extended header: names have up to 4 kB, and a larger header takes time that grows with its square.
MAXIMUM_HEADER_BYTES = 64 * 2**10

#: Types of members that are headers of the next.
_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK)  # fmt: skip

_ReadError, _TarHeaderError = tarfile.ReadError, tarfile.HeaderError
_EndOfTarError: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]

#: What a file is by its first bytes, and how to make a tar of it; empty where a program for archives is needed. The
#: standard library reads the first three.
_FIRST_BYTES = (
    (b"\x1f\x8b", "compressed by gzip", "gunzip -c"),
    (b"BZh", "compressed by bzip2", "bunzip2 -c"),
    (b"\xfd7zXZ", "compressed by xz", "unxz -c"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -dc"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "lz4 -dc"),
    (b"PK\x03\x04", "a zip file", ""),
    (b"7z\xbc\xaf", "a 7z file", ""),
    (b"Rar!", "a rar file", ""),
)


class StrictTarInfo(tarfile.TarInfo):
    """Header of a tar member that raises an error where it is damaged.

    tarfile silently takes a damaged header, or a file truncated between two members, for the end of the archive. The
    end is a block of zeros and nothing else.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in a block, with a size that can be."""
        header = super().frombuf(buf, encoding, errors)
        _check_size(header)
        if header.type in _HEADERS and header.size > MAXIMUM_HEADER_BYTES:
            raise _ReadError(f"a header has {header.size:,} bytes, and at most {MAXIMUM_HEADER_BYTES:,} are read")
        return header

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Return the next header of an archive."""
        # A header of another member reads that member's by this method again.
        depth = vars(tarfile).setdefault("headers_before", 0)
        if depth > MAXIMUM_HEADERS:
            raise _ReadError(f"more than {MAXIMUM_HEADERS} headers stand before one member")
        vars(tarfile)["headers_before"] = depth + 1
        try:
            header = super().fromtarfile(tarfile)
        except _EndOfTarError:
            raise
        except _TarHeaderError as error:
            raise _ReadError(f"its end is missing: {error}") from error
        finally:
            vars(tarfile)["headers_before"] = depth
        _check_size(header)
        if header.issparse():
            raise _ReadError(f"member '{header.name}' is stored with holes, as tar --sparse does")
        return header


def _check_size(header: tarfile.TarInfo) -> None:
    if header.size < 0:
        raise _ReadError(f"a header gives a size of {header.size}")


def what_instead_of_tar(path: Path | str, compressed_will_do: bool = False) -> str:
    """Return what a file is that is no tar, and what to do, by its first bytes; empty where they do not tell.

    Args:
        path: the file.
        compressed_will_do: whether a tar that is compressed by gzip, bzip2 or xz could be read.
    """
    place = Path(path)
    if place.is_dir():
        return "is a folder: give the tar files in it"
    with place.open("rb") as handle:
        head = handle.read(512)
    if not head:
        return "is empty: fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself: fetch it with git lfs pull"
    if head.lstrip().lower().startswith((b"<html", b"<!doctype", b"<?xml")):
        return "is a web page: fetch it again"
    for first, what, command in _FIRST_BYTES[3 if compressed_will_do else 0 :]:
        if head.startswith(first):
            how = f"{command} '{place}' > '{_unpacked(place)}'" if command else "unpack it, and pack a tar"
            return f"is {what}, not a tar: {how}"
    return ""


def _unpacked(path: Path) -> Path:
    """Return a name for the tar that a compressed file unpacks to."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".tar")
    return path.with_name(f"{stem}{'-plain' if path.suffix == '.tar' else ''}.tar")
