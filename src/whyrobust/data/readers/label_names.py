"""Names of numbered classes: data sets of the hub give labels as numbers, and the names of the numbers elsewhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.record_writer import label_text


def read_label_names(path: Path | str) -> list[str]:
    """Return the names in a text with one per line (``classnames.txt`` of clip_benchmark); number 0 is the first.

    Raises:
        DatasetError: it is no text in UTF-8, or has no name.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text in UTF-8 ({error}): give a class name per line") from error
    names = [unicodedata.normalize("NFC", line.strip()) for line in lines]
    if not any(names):
        raise DatasetError(f"{path} holds no name: give a class name per line")
    return names


def named_label(given: object, names: Sequence[str]) -> str:
    """Return the name of a numbered label; another label, or a number that has no name, as it is."""
    text = label_text(given)
    is_number = bool(names) and text.isdecimal() and len(text) < 10
    return names[int(text)] if is_number and int(text) < len(names) else text
