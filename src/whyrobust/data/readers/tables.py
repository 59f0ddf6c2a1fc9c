"""Read a user's own tables: a column of image paths or image bytes, and columns of text and labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from whyrobust.data.archives import MAXIMUM_BYTES, MAXIMUM_RATIO, Member, Pack
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.label_names import named_label, read_label_names
from whyrobust.data.readers.table_files import USUAL_FORM, TableForm, form_of, holds_paths, names_of_numbers, read_rows
from whyrobust.data.record_writer import RecordBuffer, label_text
from whyrobust.data.text_cleaning import clean_web_field, clean_web_tags
from whyrobust.study.table_cells import is_missing, shown

#: Longest path of a file.
LONGEST_PATH = 4096

#: What keys of further captions begin with; in the config they stand below ``captions``.
CAPTION_KEY = "captions."


@dataclass(frozen=True)
class TableColumns:
    """Names of a table's columns, None for those that it does not have.

    Attributes:
        image: paths, or bytes.
        title: text.
        description: text.
        tags: lists, or text separated by commas.
        label: a class of the study, as text or a number; another value counts as no label.
        captions: further captions, by the name of their variant.
    """

    image: str
    title: str | None = None
    description: str | None = None
    tags: str | None = None
    label: str | None = None
    captions: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The columns that there are, by key."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "captions"}
        captions = {f"{CAPTION_KEY}{name}": column for name, column in self.captions.items()}
        return {key: column for key, column in found.items() if column is not None} | captions


#: What a cell of each key must be, and in words; others are checked where they are used.
_CELLS: dict[str, tuple[Any, str]] = {
    "title": (str, "text"),
    "description": (str, "text"),
    "label": (str | int | float, "classes"),
}


def read_image_table_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``image_table``, or a slice of its tables."""
    columns = TableColumns(
        settings["image"],
        settings.get("title"),
        settings.get("description"),
        settings.get("tags"),
        settings.get("label"),
        settings.get("captions", {}),
    )
    label_names = read_label_names(settings["class_names"]) if "class_names" in settings else ()
    return read_image_tables(
        settings["table"], columns, pack, classes, settings.get("root"), form_of(settings), label_names,
        settings.get("shard_names", ()),
    )  # fmt: skip


