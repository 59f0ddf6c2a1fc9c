"""Which training images of ILSVRC-2012 come from which photograph on Flickr, by ImageNet's list of addresses.

The list of the release of fall 2011 has a line per image, ``<wnid>_<number>`` and its address; the training images of
ILSVRC-2012 are named ``<wnid>_<number>.JPEG``.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from whyrobust.data.archives import Member, Pack, is_image_name, list_archive
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.tar_headers import StrictTarInfo
from whyrobust.files import read_parquet

#: Columns of the table of photographs: the image, the id of its photograph (-1 for none), why it has none.
PHOTO_SCHEMA = pa.schema([("filename", pa.string()), ("photo", pa.int64()), ("left_out", pa.string())])

#: Why an image has no photograph.
NOT_LISTED = "it is not in the list of addresses"
TWO_ADDRESSES = "the list has several addresses for it"
NOT_FLICKR = "its address is not on Flickr"
NO_PHOTO = "its address on Flickr names no photograph"

#: Longest line of the list that is read; addresses of the web are shorter.
MAXIMUM_LINE_BYTES = 64 * 2**10

_IMAGE = re.compile(r"(n\d{8})_(\d{1,9})(?:\.JPEG)?")
#: Hosts of pages, and of pictures: farm3.static.flickr.com, live.staticflickr.com, photos23.flickr.com.
_FLICKR = re.compile(r"(?:[a-z0-9-]+\.)*(?:flickr|staticflickr)\.com|flic\.kr")
_PAGES = re.compile(r"(?:(?:www|m|secure)\.)?flickr\.com")
#: <server>/<id>_<secret>, with a size or without: _s, _b, _3k, _o, and _d for a download.
_PICTURE = re.compile(r"/(\d{1,15})_[0-9a-z]+(?:_[0-9a-z]{1,2})?(?:_d)?\.(?:jpe?g|png|gif)", re.IGNORECASE)
_PAGE = re.compile(r"/photos/[^/]+/(\d{1,15})(?:/.*)?")
_SHORT = re.compile(r"/p/([1-9A-HJ-NP-Za-km-z]{1,9})/?")
#: Digits of short addresses: base 58 of Flickr, without 0, O, I and l.
_DIGITS = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"


def is_on_flickr(address: str) -> bool:
    """Tell whether an address is one of Flickr's."""
    return _FLICKR.fullmatch(_host_of(address)) is not None


def photo_of(address: str) -> int:
    """Return the id of the photograph that an address of Flickr names, -1 where it names none.

    Known are pictures (``farm3.static.flickr.com/2/<id>_<secret>_m.jpg``, ``live.staticflickr.com``), pages
    (``www.flickr.com/photos/<user>/<id>/``) and short addresses (``flic.kr/p/<id in base 58>``); albums, users and
    icons of users name no photograph.
    """
    host = _host_of(address)
    if _FLICKR.fullmatch(host) is None:
        return -1
    parts = urlsplit(_with_scheme(address))
    if host == "flic.kr":
        short = _SHORT.fullmatch(parts.path)
        return _from_base_58(short[1]) if short else -1
    if _PAGES.fullmatch(host):
        given = parse_qs(parts.query).get("id", [""])[0] if parts.path == "/photo.gne" else ""
        page = _PAGE.fullmatch(parts.path)
        number = given if re.fullmatch(r"\d{1,15}", given) else page[1] if page else ""
    else:
        picture = _PICTURE.fullmatch("/" + parts.path.rpartition("/")[2])
        number = picture[1] if picture and "/buddyicons/" not in parts.path else ""
    return int(number) if number else -1


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def _host_of(address: str) -> str:
    """Return the host of an address in small letters, "" where it has none that can be read."""
    try:
        return urlsplit(_with_scheme(address)).hostname or ""
    except ValueError:
        return ""


def _from_base_58(text: str) -> int:
    number = 0
    for digit in text:
        number = 58 * number + _DIGITS.index(digit)
    return number


class _NoPack(Pack):
    """Keeps no copies: of images that cannot be read in place, only the names are wanted."""

    def add(self, name: str, content: bytes) -> Member:
        """Return the name."""
        return Member(name, "", 0, len(content))


