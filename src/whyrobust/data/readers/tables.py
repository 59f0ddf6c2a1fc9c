"""Read a user's own CSV, TSV or Parquet table: a column of image paths or image bytes, and columns of text."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.archives import Member, Pack
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.record_writer import RecordBuffer
from whyrobust.data.text_cleaning import clean_web_field, clean_web_tags
from whyrobust.study.table_cells import is_missing

#: Longest cell of a CSV or TSV table.
MAXIMUM_FIELD_CHARACTERS = 16 * 2**20


@dataclass(frozen=True)
class TableColumns:
    """Names of a table's columns, None for those that it does not have.

    Attributes:
        image: paths, or bytes.
        title: text.
        description: text.
        tags: lists, or text separated by commas.
        label: a class of the study, as text or a number; another value counts as no label.
    """

    image: str
    title: str | None = None
    description: str | None = None
    tags: str | None = None
    label: str | None = None


def read_image_table_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``image_table``."""
    columns = TableColumns(settings["image"], *(settings.get(key) for key in ("title", "description", "tags", "label")))
    return read_image_table(settings["table"], columns, pack, classes, settings.get("root"))


def read_image_table(
    table: Path | str,
    columns: TableColumns,
    pack: Pack,
    classes: Collection[str] = (),
    root: Path | str | None = None,
) -> RecordBuffer:
    """Read a table of images.

    Args:
        table: ``.csv``, ``.tsv`` or ``.parquet``.
        columns: which column holds what.
        pack: takes images whose bytes are in the table itself.
        classes: of the study.
        root: folder that paths are relative to; by default the folder of the table.

    Raises:
        DatasetError: a column is missing or holds values of another type, a path leads out of ``root``, or two rows
            name one image.
    """
    path = Path(table)
    rows = read_table(path)
    cells = _checked_cells(path, rows, columns)
    folder = Path(root) if root is not None else path.parent
    known, records = set(classes), RecordBuffer()
    row_of_image: dict[str, int] = {}
    for number in range(len(rows)):
        value = cells["image"][number]
        if isinstance(value, Mapping):  # how the datasets library stores images
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            uid, member = f"row_{number}", pack.add(f"row {number}", value)
        elif isinstance(value, str) and value.strip():
            image = _image_path(value, folder, f"{path}, row {number + 1}")
            if not _is_file(image):
                records.leave_out_missing(value, "its file is not there")
                continue
            if value in row_of_image:
                raise DatasetError(
                    f"{path}, row {number + 1}: '{value}' is the picture of row {row_of_image[value] + 1} too: keep "
                    "one row per picture, with one caption or with all of them joined"
                )
            row_of_image[value] = number
            uid, member = value, Member(value, image.as_posix(), 0, -1)
        else:
            records.leave_out_missing(f"row {number + 1}", "it names no picture")
            continue
        records.add(
            uid,
            member,
            records.known_class(uid, cells["label"][number], known) if "label" in cells else None,
            title=clean_web_field(cells["title"][number]) if "title" in cells else "",
            description=clean_web_field(cells["description"][number]) if "description" in cells else "",
            tags=clean_web_tags(_plain_list(cells["tags"][number])) if "tags" in cells else (),
        )
    return records


def list_named_pictures(settings: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that a table of kind ``image_table`` names, whether they are there or not.

    Of a table that cannot be read there are none: reading it says why.
    """
    table, column = Path(settings["table"]), settings["image"]
    folder = Path(settings["root"]) if "root" in settings else table.parent
    with suppress(DatasetError, OSError):
        for value in _names_of_pictures(table, column):
            if isinstance(value, str) and value.strip():
                yield folder / value


def _names_of_pictures(table: Path, column: str) -> Iterable[object]:
    """Return the cells of a column that may hold paths; nothing where the pictures are in the table itself."""
    if table.suffix != ".parquet":
        rows = read_table(table)
        return rows.get(column, [])
    with pq.ParquetFile(table) as file:
        found = file.schema_arrow
        is_text = column in found.names and pa.types.is_string(found.field(column).type)
        return file.read([column])[column].to_pylist() if is_text else ()


def _checked_cells(path: Path, rows: pd.DataFrame, columns: TableColumns) -> dict[str, list[Any]]:
    """Return the cells of the columns that are named, by key of `TableColumns`.

    Raises:
        DatasetError: a column is missing, or its first value is not of the type that it should hold.
    """
    named: dict[str, str | None] = asdict(columns)
    for key, column in named.items():
        if column is not None and column not in rows.columns:
            raise DatasetError(
                f"{path} has no column '{column}' (key '{key}'): it has {', '.join(map(str, rows.columns))}"
            )
    cells = {key: rows[column].tolist() for key, column in named.items() if column is not None}
    for key, types, what in (("title", str, "text"), ("description", str, "text"), ("label", _LABEL_TYPES, "classes")):
        first = next((value for value in cells.get(key, ()) if not is_missing(value)), "")
        if not isinstance(first, types):
            raise DatasetError(f"{path}: column '{named[key]}' (key '{key}') holds {first!r}: give a column of {what}")
    return cells


#: Types that a cell may have to hold a class.
_LABEL_TYPES = str | int | float


def _image_path(value: str, folder: Path, row: str) -> Path:
    """Return the path of an image.

    Raises:
        DatasetError: it leads out of the folder.
    """
    image = folder / value.replace("\0", "\ufffd")
    if not image.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{row}: '{value}' leads out of {folder}: keep pictures inside, or set root")
    return image


def _plain_list(value: Any) -> Any:  # noqa: ANN401 - a cell of a user's table
    return value.tolist() if hasattr(value, "tolist") else value


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def read_table(path: Path) -> pd.DataFrame:
    """Read a table; every row of a CSV or TSV must have as many cells as the header, so that none shifts columns.

    Raises:
        DatasetError: it cannot be read; the message has the line.
    """
    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error
    csv.field_size_limit(MAXIMUM_FIELD_CHARACTERS)
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            header = next(reader, [])
            repeated = [name for name, count in Counter(header).items() if count > 1]
            if repeated:
                raise DatasetError(f"{path} has the column '{repeated[0]}' twice: rename one")
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise DatasetError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, the header has {len(header)}: put text "
                        "that holds a separator, a quote or a line break in double quotes"
                    )
                if row:
                    rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 {path.suffix.lstrip('.')}: {error}") from error
    return pd.DataFrame(rows, columns=header, dtype=str)
