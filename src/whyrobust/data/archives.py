"""Index of image files in folders and archives: the file, offset and length of each, so that tars are read in place.

An uncompressed tar is its own image store once the offsets of its members are known, so 15 million photographs are
neither copied nor unpacked. What cannot be read in place (compressed or encrypted archives, images inside a table) is
copied once, byte for byte, into one pack. No name from an archive is ever used as a path to write to.
docs/performance.md compares image stores.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from whyrobust.data.tar_headers import StrictTarInfo, what_instead_of_tar
from whyrobust.files import write_table
from whyrobust.study.picture_formats import PICTURE_ENDINGS

LOCATION_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
    ]
)
"""One row per photograph; a ``length`` of -1 means the whole file."""

#: A member larger than this is no photograph but, for example, a decompression bomb.
MAXIMUM_BYTES = 256 * 2**20

#: A compressed archive may unpack to this many times its size plus `MAXIMUM_BYTES`: photographs hardly compress.
MAXIMUM_RATIO = 20

#: Archives that a process keeps open, to be read at any offset: far fewer than the 1,024 files that it may often open.
MAXIMUM_OPEN = 64

#: Errors that the standard library raises on damaged archives; a truncated gzip header gives a TypeError.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, TypeError, IndexError, struct.error,
           zlib.error, lzma.LZMAError)  # fmt: skip


class LocationError(ValueError):
    """An archive or folder that cannot be read; the message names it and, if there is one, the member."""


@dataclass(frozen=True)
class Member:
    """One file inside an archive or a folder.

    Attributes:
        name: its name in there, with forward slashes.
        file: the file on disk that holds its bytes.
        offset: first byte.
        length: number of bytes; -1 for a whole file on disk.
        missing: why there is no content, though there is a name; empty where there is some.
    """

    name: str
    file: str
    offset: int
    length: int
    missing: str = ""

    @property
    def path(self) -> PurePosixPath:
        """The name as a path."""
        return PurePosixPath(self.name)

    @property
    def is_image(self) -> bool:
        """See `is_image_name`."""
        return is_image_name(self.name)


def ending_of(name: str) -> str:
    """Return the ending of a name in small letters, without the dot."""
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def is_image_name(name: str) -> bool:
    """Tell whether a name ends like an image's, and is no file that macOS adds to archives."""
    path = PurePosixPath(name)
    return ending_of(name) in PICTURE_ENDINGS and not path.name.startswith("._") and "__MACOSX" not in path.parts


#: Folders that systems add to a user's own: of macOS in archives, of Synology with small copies of each picture.
ADDED_FOLDERS = ("__MACOSX", "@eaDir")


def is_hidden(path: PurePosixPath) -> bool:
    """Tell whether a file, or a folder above it, is none that users see: editors, notebooks and systems add copies."""
    return any(part in ADDED_FOLDERS or (part.startswith(".") and part != "..") for part in path.parts)


def storable(name: str) -> str:
    r"""Return a name in which bytes that are not UTF-8 are escaped as ``\xff``, so that a table can hold it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


#: Why a name in a folder or an archive has no content.
DANGLING, NO_FILE = "it is a link to a file that is not there", "it is no file but a pipe, a socket or a device"
LINK = "it is a link that leads to no earlier file of the archive"


def list_folder(folder: Path | str) -> Iterator[Member]:
    """Yield the files below a folder in the order of their names; links are followed, cycles are not.

    What is no file and no folder is a member that is missing: links of half-fetched data sets lead nowhere.

    Raises:
        LocationError: there is no such folder, or a file name is not UTF-8.
    """
    root = Path(folder)
    if not root.is_dir():
        raise LocationError(f"{root} is not a folder: give the folder that holds the pictures")
    for path in sorted(_files_below(root, frozenset())):
        name = path.relative_to(root).as_posix()
        if storable(name) != name:
            raise LocationError(f"{root} has a file named '{storable(name)}', which is no UTF-8: rename it")
        missing = "" if path.is_file() else DANGLING if path.is_symlink() and not path.exists() else NO_FILE
        yield Member(name, path.as_posix(), 0, -1, missing)


def _files_below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield what is no folder below a folder; ``above`` are its parents, which a link may point back to."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files_below(path, above | {here})
        else:
            yield path


def may_be_class_folder(member: Member) -> bool:
    """Tell whether a member may be a link to a class folder that is not there: no picture of it would be counted."""
    return bool(member.missing) and not member.path.suffix


def _unreadable(error: Exception, after: str = "") -> str:
    return f"cannot be read as a tar file{after} ({error}): fetch it again, or pack it again"


def _read_tar(archive: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an open tar but its folders.

    Raises:
        LocationError: it is damaged; the message has the last member that could be read.
    """
    last = ""
    members = iter(archive)
    while True:
        try:
            member = next(members, None)
        except DAMAGED as error:
            after = f" after member '{last}'" if last else ""
            raise LocationError(f"{name} {_unreadable(error, after)}") from error
        if member is None:
            return
        last = storable(member.name)
        if not member.isdir():
            yield member


