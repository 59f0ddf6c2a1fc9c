"""The answer: what the main comparison of each cause changed, all effects as charts, in sentences and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from whyrobust.report.charts.causes import causes_spec
from whyrobust.report.charts.what_changed import (
    MEASURE_MARKS,
    MEASURE_WORDS,
    PAPER,
    SEED_MARK,
    SEED_WORDS,
    TEAM_MARK,
    TEAM_WORDS,
    shown_teams,
    what_changed_spec,
)
from whyrobust.report.findings import (
    EffectTerms,
    answer_sentences,
    effect_rows,
    evidence_rows,
    main_comparisons,
    regression_rows,
    weights_rows,
)
from whyrobust.report.headline import make_headline
from whyrobust.report.page_parts import Panel
from whyrobust.report.tables import StudyTables
from whyrobust.report.theme import MARKS, VERDICT_STYLES, VERDICT_WORDS, page_colour
from whyrobust.study.display_names import WITHIN, capital, name_cause, name_margin, name_test_set, name_weighting


@dataclass(frozen=True)
class Changed:
    """What a main comparison changed: the cause, the name of the comparison, what it holds fixed, and the chart."""

    cause: str
    comparison: str
    holds_fixed: str
    panel: Panel


def answer_section(study: StudyTables, terms: EffectTerms, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the section: the headline, a panel per cause, and the same in sentences and numbers."""
    evidence = evidence_rows(study.causes, study.single_causes, study.other_weights)
    margin = f"{name_margin(terms.margin_points)} points"
    return {
        "headline": make_headline(study.causes, terms, study.single_causes, study.other_weights, study.shifts),
        "terms": terms,
        "margin": margin,
        "changed": changed_panels(study, terms, colours),
        "measures": [
            (MEASURE_MARKS[measure], words)
            for measure, words in MEASURE_WORDS.items()
            if measure != PAPER or study.has_several_axes
        ]
        + ([(SEED_MARK, SEED_WORDS)] if len(study.causes_by_seed) else [])
        + ([(TEAM_MARK, TEAM_WORDS)] if len(shown_teams(study.causes_by_team)) else []),
        "evidence": evidence,
        "weighting": name_weighting(str(study.other_weights["class_weights"].iloc[0]))
        if len(study.other_weights)
        else "",
        "weights": weights_rows(study.causes, study.other_weights),
        "lines": list(dict.fromkeys(name for row in evidence for name in row["lines"])),
        "averages": list(dict.fromkeys(name for row in evidence for name in row["average"])),
        "cause_panels": cause_panels(study.causes, colours),
        "answers": answer_sentences(study.causes),
        "effects": effect_rows(study.causes),
        "regression": regression_rows(study.regression),
        "shifts": list(dict.fromkeys(study.regression["shift"])),
        "axes": [name_test_set(name) for name in study.in_distribution],
        "apart": apart_sentences(study.shifts),
        "verdicts": [
            (MARKS[shape], page_colour(colours.get(name, colour)), VERDICT_WORDS[name] if name != WITHIN else margin)
            for name, (colour, shape) in VERDICT_STYLES.items()
        ],
    }


def changed_panels(study: StudyTables, terms: EffectTerms, colours: Mapping[str, str]) -> Sequence[Changed]:
    """Make one panel per main comparison; the paper's measurement is beside the main one where the two differ."""
    main = main_comparisons(study.causes)
    single = study.single_causes
    paper = single[single["measurement"] == "paper"] if study.has_several_axes else single.iloc[:0]
    by_seed, by_team = (
        dict(list(table.groupby(["cause", "comparison"]))) if len(table) else {}
        for table in (study.causes_by_seed, shown_teams(study.causes_by_team))
    )
    panels = []
    for (cause, comparison), rows in main.groupby(["cause", "comparison"], sort=False):
        of_paper = paper[(paper["cause"] == cause) & (paper["comparison"] == comparison)]
        of_seeds, of_teams = by_seed.get((cause, comparison)), by_team.get((cause, comparison))
        spec = what_changed_spec(rows, of_paper, terms.margin_points, colours, of_seeds, of_teams)
        ((name, sentences),) = answer_sentences(rows).items()
        small = ((of_seeds, SEED_WORDS), (of_teams, TEAM_WORDS))
        told = [*sentences, *(f"{capital(words)}." for table, words in small if table is not None)]
        panel = Panel(name, spec, " ".join(told))
        panels.append(Changed(name, str(comparison), str(rows["holds_fixed"].iloc[0]), panel))
    return panels


def cause_panels(causes: pd.DataFrame, colours: Mapping[str, str]) -> list[tuple[Panel, list[tuple[str, str]]]]:
    """Make one panel per cause, each with what its comparisons hold fixed: ``(comparison, holds_fixed)``."""
    panels = []
    for cause in dict.fromkeys(causes["cause"]):
        rows = causes[causes["cause"] == cause]
        spec = causes_spec(causes, cause, colours)
        description = " ".join(text for sentences in answer_sentences(rows).values() for text in sentences)
        fixed = list(dict.fromkeys(zip(rows["comparison"], rows["holds_fixed"], strict=True)))
        panels.append((Panel(capital(name_cause(cause)), spec, description), fixed))
    return panels


def apart_sentences(shifts: pd.DataFrame) -> list[str]:
    """Say which test sets take part in no verdict, and why."""
    apart = shifts[~shifts["role"].isin(["in_distribution", "shift"])]
    return [
        f"{capital(name_test_set(str(name)))}: {role}{f' ({reason})' if isinstance(reason, str) and reason else ''}."
        for name, role, reason in zip(apart["test_set"], apart["role"], apart["reason"], strict=True)
    ]
