"""The table of files that can be downloaded, ``resources/sources.tsv``: what is fetched, and its checksums.

Light, since planning reads it; `whyrobust.data.downloads` fetches.
"""

from __future__ import annotations

import base64
import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

COLUMNS = (
    "name", "version", "file", "addresses", "how_to_get", "bytes", "checksum", "licence", "images", "citation",
)  # fmt: skip

#: A slow connection, for the time that a cluster is asked for.
BYTES_PER_MINUTE = 60 * 5_000_000
MINUTES_TO_START, MINUTES_OF_UNKNOWN_SIZE = 30, 24 * 60


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
        SourcesTableError: it is no table in UTF-8, a column is missing, a name comes twice, a number or checksum is not
            one, or a file would leave the folder for downloads.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourcesTableError(f"{path} cannot be read as a table in UTF-8 ({error}): give a table") from error
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise SourcesTableError(f"{path} has no column '{missing[0]}': it needs {', '.join(COLUMNS)}")
    sources: dict[str, PinnedSource] = {}
    for line, row in enumerate(rows, start=2):
        source = _read_row(row, f"{path}, line {line}")
        if source.name in sources:
            raise SourcesTableError(f"{path}, line {line}: the name '{source.name}' comes twice: rename one")
        sources[source.name] = source
    return sources


def _read_row(row: dict[str, str | None], row_at: str) -> PinnedSource:
    values = {name: row[name] or "" for name in COLUMNS}
    for column in ("bytes", "images"):
        if values[column] and not values[column].isdecimal():
            raise SourcesTableError(f"{row_at}: {column} is '{values[column]}': give a whole number, or nothing")
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


def split_checksum(text: str) -> tuple[str, str] | None:
    """Return the algorithm and the hexadecimal sum of a checksum, None where it is not one."""
    algorithm, _, value = text.partition(":")
    if algorithm in ("sha256", "sha512", "md5") and value:
        return algorithm, value.lower()
    algorithm, _, value = text.partition("-")
    try:
        return (algorithm, base64.b64decode(value, validate=True).hex()) if algorithm == "sha512" and value else None
    except ValueError:
        return None
