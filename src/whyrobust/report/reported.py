"""What a paper reports beside what the study finds, where the config says which runs are the same experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whyrobust.report.number_format import format_percent
from whyrobust.report.page_parts import table_rows
from whyrobust.study.display_names import spaced
from whyrobust.study.plan import matches

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a table of reported numbers.
REPORTED_COLUMNS = ("experiment", "place", "quantity", "test_set", "value", "unit", "verified", "source")


def reported_rows(
    reported: Sequence[Mapping[str, str]], runs: Mapping[str, Mapping[str, Any]], accuracy: pd.DataFrame
) -> list[dict[str, str]]:
    """Return the rows of the table "reported, and found here".

    Args:
        reported: with `REPORTED_COLUMNS`, as texts.
        runs: for an experiment, the fields of the runs whose accuracy stands beside it.
        accuracy: ``accuracy.csv``, empty text read as such.

    Returns:
        A row for each reported number; ``found`` is the mean over the chosen runs by their main head, with the lowest
        and the highest, and empty where the config names no runs or the number is no accuracy on a test set.

    Raises:
        ValueError: the table lacks a column.
    """
    rows = []
    for row in reported:
        lacking = [name for name in REPORTED_COLUMNS if name not in row]
        if lacking:
            raise ValueError(f"the table of reported numbers lacks the column '{lacking[0]}'")
        condition = runs.get(row["experiment"])
        found = "" if condition is None or not row["test_set"] else _accuracy_of(condition, row["test_set"], accuracy)
        value = f"{float(row['value']):,.10g}"
        rows.append(
            {name: row[name] for name in ("place", "quantity", "verified", "source")}
            | {
                "experiment": spaced(row["experiment"]),
                "test_set": spaced(row["test_set"]),
                "reported": f"{value}%" if row["unit"] == "percent" else f"{value} {row['unit']}",
                "found": found,
            }
        )
    return rows


def _accuracy_of(condition: Mapping[str, Any], test_set: str, accuracy: pd.DataFrame) -> str:
    """Say the mean accuracy of runs on a test set, and its range where there are several; nothing without any."""
    on_it = accuracy[accuracy["main"] & (accuracy["test_set"] == test_set)]
    found = [float(row["accuracy"]) for row in table_rows(on_it) if matches(row, condition)]
    if not found:
        return ""
    mean = format_percent(sum(found) / len(found))
    if len(found) == 1:
        return f"{mean} (1 run)"
    return f"{mean} ({len(found)} runs: {format_percent(min(found))} to {format_percent(max(found))})"