def read_training_names(images: Path | str) -> list[str]:
    """Return the file names of the ILSVRC-2012 training images, sorted by class and number.

    Args:
        images: the tar as published, a folder, or a text (``.txt``) whose lines begin with a name, as Caffe's
            ``train.txt`` (``n01440764/n01440764_10026.JPEG 0``).

    Raises:
        DatasetError: a name is not ``<wnid>_<number>.JPEG``, comes twice, or there is none.
        LocationError: the archive is damaged.
    """
    if Path(images).suffix == ".txt":
        lines = Path(images).read_text(encoding="utf-8", errors="replace").splitlines()
        names = [PurePosixPath(line.split()[0]).name for line in lines if line.strip()]
    else:
        found = list_archive(images, _NoPack(BytesIO(), images), is_image_name, nested=True)
        names = [member.path.name for member in found]
    keys = {}
    for name in names:
        parts = _IMAGE.fullmatch(name)
        if parts is None or not name.endswith(".JPEG"):
            raise DatasetError(f"{images}: '{name[:60]}' is no name of a training image, n01440764_10026.JPEG say")
        if name in keys:
            raise DatasetError(f"{images}: '{name}' comes twice: give each training image once")
        keys[name] = (parts[1], int(parts[2]))
    if not keys:
        raise DatasetError(f"{images} has no training image: give the tar as published, a folder or a list of names")
    return sorted(keys, key=keys.__getitem__)


def read_addresses(path: Path | str) -> Iterator[tuple[str, str]]:
    """Yield image (``n01440764_10026``) and address of each line of ImageNet's list; other lines are passed over.

    Bytes that are no UTF-8, which the list has, become replacement characters.

    Args:
        path: ``fall11_urls.txt``, also compressed (``.gz``), or ``imagenet_fall11_urls.tgz`` as published.

    Raises:
        DatasetError: the file is damaged, or no line is of this form.
    """
    lines = 0
    try:
        with _open_list(Path(path)) as handle:
            while line := handle.readline(MAXIMUM_LINE_BYTES):
                image, _, address = line.decode("utf-8", "replace").partition("\t")
                if address.strip() and _IMAGE.fullmatch(image):
                    lines += 1
                    yield image, address.strip()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DatasetError(f"{path} cannot be read after line {lines} ({error}): fetch it again") from error
    if not lines:
        raise DatasetError(f"{path} has no line with an image and an address between tabs: give fall11_urls.txt")


@contextmanager
def _open_list(path: Path) -> Iterator[IO[bytes]]:
    """Open a list of addresses, by its ending."""
    if path.name.endswith((".tgz", ".tar.gz")):
        with tarfile.open(path, "r|gz", tarinfo=StrictTarInfo) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name.endswith(".txt") else None
                if stream is not None:
                    yield stream
                    return
        raise DatasetError(f"{path} holds no text: give imagenet_fall11_urls.tgz or the text in it")
    with path.open("rb") as handle:
        yield handle if path.suffix != ".gz" else gzip.GzipFile(fileobj=handle)  # type: ignore[misc]


def find_photos(names: Iterable[str], addresses: Iterable[tuple[str, str]]) -> pa.Table:
    """Return the photograph of each training image: a table of `PHOTO_SCHEMA`, with a row per name in their order.

    An image with several different addresses has no photograph, since nobody knows which it is.
    """
    address_of: dict[str, str | None] = dict.fromkeys((name.removesuffix(".JPEG") for name in names), "")
    for image, address in addresses:
        known = address_of.get(image)
        if known is not None and known != address:
            address_of[image] = None if known else address
    photos, reasons = [], []
    for found in address_of.values():
        photo = photo_of(found) if found else -1
        photos.append(photo)
        reasons.append("" if photo >= 0 else _why_none(found))
    listed = [f"{image}.JPEG" for image in address_of]
    return pa.table([listed, pa.array(photos, pa.int64()), pa.array(reasons, pa.string())], schema=PHOTO_SCHEMA)


def photo_numbers(path: Path | str) -> set[int]:
    """Return the photographs in a table that `find_photos` made, each once."""
    return {photo for photo in read_parquet(path, ["photo"])["photo"].to_pylist() if photo >= 0}


def _why_none(address: str | None) -> str:
    if not address:
        return TWO_ADDRESSES if address is None else NOT_LISTED
    return NO_PHOTO if is_on_flickr(address) else NOT_FLICKR