def list_named_pictures(settings: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that tables of kind ``image_table`` name, whether they are there or not.

    Of a table that cannot be read there are none: reading it says why.
    """
    for table in map(Path, settings["table"]):
        folder = Path(settings.get("root", table.parent))
        with suppress(DatasetError, OSError, ValueError):
            if not holds_paths(table, settings["image"]):
                continue
            for row in read_rows(table, {"image": settings["image"]}, form_of(settings)):
                if isinstance(row["image"], str) and row["image"].strip():
                    yield find_picture(folder, row["image"])


def read_image_tables(
    tables: Sequence[Path | str],
    columns: TableColumns,
    pack: Pack,
    classes: Collection[str] = (),
    root: Path | str | None = None,
    form: TableForm = USUAL_FORM,
    label_names: Sequence[str] = (),
    names: Sequence[str] = (),
) -> RecordBuffer:
    """Read tables of images, a few rows at a time.

    Args:
        tables: CSV, TSV, JSON lines or Parquet.
        columns: which column holds what.
        pack: takes images whose bytes are in a table itself.
        classes: of the study.
        root: folder that paths are relative to; by default the folder of each table.
        form: how CSV and TSV are written.
        label_names: names of the classes where labels are numbers; by default those of the metadata of Parquet.
        names: of the tables where the data set has several, so that rows of two have two uids.

    Raises:
        DatasetError: a column is missing or holds values of another type, a path leads upwards, or two rows name one
            image.
    """
    known, records = set(classes), RecordBuffer(captions=tuple(columns.captions))
    named, row_of_image = columns.named, dict[str, str]()
    expected = _CELLS | {f"{CAPTION_KEY}{name}": _CELLS["title"] for name in columns.captions}
    for table, name in zip(map(Path, tables), names or [""] * len(tables), strict=True):
        folder = Path(root) if root is not None else table.parent
        prefix = f"{name}/" if name else ""
        numbered = label_names or names_of_numbers(table, columns.label or "")
        copied, most = 0, MAXIMUM_RATIO * table.stat().st_size + MAXIMUM_BYTES
        for number, cells in enumerate(read_rows(table, named, form)):
            where = f"{table}, row {number + 1}"
            _check_cells(where, cells, named, expected)
            value = _image_of(cells["image"])
            if value is None:
                records.leave_out_missing(f"{prefix}row {number + 1}", "it names no picture")
                continue
            if isinstance(value, bytes):
                uid, member = f"{prefix}row_{number}", pack.add(f"row {number}", value)
                copied += len(value)
                if copied > most:
                    raise DatasetError(
                        f"{where}: its pictures have unpacked to more than {MAXIMUM_RATIO} times the table's size: "
                        "photographs hardly shrink, so these are something else; fetch the table again"
                    )
            else:
                _check_path(value, folder, where, is_first=number == 0)
                image = find_picture(folder, value)
                if not _is_file(image):
                    records.leave_out_missing(value, "its file is not there")
                    continue
                if value in row_of_image:
                    raise DatasetError(
                        f"{where}: '{value}' is the picture of {row_of_image[value]} too: keep one row per picture, "
                        "with one caption or with all of them joined"
                    )
                row_of_image[value] = f"row {number + 1}" if len(tables) == 1 else where
                uid, member = value, Member(value, image.as_posix(), 0, -1)
            records.add(
                uid,
                member,
                _label(uid, cells["label"], numbered, known, records) if "label" in cells else None,
                title=clean_web_field(cells.get("title")),
                description=clean_web_field(cells.get("description")),
                tags=clean_web_tags(_plain_list(cells.get("tags", ()))),
                captions={name: clean_web_field(cells[f"{CAPTION_KEY}{name}"]) for name in columns.captions},
            )
    return records


def _image_of(cell: object) -> bytes | str | None:
    """Return the bytes or the path of an image, None where a cell has neither."""
    if isinstance(cell, Mapping):  # how the datasets library stores images
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    return cell if isinstance(cell, str) and cell.strip() else None


def _label(uid: str, given: object, names: Sequence[str], known: Collection[str], records: RecordBuffer) -> str | None:
    """Return the class of a row; a number is a class itself where the study's classes are numbers."""
    named = named_label(given, names)
    return records.known_class(uid, named if named in known else given if label_text(given) in known else named, known)


def _check_cells(
    where: str, cells: Mapping[str, Any], columns: Mapping[str, str], expected: Mapping[str, tuple[Any, str]]
) -> None:
    """Raise a DatasetError where a cell is not of the type that its column should hold."""
    for key, (types, what) in expected.items():
        value = cells.get(key)
        if not is_missing(value) and not isinstance(value, types):
            raise DatasetError(
                f"{where}: column '{columns[key]}' (key '{key}') holds {shown(value)}: give a column of {what}"
            )


def _check_path(value: str, folder: Path, where: str, is_first: bool) -> None:
    """Check that a path leads out of no folder by what it says; links are the user's own.

    Raises:
        DatasetError: it goes upwards, or starts elsewhere; the first row of a table has something else than a path.
    """
    if value.startswith(("http://", "https://")):
        raise DatasetError(f"{where}: '{value:.80}' is an address: give the table to a source of kind address_list")
    if value.startswith("data:") or (is_first and len(value) > LONGEST_PATH):
        raise DatasetError(
            f"{where}: '{value:.40}...' is no path but text of {len(value):,} characters: give a column of paths, or "
            "of the bytes of pictures in Parquet"
        )
    parts = PurePosixPath(value.replace("\\", "/")).parts
    # What starts at the root of the disk must name the folder itself.
    outside = Path(value).is_absolute() and not Path(value).is_relative_to(folder.absolute())
    if ".." in parts or outside:
        raise DatasetError(f"{where}: '{value:.120}' leads out of {folder}: keep pictures inside, or set root")


def find_picture(folder: Path, value: str) -> Path:
    """Return the file that a path in a table means: as written, or in the other forms that other systems write."""
    plain = value.replace("\0", "\ufffd")
    image = folder / plain
    if not _is_file(image):
        slashed = plain.replace("\\", "/")
        for other in (slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))):
            if other != plain and _is_file(folder / other):
                return folder / other
    return image


def _plain_list(value: Any) -> Any:  # noqa: ANN401 - a cell of a user's table
    return value.tolist() if hasattr(value, "tolist") else value


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
