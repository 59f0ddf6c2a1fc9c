"""Axes of accuracy on a logit, probit or linear scale, with round ticks labelled in percent.

Vega-Lite has no logit scale: accuracies are transformed here, and tick labels turn them back into percent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from whyrobust.analysis.scales import to_scale
from whyrobust.study.table_cells import is_missing


def transform_accuracy(accuracy: float, scale: str) -> float:
    """Return the position of one accuracy on a chart's axis, as `to_scale`.

    Returns:
        The position; minus or plus infinity where accuracy 0 or 1 has no finite one, NaN if there is no accuracy.

    Raises:
        ValueError: The accuracy is outside 0..1, or the scale is not ``logit``, ``probit`` or ``linear``.
    """
    if is_missing(accuracy):
        return math.nan
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}: accuracies are fractions from 0 to 1, not percent")
    return float(to_scale(accuracy, scale))


def choose_ticks(low: float, high: float, scale: str, most: int = 7) -> list[float]:
    """Choose round accuracies to label an axis with, spread out on the transformed scale.

    Args:
        low: Lower end of the axis, on the transformed scale.
        high: Upper end of the axis, on the transformed scale.
        scale: ``logit``, ``probit`` or ``linear``.
        most: About how many ticks there is room for.

    Returns:
        Accuracies (fractions) in rising order, all inside the axis; rounder ones are preferred.
    """
    tens = [0.5, 0.1, 0.9, 0.01, 0.99, 0.2, 0.8, 0.3, 0.7, 0.05, 0.95, 0.4, 0.6, 0.02, 0.98, 0.001, 0.999]
    tiers = [
        [*tens, 0.0, 1.0, 0.005, 0.995, 0.002, 0.998, 0.0001, 0.9999],
        [k / 20 for k in range(1, 20)],
        [k / 100 for k in range(1, 100)],
        [k / 1000 for k in range(1, 1000)],
        [k / 10000 for k in range(1, 10000)],
    ]
    gap = (high - low) / most
    chosen: list[tuple[float, float]] = []
    for tier in tiers:
        for accuracy, position in zip(tier, to_scale(tier, scale).tolist(), strict=True):
            if low <= position <= high and all(abs(position - other) >= gap for other, _ in chosen):
                chosen.append((position, accuracy))
        if len(chosen) >= (4 if most > 5 else 2):
            break
    return [accuracy for _, accuracy in sorted(chosen)]


def accuracy_axis(
    span: tuple[float, float],
    scale: str,
    title: str | list[str],
    theme: Mapping[str, str],
    most: int = 7,
    margin: float = 0.0,
    **properties: Any,  # noqa: ANN401 - properties of an axis
) -> dict[str, Any]:
    """Return an axis in transformed accuracy with labels in percent.

    Args:
        span: ends of the axis on the transformed scale.
        scale: ``logit``, ``probit`` or ``linear``.
        title: of the axis; a list is shown as lines.
        theme: colours.
        most: about how many labels there is room for.
        margin: share of the axis at either end that has no label.
        properties: further properties of the axis.
    """
    low, high = span
    edge = margin * (high - low)
    ticks = choose_ticks(low + edge, high - edge, scale, most)
    values = [transform_accuracy(tick, scale) for tick in ticks]
    # Looked up by value: the same expression serves every scale, and no rounding of an inverse shows.
    # Shifted by 100, since d3 writes negative numbers with a typographic minus.
    lookup = {f"{value + 100:.4f}": f"{100 * tick:.4g}%" for value, tick in zip(values, ticks, strict=True)}
    return dict(
        values=values,
        labelExpr=f"({json.dumps(lookup)})[format(datum.value + 100, '.4f')]",
        title=title,
        **(axis_style(theme) | properties),
    )


#: ``tickCount`` of an axis of effects on the page: fewer in narrow plots, where labels would overlap.
TICKS_OF_WIDTH: Final = {"expr": "clamp(floor(width / 50), 2, 6)"}


def axis_style(theme: Mapping[str, str]) -> dict[str, Any]:
    """Return the style of every axis in a theme, as properties of a Vega-Lite axis."""
    return {
        "gridColor": theme["grid"],
        "labelColor": theme["muted"],
        "titleColor": theme["ink"],
        "tickColor": theme["grid"],
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
    }


def accuracy_domain(
    points: Sequence[Mapping[str, Any]], line: Sequence[Mapping[str, Any]], axis: str, scale: str
) -> tuple[float, float]:
    """Return the span of an axis on the transformed scale: every point, its interval within reason, and a margin.

    Args:
        points: rows of `position_points`.
        line: rows of `position_line`, which give the span if there is no point.
        axis: ``x`` or ``y``.
        scale: ``logit``, ``probit`` or ``linear``.
    """
    values = [row[axis] for row in points if math.isfinite(row[axis])] or [row[axis] for row in line]
    if not values:
        return (0.0, 1.0) if scale == "linear" else (-2.0, 2.0)
    low, high = min(values), max(values)
    # The bar of one point on few images must not squeeze all the others.
    reach = max(0.6 * (high - low), 0.35 if scale != "linear" else 0.05)
    ends = [row[f"{axis}_{side}"] for row in points for side in ("low", "high")]
    ends = [end for end in ends if end is not None and math.isfinite(end)]
    low = max(min([low, *ends]), low - reach)
    high = min(max([high, *ends]), high + reach)
    margin = max(0.05 * (high - low), 0.08 if scale != "linear" else 0.01)
    if scale == "linear":
        return max(low - margin, -0.01), min(high + margin, 1.01)
    return low - margin, high + margin
