"""Residuals by shift: what accuracy on a shift has beyond its prediction from all in-distribution test sets.

The same panels as those of accuracies (`robustness`), in print and on the page: a point a model, zero in place of the
line. Residuals are on the scale of the fit; the axis is labelled in points at the reference accuracy, as effects are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.analysis.scales import to_scale
from whyrobust.report.accuracy_axes import accuracy_domain, axis_style
from whyrobust.report.charts.baseline import BAND_DEVIATIONS
from whyrobust.report.charts.points import position_points
from whyrobust.report.charts.robustness import (
    PrintLayout,
    RobustnessData,
    ShiftPanel,
    draw_panels,
    panel_axes,
    print_axes,
    print_panel,
)
from whyrobust.report.number_format import format_points, join_words
from whyrobust.report.theme import (
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    PRINT_AXIS,
    SINGLE_COLUMN_POINTS,
    choose_styles,
    wrap_text,
)
from whyrobust.study.display_names import count_noun, name_test_set
from whyrobust.study.restricted_names import split_restricted_name
from whyrobust.study.table_cells import is_missing

#: Points that an axis may be labelled with, on both sides of zero.
_TICKS: Final = (0.5, 1, 2, 3, 5, 10, 15, 20, 25, 30, 35, 40, 45)


def residual_points(points: pd.DataFrame, shift: str) -> pd.DataFrame:
    """Return the points of a shift that have a residual and an accuracy in distribution."""
    finite = points["residual"].map(math.isfinite) & points["mean_id_accuracy"].notna()
    return points[(points["shift"] == shift) & finite]


def residual_panel(
    data: RobustnessData,
    shift: str,
    sizes: tuple[float, float],
    spans: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> ShiftPanel:
    """Position the residuals of a shift.

    Args:
        data: points with ``residual``, its interval ``residual_low, residual_high`` and ``mean_id_accuracy``.
        shift: the shift.
        sizes: as in `position_points`.
        spans: of the axes x and y, where panels share them; those of the points if there are none.
    """
    points = residual_points(data.points, shift)
    on_axis = points.assign(id_accuracy=points["mean_id_accuracy"], id_low=math.nan, id_high=math.nan)
    positioned = position_points(on_axis, data.points, data.scale, sizes)
    shown = position_points(points, data.points, data.scale, sizes)  # its words tell the accuracies as they are
    rows = [
        {**words, "x": row["x"], "x_low": row["x"], "x_high": row["x"], **_residual_ends(point)}
        | {"edge": "" if math.isfinite(row["x"]) else "left" if row["x"] < 0 else "right"}
        for row, words, point in zip(positioned, shown, points.to_dict("records"), strict=True)
    ]
    x_span, y_span = spans or (accuracy_domain(rows, [], "x", data.scale), residual_span(rows))
    low, high = x_span
    # An accuracy of 0 or 1 has no finite place: it is shown at the edge.
    rows = [row | dict.fromkeys(("x", "x_low", "x_high"), min(max(row["x"], low), high)) for row in rows]
    reach = BAND_DEVIATIONS * standard_deviation(points)
    zero = [{"x": x, "y": 0.0, "low": -reach, "high": reach, "dash": [1, 0], "piece": 0} for x in x_span]
    sets = str(points["x_test_sets"].iloc[0]).split() if len(points) else []
    whole, parts = zip(*map(split_restricted_name, sets), strict=True) if sets else ((), ())
    named = join_words([name_test_set(name, data.names) for name in whole])
    classes = f" (classes of {name_test_set(parts[0], data.names)})" if parts and parts[0] else ""
    x_title = f"{'mean ' if len(sets) > 1 else ''}accuracy on {named}{classes}"
    y_title = f"effective robustness on {name_test_set(shift, data.names)}, points"
    return ShiftPanel(points, rows, zero, x_span, y_span, x_title, y_title, of_residuals=True)


def standard_deviation(points: pd.DataFrame) -> float:
    """Return the standard deviation of the residuals of standard models about their fit; 0 where they are too few.

    Args:
        points: of one shift. A fit over k test sets has k slopes and an intercept, which are no degrees of freedom.
    """
    if "standard" not in points or points.empty:
        return 0.0
    residuals = points.loc[points["standard"].astype(bool), "residual"]
    freedom = len(residuals) - 1 - len(str(points["x_test_sets"].iloc[0]).split())
    return round(math.sqrt(float((residuals**2).sum()) / freedom), 4) if freedom > 0 else 0.0


def shared_spans(
    data: RobustnessData, sizes: tuple[float, float], compared: Collection[str]
) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """Return the spans of the axes x and y of each shift: one scale for all that are compared.

    Args:
        data: as of `residual_panel`.
        sizes: as in `position_points`.
        compared: shifts that take part in verdicts, all if there are none. The others, which may be measured on few
            images, have the same scale, wider where their points need it.
    """
    own = {shift: residual_panel(data, shift, sizes) for shift in data.shifts}
    leading = [own[shift] for shift in own if shift in compared] or list(own.values())
    across = _join([panel.x_span for panel in own.values()])
    height = _join([panel.y_span for panel in leading])
    return {shift: (across, height if shift in compared else _join([height, own[shift].y_span])) for shift in own}


def _join(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the smallest span that holds all of them."""
    return min(low for low, _ in spans), max(high for _, high in spans)


