"""What in a training distribution does it: dose response, and accuracy by the images of a class in the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from whyrobust.report.charts.distribution import (
    PAGE_DRAWING,
    SERIES_COLUMNS,
    dose_panel,
    frequency_panel,
    frequency_styles,
    name_group,
    shown_frequencies,
)
from whyrobust.report.findings import means_first
from whyrobust.report.number_format import (
    format_points,
    format_points_interval,
    format_whole_percent,
    join_words,
    name_p,
)
from whyrobust.report.page_parts import Panel, table_rows
from whyrobust.report.render import page_spec
from whyrobust.report.tables import StudyTables
from whyrobust.study.display_names import count_noun, name_test_set, spaced
from whyrobust.study.table_cells import is_missing

_DOSES: Final = (
    "Models trained on mixtures, against those trained on the other source alone: what the share changes in accuracy "
    "on a shift (raw, without an interval), and beyond all in-distribution test sets (in points at the reference "
    "accuracy, with intervals). The trend is a line through the effects of "
    "a seed, from none to all; its p is of no family. What the prediction leaves is the share of an effect that grows "
    "with the dose which this measurement could show: near 0 %, or below it, no trend is no evidence against such an "
    "effect. It is of these runs; what is left of a main comparison, in the answer, is of that comparison's, which may "
    "be others."
)
_FREQUENCIES: Final = (
    "Accuracy of a class against its images in the training set (Udandarao et al. 2024): a point for each class, "
    "of the largest run of each objective and source with a test set of its own, first seed. Slopes, of log-odds of a "
    "right answer per factor of ten, are from the lowest to the highest run of all seeds."
)


def distribution_panels(study: StudyTables) -> list[tuple[str, str, Sequence[Panel], Sequence[str]]]:
    """Return title, words, panels and tables (names of their files) of each of the two, where a study has its table."""
    parts: list[tuple[str, str, Sequence[Panel], Sequence[str]]] = []
    doses, frequencies = study.dose_response, study.concept_frequency
    if len(doses):
        shifts = list(dict.fromkeys(means_first(doses)["shift"]))
        source = join_words([spaced(str(name)) for name in dict.fromkeys(doses["source"])])
        panels = []
        for shift in shifts:
            rows = table_rows(doses[doses["shift"] == shift])
            told = "; ".join(f"{100 * row['share']:g} %: {format_points(row['effect_points'])}" for row in rows)
            words = f"Effect on {name_test_set(shift)} in points by share of {source}: {told}."
            spec = page_spec(dose_panel(doses, shift, PAGE_DRAWING))
            notes = note_trend(study.dose_response_trends, doses, str(shift))
            panels.append(Panel(name_test_set(shift), spec, words, notes))
        parts.append((f"Dose response: more {source}", _DOSES, panels, ("dose_response", "dose_response_trends")))
    if len(frequencies):
        drawn = shown_frequencies(frequencies, study.shifts)
        styles = frequency_styles(drawn)
        panels = []
        for name in dict.fromkeys(drawn["test_set"]):
            notes = note_slopes(study.concept_fits, str(name), list(styles))
            words = f"Accuracy by class on {name_test_set(name)} against its training images. {' '.join(notes)}".strip()
            chart = frequency_panel(drawn, name, styles, PAGE_DRAWING)
            panels.append(Panel(name_test_set(name), page_spec(chart), words, notes))
        files = ("concept_frequency", "concept_frequency_fits")
        parts.append(("Images of a class and its accuracy", _FREQUENCIES, panels, files))
    return parts


def note_trend(trends: pd.DataFrame, doses: pd.DataFrame, shift: str) -> list[str]:
    """Say of each series of mixtures what its trend on a shift is, and how much of an effect could be seen.

    Args:
        trends: ``dose_response_trends.csv``.
        doses: ``dose_response.csv``, with ``kept_share`` of each dose.
        shift: the shift.
    """
    if trends.empty:
        return []
    fields = [name for name in SERIES_COLUMNS if name in trends and trends[name].nunique(dropna=False) > 1]
    notes, largest = [], doses["share"].max()
    for row in table_rows(trends[trends["shift"] == shift]):
        whole = doses[(doses["shift"] == shift) & (doses["share"] == largest)]
        for name in fields:
            whole = whole[whole[name] == row[name]]
        series = f"{', '.join(spaced(str(row[name])) for name in fields)}: " if fields else ""
        interval = format_points_interval(row["low_points"], row["high_points"])
        numbers = "; ".join(filter(None, (interval, name_p(row["p"]), count_noun(int(row["seeds"]), "seed"))))
        notes.append(f"Trend: {series}{format_points(row['trend_points'])} points ({numbers}).")
        kept = [format_whole_percent(share) for share in whole.get("kept_share", ()) if not is_missing(share)]
        if kept:
            notes.append(
                f"At the largest dose, {format_whole_percent(largest)}, the prediction leaves {kept[0]} of an effect "
                "that grows with the dose to be seen."
            )
    return notes


def note_slopes(fits: pd.DataFrame, test_set: str, groups: Sequence[str]) -> list[str]:
    """Say how steep the fits of the runs of each group are on a test set, from the lowest to the highest."""
    if fits.empty:
        return []
    slopes: dict[str, list[float]] = {}
    for row in table_rows(fits[(fits["test_set"] == test_set) & fits["slope"].notna()]):
        slopes.setdefault(name_group(row), []).append(float(row["slope"]))
    told = [
        f"{group} {_signed(min(found))} to {_signed(max(found))} ({count_noun(len(found), 'run')})"
        for group in groups
        if (found := slopes.get(group))
    ]
    return [f"Slopes: {'; '.join(told)}."] if told else []


def _signed(slope: float) -> str:
    """Write a slope with two decimals and a minus sign."""
    return f"{round(slope, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # + 0.0 turns -0.0 into 0.0
