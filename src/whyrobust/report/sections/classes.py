"""Classes: accuracy in each class by source, for each test set, which the page's script shows as a table."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from whyrobust.report.number_format import count_noun
from whyrobust.report.page_parts import table_rows
from whyrobust.report.tables import StudyTables
from whyrobust.study.display_names import name_test_set, spaced
from whyrobust.study.table_cells import cell_text

_DECIMALS: Final = {"accuracy_from": 3, "accuracy_to": 3, "difference_points": 1}


def classes_section(study: StudyTables) -> list[dict[str, Any]]:
    """Return what the table of classes is made of.

    Returns:
        For each compared two sources ``comparison``, ``from`` and ``to`` as display names, ``evidence`` (the number of
        pairs), and ``test_sets``, shifts first: ``name``, ``title`` and ``rows`` of class, images, mean accuracy from
        0 to 1 of either source, difference in points, and in how many pairs it is above and below zero.
    """
    table = study.class_differences
    if table.empty:
        return []
    parts = []
    for comparison, rows in table.groupby("comparison", sort=False):
        shifts = [name for name in dict.fromkeys(rows["test_set"]) if name not in study.in_distribution]
        parts.append(
            {
                "comparison": str(comparison),
                "from": spaced(str(rows["from"].iloc[0])),
                "to": spaced(str(rows["to"].iloc[0])),
                "evidence": count_noun(int(rows["pairs"].max()), "pair") + " of runs",
                "pairs": int(rows["pairs"].max()),
                "test_sets": [
                    {"name": name, "title": name_test_set(name), "rows": class_rows(rows[rows["test_set"] == name])}
                    for name in [*shifts, *(one for one in study.in_distribution if one in set(rows["test_set"]))]
                ],
            }
        )
    return parts


def class_rows(rows: pd.DataFrame) -> list[list[str | int | float]]:
    """Return the rows of one comparison and test set as lists, see `classes_section`."""
    counts, numbers = ("images",), tuple(_DECIMALS)
    return [
        [spaced(cell_text(row["class"]))]
        + [int(row[name]) for name in counts]
        + [round(float(row[name]), _DECIMALS[name]) for name in numbers]
        + [int(row[name]) for name in ("pairs_above", "pairs_below")]
        for row in table_rows(rows)
    ]
