"""The classes of a study: their names, and which of them a test set covers, from the study's table of classes.

Nearly every stage reads it, so it depends on nothing else: a change elsewhere trains no model again on its account.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path


class ClassTableError(ValueError):
    """A table of classes that cannot be read, or lacks what it is asked for."""


def class_table_text(path: Path | str) -> str:
    """Return the text of a table of classes, in the Unicode form in which names are compared (NFC).

    Raises:
        UnicodeDecodeError: it is no text in UTF-8.
    """
    # Spreadsheets put a mark before the first column's name.
    with Path(path).open(encoding="utf-8-sig", newline="") as handle:
        return unicodedata.normalize("NFC", handle.read())


def read_class_table(path: Path | str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a table of classes; a cell that a short row lacks is None.

    Raises:
        ClassTableError: it is no text in UTF-8, or a quote is never closed.
    """
    try:
        reader = csv.DictReader(io.StringIO(class_table_text(path), newline=""), strict=True)
        return list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ClassTableError(
            f"{path} cannot be read as a table in UTF-8 ({error}): save it as CSV in UTF-8"
        ) from error


def read_class_names(path: Path | str) -> list[str]:
    """Return the names of the classes; a class's id is its position in the table."""
    _, rows = read_class_table(path)
    return [row["class"] for row in rows]


def read_prompt_names(path: Path | str) -> list[str]:
    """Return what each class is called in prompts and captions: column ``name`` if there is one, else the class."""
    _, rows = read_class_table(path)
    return [row.get("name") or row["class"] for row in rows]


def read_covered_classes(path: Path | str, column: str) -> list[str]:
    """Return the classes for which a column of the class table is ``true``, in the order of the table.

    Raises:
        ClassTableError: the table has no such column, or it is true for no class.
    """
    _, rows = read_class_table(path)
    covered = covered_names(rows, column)
    if not covered:
        raise ClassTableError(
            f"{path} has no class with true in a column '{column}', which says what a test set of kind '{column}' "
            "covers: add it, as resources/imagenet/classes.csv has it"
        )
    return covered


def covered_names(rows: Iterable[Mapping[str, str]], column: str) -> list[str]:
    """Return the classes of the rows in which a column is ``true``, in order."""
    return [row["class"] for row in rows if (row.get(column) or "").strip().lower() == "true"]
