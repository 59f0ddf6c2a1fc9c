"""Effective robustness: models as points against the line of the standard models, one panel per shift.

`shift_panel` and `panel_layers` are shared by print (`robustness_chart`, `published_chart`) and page (`explorer`). The
two differ in axes, in data (tables, or a data set that the reader filters) and in what gives a point its colour
(`PointMarks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import accuracy_axis, accuracy_domain
from whyrobust.report.charts.baseline import PanelAxes, describe_fits, equality_layers, line_layers, position_line
from whyrobust.report.charts.points import (
    POINT_TOOLTIPS,
    clip_to_panel,
    describe_published,
    measured_points,
    position_points,
)
from whyrobust.report.render import fit_width
from whyrobust.report.theme import (
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    NEUTRAL,
    PRINT_AXIS,
    PRINT_FONT_POINTS,
    SINGLE_COLUMN_POINTS,
    chart_of,
    choose_styles,
    configure_print,
    print_legend,
    share_legend,
    text_width,
    wrap_text,
)
from whyrobust.study.display_names import name_test_set

EDGE_ANGLES: Final = {"left": 270, "right": 90, "bottom": 180, "top": 0}
"""Degrees by which a triangle is turned where a point lies beyond that edge of a panel."""


@dataclass(frozen=True)
class RobustnessData:
    """What the charts of effective robustness show.

    Attributes:
        points: rows of ``effective_robustness.csv`` with ``kind`` and ``words`` (see `describe_points`), and
            ``train_images`` where the area of a point shall show it. Accuracies are fractions.
        baselines: ``baselines.csv``; a shift without a row has no line.
        bands: ``baseline_bands.csv``.
        scale: ``logit``, ``probit`` or ``linear``.
        names: display names of test sets, where the default (underscores as spaces) will not do.
    """

    points: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    scale: str = "logit"
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def shifts(self) -> list[str]:
        """The shifts, in the order of the points."""
        return list(dict.fromkeys(self.points["shift"]))


@dataclass(frozen=True)
class ShiftPanel:
    """One shift, positioned.

    Attributes:
        points: measured points.
        rows: of the chart, in the order of the points.
        line: rows of `position_line`.
        x_span: ends of the x axis on the transformed scale.
        y_span: ends of the y axis.
        x_title: of the axis.
        y_title: of the axis.
        of_residuals: whether y is what accuracy on the shift has beyond its prediction, on the scale, and not accuracy.
    """

    points: pd.DataFrame
    rows: Sequence[Mapping[str, Any]]
    line: Sequence[Mapping[str, Any]]
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    x_title: str
    y_title: str
    of_residuals: bool = False


@dataclass(frozen=True)
class Mark:
    """Properties of a mark and its channels beside x and y."""

    properties: Mapping[str, Any]
    channels: Mapping[str, Any]


@dataclass(frozen=True)
class PointMarks:
    """How points are drawn: inside the span of the standard models, outside it, and beyond an edge of the panel.

    ``bar`` draws the intervals of both accuracies; without it there are none.
    """

    filled: Mark
    hollow: Mark
    triangle: Mark
    bar: Mark | None = None


@dataclass(frozen=True)
class PointCharts:
    """Charts of the points of a panel, by where they lie: inside it, beyond each edge, and those that have bars."""

    inside: alt.Chart
    beyond: Mapping[str, alt.Chart]
    with_bars: alt.Chart


def shift_panel(data: RobustnessData, shift: str, sizes: tuple[float, float]) -> ShiftPanel:
    """Position everything that the panel of a shift shows; ``sizes`` as in `position_points`."""
    points = measured_points(data.points, shift)
    rows = position_points(points, data.points, data.scale, sizes)
    line = position_line(data.baselines, data.bands, shift, data.scale)
    x_span, y_span = (accuracy_domain(rows, line, axis, data.scale) for axis in ("x", "y"))
    x_test_set = rows[0]["x_name"] if rows else _axis_of_baseline(data.baselines, shift)
    x_title, y_title = (f"accuracy on {name_test_set(name, data.names)}" for name in (x_test_set, shift))
    return ShiftPanel(points, clip_to_panel(rows, x_span, y_span), line, x_span, y_span, x_title, y_title)


def _axis_of_baseline(baselines: pd.DataFrame, shift: str) -> str:
    """Return the test set of a shift's x axis where no point tells it."""
    known = baselines.loc[baselines["shift"] == shift, "x_test_set"].dropna() if len(baselines) else baselines
    return str(known.iloc[0]) if len(known) else "the test set"


