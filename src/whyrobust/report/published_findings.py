"""What the tables of published models show, in words and as rows: every sentence is made from the tables.

Offers `answers`, the five questions with a sentence per comparison that a question names, `headline`, and
`comparison_rows`, the rows of a question's table. The page of `make published`, the pages of studies and README use
them. Effects are in percentage points of effective robustness at ResNet-50's accuracy, the mean over ImageNet-V2,
Sketch and R, beyond the testbed's line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from whyrobust.analysis.natural_experiments import LISTED
from whyrobust.analysis.published_effects import COMPARISON, CONFIDENCE, MARGIN_POINTS
from whyrobust.analysis.published_lines import MAIN_SHIFTS, TESTBED_LINE
from whyrobust.report.number_format import format_points
from whyrobust.report.page_parts import table_rows
from whyrobust.study.display_names import (
    LOWERS,
    MEAN,
    NO_INTERVAL,
    RAISES,
    UNDECIDED,
    capital,
    count_noun,
    name_cause,
    name_margin,
)
from whyrobust.study.table_cells import is_missing

#: Question of the published models -> cause of a study, and what is asked.
QUESTIONS: Final = {
    "distribution": ("training_distribution", "Other training data, by one method"),
    "size": ("training_set_size", "More images of one data set"),
    "language_training": ("language_at_training", "What the encoder learned from; all are classifiers on ImageNet-1k"),
    "language_test": ("language_at_test", "How one trained encoder predicts"),
    "contrastive_loss": ("contrastive_loss", "Another objective on the same data"),
}
#: A comparison of so many architectures or more is a main one; where a question has none, of so many as it has.
MAIN_ARCHITECTURES: Final = 3

HASHTAG_LABELS: Final = "pseudo-labels of Instagram hashtags (IG-1B) (teacher: Instagram hashtags)"
YFCC_LABELS: Final = "pseudo-labels of YFCC-100M (teacher: ImageNet-1k labels)"
IMAGENET_LABELS: Final = "labels of ImageNet-1k"
#: Comparisons that the questions name, told in words whatever they show: control, treatment, ground of the comparison.
NAMED: Final[Mapping[str, Sequence[tuple[str, str, str]]]] = {
    "distribution": (
        ("YFCC-100M", "Instagram hashtags (IG-1B)", "one method"),
        ("YFCC-15M", "CC-12M", "equal size"),
        ("LAION", "MetaCLIP", "equal size"),
        ("ImageNet-1k", "ImageNet-21k", "one method"),
    ),
    "size": (
        ("LAION, 400 M images", "LAION, 2.32 B images", ""),
        ("MetaCLIP, 400 M images", "MetaCLIP, 2.5 B images", ""),
    ),
    "language_training": (
        (IMAGENET_LABELS, "captions", ""),
        (IMAGENET_LABELS, HASHTAG_LABELS, ""),
        (IMAGENET_LABELS, YFCC_LABELS, ""),
        (IMAGENET_LABELS, "images", ""),
    ),
    "language_test": (("zero-shot prompts", "classifier", ""), ("linear head", "classifier", "")),
    "contrastive_loss": (("CLIP", "CoCa", "equal size"),),
}
#: What else differs in a named comparison so much that the sentence must say it, by its two sides.
CAVEATS: Final[Mapping[tuple[str, str], str]] = {
    ("YFCC-100M", "Instagram hashtags (IG-1B)"): "teacher and number of images differ too",
    (IMAGENET_LABELS, "captions"): "data and number of images differ too",
    (IMAGENET_LABELS, HASHTAG_LABELS): "data and number of images differ too",
}
_IN_WORDS: Final = {
    HASHTAG_LABELS: "pseudo-labels of Instagram's images by a teacher that their hashtags trained",
    YFCC_LABELS: "pseudo-labels of YFCC-100M's images by a teacher that ImageNet-1k trained",
    "classifier": "a classifier fine-tuned on ImageNet",
    "images": "images alone",
    "linear head": "a linear head",
}


@dataclass(frozen=True)
class Answer:
    """The answer to one question: what is asked, how the comparisons turned out, and the named ones in words."""

    question: str
    title: str
    asked: str
    summary: str
    sentences: Sequence[str]


def effect_words(row: Mapping[str, Any]) -> str:
    """Return an effect with its interval and the number of architectures: ``+12.3 points (+11.2 to +13.4; 6 ...)``."""
    points = f"{format_points(row['effect_points'])} points"
    if is_missing(row["low_points"]):
        return f"{points} ({count_noun(int(row['architectures']), 'architecture')}, so no interval)"
    low, high = format_points(row["low_points"]), format_points(row["high_points"])
    evidence = count_noun(int(row["architectures"]), "architecture")
    return f"{points} ({low} to {high}; {evidence})"


def verdict_words(verdict: str) -> str:
    """Say in a clause what a verdict claims, and no more."""
    return {
        RAISES: "raises effective robustness",
        LOWERS: "lowers effective robustness",
        name_margin(MARGIN_POINTS): f"changes it by less than {MARGIN_POINTS:g} points",
        UNDECIDED: "undecided",
        NO_INTERVAL: "one architecture says nothing about others",
    }[verdict]


def mean_effects(effects: pd.DataFrame, question: str, line: str = TESTBED_LINE) -> pd.DataFrame:
    """Return the comparisons of a question in the mean over the main shifts: most architectures first, then pairs."""
    chosen = effects[(effects["question"] == question) & (effects["line"] == line) & (effects["shift"] == MEAN)]
    return chosen.sort_values(["architectures", "pairs"], ascending=False, kind="stable")


def choose_main(table: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows of `mean_effects` are main comparisons (see `MAIN_ARCHITECTURES`); they have intervals."""
    most = int(table["architectures"].max()) if len(table) else 0
    result: pd.Series[bool] = table["architectures"] >= max(2, min(MAIN_ARCHITECTURES, most))
    return result


