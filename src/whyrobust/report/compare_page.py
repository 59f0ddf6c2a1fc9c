"""The page that compares two studies: a single self-contained HTML file, with the style and the scripts of a study's.

Offers `render_comparison`. It measures nothing: effects and verdicts are those of the two result cards, points those of
the tables of effective robustness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from whyrobust.report.charts.causes import causes_spec
from whyrobust.report.charts.explorer import (
    OTHER_READING,
    STUDY_FIELDS,
    STUDY_FILTERS,
    ExplorerOptions,
    list_choices,
    study_points,
)
from whyrobust.report.charts.points import describe_points
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.findings import answer_sentences, effect_cells, is_mean, main_comparisons
from whyrobust.report.number_format import format_points, join_words
from whyrobust.report.page_parts import Explorer, Failure, Panel, attempt
from whyrobust.report.sections.explorers import explorer_settings, residual_panels
from whyrobust.report.side_by_side import Difference, Row, compare_verdicts, differences, match_effects
from whyrobust.report.templating import page_environment
from whyrobust.report.theme import MARKS, VERDICT_STYLES, VERDICT_WORDS
from whyrobust.study.display_names import MEAN, capital, count_noun, name_cause, name_test_set
from whyrobust.study.table_cells import is_missing

#: What the numbers of both studies must agree in to mean the same, by key of the config, and what it decides.
MEANING: Final = {
    "baseline.scale": "the scale that effects are differences on",
    "baseline.reference_accuracy": "the accuracy at which an effect is given in points",
    "class_weights": "what an accuracy is a mean over",
    "intervals.effect": "the confidence of the intervals",
    "intervals.equivalence_points": "the margin of the verdicts",
    "data.classes": "the classes",
    "test_sets": "the images that accuracies are of",
}


class ApartError(ValueError):
    """Two studies whose models cannot be drawn in one chart; the message says why. Nothing is wrong with either."""


@dataclass(frozen=True)
class ComparedStudy:
    """A study that is compared.

    Attributes:
        label: what the page calls it.
        card: its result card, see `whyrobust.report.result_card`.
        effective: ``effective_robustness.csv``.
        runs: ``runs.csv``.
    """

    label: str
    card: Mapping[str, Any]
    effective: pd.DataFrame
    runs: pd.DataFrame

    @property
    def causes(self) -> pd.DataFrame:
        """The effects of its card."""
        return pd.DataFrame(self.card["effects"])


def render_comparison(first: ComparedStudy, second: ComparedStudy) -> str:
    """Return the page as HTML."""
    both = (first, second)
    configs = differences(*(one.card["config"] for one in both))
    configs = [row for row in configs if row.key != "study" and row.key.partition(".")[0] != "unfinished"]
    explorer = attempt("The chart of both studies' models", lambda: explorer_or_reason(first, second))
    settings = {explorer.name: explorer_settings(explorer)} if isinstance(explorer, Explorer) else {}
    html: str = (
        page_environment()
        .get_template("compare_report.html.j2")
        .render(
            labels=[one.label for one in both],
            headline=compare_in_words(first, second),
            warnings=[
                *map(unfinished_warning, filter(is_unfinished, both)),
                *meaning_warnings(configs, [one.label for one in both]),
            ],
            configs=configs,
            versions=differences(*(one.card["versions"] for one in both)),
            panels=effect_panels(first, second),
            effects=side_by_side_rows(first, second),
            verdicts=[(MARKS[shape], colour, VERDICT_WORDS[name]) for name, (colour, shape) in VERDICT_STYLES.items()],
            explorer=explorer,
            page_data={"runs": {}, "explorers": settings},
        )
    )
    return html


def is_unfinished(study: ComparedStudy) -> bool:
    """Tell whether a study still ran when its card was written."""
    return "unfinished" in study.card["config"]


def unfinished_warning(study: ComparedStudy) -> str:
    """Say how much of an unfinished study is there."""
    lacks = study.card["config"]["unfinished"]
    return f"{study.label} is unfinished: {len(lacks['runs'])} of {lacks['planned']} runs are missing."


def meaning_warnings(configs: Sequence[Difference], labels: Sequence[str]) -> list[str]:
    """Say which differences of two configs let numbers of one name mean two things.

    Args:
        configs: keys that differ.
        labels: what the two studies are called.
    """
    return [
        f"They differ in {row.key}, {what}: {_values(row, labels)}."
        for row in configs
        for key, what in MEANING.items()
        if (row.key == key or row.key.startswith(f"{key}.")) and not row.key.endswith(".says")
    ]


def _values(row: Difference, labels: Sequence[str]) -> str:
    """Return both values of a key, or which study alone has it: what it holds there may be long."""
    if row.first and row.second:
        return f"{row.first} and {row.second}"
    return f"only {labels[0] if row.first else labels[1]} has it"


def compare_in_words(first: ComparedStudy, second: ComparedStudy) -> list[str]:
    """Say which verdicts both studies have: of the primary family, then of the secondary one; then what one lacks."""
    told = compare_verdicts(first.causes, second.causes)
    sentences = [f"{first.label} and {second.label} have no main comparison in common."]
    if told.primary:
        kept = len(told.kept)
        verdicts = count_noun(len(told.primary), "main comparison")
        same = f"Of {verdicts} that both studies have, {kept} {'has' if kept == 1 else 'have'} the same verdict"
        sentences = [f"{same}{told.describe_undecided()}."]
    for one, other in told.changed:
        name = f"{capital(name_cause(str(one['cause'])))} ({one['comparison']})"
        sentences.append(f"{name}: {first.label} {_verdict(one)}; {second.label} {_verdict(other)}.")
    if told.found or told.new:
        sentences.append(
            f"Of {count_noun(len(told.found), 'secondary finding')} of {first.label}, {len(told.again)} "
            f"{'is' if len(told.again) == 1 else 'are'} found in {second.label} too, which has {len(told.new)} more."
        )
    compared = [dict.fromkeys(one.causes["comparison"]) if len(one.causes) else {} for one in (first, second)]
    for study, names, others in zip((first, second), compared, reversed(compared), strict=True):
        only = [str(name) for name in names if name not in others]
        if only:
            sentences.append(f"Only {study.label} compares: {join_words(only)}.")
    return sentences


def _verdict(row: Row) -> str:
    cells = effect_cells(row)
    return f"{cells['verdict']} ({cells['effect']} points{', ' + cells['interval'] if cells['interval'] else ''})"


def effect_panels(first: ComparedStudy, second: ComparedStudy) -> list[Panel]:
    """Make one panel per cause: its main comparisons in the mean over shifts, a row per study."""
    tables = [
        rows[rows["shift"] == MEAN].assign(study=one.label)
        for one in (first, second)
        if len(rows := main_comparisons(one.causes) if len(one.causes) else one.causes)
    ]
    if not tables:
        return []
    table = pd.concat(tables, ignore_index=True)
    panels = []
    for cause in dict.fromkeys(table["cause"]):
        rows = table[table["cause"] == cause]
        told = [
            f"{label}: {' '.join(text for sentences in answer_sentences(part).values() for text in sentences)}"
            for label, part in rows.groupby("study", sort=False)
        ]
        # What charts write beside a row is the study here: the shift is the mean in all of them.
        spec = causes_spec(table.assign(shift=table["study"]), cause, letters=44)
        panels.append(Panel(capital(name_cause(str(cause))), spec, " ".join(told)))
    return panels


def side_by_side_rows(first: ComparedStudy, second: ComparedStudy) -> list[dict[str, Any]]:
    """Return all effects as text, one row per comparison and shift that one of the studies has.

    Returns:
        ``cause, comparison`` (in the first row of each), ``shift``, ``cells``: the texts of `effect_cells` of both,
        None where a study lacks the effect, and ``difference``: the second's effect less the first's.
    """
    rows: list[dict[str, Any]] = []
    named = ("", "")
    matched = match_effects(first.causes, second.causes)
    place = {key: number for number, key in enumerate(dict.fromkeys(_comparison_of(pair) for pair in matched))}
    # Means first; what only the second study has stays with its comparison.
    matched.sort(key=lambda pair: (place[_comparison_of(pair)], not is_mean(str(_row_of(pair)["shift"]))))
    for pair in matched:
        row, name = _row_of(pair), _comparison_of(pair)
        before, after = (math.nan if one is None else one["effect_points"] for one in pair)
        rows.append(
            {
                "cause": capital(name_cause(name[0])) if name != named else "",
                "comparison": name[1] if name != named else "",
                "shift": name_test_set(str(row["shift"])),
                "cells": [None if one is None else effect_cells(one) for one in pair],
                "difference": "" if is_missing(after - before) else format_points(after - before),
            }
        )
        named = name
    return rows


def _row_of(pair: Sequence[Row | None]) -> Row:
    return next(row for row in pair if row is not None)


def _comparison_of(pair: Sequence[Row | None]) -> tuple[str, str]:
    row = _row_of(pair)
    return str(row["cause"]), str(row["comparison"])


def explorer_or_reason(first: ComparedStudy, second: ComparedStudy) -> Explorer | Failure:
    """Return the explorer of both studies' models, or why there is none."""
    try:
        return joined_explorer(first, second)
    except ApartError as error:
        return Failure(f"The models of both studies are in no chart together: {error}.")