def panel_layers(
    panel: ShiftPanel,
    axes: PanelAxes,
    charts: PointCharts,
    marks: PointMarks,
    theme: Mapping[str, str],
    font: float,
) -> list[alt.Chart]:
    """Draw a panel: the line and its band, the line of equal accuracies, intervals, points, triangles on the edges."""
    layers = line_layers(panel.line, axes, theme)
    layers += [] if panel.of_residuals else equality_layers(axes, theme, font, panel.rows)
    x, y = axes.x(), axes.y()
    if marks.bar is not None:
        bars, channels = charts.with_bars.mark_rule(**marks.bar.properties), marks.bar.channels
        layers += [
            bars.encode(x=x, y=axes.y("y_low"), y2=alt.Y2("y_high:Q"), **channels),
            bars.encode(x=axes.x("x_low"), x2=alt.X2("x_high:Q"), y=y, **channels),
        ]
    layers += [
        charts.inside.transform_filter(test).mark_point(**mark.properties).encode(x=x, y=y, **mark.channels)
        for test, mark in (("!datum.hollow", marks.filled), ("datum.hollow", marks.hollow))
    ]
    layers += [
        chart.mark_point(shape="triangle", angle=EDGE_ANGLES[edge], filled=False, **marks.triangle.properties).encode(
            x=x, y=y, **marks.triangle.channels
        )
        for edge, chart in charts.beyond.items()
    ]
    return layers


def point_tooltip() -> list[alt.Tooltip]:
    """Return what pointing at a model shows."""
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in POINT_TOOLTIPS.items()]


# ---------------------------------------------------------------- print


@dataclass(frozen=True)
class PrintLayout:
    """Sizes and marks of a panel in print.

    Attributes:
        width: of the panel in points.
        height: of the panel in points.
        font: size of the text in the panel; titles and the legend are wrapped for it.
        legend_width: width of the legend, within which its entries are wrapped.
        legend_columns: entries of the legend side by side.
        intervals: whether the intervals of both accuracies are drawn.
        sizes: area of the smallest and the largest training set.
        opacity: of the points, from 0 to 1.
    """

    width: int = 340
    height: int = 300
    font: float = 11
    legend_width: float = 420
    legend_columns: int = 2
    intervals: bool = True
    sizes: tuple[float, float] = (40, 125)
    opacity: float = 0.9

    @property
    def title_room(self) -> float:
        """Room for a title: up to the next panel."""
        return self.width + 1.2 * self.font


DrawPanel = Callable[[RobustnessData, str, Mapping[str, tuple[str, str]], PrintLayout], alt.LayerChart]


def robustness_panel(
    data: RobustnessData, shift: str, styles: Mapping[str, tuple[str, str]], layout: PrintLayout
) -> alt.LayerChart:
    """Draw one shift in print: accuracy on the shift against in-distribution accuracy.

    Args:
        data: what is shown.
        shift: the shift to draw.
        styles: colour and shape of each kind (see `choose_styles`).
        layout: sizes.

    Returns:
        The panel. A point with accuracy 0 or 1, which has no finite value on a logit axis, is a triangle on the edge.
    """
    panel = shift_panel(data, shift, layout.sizes)
    fits = "; ".join(describe_fits(data.baselines, shift)).replace("R² ", "R²\N{NO-BREAK SPACE}")
    subtitle = f"line fitted to {fits}" if fits else "no baseline"
    if text_width(subtitle, layout.font) > layout.title_room:
        subtitle = f"fit: {fits}"
    axes = print_axes(panel, data.scale, layout)
    return print_panel(panel, axes, styles, layout, (name_test_set(shift, data.names), subtitle))


