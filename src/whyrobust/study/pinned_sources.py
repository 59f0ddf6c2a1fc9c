"""The table of files that can be downloaded, ``resources/sources.tsv``: what is fetched, and its checksums.

Light, since planning reads it; `whyrobust.data.downloads` fetches.
"""

from __future__ import annotations

import base64
import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from whyrobust.study.table_cells import shown

COLUMNS = (
    "name", "version", "file", "addresses", "how_to_get", "bytes", "checksum", "licence", "images", "citation",
)  # fmt: skip

#: A slow connection, for the time that a cluster is asked for.
BYTES_PER_MINUTE = 60 * 5_000_000
MINUTES_TO_START, MINUTES_OF_UNKNOWN_SIZE = 30, 24 * 60


#: Hexadecimal digits of each kind of checksum.
DIGITS = {"sha256": 64, "sha512": 128, "md5": 32}

#: A package of npm's registry and one version of it: npm takes folders, git addresses and options in their place too.
NPM_PACKAGE = re.compile(r"npm:(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*")
NPM_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?")

#: No file has more bytes, and no number more digits, than this.
LONGEST_NUMBER = 15


class SourcesTableError(ValueError):
    """A table of sources that cannot be used; the message is one line that names file and row."""


@dataclass(frozen=True)
class PinnedSource:
    """One row of the table.

    Attributes:
        name: in the table.
        version: of the data set.
        file: name under the folder for downloads.
        addresses: tried in turn: ``http(s)://...`` or ``npm:<package>``; none where it must be asked for.
        how_to_get: what to do if there is no address.
        bytes: size, where it is published.
        checksum: ``sha256:<hex>``, ``md5:<hex>`` or ``sha512-<base64>``; empty where none is published.
        licence: terms of use.
        images: images or records in it, where that is known.
        citation: whom to credit.
    """

    name: str
    version: str
    file: str
    addresses: tuple[str, ...]
    how_to_get: str
    bytes: int | None
    checksum: str
    licence: str
    images: int | None
    citation: str

    @property
    def minutes(self) -> int:
        """Minutes that its download may take."""
        return MINUTES_OF_UNKNOWN_SIZE if self.bytes is None else MINUTES_TO_START + self.bytes // BYTES_PER_MINUTE


def read_pinned_sources(path: Path | str) -> dict[str, PinnedSource]:
    """Read the table of sources by name.

    Raises:
        SourcesTableError: it is no table in UTF-8, a column is missing or comes twice, a name or a file comes twice, a
            number, checksum or address is not one, or a file would leave the folder for downloads.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourcesTableError(
            f"{path} cannot be read as a table in UTF-8 ({error}): save it as tab-separated text in UTF-8"
        ) from error
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise SourcesTableError(f"{path} has no column '{missing[0]}': it needs {', '.join(COLUMNS)}")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise SourcesTableError(f"{path} has the column '{twice[0]}' twice: keep one")
    sources: dict[str, PinnedSource] = {}
    line_of_file: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        source = _read_row(row, f"{path}, line {line}")
        if source.name in sources:
            raise SourcesTableError(f"{path}, line {line}: the name '{source.name}' comes twice: rename one")
        # On some disks names that differ in upper and lower case alone are one.
        file = PurePosixPath(source.file).as_posix().casefold()
        if file in line_of_file:
            raise SourcesTableError(
                f"{path}, line {line}: the file '{source.file}' is that of line {line_of_file[file]} too: keep one row "
                "with all of its addresses"
            )
        line_of_file[file] = line
        sources[source.name] = source
    return sources


def _read_row(row: dict[str, str | None], row_at: str) -> PinnedSource:
    values = {name: row[name] or "" for name in COLUMNS}
    for column in ("bytes", "images"):
        number = values[column]
        if number and (not number.isdecimal() or len(number) > LONGEST_NUMBER):
            raise SourcesTableError(f"{row_at}: {column} is {shown(number)}: give a whole number, or nothing")
    for address in values["addresses"].split():
        _check_address(address, values["version"], row_at)
    if values["checksum"] and split_checksum(values["checksum"]) is None:
        raise SourcesTableError(
            f"{row_at}: checksum is '{values['checksum']}': give sha256:<hex>, md5:<hex> or sha512-<base64>"
        )
    inside = PurePosixPath(values["file"])
    if inside.is_absolute() or not inside.parts or ".." in inside.parts:
        raise SourcesTableError(
            f"{row_at}: '{values['name']}' has the file '{values['file']}': give a path inside the folder for downloads"
        )
    return PinnedSource(
        name=values["name"],
        version=values["version"],
        file=values["file"],
        addresses=tuple(values["addresses"].split()),
        how_to_get=values["how_to_get"],
        bytes=int(values["bytes"]) if values["bytes"] else None,
        checksum=values["checksum"],
        licence=values["licence"],
        images=int(values["images"]) if values["images"] else None,
        citation=values["citation"],
    )


def _check_address(address: str, version: str, row_at: str) -> None:
    if not re.match(r"https?://[^/]|npm:", address):
        # No more than its beginning is shown, since a password may be in it.
        kind = shown(address.partition(":")[0][:10])
        raise SourcesTableError(f"{row_at}: an address begins with {kind}: give https://..., or npm:<package>")
    if address.startswith("npm:") and not (NPM_PACKAGE.fullmatch(address) and NPM_VERSION.fullmatch(version)):
        raise SourcesTableError(
            f"{row_at}: the address is {shown(address)} with version {shown(version)}: give npm:<package> or "
            "npm:@<scope>/<package> of npm's registry, and a version such as 1.2.3"
        )


def split_checksum(text: str) -> tuple[str, str] | None:
    """Return the algorithm and the hexadecimal sum of a checksum, None where it is not one."""
    algorithm, _, value = text.partition(":")
    if not value:
        algorithm, _, encoded = text.partition("-")
        try:
            value = base64.b64decode(encoded, validate=True).hex() if algorithm == "sha512" else ""
        except ValueError:
            return None
    digits = DIGITS.get(algorithm)
    return (algorithm, value.lower()) if digits and re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value) else None
