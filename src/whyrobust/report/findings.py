"""What the tables of causes say, in sentences and in rows for a page.

Stands alone because a claim in words must follow from the table by a rule that can be tested: which effects are called
clear, and which cause the headline names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from whyrobust.analysis.verdicts import judge_effect
from whyrobust.report.number_format import describe_evidence, format_points
from whyrobust.study.display_names import (
    LOWERS,
    NOT_MEASURED,
    RAISES,
    UNCLEAR,
    capital,
    name_cause,
    name_test_set,
)
from whyrobust.study.table_cells import is_missing

NO_INTERVAL = "no interval"


def answer_sentences(causes: pd.DataFrame) -> dict[str, list[str]]:
    """Say in words what the causes table shows.

    Args:
        causes: ``causes.csv``.

    Returns:
        For each cause, in words, one sentence a comparison: the effect on average over the shifts, and on which shifts
        its interval lies above zero, below zero, holds zero, or is missing.
    """
    sentences: dict[str, list[str]] = {}
    for (cause, comparison), rows in causes.groupby(["cause", "comparison"], sort=False):
        by_verdict: dict[str, list[str]] = {}
        for row in rows.to_dict("records"):
            found = judge_effect(row["effect_points"], row["low_points"], row["high_points"])
            group = NO_INTERVAL if found == UNCLEAR and is_missing(row["low_points"]) else found
            by_verdict.setdefault(group, []).append(name_test_set(str(row["shift"])))
        phrases = (
            (RAISES, "raises it on"), (LOWERS, "lowers it on"), (UNCLEAR, "unclear on"),
            (NO_INTERVAL, "without an interval on"), (NOT_MEASURED, "not measured on"),
        )  # fmt: skip
        parts = [f"{words} {', '.join(by_verdict[key])}" for key, words in phrases if key in by_verdict]
        average = f"{format_points(float(rows['effect_points'].mean()))} points on average: "
        said = sentences.setdefault(capital(name_cause(str(cause))), [])
        measured = set(by_verdict) != {NOT_MEASURED}
        said.append(f"{comparison}, {average + '; '.join(parts) if measured else NOT_MEASURED}.")
    return sentences


def main_comparisons(causes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first comparison of each cause, which a study's config makes its main one."""
    return causes[causes["comparison"] == causes.groupby("cause")["comparison"].transform("first")]


def headline(causes: pd.DataFrame) -> str:
    """Say in one sentence which cause has the largest mean effect among those that are clear, and what the others do.

    Each cause speaks by its first comparison, which a study's config makes its main one. It is clear where its interval
    leaves out zero on most of the shifts it was measured on, always on the same side.
    """
    if causes["effect_points"].isna().all():
        return "No cause was measured: no comparison has a pair of runs with effective robustness."
    main = main_comparisons(causes)
    clear: list[tuple[float, str, str]] = []
    for (cause, comparison), rows in main.groupby(["cause", "comparison"], sort=False):
        measured = rows[rows["effect_points"].notna()]
        mean = float(measured["effect_points"].mean())
        beyond = int(((measured["low_points"] > 0) if mean > 0 else (measured["high_points"] < 0)).sum())
        if beyond * 2 > len(measured):
            shifts = f"{beyond} of {len(measured)} shifts"
            clear.append(
                (mean, name_cause(str(cause)), f"{comparison}: {format_points(mean)} points, clear on {shifts}")
            )
    if not clear:
        bounds = main[["effect_points", "low_points", "high_points"]].notna().all(axis=1)
        judged = bounds.groupby([main["cause"], main["comparison"]], sort=False).any()
        without = int((~judged).sum())
        if without == len(judged):
            return f"No cause could be judged: none of {without} main comparisons has an interval (it takes two seeds)."
        tail = f"; {without} of {len(judged)} main comparisons have no interval (it takes two seeds)" if without else ""
        return f"No cause has an effect whose interval leaves out zero on most of the shifts{tail}."
    clear.sort(key=lambda found: -abs(found[0]))
    (_, name, evidence), *rest = clear
    others = len(main["cause"].unique()) - 1
    if not others:
        return f"The {name} has a clear effect on effective robustness ({evidence})."
    tail = (
        f"of the other {others}, " + " and ".join(f"the {other} ({facts})" for _, other, facts in rest)
        + f" {'has' if len(rest) == 1 else 'have'} a clear effect too"
        if rest
        else f"none of the other {others} has a clear effect on most shifts"
    )  # fmt: skip
    return (
        f"Of the causes compared, the {name} has the largest clear effect on effective robustness ({evidence}); {tail}."
    )


def _effect_cells(part: pd.DataFrame, column: str) -> dict[str, dict[str, str]]:
    """Return what a table says of one effect on each shift: the effect in ``column``, its interval and the verdict."""
    cells = {}
    for row in part.to_dict("records"):
        effect, low, high = row[column], row["low_points"], row["high_points"]
        interval = (
            NO_INTERVAL if is_missing(low) or is_missing(high) else f"{format_points(low)} to {format_points(high)}"
        )
        cells[row["shift"]] = {
            "effect": format_points(effect),
            "interval": "" if is_missing(effect) else interval,
            "verdict": judge_effect(effect, low, high),
        }
    return cells


def causes_rows(causes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of causes: one a comparison, a cell a shift."""
    rows = []
    for (cause, comparison), part in causes.groupby(["cause", "comparison"], sort=False):
        cells = _effect_cells(part, "effect_points")
        pairs = describe_evidence(part["pairs"].min(), part["seeds"].min())
        rows.append({"cause": name_cause(str(cause)), "comparison": comparison, "cells": cells, "pairs": pairs})
    return rows


def regression_rows(regression: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of the second opinion: one a term, a cell a shift."""
    rows = []
    for (cause, term), part in regression.groupby(["cause", "term"], sort=False):
        cells = _effect_cells(part, "points")
        inflation = float(part["vif"].max())
        words = "cannot be told apart" if not np.isfinite(inflation) else f"{inflation:.1f}"
        rows.append(
            {"cause": name_cause(str(cause)), "term": str(term).replace("_", " "), "cells": cells, "inflation": words}
        )
    return rows