def print_panel(
    panel: ShiftPanel,
    axes: PanelAxes,
    styles: Mapping[str, tuple[str, str]],
    layout: PrintLayout,
    titles: tuple[str, str],
) -> alt.LayerChart:
    """Draw a positioned panel in print, with a title and a line below it."""
    inside = chart_of([row for row in panel.rows if not row["edge"]])
    beyond = {edge: [row for row in panel.rows if row["edge"] == edge] for edge in EDGE_ANGLES}
    charts = PointCharts(inside, {edge: chart_of(rows) for edge, rows in beyond.items() if rows}, inside)
    layers = panel_layers(panel, axes, charts, _print_marks(styles, layout), FILE_THEME, layout.font)
    title, below = (wrap_text(text, layout.title_room, layout.font) for text in titles)
    return alt.layer(
        *layers, width=layout.width, height=layout.height, title=alt.TitleParams(title, subtitle=below, frame="group")
    )


def print_axes(panel: ShiftPanel, scale: str, layout: PrintLayout) -> PanelAxes:
    """Return the axes of a panel of accuracies in print."""
    width, height, font = layout.width, layout.height, layout.font
    # Labels stay beside the panel: half of one would reach out at either end. Room for a label and a gap: "12.5%"
    # across, one line upward.
    x_most, y_most = (max(2, min(7, int(side / (n * font)))) for side, n in ((width, 3.4), (height, 2)))
    x_axis = accuracy_axis(
        panel.x_span, scale, wrap_text(panel.x_title, width, font), FILE_THEME, x_most, 1.3 * font / width, **PRINT_AXIS
    )
    y_axis = accuracy_axis(
        panel.y_span, scale, wrap_text(panel.y_title, height, font), FILE_THEME, y_most, 0.6 * font / height,
        **PRINT_AXIS, minExtent=3.4 * font,
    )  # fmt: skip
    return panel_axes(panel, x_axis, y_axis, (width, height))


def panel_axes(
    panel: ShiftPanel, x_axis: Mapping[str, Any], y_axis: Mapping[str, Any], size: tuple[int, int]
) -> PanelAxes:
    """Return the axes of a panel over its spans."""
    x_channel, y_channel = (
        {"scale": {"domain": list(span), "nice": False, "zero": False}, "axis": axis}
        for span, axis in ((panel.x_span, x_axis), (panel.y_span, y_axis))
    )
    return PanelAxes(panel.x_span, panel.y_span, size, x_channel, y_channel)


def _print_marks(styles: Mapping[str, tuple[str, str]], layout: PrintLayout) -> PointMarks:
    """Return marks whose colour and shape follow the kind of training, with a legend."""
    kinds = list(styles)
    legend = print_legend(kinds, layout.legend_width, layout.legend_columns, layout.font)
    colour, shape = (
        channel("kind:N", scale={"domain": kinds, "range": [styles[kind][part] for kind in kinds]}, legend=legend)
        for part, channel in enumerate((alt.Color, alt.Shape))
    )
    tooltip = point_tooltip()
    channels = {
        "color": colour,
        "shape": shape,
        "size": alt.Size("size:Q", scale=None, legend=None),
        "tooltip": tooltip,
    }
    filled, hollow = (0.6, 1.5) if layout.intervals else (0.25, 1)
    shared, paper = {"opacity": layout.opacity}, FILE_THEME["paper"]
    return PointMarks(
        filled=Mark({"filled": True, **shared, "stroke": paper, "strokeWidth": filled}, channels),
        hollow=Mark({"filled": False, **shared, "fill": paper, "strokeWidth": hollow}, channels),
        triangle=Mark({"size": 50, "strokeWidth": 1.2}, {"color": colour, "tooltip": tooltip}),
        bar=Mark({"strokeWidth": 1, "opacity": 0.45, "clip": True}, {"color": colour}) if layout.intervals else None,
    )