class _Links:
    """Where the members of one tar lie, for links to them: some archivers store equal files as links to the first."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def add(self, info: tarfile.TarInfo, member: Member) -> Member:
        """Remember where a file lies, and return it."""
        self._members[posixpath.normpath(info.name)] = member
        return member

    def resolve(self, info: tarfile.TarInfo, name: str) -> Member:
        """Return a member that is no file: as the earlier one that it links to, or as missing."""
        folder = posixpath.dirname(info.name) if info.issym() else ""
        linked = posixpath.normpath(posixpath.join(folder, info.linkname))
        found = self._members.get(linked) if info.issym() or info.islnk() else None
        if found is not None:
            return replace(found, name=name)
        reason = LINK if info.issym() or info.islnk() else NO_FILE
        return Member(name, "", 0, 0, reason)


def list_tar(path: Path | str, nested: bool = False) -> Iterator[Member]:
    """Yield the files of an uncompressed tar with their offsets; a link is the member that it links to.

    Args:
        path: the archive.
        nested: also open members that are tar files themselves (ILSVRC-2012 is a tar of a thousand tars); the names of
            their members start with the inner archive's name.

    Raises:
        LocationError: the archive is damaged or compressed.
    """
    name, links = Path(path).as_posix(), _Links()
    try:
        with tarfile.open(path, "r:", tarinfo=StrictTarInfo) as archive:
            for member in _read_tar(archive, name):
                if nested and member.isreg() and member.name.endswith(".tar"):
                    yield from _list_inner(archive, member, name)
                elif member.isreg():
                    yield links.add(member, Member(storable(member.name), name, member.offset_data, member.size))
                else:
                    yield links.resolve(member, storable(member.name))
    except (tarfile.TarError, EOFError, IsADirectoryError) as error:
        raise LocationError(f"{name} {what_instead_of_tar(path) or _unreadable(error)}") from error


def _list_inner(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Iterator[Member]:
    inner_file = archive.extractfile(member)
    if inner_file is None:
        return
    where, links = f"{name}, member '{storable(member.name)}',", _Links()
    outer = PurePosixPath(storable(member.name)).stem
    try:
        with tarfile.open(fileobj=inner_file, mode="r:", tarinfo=StrictTarInfo) as inner:
            for file in _read_tar(inner, where):
                inside = f"{outer}/{storable(file.name)}"
                if file.isreg():
                    yield links.add(file, Member(inside, name, member.offset_data + file.offset_data, file.size))
                else:
                    yield links.resolve(file, inside)
    except (tarfile.TarError, EOFError) as error:
        raise LocationError(f"{where} {_unreadable(error)}") from error


class Pack:
    """One file that takes copies of images which cannot be read in place."""

    def __init__(self, handle: IO[bytes], path: Path | str) -> None:
        self._handle, self._path, self._end = handle, Path(path).as_posix(), 0

    def add(self, name: str, content: bytes) -> Member:
        """Append bytes and return their location."""
        member = Member(name, self._path, self._end, len(content))
        self._handle.write(content)
        self._end += len(content)
        return member


class _UnpackLimit:
    """Reads members of one compressed archive up to a limit, against decompression bombs."""

    def __init__(self, archive: Path | str) -> None:
        self.archive = str(archive)
        self.left = MAXIMUM_RATIO * Path(archive).stat().st_size + MAXIMUM_BYTES

    def read(self, stream: IO[bytes], name: str) -> bytes:
        """Return the whole content of a member."""
        content = stream.read(MAXIMUM_BYTES + 1)
        if len(content) > MAXIMUM_BYTES:
            raise LocationError(
                f"{self.archive}: member '{name}' has more than {MAXIMUM_BYTES} bytes: no photograph is so large"
            )
        self.left -= len(content)
        if self.left < 0:
            raise LocationError(
                f"{self.archive}: with member '{name}' it has unpacked to more than {MAXIMUM_RATIO} times its size: "
                "photographs hardly shrink, so this is something else"
            )
        return content


def unpack_tar(path: Path | str, pack: Pack, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Copy the wanted files of a compressed tar into a pack in one sequential read.

    Raises:
        LocationError: the archive is damaged, or unpacks to more than photographs can.
    """
    limit, links = _UnpackLimit(path), _Links()
    try:
        archive = tarfile.open(path, "r|*", tarinfo=StrictTarInfo)  # noqa: SIM115 - closed below
    except DAMAGED as error:
        what = what_instead_of_tar(path, compressed_will_do=True) or _unreadable(error)
        raise LocationError(f"{path} {what}") from error
    with archive:
        for member in _read_tar(archive, str(path)):
            name = storable(member.name)
            if not wanted(name):
                continue
            if not member.isreg():
                yield links.resolve(member, name)
                continue
            try:
                stream = archive.extractfile(member)
                content = limit.read(stream, name) if stream is not None else b""
            except LocationError:  # too large
                raise
            except DAMAGED as error:
                raise LocationError(f"{path}: member '{name}' cannot be read ({error}): fetch it again") from error
            # Outside the try block: a full disk is no fault of the archive.
            yield links.add(member, pack.add(name, content))


