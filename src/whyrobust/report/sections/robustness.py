"""Effective robustness of a study's runs, with published models behind them where the test sets are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from whyrobust.report.charts.explorer import (
    OTHER_READING,
    STUDY_FIELDS,
    STUDY_FILTERS,
    ExplorerOptions,
    choose_pair,
    list_choices,
    published_points,
    study_points,
)
from whyrobust.report.charts.points import describe_points, describe_published, name_collections
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.findings import line_name
from whyrobust.report.number_format import format_percent, format_points
from whyrobust.report.page_parts import Explorer, table_rows
from whyrobust.report.sections.explorers import explorer_panels, residual_panels
from whyrobust.report.tables import ReferenceTables, StudyTables
from whyrobust.study.display_names import capital, count_noun, spaced
from whyrobust.study.published_shifts import PUBLISHED_SHIFTS
from whyrobust.study.restricted_names import split_restricted_name
from whyrobust.study.table_cells import is_empty, is_missing

RESIDUALS, ACCURACIES = "residuals", "accuracies"


def robustness_section(
    study: StudyTables,
    reference: ReferenceTables | None,
    test_kinds: Mapping[str, str],
    scale: str,
    reference_accuracy: float,
    colours: Mapping[str, str],
) -> Explorer:
    """Return the explorer of a study's runs: residuals of the main measurement first, accuracies by choice.

    Args:
        study: the results.
        reference: published models, or None.
        test_kinds: kind of each test set, such as ``imagenet_r``, as the config names it.
        scale: scale of the axes.
        reference_accuracy: at which residuals are spelt out in points.
        colours: colours by kind of training.
    """
    points = study_points(describe_points(study.effective, study.runs))
    of_paper = study_points(describe_points(study.paper, study.runs))
    layer = published_layer(of_paper, reference, test_kinds)
    # The legend lists a study's own values first; in the chart, what comes first lies behind the rest.
    everything = pd.concat([points, layer], ignore_index=True)
    choices = list_choices(everything, STUDY_FIELDS, STUDY_FILTERS, colours, {"source": order_sources(study)})
    hidden = {"reading": [OTHER_READING]} if any(choice.name == "reading" for choice in choices) else {}
    pair = choose_pair(choices, colours)
    options = ExplorerOptions(choices, hidden, pair, reference=reference_accuracy)
    facts = shift_facts(study.shifts)
    baselines, bands = study.paper_lines
    residuals = RobustnessData(points, baselines, bands, scale)
    accuracies = RobustnessData(pd.concat([layer, of_paper], ignore_index=True), baselines, bands, scale)
    baseline = bool(points["residual"].notna().any())
    others = explorer_panels(accuracies, options, facts)
    if not baseline:  # accuracies are all there is
        return Explorer("study", others, choices, hidden, bool(len(layer)), pair=pair)
    compared = list(study.shifts.loc[study.shifts["role"] == "shift", "test_set"])
    panels = residual_panels(residuals, options, shift_notes(study.shifts), compared, facts)
    beyond = "the paper's measurement" if study.has_several_axes else "the same, with the line"
    views = {RESIDUALS: "effective robustness", ACCURACIES: f"accuracies ({beyond})"}
    return Explorer("study", panels, choices, hidden, bool(len(layer)), views=views, others=others, pair=pair)


def order_sources(study: StudyTables) -> list[str]:
    """Return the sources of the first series of mixtures, from none of the other source to it alone; none without."""
    doses = study.dose_response
    if doses.empty:
        return []
    first = doses[(doses["source"] == doses["source"].iloc[0]) & (doses["instead_of"] == doses["instead_of"].iloc[0])]
    rising = first.sort_values("share", kind="stable")
    names = [first["instead_of"].iloc[0], *rising.loc[rising["share"] < 1, "mixture"], first["source"].iloc[0]]
    return [spaced(str(name)) for name in dict.fromkeys(names)]


def shift_facts(shifts: pd.DataFrame) -> dict[str, str]:
    """Say of each test set how many images it has, and which accuracy guessing gives."""
    told = {}
    for row in table_rows(shifts):
        chance = "" if is_missing(row["chance"]) else f", chance {format_percent(row['chance'])}"
        told[str(row["test_set"])] = f"n = {count_noun(int(row['images']), 'image')}{chance}"
    return told


def shift_notes(shifts: pd.DataFrame) -> dict[str, str]:
    """Say of each shift how well its prediction fits, and why it takes part in no verdict where it does not."""
    notes = {}
    for row in table_rows(shifts[shifts["role"] != "in_distribution"]):
        fit = "" if is_missing(row["r_squared"]) else f"R² of the prediction {row['r_squared']:.2f}."
        why = f" ({row['reason']})" if isinstance(row["reason"], str) and row["reason"] else ""
        role = "" if row["role"] == "shift" else f" {capital(str(row['role']))}, in no verdict{why}."
        seen = "" if is_empty(row["seen_in"]) else f" Style seen in {row['seen_in']}."
        notes[str(row["test_set"])] = (fit + role + seen).strip()
    return notes


def published_layer(
    points: pd.DataFrame, reference: ReferenceTables | None, test_kinds: Mapping[str, str]
) -> pd.DataFrame:
    """Return published models on the shifts and axes of a study's points, none where the test sets differ."""
    if reference is None:
        return points.iloc[:0]
    axes = points.drop_duplicates("shift")[["shift", "x_test_set"]]
    parts = []
    for shift, x_test_set in zip(axes["shift"], axes["x_test_set"], strict=True):
        published = PUBLISHED_SHIFTS.get(test_kinds.get(shift, ""))
        if published is None:
            continue
        axis = f"imagenet@{published}" if "@" in x_test_set else "imagenet"
        rows = reference.effective
        rows = rows[(rows["shift"] == published) & (rows["x_test_set"] == axis)]
        parts.append(rows.assign(shift=shift, x_test_set=x_test_set))
    if not parts:
        return points.iloc[:0]
    described = describe_published(name_collections(pd.concat(parts, ignore_index=True)))
    return published_points(described, [*STUDY_FIELDS, *STUDY_FILTERS])


def line_rows(study: StudyTables) -> list[dict[str, Any]]:
    """Return mean effective robustness beyond all in-distribution test sets and beyond each alone, by kind of training.

    Shi et al. 2023 (arXiv 2302.01381): one in-distribution test set favours the source it comes from. A row per
    measurement and kind, with a cell per shift; none where a study has one in-distribution test set.
    """
    if not study.has_several_axes:
        return []
    tables = [("all together", study.effective)]
    single = study.single_lines
    whole = single["x_test_set"].map(lambda name: split_restricted_name(str(name))[0])
    for measurement, name in dict.fromkeys(zip(single["measurement"], whole, strict=True)):
        told = line_name({"measurement": measurement, "x_test_set": name})
        tables.append((told, single[(single["measurement"] == measurement) & (whole == name)]))
    rows = []
    for words, table in tables:
        points = describe_points(table[table["main"].astype(bool)], study.runs)
        for kind, part in points.groupby("kind", sort=False):
            means = part.groupby("shift", sort=False)["effective_robustness_points"].mean()
            cells = {str(shift): format_points(float(mean)) for shift, mean in means.items()}
            rows.append({"beyond": words, "kind": str(kind), "runs": part["run"].nunique(), "cells": cells})
    return rows
