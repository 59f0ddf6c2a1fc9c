"""The effect of each cause on effective robustness, with its interval: a panel per cause, in print and on the page.

Effects are those of the main measurement: beyond all in-distribution test sets. Verdicts are those of the table.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import TICKS_OF_WIDTH, axis_style
from whyrobust.report.findings import read_verdict
from whyrobust.report.number_format import describe_evidence, format_points, format_points_interval
from whyrobust.report.render import fit_width, page_spec
from whyrobust.report.theme import (
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    PAGE_THEME,
    PRINT_AXIS,
    PRINT_FONT_POINTS,
    SINGLE_COLUMN_POINTS,
    VERDICT_STYLES,
    VERDICT_WORDS,
    chart_of,
    configure_print,
    lookup_labels,
    print_legend,
    share_legend,
    text_width,
    wrap_text,
)
from whyrobust.study.display_names import NO_INTERVAL, NOT_MEASURED, capital, name_cause, name_test_set, verdict_key
from whyrobust.study.table_cells import is_missing

_ROW_POINTS: Final = 10.5

EFFECT_TITLE: Final = ("points of effective robustness", "beyond all in-distribution test sets")


@dataclass(frozen=True)
class CausesLayout:
    """What print and page set differently in a panel of a cause.

    Attributes:
        theme: `FILE_THEME` or `PAGE_THEME`.
        width: of the panel, not counting the names of the shifts.
        font: size of the text.
        row_height: height of a row.
        gutter: room for the names of the shifts, left of the panel.
        wrap_heading: breaks the name of a comparison into lines.
        wrap_label: breaks the name of a shift into lines.
        effect_axis: properties of the axis of effects.
        label_limit: width at which the name of a shift is cut off; 0 for none.
        legend: legend of the verdicts, or None.
        titled: whether the panel has the name of its cause as title; the page sets its own.
    """

    theme: Mapping[str, str]
    width: int
    font: float
    row_height: float
    gutter: int
    wrap_heading: Callable[[str], list[str]]
    wrap_label: Callable[[str], list[str]]
    effect_axis: Mapping[str, Any]
    label_limit: int = 0
    legend: Mapping[str, Any] | None = None
    titled: bool = False


def _shift_names(causes: pd.DataFrame, names: Mapping[str, str] | None) -> list[str]:
    return [name_test_set(shift, names) for shift in dict.fromkeys(causes["shift"])]


def print_layout(
    causes: pd.DataFrame, names: Mapping[str, str] | None = None, *, width: int = 300, total: int = DOUBLE_COLUMN_POINTS
) -> CausesLayout:
    """Return the layout of a panel ``width`` points wide in a figure of ``total`` points, with a legend."""
    font = PRINT_FONT_POINTS
    # As wide as the widest name, but never more than half of the panel; what is wider is wrapped.
    widest = max((text_width(name, font) for name in _shift_names(causes, names)), default=20)
    gutter = math.ceil(min(9 + widest, width))
    title = wrap_text("effect on effective robustness beyond all test sets (percentage points)", width, font)
    columns = 3 if total > SINGLE_COLUMN_POINTS else 1
    return CausesLayout(
        theme=FILE_THEME,
        width=width,
        font=font,
        row_height=_ROW_POINTS,
        gutter=gutter,
        wrap_heading=partial(wrap_text, width=width + gutter, size=font * 1.06),  # bold letters are wider
        wrap_label=partial(wrap_text, width=gutter - 8, size=font),
        effect_axis={"title": title, "tickCount": max(2, width // 30), **axis_style(FILE_THEME), **PRINT_AXIS},
        legend=print_legend(_verdicts_of(causes), total, columns, font, **VERDICT_WORDS),
        titled=True,
    )


def page_layout(causes: pd.DataFrame, letters: int = 46, title: Sequence[str] = EFFECT_TITLE) -> CausesLayout:
    """Return the layout of a panel on the page, the names of comparisons broken after so many letters."""
    gutter = min(8 + 7 * max((len(name) for name in _shift_names(causes, None)), default=4), 130)
    return CausesLayout(
        theme=PAGE_THEME,
        width=300,
        font=12,
        row_height=19,
        gutter=gutter,
        wrap_heading=partial(textwrap.wrap, width=letters),
        wrap_label=lambda text: [text],
        effect_axis={
            "title": title,
            "tickCount": TICKS_OF_WIDTH,
            **axis_style(PAGE_THEME),
        },
        label_limit=gutter,
    )


def causes_panel(
    causes: pd.DataFrame,
    cause: str,
    layout: CausesLayout,
    colours: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> alt.LayerChart:
    """Draw the comparisons of one cause: one interval per shift, on an axis that all causes share.

    Args:
        causes: all of ``causes.csv``, so that panels of one study have one axis. Effects are in percentage points.
        cause: the cause to draw.
        layout: `print_layout` or `page_layout`.
        colours: colours by verdict, instead of the default ones.
        names: display names of the shifts.

    Returns:
        The panel. A hollow point has pairs outside the span of the standard models; a missing effect says "not
        measured".
    """
    theme, font = layout.theme, layout.font
    rows = _position_rows(causes[causes["cause"] == cause], names, layout)
    x_channel, y_channel = _effect_channel(causes, layout), _row_channel(rows, layout)
    x, y = alt.X("effect:Q", **x_channel), alt.Y("row:Q", **y_channel)
    colour, shape = _verdict_channels(_verdicts_of(causes), colours or {}, layout.legend)
    tooltip = [
        alt.Tooltip("comparison:N", title="comparison"),
        alt.Tooltip("shift:N", title="shift"),
        alt.Tooltip("words:N", title="effect"),
        alt.Tooltip("told:N", title="verdict"),
        alt.Tooltip("evidence:N", title="evidence"),
    ]
    measured = chart_of([row for row in rows.effects if row["told"] != NOT_MEASURED])
    unmeasured = [row for row in rows.effects if row["told"] == NOT_MEASURED]
    headings = chart_of(rows.headings)
    layers = [
        chart_of([{"effect": 0}]).mark_rule(color=theme["muted"], strokeWidth=1.2).encode(x=x),
        measured.mark_rule(strokeWidth=0.2 * font, strokeCap="round", clip=True).encode(
            x=alt.X("low:Q", **x_channel), x2=alt.X2("high:Q"), y=y, color=colour
        ),
        *(
            measured.transform_filter(test)
            .mark_point(size=4.7 * font, opacity=1, strokeWidth=0.14 * font, **marks)
            .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
            for test, marks in (
                ("!datum.hollow", {"filled": True}),
                ("datum.hollow", {"filled": False, "fill": theme["paper"]}),
            )
        ),
        # A ground behind the headings, so that no line of the grid strikes them through.
        headings.mark_rect(color=theme["paper"], opacity=1).encode(
            x=alt.value(0), x2=alt.value("width"), y=alt.Y("top:Q", **y_channel), y2=alt.Y2("end:Q")
        ),
        headings.mark_text(
            align="left", baseline="middle", dx=-layout.gutter, color=theme["ink"], fontSize=font, fontWeight=600
        ).encode(x=alt.value(0), y=y, text=alt.Text("text:N")),
    ]
    if unmeasured:
        layers.append(
            chart_of(unmeasured)
            .mark_text(align="left", dx=6, color=theme["muted"], fontStyle="italic", fontSize=min(font, 11))
            .encode(x=alt.XDatum(0), y=y, text=alt.value(NOT_MEASURED), tooltip=tooltip)
        )
    title = alt.TitleParams(capital(name_cause(cause)), offset=0) if layout.titled else alt.Undefined
    # Not by `properties`, here and elsewhere: it would copy and validate the whole chart.
    return alt.layer(*layers, width=layout.width, height=round(layout.row_height * rows.height), title=title)


def causes_spec(
    causes: pd.DataFrame,
    cause: str,
    colours: Mapping[str, str] | None = None,
    letters: int = 46,
    title: Sequence[str] = EFFECT_TITLE,
) -> dict[str, Any]:
    """Return the panel of a cause as the page embeds it; ``title`` is that of the axis."""
    return page_spec(causes_panel(causes, cause, page_layout(causes, letters, title), colours))


def _effect_channel(causes: pd.DataFrame, layout: CausesLayout) -> dict[str, Any]:
    """Return scale and axis of the effects, the same for all causes."""
    low, high = _effect_domain(causes)
    signed = "(datum.value > 0 ? '+' : '') + format(datum.value, '~g')"
    return {
        "scale": {"domain": [low, high], "nice": False, "zero": False},
        "axis": dict(labelExpr=signed, **layout.effect_axis),
    }


def _row_channel(rows: PositionedRows, layout: CausesLayout) -> dict[str, Any]:
    """Return scale and axis of the rows, each labelled by its shift; names may repeat, so labels go by row."""
    return {
        "scale": {"domain": [rows.height, 0], "nice": False, "zero": False},
        "axis": {
            "title": None,
            "values": [float(row) for row in rows.labels],
            "labelExpr": lookup_labels(rows.labels, "format(datum.value, '.2f')"),
            "grid": False,
            "domain": False,
            "ticks": False,
            "labelPadding": 8,
            "labelColor": layout.theme["muted"],
            "labelLimit": layout.label_limit,
            "labelOverlap": False,
            "minExtent": layout.gutter,
            "maxExtent": layout.gutter,
        },
    }


def _verdicts_of(causes: pd.DataFrame) -> list[str]:
    """Return what the legend tells apart: the verdicts that occur, in their order."""
    found = {verdict_key(verdict) for verdict in causes["verdict"]}
    return [name for name in VERDICT_STYLES if name in found]


def _verdict_channels(
    verdicts: Sequence[str], colours: Mapping[str, str], legend: Mapping[str, Any] | None
) -> tuple[alt.Color, alt.Shape]:
    """Return colour and shape by verdict."""
    colour, shape = (
        channel("verdict:N", scale={"domain": list(verdicts), "range": values}, legend=legend)
        for channel, values in (
            (alt.Color, [colours.get(name, VERDICT_STYLES[name][0]) for name in verdicts]),
            (alt.Shape, [VERDICT_STYLES[name][1] for name in verdicts]),
        )
    )
    return colour, shape


def causes_chart(
    causes: pd.DataFrame,
    colours: Mapping[str, str] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 2,
) -> alt.HConcatChart:
    """Draw the effect of each cause with its interval: a panel per cause, a block per comparison, a row per shift.

    Args:
        causes: ``causes.csv``, drawn in the order of its rows.
        colours: colours by verdict, instead of the default ones.
        names: display names of the shifts.
        total: width of the whole figure in points.
        columns: stacks of panels side by side; the next panel goes to the stack that is shortest.

    Raises:
        ValueError: the table has no row.
    """
    if causes.empty:
        raise ValueError("the table of causes has no row: attribute at least one cause before drawing it")
    found = list(dict.fromkeys(causes["cause"]))
    across = min(columns, len(found))

    def draw(width: int, spare: float = 0.0) -> alt.HConcatChart:
        layout = print_layout(causes, names, width=width, total=total)
        stacks: list[list[alt.LayerChart]] = [[] for _ in range(across)]
        heights = [0.0] * across
        for cause in found:
            panel = causes_panel(causes, cause, layout, colours, names)
            shortest = heights.index(min(heights))
            stacks[shortest].append(panel)
            heights[shortest] += panel.height + 4 * _ROW_POINTS  # its title and axis
        chart = alt.hconcat(*(_stack(panels) for panels in stacks), spacing=14)
        return configure_print(share_legend(chart), spare)

    return draw(*fit_width(draw, total, across))


def least_height(causes: pd.DataFrame, *, total: int = DOUBLE_COLUMN_POINTS, columns: int = 2) -> float:
    """Return a height in points that `causes_chart` exceeds, without drawing it: of its rows and texts, evenly stacked.

    Args:
        causes: as of `causes_chart`; with at least one row.
        total: as of `causes_chart`.
        columns: as of `causes_chart`.
    """
    found = list(dict.fromkeys(causes["cause"]))
    across = min(columns, len(found))
    # No panel gets wider, and in a narrower one no text has fewer lines.
    layout = print_layout(causes, width=total // across, total=total)
    rows = (_position_rows(causes[causes["cause"] == cause], None, layout) for cause in found)
    texts = 3 * layout.font  # a panel's title, the labels of its axis and the title of that
    return sum(layout.row_height * positioned.height + texts for positioned in rows) / across


def _stack(panels: Sequence[alt.LayerChart]) -> alt.VConcatChart:
    return share_legend(alt.vconcat(*panels, spacing=10))


@dataclass(frozen=True)
class PositionedRows:
    """The rows of one cause from the top: effects, names of shifts by row, lines of headings, and height in rows."""

    effects: Sequence[Mapping[str, Any]]
    labels: Mapping[str, str | list[str]]
    headings: Sequence[Mapping[str, Any]]
    height: float


def _position_rows(rows: pd.DataFrame, names: Mapping[str, str] | None, layout: CausesLayout) -> PositionedRows:
    """Stack the rows of one cause from the top: a heading per comparison, then its shifts."""
    effects: list[dict[str, Any]] = []
    labels: dict[str, str | list[str]] = {}
    headings: list[dict[str, Any]] = []
    top = 0.0
    for comparison in dict.fromkeys(rows["comparison"]):
        for text in layout.wrap_heading(comparison) or [""]:
            headings.append({"row": top + 0.6, "top": top - 0.1, "end": top + 0.95, "text": text})
            top += 0.85
        top += 0.15
        for row in rows[rows["comparison"] == comparison].to_dict("records"):
            lines = layout.wrap_label(name_test_set(row["shift"], names))
            centre = round(top + 0.5, 2)  # beside the first line of its name
            labels[f"{centre:.2f}"] = lines
            effects.append(_effect_row(row, centre, name_test_set(row["shift"], names)))
            top = centre + len(lines) - 0.5
        top = round(top + 0.4, 2)
    return PositionedRows(effects, labels, headings, top)


def _effect_row(row: Mapping[Any, Any], centre: float, shift: str) -> dict[str, Any]:
    """Return what the marks of one effect need; an effect without an interval has one of no length."""
    effect, low, high = row["effect_points"], row["low_points"], row["high_points"]
    interval = format_points_interval(low, high) or NO_INTERVAL
    values = {
        "row": centre,
        "comparison": row["comparison"],
        "shift": shift,
        "effect": effect,
        "low": effect if is_missing(low) else low,
        "high": effect if is_missing(high) else high,
        "verdict": verdict_key(row["verdict"]),
        "told": read_verdict(row),
        "hollow": not is_missing(row.get("extrapolated_pairs")) and row["extrapolated_pairs"] > 0,
        "words": f"{format_points(effect)} points ({interval})",
        "evidence": row.get("evidence") or describe_evidence(row.get("pairs"), row.get("seeds")),
    }
    return {name: None if is_missing(value) else value for name, value in values.items()}


def _effect_domain(causes: pd.DataFrame) -> tuple[float, float]:
    """Return the span of the effects and their intervals, zero and a margin included."""
    values = causes[["effect_points", "low_points", "high_points"]].to_numpy(dtype=float).ravel()
    finite = [float(value) for value in values if math.isfinite(value)] + [0.0]
    low, high = min(finite), max(finite)
    margin = max(0.06 * (high - low), 0.5)
    return low - margin, high + margin
