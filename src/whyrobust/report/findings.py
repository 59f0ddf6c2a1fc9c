"""Findings: what the tables of causes say, in sentences and in rows for the page.

Verdicts, intervals and p come with the tables; a sentence only names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from whyrobust.report.number_format import (
    describe_evidence,
    format_p,
    format_points,
    format_points_interval,
    format_whole_percent,
    join_words,
)
from whyrobust.report.page_parts import table_rows
from whyrobust.study.display_names import (
    AVERAGE,
    LOWERS,
    MEAN,
    MEAN_SEEN,
    NO_INTERVAL,
    NOT_MEASURED,
    RAISES,
    UNDECIDED,
    WITHIN,
    capital,
    count_noun,
    name_cause,
    name_test_set,
    name_weighting,
    spaced,
    verdict_key,
)
from whyrobust.study.table_cells import is_missing

LEAST_KEPT = 0.5
"""Where the baseline leaves less than this of an effect that grows with the share of a source, a verdict says so."""


@dataclass(frozen=True)
class EffectTerms:
    """In what terms a study's effects are stated.

    Attributes:
        confidence: of the intervals, from 0 to 1.
        reference_accuracy: accuracy under shift at which effects are spelt out in points, from 0 to 1.
        margin_points: smallest effect of interest, in percentage points.
        weights_note: what must be known of the choice how classes are weighted; "" for nothing.
    """

    confidence: float = 0.95
    reference_accuracy: float = 0.5
    margin_points: float = 2.0
    weights_note: str = ""

    @property
    def unit(self) -> str:
        """What one point means: ``points at 50 % accuracy``."""
        return f"points at {100 * self.reference_accuracy:g} % accuracy"

    @property
    def interval(self) -> str:
        """Name of the intervals: ``95 % interval``."""
        return f"{100 * self.confidence:g} % interval"


def main_comparisons(causes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the main comparison of each cause: the first that a study's config names."""
    return causes[causes["main"].astype(bool)]


def is_mean(shift: str) -> bool:
    """Tell whether a row of the table of causes is a mean over shifts."""
    return shift in (MEAN, MEAN_SEEN)


def read_verdict(row: Mapping[str, Any]) -> str:
    """Return the verdict of a row in words: its own, what keeps it from having one, or its role."""
    if is_missing(row["effect_points"]):
        return NOT_MEASURED
    verdict = row["verdict"]
    if not is_missing(verdict) and verdict:
        return str(verdict)
    role = row.get("role")
    return str(role) if isinstance(role, str) and role not in ("", "shift", MEAN, MEAN_SEEN) else NO_INTERVAL


def is_hidden(row: Mapping[str, Any]) -> bool:
    """Tell whether an effect is not shown where the baseline would hide most of one that grows with its share."""
    hidden = not is_missing(row["kept_share"]) and row["kept_share"] < LEAST_KEPT
    return hidden and verdict_key(read_verdict(row)) in (WITHIN, UNDECIDED)


def hidden_sentence(row: Mapping[str, Any]) -> str:
    """Say what a verdict on a source is about where `is_hidden`."""
    within = verdict_key(read_verdict(row)) == WITHIN
    said = "This says only" if within else "Even a verdict within the margin would say only"
    return (
        f"{said} that the source does no more for the shifts than for its own test set. The prediction also uses "
        "accuracy on that test set, and so explains away most of what the source does: of an effect that grows with "
        f"the source's share of the training images {format_whole_percent(row['kept_share'])} would be left to be "
        "seen, so that this is no evidence against such an effect."
    )


