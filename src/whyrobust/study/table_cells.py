"""Cells of tables: which hold nothing, a cell as text, and as messages show it. Light: planning needs no pandas."""

from __future__ import annotations

from numbers import Real

#: Between the classes of a label that names several, any of which is right (ObjectNet).
LABEL_SEPARATOR = ";"
#: Longest part of a value that a message shows.
SHOWN_CHARACTERS = 80


def is_missing(value: object) -> bool:
    """Tell whether a cell holds no value: None, NaN, or pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    # Only NaN differs from itself; an array compares element by element and is a value.
    return isinstance(value, Real) and value != value


def is_empty(value: object) -> bool:
    """Tell whether a cell holds nothing to show: no value, or empty text."""
    return value == "" if isinstance(value, str) else is_missing(value)


def cell_text(value: object) -> str:
    """Return a cell as text, "" if it is missing."""
    return "" if is_missing(value) else str(value)


def shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