def _residual_ends(point: Mapping[Any, Any]) -> dict[str, float]:
    """Return a residual with its interval; one of no length where there is none."""
    ends = {
        end: point["residual"] if is_missing(point[name]) else point[name]
        for end, name in (("y_low", "residual_low"), ("y_high", "residual_high"))
    }
    return {name: round(value, 4) for name, value in ({"y": point["residual"]} | ends).items()}


def residual_span(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the span of the residuals with zero, their intervals within reason, and a margin."""
    values = [row["y"] for row in rows] + [0.0]
    low, high = min(values), max(values)
    reach = max(0.5 * (high - low), 0.05)
    ends = [row[name] for row in rows for name in ("y_low", "y_high")]
    low, high = max(min([low, *ends]), low - reach), min(max([high, *ends]), high + reach)
    margin = max(0.06 * (high - low), 0.02)
    return low - margin, high + margin


def residual_axis(
    span: tuple[float, float],
    scale: str,
    reference: float,
    title: str | list[str],
    theme: Mapping[str, str],
    most: int = 7,
    **properties: Any,  # noqa: ANN401 - properties of an axis
) -> dict[str, Any]:
    """Return an axis of residuals, labelled in points at the reference accuracy.

    Args:
        span: ends of the axis on the scale.
        scale: ``logit``, ``probit`` or ``linear``.
        reference: accuracy under shift at which a residual is spelt out in points.
        title: of the axis; a list is shown as lines.
        theme: colours.
        most: about how many labels there is room for.
        properties: further properties of the axis.
    """
    places = {0.0: 0.0}
    for tick in (sign * tick for tick in _TICKS for sign in (1, -1)):
        accuracy = reference + tick / 100
        if 0 < accuracy < 1:
            places[tick] = float(to_scale(accuracy, scale) - to_scale(reference, scale))
    gap = (span[1] - span[0]) / most
    chosen: dict[float, float] = {}
    # Round points first: zero, tens, fives, and then what is between.
    for tick in sorted(places, key=lambda tick: (tick % 10 != 0, tick % 5 != 0, abs(tick))):
        place = places[tick]
        if span[0] <= place <= span[1] and all(abs(place - other) >= gap for other in chosen.values()):
            chosen[tick] = place
    ordered = dict(sorted(chosen.items()))
    lookup = {f"{place + 100:.4f}": f"{format_points(tick).removesuffix('.0')}" for tick, place in ordered.items()}
    return dict(
        values=list(ordered.values()),
        labelExpr=f"({json.dumps(lookup)})[format(datum.value + 100, '.4f')]",
        title=title,
        **(axis_style(theme) | properties),
    )


def residual_chart(
    data: RobustnessData,
    reference: float,
    colours: Mapping[str, str] | None = None,
    *,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 2,
) -> alt.ConcatChart:
    """Draw the residuals of all models in print, one panel per shift.

    Args:
        data: what is shown; see `residual_panel`.
        reference: accuracy under shift at which a residual is spelt out in points.
        colours: colours that replace the default ones, by kind.
        total: width of the whole figure in points.
        columns: panels side by side.

    Raises:
        ValueError: there is no shift to draw.
    """

    def draw_panel(
        shown: RobustnessData, shift: str, styles: Mapping[str, tuple[str, str]], layout: PrintLayout
    ) -> alt.LayerChart:
        panel = residual_panel(shown, shift, layout.sizes)
        across = print_axes(panel, shown.scale, layout)
        height, font = layout.height, layout.font
        title = wrap_text("points beyond the prediction", height, font)
        y_axis = residual_axis(
            panel.y_span, shown.scale, reference, title, FILE_THEME, max(2, int(height / (2 * font))),
            **PRINT_AXIS, minExtent=3.4 * font,
        )  # fmt: skip
        axes = panel_axes(panel, across.x_channel["axis"], y_axis, (layout.width, height))
        models = residual_points(data.points, shift)
        titles = (name_test_set(shift, shown.names), count_noun(len(models), "model"))
        return print_panel(panel, axes, styles, layout, titles)

    sizes = (14, 44) if total > SINGLE_COLUMN_POINTS else (9, 26)
    styles = choose_styles(data.points["kind"].tolist(), colours)
    return draw_panels(data, draw_panel, styles, PrintLayout(sizes=sizes), total, columns)
