"""Published models, as strips by family of training data and as accuracies, with a search by name.

`published_explorer` is the same on the page of `make published` and on that of a study on ImageNet's shifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pandas as pd

from whyrobust.analysis.published_lines import LINES, MAIN_SHIFTS
from whyrobust.report.charts.baseline import BAND_DEVIATIONS
from whyrobust.report.charts.published import (
    DRAWN_FROM,
    describe_panel,
    model_choices,
    model_panel,
    model_points,
)
from whyrobust.report.charts.strips import describe_strips, order_families, strip_panel
from whyrobust.report.page_parts import Explorer, Panel
from whyrobust.report.published_findings import Answer, answers
from whyrobust.report.published_rows import LINE_WORDS
from whyrobust.study.display_names import SHIFT_WORDS
from whyrobust.study.published_shifts import PUBLISHED_SHIFTS

#: Shifts in the order of the panels.
SHIFTS: Final = (*MAIN_SHIFTS, "imagenet-a", "objectnet")
STRIPS, ACCURACIES = "strips", "accuracies"
#: How the explorer is read.
READING: Final = (
    "Strips, shown first: a point is a model, a row a family of training data, from the most robust to the least in "
    "the mean over V2, Sketch and R; the bar across a row is the mean of the models shown, and the height of a point "
    "in its row says nothing. Accuracies, by choice, have the line that effective robustness is measured from. It goes "
    "through models that were trained on ImageNet-1k alone, the testbed's to 2020 or timm's to 2026, and its band "
    f"holds {BAND_DEVIATIONS:g} standard deviations of them. Hollow: outside the accuracies of the line's models. A "
    "part of a name under Find a model rings the models that have it; of one model the numbers are listed."
)


def published_section(tables: Mapping[str, pd.DataFrame], test_kinds: Iterable[str]) -> Explorer | None:
    """Return the explorer of published models on the shifts that a study has.

    Args:
        tables: ``models``, ``effective_robustness`` and ``lines`` of `whyrobust.analysis.published_study.TABLES`; none
            where they are missing, and there is no explorer then.
        test_kinds: kind of each test set of the study, as the config names it.
    """
    if not tables:
        return None
    shared = {PUBLISHED_SHIFTS[kind] for kind in test_kinds if kind in PUBLISHED_SHIFTS}
    points = model_points(tables["models"], tables["effective_robustness"])
    return published_explorer(points, tables["lines"], [shift for shift in SHIFTS if shift in shared])


def published_explorer(points: pd.DataFrame, lines: pd.DataFrame, shifts: Sequence[str] = SHIFTS) -> Explorer:
    """Return the explorer over published models: strips first, accuracies by choice, one panel per shift in either.

    Args:
        points: as `model_points` gives them.
        lines: ``lines.csv``.
        shifts: the shifts, in the order of the panels.
    """
    choices, families = model_choices(points), order_families(points)
    strips, accuracies = [], []
    for shift in shifts:
        words, notes = SHIFT_WORDS[shift], note_models(points, shift)
        strips.append(
            Panel(words, strip_panel(points, shift, families, choices), describe_strips(points, shift), notes)
        )
        accuracies.append(
            Panel(words, model_panel(points, lines, shift, choices), describe_panel(points, shift), notes)
        )
    views = {STRIPS: "strips by training data", ACCURACIES: "accuracies, with the line"}
    return Explorer("models", strips, choices, {}, False, LINE_WORDS, "models", views, accuracies)


def note_models(points: pd.DataFrame, shift: str) -> list[str]:
    """Say which models of a shift are not drawn, which lines it lacks, and how it was chosen."""
    here = points[points["shift"] == shift]
    weak = int((here["id_accuracy"] < DRAWN_FROM).sum())
    extreme = here[~here["shift_accuracy"].between(0, 1, "neither")]
    notes = [
        f"{len(here):,} models; the {weak:,} of them below {100 * DRAWN_FROM:.0f} % on ImageNet are not drawn, but "
        "found by their name."
    ]
    if len(extreme):
        notes.append(f"Not drawn, since 0 % has no place on an axis of accuracies: {', '.join(extreme['run'])}.")
    if f"er_{LINES[1]}" not in here or here[f"er_{LINES[1]}"].isna().all():
        notes.append("timm publishes no accuracy here, so that the testbed's line is the only one.")
    if shift == "imagenet-a":
        notes.append("Its images were chosen because a ResNet-50 gets them wrong: in no mean on this page.")
    return notes


def published_answers(tables: Mapping[str, pd.DataFrame]) -> list[Answer]:
    """Return the answers of published models to the five questions; none where their tables are missing."""
    return answers(tables["effects"], tables["indirect"]) if tables else []
