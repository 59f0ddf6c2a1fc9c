"""Findings: what the tables of causes say, in sentences and in rows for the page.

Each sentence follows from the tables by a rule that is tested: which effects are clear, and which cause the headline
names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from whyrobust.report.number_format import count_noun, describe_evidence, format_points
from whyrobust.study.display_names import (
    LOWERS,
    NO_INTERVAL,
    NO_VERDICT,
    NOT_MEASURED,
    RAISES,
    UNDECIDED,
    WITHIN,
    capital,
    name_cause,
    name_test_set,
    verdict_key,
)
from whyrobust.study.table_cells import is_missing


def answer_sentences(causes: pd.DataFrame) -> dict[str, list[str]]:
    """Say in sentences what the table of causes shows.

    Args:
        causes: ``causes.csv``.

    Returns:
        For each cause, by display name, one sentence per comparison: the effect averaged over the shifts, and on which
        shifts it has which verdict.
    """
    sentences: dict[str, list[str]] = {}
    for (cause, comparison), rows in causes.groupby(["cause", "comparison"], sort=False):
        shifts: dict[str, list[str]] = {}
        for row in rows.to_dict("records"):
            group = NOT_MEASURED if is_missing(row["effect_points"]) else verdict_key(row["verdict"])
            group = NO_INTERVAL if group == NO_VERDICT and is_missing(row["low_points"]) else group
            shifts.setdefault(group, []).append(name_test_set(str(row["shift"])))
        phrases = (
            (RAISES, "raises it on"), (LOWERS, "lowers it on"), (WITHIN, "within the margin on"),
            (UNDECIDED, "undecided on"), (NO_VERDICT, "no verdict on"), (NO_INTERVAL, "without an interval on"),
            (NOT_MEASURED, "not measured on"),
        )  # fmt: skip
        parts = [f"{phrase} {', '.join(shifts[group])}" for group, phrase in phrases if group in shifts]
        average = f"{format_points(float(rows['effect_points'].mean()))} points on average: "
        finding = NOT_MEASURED if set(shifts) == {NOT_MEASURED} else average + "; ".join(parts)
        sentences.setdefault(capital(name_cause(str(cause))), []).append(f"{comparison}, {finding}.")
    return sentences


def main_comparisons(causes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first comparison of each cause, which a study's config makes its main one."""
    return causes[causes["comparison"] == causes.groupby("cause")["comparison"].transform("first")]


def headline(causes: pd.DataFrame) -> str:
    """Say in one sentence which cause has the largest mean effect among those that are clear, and what the others do.

    Each cause is represented by its main comparison. It is clear where the interval excludes zero on most of the shifts
    it was measured on, always on the same side.
    """
    if causes["effect_points"].isna().all():
        return "No cause was measured: no comparison has a pair of runs with effective robustness."
    main = main_comparisons(causes)
    clear = _clear_effects(main)
    if not clear:
        return _nothing_clear(main)
    (name, evidence), *rest = clear
    others = len(main["cause"].unique()) - 1
    if not others:
        return f"The {name} has a clear effect on effective robustness ({evidence})."
    if rest:
        named = " and ".join(f"the {other} ({its_evidence})" for other, its_evidence in rest)
        of_others = "" if others == 1 else f"of the other {others}, "
        tail = f"{of_others}{named} {'has' if len(rest) == 1 else 'have'} a clear effect too"
    elif others == 1:
        tail = "the other one has no clear effect on most shifts"
    else:
        tail = f"none of the other {others} has a clear effect on most shifts"
    return (
        f"Of the causes compared, the {name} has the largest clear effect on effective robustness ({evidence}); {tail}."
    )


def _clear_effects(main: pd.DataFrame) -> list[tuple[str, str]]:
    """Return name and evidence of each cause with a clear effect, the largest mean effect first."""
    clear: list[tuple[float, str, str]] = []
    for (cause, comparison), rows in main.groupby(["cause", "comparison"], sort=False):
        measured = rows[rows["effect_points"].notna()]
        mean = float(measured["effect_points"].mean())
        excluding = int(((measured["low_points"] > 0) if mean > 0 else (measured["high_points"] < 0)).sum())
        if excluding * 2 > len(measured):
            shifts = f"{excluding} of {count_noun(len(measured), 'shift')}"
            clear.append(
                (mean, name_cause(str(cause)), f"{comparison}: {format_points(mean)} points, clear on {shifts}")
            )
    return [(name, evidence) for _, name, evidence in sorted(clear, key=lambda found: -abs(found[0]))]


def _nothing_clear(main: pd.DataFrame) -> str:
    """Say that no main comparison is clear, and how many could not be judged for want of an interval."""
    bounds = main[["effect_points", "low_points", "high_points"]].notna().all(axis=1)
    judged = bounds.groupby([main["cause"], main["comparison"]], sort=False).any()
    without = int((~judged).sum())
    if without == len(judged):
        main_ones = "the main comparison has no" if without == 1 else f"none of {without} main comparisons has an"
        return f"No cause could be judged: {main_ones} interval (it takes two seeds)."
    tail = (
        f"; {without} of {len(judged)} main comparisons {'has' if without == 1 else 'have'} no interval "
        "(it takes two seeds)"
        if without
        else ""
    )
    return f"No cause has an effect whose interval excludes zero on most of the shifts{tail}."


def _effect_cells(part: pd.DataFrame, column: str) -> dict[str, dict[str, str]]:
    """Return the cell of each shift: the effect in ``column``, its interval and the verdict."""
    cells = {}
    for row in part.to_dict("records"):
        effect, low, high = row[column], row["low_points"], row["high_points"]
        interval = (
            NO_INTERVAL if is_missing(low) or is_missing(high) else f"{format_points(low)} to {format_points(high)}"
        )
        cells[row["shift"]] = {
            "effect": format_points(effect),
            "interval": "" if is_missing(effect) else interval,
            "verdict": NOT_MEASURED if is_missing(effect) else str(row.get("verdict", "")),
        }
    return cells


def causes_rows(causes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of causes: one per comparison, with a cell per shift."""
    rows = []
    for (cause, comparison), part in causes.groupby(["cause", "comparison"], sort=False):
        cells = _effect_cells(part, "effect_points")
        pairs = describe_evidence(part["pairs"].min(), part["seeds"].min())
        rows.append({"cause": name_cause(str(cause)), "comparison": comparison, "cells": cells, "pairs": pairs})
    return rows


def regression_rows(regression: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of the regression over all runs: one per term, with a cell per shift."""
    rows = []
    for (cause, term), part in regression.groupby(["cause", "term"], sort=False):
        cells = _effect_cells(part, "points")
        inflation = float(part["vif"].max())
        text = f"{inflation:.1f}" if np.isfinite(inflation) else "cannot be told apart"
        rows.append(
            {"cause": name_cause(str(cause)), "term": str(term).replace("_", " "), "cells": cells, "inflation": text}
        )
    return rows
