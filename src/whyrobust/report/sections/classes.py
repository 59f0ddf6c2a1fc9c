"""Classes: accuracy in each class by source, for each test set, which the page's script shows as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from whyrobust.report.page_parts import table_rows
from whyrobust.report.tables import StudyTables
from whyrobust.study.display_names import count_noun, name_test_set, spaced
from whyrobust.study.table_cells import cell_text

_LEAST_COUNT: Final = 0.01
"""Rounding errors of a count are far below this."""


def classes_section(study: StudyTables) -> list[dict[str, Any]]:
    """Return what the table of classes is made of.

    Returns:
        For each compared two sources ``comparison``, ``from`` and ``to`` as display names, ``evidence`` (the number of
        pairs), and ``test_sets``, shifts first: ``name``, ``title``, and ``rows``, see `class_rows`.
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


def class_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the rows of one comparison and test set by column, which is small when it is compressed.

    Accuracies are given as counts of images, from which the page's script computes them and their difference.

    Args:
        rows: of ``details/class_differences.csv``.

    Returns:
        ``rows``, their number, and ``columns``: ``class, images, pairs``, ``from`` and ``to`` (the images that the runs
        of either source have right in all pairs together), and in how many pairs the second source is ``above`` and
        ``below`` the first.

    Raises:
        ValueError: a mean accuracy is none of so many images and pairs.
    """
    table = table_rows(rows)
    columns: dict[str, list[str] | list[int]] = {"class": [spaced(cell_text(row["class"])) for row in table]}
    whole = {"images": "images", "pairs": "pairs", "above": "pairs_above", "below": "pairs_below"}
    columns |= {name: [int(row[column]) for row in table] for name, column in whole.items()}
    columns |= {side: [_count_right(row, f"accuracy_{side}") for row in table] for side in ("from", "to")}
    return {"rows": len(table), "columns": columns}


def _count_right(row: Mapping[str, Any], name: str) -> int:
    """Return how many images of a class are right in all pairs together."""
    right = float(row[name]) * int(row["images"]) * int(row["pairs"])
    if abs(right - round(right)) > _LEAST_COUNT:
        raise ValueError(
            f"{name} of class {row['class']!r} on {row['test_set']} is {row[name]}: no mean of {row['pairs']} "
            f"accuracies on {row['images']} images is; make details/class_differences.csv anew"
        )
    return round(right)