def joined_explorer(first: ComparedStudy, second: ComparedStudy) -> Explorer:
    """Return the explorer of both studies' models: residuals on each shift that both measure beyond the same test sets.

    Raises:
        ApartError: they have no such shift, or their residuals are on different scales.
    """
    settings = [one.card["config"]["baseline"] for one in (first, second)]
    scales = [one["scale"] for one in settings]
    if scales[0] != scales[1]:
        raise ApartError(f"effective robustness is on two scales, {scales[0]} and {scales[1]}")
    tables = [_points(one) for one in (first, second)]
    measured = [set(zip(table["shift"], table["x_test_sets"], strict=True)) for table in tables]
    shared = {shift for shift, _ in measured[0] & measured[1]}
    points = pd.concat(tables, ignore_index=True)
    points = points[points["shift"].isin(shared)]
    if points.empty:
        raise ApartError("no shift is measured by both beyond the same in-distribution test sets")
    choices = list_choices(points, {"study": "study"} | STUDY_FIELDS, STUDY_FILTERS, {})
    hidden = {"reading": [OTHER_READING]} if any(choice.name == "reading" for choice in choices) else {}
    options = ExplorerOptions(choices, hidden, reference=settings[0]["reference_accuracy"])
    panels = residual_panels(RobustnessData(points, pd.DataFrame(), pd.DataFrame(), scales[0]), options, {})
    return Explorer("both", panels, choices, hidden, background=False)


def _points(study: ComparedStudy) -> pd.DataFrame:
    """Return the points of a study, each named by it too: two studies may have runs of one name."""
    points = study_points(describe_points(study.effective, study.runs))
    named = points.assign(study=study.label)
    for name in ("run", "words"):
        named[name] = [f"{study.label}: {text}" for text in points[name]]
    return named