def unpack_zip(
    path: Path | str, pack: Pack, wanted: Callable[[str], bool], password: str | None = None
) -> Iterator[Member]:
    """Copy the wanted files of a zip into a pack.

    Raises:
        LocationError: the archive is damaged, the password is missing or wrong, or it unpacks to more
            than photographs can.
    """
    limit = _UnpackLimit(path)
    try:
        archive = zipfile.ZipFile(path)
    except (*DAMAGED, NotImplementedError) as error:
        raise LocationError(f"{path} cannot be read as a zip file ({error}): fetch it again") from error
    with archive:
        for info in archive.infolist():
            name = storable(info.filename)
            # zipfile's is_dir fails on an empty name.
            if not info.filename or info.is_dir() or not wanted(name):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):  # its content is its target
                yield Member(name, "", 0, 0, LINK)
                continue
            try:
                with archive.open(info, pwd=password.encode() if password else None) as stream:
                    content = limit.read(stream, name)
            except LocationError:  # too large
                raise
            except (*DAMAGED, NotImplementedError) as error:
                raise LocationError(f"{path}: member '{name}' cannot be read ({error}): fetch it again") from error
            except RuntimeError as error:  # zipfile's error for a missing or wrong password
                what = "is wrong" if password else "is missing"
                raise LocationError(
                    f"{path}: the password of member '{name}' {what}: give it in the config key 'password'"
                ) from error
            yield pack.add(name, content)


def list_archive(
    path: Path | str, pack: Pack, wanted: Callable[[str], bool], nested: bool = False, password: str | None = None
) -> Iterator[Member]:
    """Yield the wanted files of a folder, a tar (in place) or a zip or compressed tar (copied into the pack)."""
    source = Path(path)
    if source.is_dir():
        found = list_folder(source)
        yield from (member for member in found if wanted(member.name) or may_be_class_folder(member))
    elif zipfile.is_zipfile(source):
        yield from unpack_zip(source, pack, wanted, password)
    elif _is_plain_tar(source):
        yield from (member for member in list_tar(source, nested) if wanted(member.name))
    elif nested:
        what = what_instead_of_tar(source) or "is no uncompressed tar"
        raise LocationError(f"{source} {what}; or give the archive as it was published, or a folder")
    else:
        yield from unpack_tar(source, pack, wanted)


def _is_plain_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:", tarinfo=StrictTarInfo) as archive:
            archive.next()
    except (tarfile.TarError, EOFError):
        return False
    return True


def list_files(locations: pa.Table) -> list[str]:
    """Return each file once that pictures lie in, of a table with the columns of `LOCATION_SCHEMA`."""
    found: list[str] = locations["file"].cast(pa.string()).unique().to_pylist()
    return found


def write_locations(path: Path | str, rows: list[tuple[str, Member]]) -> None:
    """Write (uid, member) rows as Parquet, whole or not at all."""
    columns: list[Any] = [
        pa.array([uid for uid, _ in rows], pa.string()),
        pa.array([member.file for _, member in rows], pa.string()).dictionary_encode(),
        pa.array([member.offset for _, member in rows], pa.int64()),
        pa.array([member.length for _, member in rows], pa.int64()),
    ]
    write_table(path, pa.Table.from_arrays(columns, schema=LOCATION_SCHEMA))


class _Opened:
    """An open file, which is closed when nobody reads from it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


@lru_cache(maxsize=MAXIMUM_OPEN)
def _opened(file: str, device: int, inode: int) -> _Opened:
    """Return an archive, opened; another file of its name has other numbers and is opened anew."""
    return _Opened(os.open(file, os.O_RDONLY))


def read_bytes(file: str, offset: int, length: int) -> bytes:
    """Return the bytes at one location.

    Raises:
        LocationError: the file is missing, or shorter than it was.
    """
    try:
        if length < 0:
            content = Path(file).read_bytes()[offset:]
        else:
            found = os.stat(file)  # noqa: PTH116 - a Path takes as long as the read itself
            # Held until it is read: of two threads that open it at once only one's is kept, and others push it out.
            archive = _opened(file, found.st_dev, found.st_ino)
            content = os.pread(archive.descriptor, length, offset)
    except OSError as error:
        raise LocationError(
            f"{file} cannot be read ({error.strerror}): put it back, or build the records again"
        ) from error
    if 0 <= length != len(content):
        raise LocationError(
            f"{file} holds {len(content)} of {length} bytes at {offset}: it was changed; build the records again"
        )
    return content


def content_hash(content: bytes) -> int:
    """Return 64 bits of a BLAKE2b hash of an image's bytes, by which an index knows them."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
