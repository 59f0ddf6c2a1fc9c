"""Rows of a user's tables, a few at a time: CSV and TSV, JSON lines (each also compressed), and Parquet."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.dataset_checks import DatasetError

#: Longest cell and longest line of a table of text: a small compressed file may unpack to one line of gigabytes.
MAXIMUM_FIELD_CHARACTERS = 16 * 2**20

#: Rows of a Parquet table that are in memory at a time, since they may hold photographs, and their bytes: a small file
#: may hold one large picture in all rows.
PARQUET_ROWS = 256
PARQUET_BYTES = 256 * 2**20

#: How tables are read, by the ending of the name.
ENDINGS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

#: Separators of columns, and what they are called.
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}

CELLS_HINT = (
    "put text that holds a separator, a quote or a line break in double quotes, or set quoting to none where quotes "
    "are letters"
)

#: What is raised on a damaged compressed file.
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class TableForm:
    """How a CSV or TSV table is written.

    Attributes:
        header: names of its columns where its first line does not have them.
        quoting: ``double``, cells with a separator or a line break stand in double quotes; ``none``, a quote is a
            letter like others.
    """

    header: Sequence[str] = ()
    quoting: Literal["double", "none"] = "double"


#: What most tables are.
USUAL_FORM = TableForm()


def form_of(settings: Mapping[str, Any]) -> TableForm:
    """Return the form that the settings of a data set give."""
    return TableForm(settings.get("columns", ()), settings.get("quoting", "double"))


def read_rows(path: Path, keys: Mapping[str, str], form: TableForm) -> Iterator[dict[str, Any]]:
    """Yield the cells of each row by key.

    Args:
        path: the table.
        keys: column of each key.
        form: how a CSV or TSV is written.

    Raises:
        DatasetError: it cannot be read, or has no such column; the message has the line.
    """
    kind, compression = _kind_of(path)
    if kind == "parquet":
        yield from _parquet_rows(path, keys)
        return
    opener: Callable[..., Any] = COMPRESSED.get(compression, open)
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
            yield from _json_rows(path, handle, keys) if kind == "json" else _csv_rows(path, handle, kind, keys, form)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} cannot be read as UTF-8 ({error}): save it as UTF-8, which spreadsheets call CSV UTF-8"
        ) from error
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read as a table ({error}): {CELLS_HINT}") from error
    except _DAMAGED as error:
        if not compression:
            raise
        raise DatasetError(f"{path} cannot be read ({error}): fetch it again") from error


def _kind_of(path: Path) -> tuple[str, str]:
    """Return how a table is read, a separator among it, and the ending of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes[-1] if suffixes and suffixes[-1] in COMPRESSED else ""
    kind = ENDINGS.get("".join(suffixes[-2:-1] if compression else suffixes[-1:]))
    if kind is None or (compression and kind == "parquet"):
        raise DatasetError(
            f"{path} is no table by its name: tables end in {', '.join(ENDINGS)}, those of text also in .csv.gz, "
            ".csv.bz2 or .csv.xz and the like; convert it or rename it"
        )
    return kind, compression


def _check_columns(path: Path, keys: Mapping[str, str], columns: Sequence[str], hint: str = "") -> None:
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path} has the column '{repeated[0]}' twice: rename one")
    for key, column in keys.items():
        if column not in columns:
            raise DatasetError(
                f"{path} has no column '{column}' (key '{key}'): it has {', '.join(columns)}; name one of these{hint}"
            )


def check_line(path: Path | str, line: str, number: int) -> None:
    """Check that a line, of which one character more than allowed was read, is a line.

    Raises:
        DatasetError: it is longer than any line of a table.
    """
    if len(line) > MAXIMUM_FIELD_CHARACTERS:
        raise DatasetError(
            f"{path}, line {number} has more than {MAXIMUM_FIELD_CHARACTERS:,} characters: this is no table, fetch it "
            "again"
        )


def _lines(path: Path, handle: TextIO) -> Iterator[str]:
    """Yield the lines of a text, none of which may be longer than a table has them."""
    number = 0
    while line := handle.readline(MAXIMUM_FIELD_CHARACTERS + 1):
        number += 1
        check_line(path, line, number)
        yield line


def _csv_rows(
    path: Path, handle: TextIO, separator: str, keys: Mapping[str, str], form: TableForm
) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(MAXIMUM_FIELD_CHARACTERS)
    reader = csv.reader(
        _lines(path, handle), delimiter=separator, strict=True,
        quoting=csv.QUOTE_NONE if form.quoting == "none" else csv.QUOTE_MINIMAL,
    )  # fmt: skip
    header = list(form.header) or [name.strip() for name in next(reader, [])]
    if not header:
        raise DatasetError(f"{path} is empty: fetch it or write it again")
    other = next((sign for sign in SEPARATORS if sign in header[0] and sign != separator), None)
    if len(header) == 1 and other and not set(keys.values()) <= set(header):
        raise DatasetError(
            f"{path}: its cells are separated by {SEPARATORS[other]}: separate them by commas (.csv) or by tabs (.tsv)"
        )
    _check_columns(path, keys, header, "" if form.header else ", or set columns where the first line names none")
    places = {key: header.index(column) for key, column in keys.items()}
    for row in reader:
        # Every row must have as many cells as the header, so that none shifts columns.
        if row and len(row) != len(header):
            hint = "give the names of all columns" if form.header else CELLS_HINT
            raise DatasetError(
                f"{path}, line {reader.line_num}: {len(row)} cells, the header has {len(header)}: {hint}"
            )
        if row:
            yield {key: row[place] for key, place in places.items()}


def _json_rows(path: Path, handle: TextIO, keys: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield rows of JSON lines; a row that lacks a key has no value there, and some row must have each."""
    seen: set[str] = set()
    number = 0
    for line in _lines(path, handle):
        number += 1
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}, line {number} is no JSON ({error}): give an object per line") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{path}, line {number} is no JSON object: give an object per line")
        seen.update(row)
        yield {key: row.get(column) for key, column in keys.items()}
    if number:
        _check_columns(path, keys, sorted(seen))


def _parquet_rows(path: Path, keys: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield rows of a Parquet table; `PARQUET_ROWS` are in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, keys, file.schema_arrow.names)
            columns = sorted(set(keys.values()))
            first = next(file.iter_batches(1, columns=columns), None)
            rows = PARQUET_ROWS if first is None else max(1, min(PARQUET_ROWS, PARQUET_BYTES // max(first.nbytes, 1)))
            for batch in file.iter_batches(rows, columns=columns):
                cells = [batch.column(batch.schema.get_field_index(column)).to_pylist() for column in keys.values()]
                for row in zip(*cells, strict=True):
                    yield dict(zip(keys, row, strict=True))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error


def names_of_numbers(path: Path, column: str) -> list[str]:
    """Return the class names that a Parquet table of the hub gives the numbers of a column; none where it gives none.

    The datasets library writes them into the metadata of the schema.
    """
    if _kind_of(path)[0] != "parquet":
        return []
    try:
        metadata = pq.read_schema(path).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (OSError, pa.ArrowException, ValueError, RecursionError, KeyError, TypeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def holds_paths(path: Path, column: str) -> bool:
    """Tell whether a column may hold paths of pictures, and not the pictures themselves."""
    if _kind_of(path)[0] != "parquet":
        return True
    schema = pq.read_schema(path)
    found = schema.field(column).type if column in schema.names else None
    return found is not None and (pa.types.is_string(found) or pa.types.is_large_string(found))
