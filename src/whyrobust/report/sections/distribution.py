"""What in a training distribution does it: dose response, and accuracy by the images of a class in the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from whyrobust.report.charts.distribution import (
    PAGE_DRAWING,
    dose_panel,
    frequency_panel,
    frequency_styles,
    name_group,
    shown_frequencies,
)
from whyrobust.report.findings import means_first
from whyrobust.report.number_format import count_noun, format_points, join_words
from whyrobust.report.page_parts import Panel, embed_spec, table_rows
from whyrobust.report.render import page_spec, render_svg
from whyrobust.report.tables import StudyTables
from whyrobust.study.display_names import name_test_set, spaced

_DOSES: Final = (
    "Models trained on mixtures, against those trained on the other source alone: what the share changes in accuracy "
    "on a shift, and beyond all in-distribution test sets, with intervals."
)
_FREQUENCIES: Final = (
    "Accuracy of a class against its images in the training set (Udandarao et al. 2024): a point for each class, "
    "of the largest run of each objective and source with a test set of its own, first seed. Slopes, of log-odds of a "
    "right answer per factor of ten, are from the lowest to the highest run of all seeds."
)


def distribution_panels(study: StudyTables) -> list[tuple[str, str, Sequence[Panel]]]:
    """Return title, words and panels of each of the two, where a study has its table."""
    parts: list[tuple[str, str, Sequence[Panel]]] = []
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
            panels.append(Panel(name_test_set(shift), embed_spec(spec), render_svg(spec, 360), words))
        parts.append((f"Dose response: more {source}", _DOSES, panels))
    if len(frequencies):
        drawn = shown_frequencies(frequencies, study.shifts)
        styles = frequency_styles(drawn)
        panels = []
        for name in dict.fromkeys(drawn["test_set"]):
            notes = note_slopes(study.concept_fits, str(name), list(styles))
            words = f"Accuracy by class on {name_test_set(name)} against its training images. {' '.join(notes)}".strip()
            chart = frequency_panel(drawn, name, styles, PAGE_DRAWING)
            # Thousands of points: their drawing would be larger than the page, and is a figure for papers.
            panels.append(Panel(name_test_set(name), embed_spec(page_spec(chart)), "", words, notes))
        parts.append(("Images of a class and its accuracy", _FREQUENCIES, panels))
    return parts


def note_slopes(fits: pd.DataFrame, test_set: str, groups: Sequence[str]) -> list[str]:
    """Say how steep the fits of the runs of each group are on a test set, from the lowest to the highest."""
    if fits.empty:
        return []
    slopes: dict[str, list[float]] = {}
    for row in table_rows(fits[(fits["test_set"] == test_set) & fits["slope"].notna()]):
        slopes.setdefault(name_group(row), []).append(float(row["slope"]))
    told = [
        f"{group} {min(slopes[group]):.2f} to {max(slopes[group]):.2f} ({count_noun(len(slopes[group]), 'run')})"
        for group in groups
        if group in slopes
    ]
    return [f"Slopes: {'; '.join(told)}."] if told else []