def answers(effects: pd.DataFrame, indirect: pd.DataFrame) -> list[Answer]:
    """Return the answers to the five questions, in the order of `QUESTIONS`.

    Args:
        effects: ``effects.csv`` of ``results/published``.
        indirect: ``indirect.csv``.
    """
    found = []
    for question, (cause, asked) in QUESTIONS.items():
        table = mean_effects(effects, question)
        sentences = [_sentence(table, *named) for named in NAMED[question]]
        if question == "language_training":
            sentences.append(_hashtags_against_captions(indirect))
        found.append(Answer(question, capital(name_cause(cause)), asked, summarise(table), sentences))
    return found


def summarise(table: pd.DataFrame) -> str:
    """Say how the comparisons of a question turned out, and which main one is the largest."""
    judged = table[table["low_points"].notna()]
    without = count_noun(len(table) - len(judged), "comparison")
    if judged.empty:
        return f"No comparison has two architectures, so that none has an interval ({without} of one)."
    counts = judged["verdict"].value_counts()
    margin = name_margin(MARGIN_POINTS)
    words = {RAISES: "raise", LOWERS: "lower", margin: margin, UNDECIDED: "undecided"}
    told = ", ".join(f"{int(counts[verdict])} {word}" for verdict, word in words.items() if verdict in counts)
    first = _largest(judged[choose_main(judged)])
    change = f"{name_side(first['treatment'])} instead of {name_side(first['control'])}"
    return (
        f"{count_noun(len(judged), 'comparison')} of two architectures or more: {told}, at a false-discovery rate of "
        f"{100 * (1 - CONFIDENCE):g} %. The largest of the main ones: {change}, {effect_words(first)}."
    )


@dataclass(frozen=True)
class PublishedHeadline:
    """The answer of the published models: a sentence, and a line for each of three questions.

    Attributes:
        lead: by how much effective robustness changes at most, or that nothing is known.
        lines: what changes, and its largest main comparison with its interval.
        unit: what the lines are.
    """

    lead: str
    lines: Sequence[tuple[str, str]] = ()
    unit: str = ""


def headline(effects: pd.DataFrame, models: int) -> PublishedHeadline:
    """Return the answer: the largest main comparison of three questions, each with its interval."""
    clauses = {
        "distribution": "other training data",
        "size": "more images of one data set",
        "language_test": "another way in which one encoder predicts",
    }
    lines: list[tuple[str, str]] = []
    largest: list[str] = []
    for question, what in clauses.items():
        table = mean_effects(effects, question)
        main = table[choose_main(table)]
        if len(main):
            row = _largest(main)
            change = f"{capital(name_side(row['treatment']))} instead of {name_side(row['control'])}"
            lines.append((capital(what), f"{change}: {effect_words(row)}."))
            largest.append(f"{abs(row['effect_points']):.1f} {'points ' if not largest else ''}with {what}")
    if not lines:
        return PublishedHeadline(f"None of {models:,} published models can be compared in several architectures.")
    told = f"{', '.join(largest[:-1])} and {largest[-1]}" if len(largest) > 1 else largest[0]
    return PublishedHeadline(
        f"Among {models:,} published models, effective robustness changes by up to {told}.",
        lines,
        f"The largest of the comparisons of {MAIN_ARCHITECTURES} architectures or more, with {100 * CONFIDENCE:g} % "
        "intervals over architectures:",
    )


def name_side(value: str) -> str:
    """Return one side of a comparison in words that fit into a sentence."""
    return _IN_WORDS.get(value, value)