def opposite_shifts(causes: pd.DataFrame, row: Mapping[str, Any]) -> list[str]:
    """Say where a mean that is not clear of zero is of shifts that change in opposite directions; nothing elsewhere.

    Args:
        causes: ``causes.csv``.
        row: of it, a mean over shifts.
    """
    if verdict_key(read_verdict(row)) not in (WITHIN, UNDECIDED):
        return []
    same = (causes["comparison"] == row["comparison"]) & (causes["cause"] == row["cause"]) & (causes["role"] == "shift")
    shifts = table_rows(causes[same])
    rising, falling = ([one for one in shifts if beyond(one)] for beyond in (_is_above, _is_below))
    if not (rising and falling):
        return []
    up, down = (
        ", ".join(f"{name_test_set(str(one['shift']))} {name_effect(one)}" for one in part)
        for part in (rising, falling)
    )
    return [
        f"The mean of {row['comparison']} is of opposite changes, by intervals that are not adjusted: up on {up}; down "
        f"on {down}."
    ]


def _is_above(row: Mapping[str, Any]) -> bool:
    return not is_missing(row["low_points"]) and row["low_points"] > 0


def _is_below(row: Mapping[str, Any]) -> bool:
    return not is_missing(row["high_points"]) and row["high_points"] < 0


def secondary_findings(causes: pd.DataFrame, marks: Mapping[tuple[str, str], str] | None = None) -> list[str]:
    """Name the findings of the secondary family in a sentence; nothing where nothing else was tested.

    Means over shifts whose style a source contains are left out: the headline counts them apart.

    Args:
        causes: ``causes.csv``.
        marks: what else to say of a finding behind its numbers, by comparison and shift.
    """
    secondary = table_rows(causes[causes["family"] == "secondary"])
    if not secondary:
        return []
    found = [
        f"{row['comparison']} {row['verdict']} it on {name_test_set(str(row['shift']))} ({name_effect(row)}; q "
        f"{format_p(row['p_adjusted'])}{(marks or {}).get((row['comparison'], row['shift']), '')})"
        for row in secondary
        if row["verdict"] in (RAISES, LOWERS) and row["shift"] != MEAN_SEEN
    ]
    return [f"Secondary findings (false-discovery q): {'; '.join(found) or 'none'}."]


def weights_lead(causes: pd.DataFrame, other_weights: pd.DataFrame) -> str:
    """Say how many verdicts of the primary family depend on how classes are weighted; "" where none does."""
    changed, others = _changed_by_weights(causes, other_weights)
    if not changed:
        return ""
    verdicts = "these verdicts" if len(others) > 1 else "this verdict"
    count = f"{len(changed)} of {verdicts}" if len(others) > 1 else verdicts
    return f"With accuracies {name_weighting(str(others[0]['class_weights']))} instead, {count} would differ."


def compare_weights(causes: pd.DataFrame, other_weights: pd.DataFrame, note: str = "") -> list[str]:
    """Say which verdicts of the primary family differ with classes weighted the other way, in sentences; none without.

    Args:
        causes: ``causes.csv``.
        other_weights: ``causes_other_weights.csv``.
        note: what must be known of the choice between the two.
    """
    changed, others = _changed_by_weights(causes, other_weights)
    if not others:
        return []
    found = [
        f"{name_cause(str(row['cause']))} ({read_verdict(row)} in place of {read_verdict(own)})" for own, row in changed
    ]
    weighting = name_weighting(str(others[0]["class_weights"]))
    count = f"{len(found) or 'none'} of {count_noun(len(others), 'verdict')} would differ"
    told = f"{count}: {join_words(found)}." if found else f"{count}."
    return [f"Sensitivity analysis: with accuracies {weighting} instead, {told}", *([note] if note else [])]


def _changed_by_weights(
    causes: pd.DataFrame, other_weights: pd.DataFrame
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], list[dict[str, Any]]]:
    """Return the main comparisons whose verdicts differ by weighting, and all that have both; arguments as above."""
    own = {row["cause"]: row for row in primary_rows(causes)}
    others = [row for row in primary_rows(other_weights) if row["cause"] in own]
    changed = [(own[row["cause"]], row) for row in others if read_verdict(row) != read_verdict(own[row["cause"]])]
    return changed, others