def robustness_chart(
    data: RobustnessData,
    colours: Mapping[str, str] | None = None,
    *,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 2,
) -> alt.ConcatChart:
    """Draw effective robustness, one panel per shift (Taori et al. 2020, figure 2; Fang et al. 2022, figure 1).

    Args:
        data: what is shown.
        colours: colours that replace the default ones, by kind.
        total: width of the whole figure in points.
        columns: panels side by side.

    Raises:
        ValueError: there is no shift to draw.
    """
    styles = choose_styles(data.points["kind"].tolist(), colours)
    sizes = (14, 44) if total > SINGLE_COLUMN_POINTS else (9, 26)
    return draw_panels(data, robustness_panel, styles, PrintLayout(sizes=sizes), total, columns)


def published_chart(
    data: RobustnessData,
    colours: Mapping[str, str] | None = None,
    *,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 3,
) -> alt.ConcatChart:
    """Draw published models with the lines of the standard ones (Fang et al. 2022, figure 1).

    Args:
        data: the columns of ``effective_robustness.csv``, ``run`` being the model's name, with ``collection`` (a name
            that starts with "standard" is drawn grey); baselines and bands of the published models.
        colours: colours that replace the default ones, by collection.
        total: width of the whole figure in points.
        columns: panels side by side.

    Raises:
        ValueError: there is no shift to draw.
    """
    described = describe_published(data.points)
    styles = choose_published_styles(described["kind"].tolist(), colours)
    layout = PrintLayout(intervals=False, sizes=(9, 9), opacity=0.75)
    return draw_panels(replace(data, points=described), robustness_panel, styles, layout, total, columns)


def choose_published_styles(
    kinds: Sequence[str], colours: Mapping[str, str] | None = None
) -> dict[str, tuple[str, str]]:
    """Choose styles as `choose_styles` does, with the standard models in grey."""
    unique = list(dict.fromkeys(kinds))
    given = dict(colours or {})
    standard = [kind for kind in unique if kind.startswith("standard")]
    others = choose_styles([kind for kind in unique if kind not in standard], given)
    return {kind: (given.get(kind, NEUTRAL), "circle") for kind in standard} | others


def draw_panels(
    data: RobustnessData,
    draw_panel: DrawPanel,
    styles: Mapping[str, tuple[str, str]],
    layout: PrintLayout,
    total: int,
    columns: int,
) -> alt.ConcatChart:
    """Draw all shifts with one legend, ``total`` points wide; ``draw_panel`` draws one."""
    if not data.shifts:
        raise ValueError("the effective robustness table has no row: measure at least one run on one shift")
    across = min(columns, len(data.shifts))

    def draw(width: int, shown: RobustnessData, spare: float = 0.0) -> alt.ConcatChart:
        sized = replace(
            layout, width=width, height=max(90, min(220, round(0.75 * width))), font=PRINT_FONT_POINTS,
            legend_width=total, legend_columns=2 if total > SINGLE_COLUMN_POINTS else 1,
        )  # fmt: skip
        panels = [draw_panel(shown, shift, styles, sized) for shift in data.shifts]
        chart = alt.concat(*panels, columns=across, spacing=12)
        return configure_print(share_legend(chart, ("color", "shape")), spare)

    # Hundreds of models take seconds to draw, and the outermost ones alone give the same axes.
    outermost = replace(data, points=_outermost(data.points))
    width, spare = fit_width(lambda width: draw(width, outermost), total, across)
    return draw(width, data, spare)


def _outermost(points: pd.DataFrame) -> pd.DataFrame:
    """Choose the points that set the ends of the axes: the least and the largest of each column, by shift."""
    ends = ["id_accuracy", "shift_accuracy", "id_low", "id_high", "shift_low", "shift_high"]
    ends += ["mean_id_accuracy", "residual", "residual_low", "residual_high"]
    chosen: set[Any] = set()
    for _, rows in points.reset_index(drop=True).groupby("shift"):
        for name in [end for end in ends if end in rows]:
            known = rows[name].dropna().sort_values()
            within = known[(known > 0) & (known < 1)]  # accuracies of 0 and 1 are not on the axis but on its edge
            chosen |= {*known.index[:1], *known.index[-1:], *within.index[:1], *within.index[-1:]}
    return points.reset_index(drop=True).loc[sorted(chosen)]