def comparison_rows(effects: pd.DataFrame, pairs: pd.DataFrame, question: str) -> list[dict[str, Any]]:
    """Return the rows of a question's table, main comparisons first.

    Args:
        effects: ``effects.csv``.
        pairs: ``pairs.csv``.
        question: one of `QUESTIONS`.

    Returns:
        ``key`` (of the comparison's pairs), ``main``, ``control, treatment, basis``, ``evidence``, ``raw_id`` and
        ``raw_shift`` (means over architectures), ``cells`` (by shift: ``effect, interval, verdict``), ``extrapolated``
        and ``differs`` (what else is known to differ, and in how many of the pairs).
    """
    mean = mean_effects(effects, question)
    main = choose_main(mean)
    line = effects[(effects["question"] == question) & (effects["line"] == TESTBED_LINE)]
    by_comparison = dict(iter(line.groupby(list(COMPARISON), sort=False)))
    unique = pairs[(pairs["question"] == question) & (pairs["line"] == TESTBED_LINE)]
    unique = unique.drop_duplicates(["control", "treatment", "basis", "prediction", "model_control", "model_treatment"])
    of = dict(iter(unique.groupby(list(COMPARISON), sort=False)))
    rows = []
    for (_, row), is_main in zip(mean.iterrows(), main, strict=True):
        key = tuple(row[list(COMPARISON)])
        by_shift = {row["shift"]: _cell(row) for row in table_rows(by_comparison[key])}
        cells = {shift: by_shift[shift] for shift in (MEAN, *MAIN_SHIFTS) if shift in by_shift}
        architectures, number = int(row["architectures"]), int(row["pairs"])
        rows.append(
            {
                "key": comparison_key(key),
                "main": bool(is_main),
                "control": row["control"],
                "treatment": row["treatment"],
                "basis": ", ".join(filter(None, (row["basis"], row["prediction"] if question != "size" else ""))),
                "evidence": f"{count_noun(architectures, 'architecture')}, {count_noun(number, 'pair')}",
                "raw_id": format_points(row["raw_id_points"]),
                "raw_shift": format_points(row["raw_shift_points"]),
                "cells": cells,
                "extrapolated": f"{100 * row['extrapolated_share']:.0f} %",
                "differs": also_differs(of[key]["also_differs"]),
            }
        )
    return rows


def comparison_key(values: Sequence[str]) -> str:
    """Return a text that names a comparison on the page."""
    return "|".join(str(value) for value in values)


def also_differs(texts: pd.Series[str]) -> str:
    """Say in which other fields the pairs of a comparison differ: ``recipe (9 of 9), samples seen (4 of 9)``."""
    counts = {field: int(texts.str.contains(rf"(?:^|; ){re.escape(field)}: ").sum()) for field in LISTED}
    told = [f"{field.replace('_', ' ')} ({count} of {len(texts)})" for field, count in counts.items() if count]
    return ", ".join(told) or "nothing that is documented"


def _largest(table: pd.DataFrame) -> dict[str, Any]:
    """Return the row of the largest effect, whatever its sign."""
    return table_rows(table.iloc[[int(table["effect_points"].abs().to_numpy().argmax())]])[0]


def _cell(row: Mapping[str, Any]) -> dict[str, str]:
    missing = is_missing(row["low_points"])
    interval = (
        "no interval" if missing else f"{format_points(row['low_points'])} to {format_points(row['high_points'])}"
    )
    return {"effect": format_points(row["effect_points"]), "interval": interval, "verdict": str(row["verdict"])}


def _sentence(table: pd.DataFrame, control: str, treatment: str, basis: str) -> str:
    """Tell one comparison in words; it may be missing, and may be in the table in the opposite direction."""
    change = f"{capital(name_side(treatment))} instead of {name_side(control)}"
    chosen = table[(table["control"] == control) & (table["treatment"] == treatment) & (table["basis"] == basis)]
    if chosen.empty:
        return f"{change}: nothing published compares them."
    row = table_rows(chosen)[0]
    beyond = row["extrapolated_share"]
    tail = f"; {100 * beyond:.0f} % of its pairs reach beyond the models of the line" if beyond >= 0.5 else ""
    caveat = f"; {CAVEATS[control, treatment]}" if (control, treatment) in CAVEATS else ""
    return f"{change}: {effect_words(row)}: {verdict_words(row['verdict'])}{tail}{caveat}."


def _hashtags_against_captions(indirect: pd.DataFrame) -> str:
    chosen = indirect[
        (indirect["line"] == TESTBED_LINE)
        & (indirect["shift"] == MEAN)
        & (indirect["control"] == IMAGENET_LABELS)
        & (indirect["first"] == "captions")
        & (indirect["second"] == HASHTAG_LABELS)
    ]
    if chosen.empty:
        return "Nothing published compares pseudo-labels of hashtags with captions."
    row = table_rows(chosen)[0]
    low, high = format_points(row["low_points"]), format_points(row["high_points"])
    return (
        f"No architecture has both {name_side(HASHTAG_LABELS)} and captions. Through {IMAGENET_LABELS}, the former "
        f"instead of the latter: {format_points(row['effect_points'])} points ({low} to {high}): "
        f"{verdict_words(row['verdict'])}."
    )