def primary_rows(causes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the primary family: the main comparison of each cause on the mean over shifts."""
    main = main_comparisons(causes) if len(causes) else causes
    return table_rows(main[main["shift"] == MEAN]) if len(main) else []


def weights_rows(causes: pd.DataFrame, other_weights: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the main comparisons with both weightings of classes, by test set, as text.

    Returns:
        ``comparison`` (in the first row of each), ``shift``, and ``own`` and ``other``, each with the texts of
        `effect_cells`.
    """
    others = {(row["cause"], row["shift"]): row for row in table_rows(other_weights)}
    rows, named = [], set()
    for _, part in main_comparisons(causes).groupby(["cause", "comparison"], sort=False):
        for row in table_rows(means_first(part)):
            other = others.get((row["cause"], row["shift"]))
            if other is not None:
                cells = {"own": effect_cells(row), "other": effect_cells(other)}
                first = str(row["comparison"]) if row["comparison"] not in named else ""
                named.add(row["comparison"])
                rows.append({"comparison": first, "shift": name_test_set(str(row["shift"]))} | cells)
    return rows


def name_effect(row: Mapping[str, Any]) -> str:
    """Write an effect with its interval: ``+1.6 points, -0.9 to +4.2``."""
    interval = format_points_interval(row["low_points"], row["high_points"])
    return f"{format_points(row['effect_points'])} points" + (f", {interval}" if interval else "")


def answer_sentences(causes: pd.DataFrame) -> dict[str, list[str]]:
    """Say in sentences what the table of causes shows.

    Args:
        causes: ``causes.csv``.

    Returns:
        For each cause, by display name, one sentence per comparison: the effect on each shift and on their mean, with
        the verdict of each.
    """
    sentences: dict[str, list[str]] = {}
    for (cause, comparison), rows in causes.groupby(["cause", "comparison"], sort=False):
        parts = [
            f"{name_test_set(str(row['shift']))}: "
            + (NOT_MEASURED if is_missing(row["effect_points"]) else f"{name_effect(row)}, {read_verdict(row)}")
            for row in table_rows(means_first(rows))
        ]
        sentences.setdefault(capital(name_cause(str(cause))), []).append(f"{comparison}. {capital('; '.join(parts))}.")
    return sentences


def means_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of comparisons: means over shifts, shifts that count, the average of accuracies, all others."""
    counts = rows["role"].isin(["shift"]) if "role" in rows else pd.Series(True, index=rows.index)
    place = [
        0 if is_mean(shift) else 1 if counted else 2 if shift == AVERAGE else 3
        for shift, counted in zip(rows["shift"], counts, strict=True)
    ]
    return rows.assign(place=place).sort_values("place", kind="stable").drop(columns="place")


def effect_rows(causes: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of the table of all effects, one per comparison and shift, as text.

    Returns:
        ``cause, comparison, evidence, shift, verdict, effect, interval, detectable, p, adjusted, raw_id, raw_shift,
        extrapolated``; the texts that name a comparison are empty but in its first row.
    """
    rows = []
    for (cause, comparison), part in causes.groupby(["cause", "comparison"], sort=False):
        for number, row in enumerate(table_rows(means_first(part))):
            first = number == 0
            evidence = describe_evidence(row["pairs"], row["seeds"])
            rows.append(
                {
                    "cause": capital(name_cause(str(cause))) if first else "",
                    "comparison": str(comparison) if first else "",
                    "evidence": evidence if first else "",
                    "shift": name_test_set(str(row["shift"])),
                }
                | effect_cells(row)
            )
    return rows


def effect_cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row of ``causes.csv`` says, as text; a cell is empty where there is nothing to say."""
    beyond, pairs = row["extrapolated_pairs"], row["pairs"]
    missing = is_missing(row["effect_points"])
    return {
        "verdict": read_verdict(row),
        "effect": format_points(row["effect_points"]),
        "interval": "" if missing else format_points_interval(row["low_points"], row["high_points"]) or NO_INTERVAL,
        "detectable": "" if is_missing(row["detectable_points"]) else f"{row['detectable_points']:.1f}",
        "p": format_p(row["p"]),
        "adjusted": format_p(row["p_adjusted"]),
        "equivalence": format_points_interval(row["equivalence_low_points"], row["equivalence_high_points"]),
        "p_equivalence": format_p(row["p_equivalence"]),
        "power": format_whole_percent(row["equivalence_power"]),
        "kept": format_whole_percent(row.get("kept_share")),
        "raw_id": format_points(row["raw_id_points"]),
        "raw_id_interval": format_points_interval(row["raw_id_low_points"], row["raw_id_high_points"]),
        "raw_shift": format_points(row["raw_shift_points"]),
        "raw_interval": format_points_interval(row["raw_shift_low_points"], row["raw_shift_high_points"]),
        "extrapolated": "" if is_missing(beyond) or is_missing(pairs) else f"{int(beyond)} of {int(pairs)}",
    }


def evidence_rows(
    causes: pd.DataFrame, single: pd.DataFrame, other_weights: pd.DataFrame | None = None
) -> list[dict[str, Any]]:
    """Return the main comparison of each cause in the order of evidence, one row per cause.

    Args:
        causes: ``causes.csv``.
        single: ``causes_single_line.csv``.
        other_weights: ``causes_other_weights.csv``.

    Returns:
        ``cause, comparison``, the texts of `effect_cells` of the mean over shifts, ``lines``: effect and interval
        beyond each single line, the paper's first, ``average``: the same of the average of accuracies, beyond all test
        sets and the paper's line, where it was measured, and ``other``: the texts of `effect_cells` with the other
        weighting of classes, None where there are none.
    """
    others = {row["cause"]: row for row in primary_rows(other_weights)} if other_weights is not None else {}
    rows = []
    for row in primary_rows(causes):
        own, of_lines = (
            table[(table["cause"] == row["cause"]) & (table["comparison"] == row["comparison"])]
            for table in (causes, single)
        )
        lines = of_lines[of_lines["shift"] == MEAN].sort_values("measurement", key=lambda names: names != "paper")
        averages = {"beyond all": own, "the paper's": of_lines[of_lines["measurement"] == "paper"]}
        rows.append(
            {
                "cause": capital(name_cause(str(row["cause"]))),
                "comparison": row["comparison"],
                "evidence": describe_evidence(row["pairs"], row["seeds"]),
                "lines": {line_name(line): _line_cell(line) for line in table_rows(lines)},
                "average": {
                    f"{name_test_set(AVERAGE)}, {words}": _line_cell(one)
                    for words, table in averages.items()
                    for one in table_rows(table[table["shift"] == AVERAGE])
                },
                "other": effect_cells(others[row["cause"]]) if row["cause"] in others else None,
            }
            | effect_cells(row)
        )
    return rows


def line_name(row: Mapping[str, Any]) -> str:
    """Name a single line: ``the paper's: studio test``, ``mirror: web test``, ``the line over the mean``."""
    if row["measurement"] == MEAN:
        return "the line over the mean"
    words = "the paper's" if row["measurement"] == "paper" else str(row["measurement"])
    return f"{words}: {spaced(str(row['x_test_set']))}"


def _line_cell(row: Mapping[str, Any]) -> dict[str, str]:
    interval = format_points_interval(row["low_points"], row["high_points"])
    return {"effect": format_points(row["effect_points"]), "interval": interval}


def regression_rows(regression: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of the regression over all runs: one per term, with a cell per shift."""
    rows = []
    for (cause, term), part in regression.groupby(["cause", "term"], sort=False):
        cells = {
            row["shift"]: {
                "effect": format_points(row["points"]),
                "interval": format_points_interval(row["low_points"], row["high_points"]) or NO_INTERVAL,
            }
            for row in table_rows(part)
        }
        inflation = float(part["vif"].max())
        text = f"{inflation:.1f}" if np.isfinite(inflation) else "cannot be told apart"
        rows.append(
            {"cause": name_cause(str(cause)), "term": str(term).replace("_", " "), "cells": cells, "inflation": text}
        )
    return rows
