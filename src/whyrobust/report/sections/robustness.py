"""Effective robustness of a study's runs, with published models behind them where the test sets are the same."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from whyrobust.report.charts.explorer import (
    OTHER_READING,
    STUDY_FIELDS,
    STUDY_FILTERS,
    ExplorerOptions,
    list_choices,
    published_points,
    study_points,
)
from whyrobust.report.charts.points import describe_published, name_collections
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.page_parts import Explorer
from whyrobust.report.sections.explorers import explorer_panels
from whyrobust.report.tables import ReferenceTables, StudyTables
from whyrobust.study.published_shifts import PUBLISHED_SHIFTS


def robustness_section(
    described: pd.DataFrame,
    study: StudyTables,
    reference: ReferenceTables | None,
    test_kinds: Mapping[str, str],
    scale: str,
    colours: Mapping[str, str],
) -> Explorer:
    """Return the explorer of a study's runs.

    Args:
        described: effective robustness of every run, head and shift (see `describe_points`).
        study: the results.
        reference: published models, or None.
        test_kinds: kind of each test set, such as ``imagenet_r``, as the config names it.
        scale: scale of the axes.
        colours: colours by kind of training.
    """
    points = study_points(described)
    layer = published_layer(points, reference, test_kinds)
    # The legend lists a study's own values first; in the chart, what comes first lies behind the rest.
    choices = list_choices(pd.concat([points, layer], ignore_index=True), STUDY_FIELDS, STUDY_FILTERS, colours)
    hidden = {"reading": [OTHER_READING]} if any(choice.name == "reading" for choice in choices) else {}
    data = RobustnessData(pd.concat([layer, points], ignore_index=True), study.baselines, study.bands, scale)
    panels = explorer_panels(data, ExplorerOptions(choices, hidden))
    return Explorer("study", panels, choices, hidden, bool(len(layer)))


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
    return published_points(described, [*STUDY_FIELDS, *STUDY_FILTERS], background=True)
