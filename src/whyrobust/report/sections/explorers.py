"""The panels of explorers, which the reader steers, and what the page's script needs to steer them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from whyrobust.report.charts.baseline import describe_baseline
from whyrobust.report.charts.explorer import LAYER_PREFIX, POINT_SIZES, ExplorerOptions, explorer_panel
from whyrobust.report.charts.residuals import residual_points, shared_spans
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.number_format import format_points
from whyrobust.report.page_parts import Explorer, Panel
from whyrobust.report.theme import MARKS, page_colour
from whyrobust.study.display_names import capital, name_test_set

#: Below either, or with a falling line, the page warns of a baseline: a rule of thumb of our own; nothing is left out.
FEWEST_MODELS, LEAST_R_SQUARED = 5, 0.5


def explorer_panels(
    data: RobustnessData, options: ExplorerOptions, facts: Mapping[str, str] | None = None
) -> list[Panel]:
    """Make one panel per shift, in the order of the points, with a description, notes and ``facts`` by shift."""
    first = data.points
    for name, values in options.hidden.items():
        first = first[~first[name].isin(values)]
    panels = []
    for shift in data.shifts:
        spec = explorer_panel(data, shift, options)
        shown = first[first["shift"] == shift]
        mean = shown.groupby("kind", sort=False)["effective_robustness_points"].mean()
        title = name_test_set(shift, data.names)
        description = (
            f"Scatter of accuracy on {title} against in-distribution accuracy. Mean effective "
            "robustness in points: " + "; ".join(f"{kind} {format_points(value)}" for kind, value in mean.items()) + "."
        )
        notes = note_baseline(data.baselines, shift)
        panels.append(Panel(title, spec, description, notes, (facts or {}).get(shift, "")))
    return panels


def residual_panels(
    data: RobustnessData,
    options: ExplorerOptions,
    roles: Mapping[str, str],
    compared: Collection[str] = (),
    facts: Mapping[str, str] | None = None,
) -> list[Panel]:
    """Make one panel of residuals per shift, in the order of the points, with a description and notes.

    Args:
        data: described points with residuals.
        options: what the reader can choose.
        roles: what to say of a shift under its panel, by its name.
        compared: shifts that take part in verdicts: their panels have one scale.
        facts: what stands beside the heading of a shift, by its name.
    """
    panels = []
    spans = shared_spans(data, POINT_SIZES, compared)
    lowest = max((low for _, (low, _) in spans.values()), default=0.0)
    highest = min((high for _, (_, high) in spans.values()), default=0.0)
    for shift in data.shifts:
        spec = explorer_panel(data, shift, options, of_residuals=True, spans=spans[shift])
        shown = residual_points(data.points, shift)
        mean = shown.groupby("kind", sort=False)["effective_robustness_points"].mean()
        title = name_test_set(shift, data.names)
        description = (
            f"Effective robustness on {title} beyond all in-distribution test sets, by accuracy on those. Mean in "
            "points: " + "; ".join(f"{kind} {format_points(value)}" for kind, value in mean.items()) + "."
        )
        notes = [roles[shift]] if roles.get(shift) else []
        low, high = spans[shift][1]
        if low < lowest or high > highest:
            notes.append("Its scale is wider than that of the other panels.")
        panels.append(Panel(title, spec, description, notes, (facts or {}).get(shift, "")))
    return panels


def note_baseline(baselines: pd.DataFrame, shift: str) -> list[str]:
    """Say how the line of a shift was fitted, and warn where it predicts poorly: few models, falling, or a poor fit."""
    line = describe_baseline(baselines, shift)
    if not line:
        return [
            "No baseline: there are not two standard models with different accuracies "
            "here, so effective robustness is not measured."
        ]
    rows = baselines[(baselines["shift"] == shift) & (baselines["models"] > 1)]
    weak = (rows["models"] < FEWEST_MODELS) | (rows["slope"] <= 0) | (rows["r_squared"] < LEAST_R_SQUARED)
    warning = ["The line predicts poorly here, so effective robustness says little."] if weak.any() else []
    return [f"{capital(line)}.", *warning]


def explorer_settings(explorer: Explorer) -> dict[str, Any]:
    """Return what the page's script needs to steer an explorer: choices with their legend, and how it starts."""
    return {
        "choices": [
            {
                "name": choice.name,
                "label": choice.label,
                "colours": choice.colours,
                "values": [
                    {"value": value, "colour": page_colour(style["colour"]), "mark": MARKS[style["shape"]]}
                    | ({"layer": True} if value.startswith(LAYER_PREFIX) else {})
                    for value, style in choice.styles.items()
                ],
            }
            for choice in explorer.choices
        ],
        "pair": dict(zip(("colour", "shape"), explorer.pair, strict=True)) if explorer.pair else None,
        "hidden": {name: list(values) for name, values in explorer.hidden.items()},
        "background": explorer.background,
        "lines": dict(explorer.lines),
        "noun": explorer.noun,
        "views": dict(explorer.views),
    }
