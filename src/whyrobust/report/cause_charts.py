"""Charts of the causes: the effect of each comparison on each shift with its interval.

Stands alone beside `robustness_figures`: it shows ``causes.csv`` and knows nothing of models.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import axis_look
from whyrobust.report.number_format import describe_evidence, format_points, is_missing, judge_effect
from whyrobust.report.render import fit_width
from whyrobust.report.theme import (
    _PRINT_AXIS,
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    PRINT_FONT_POINTS,
    SINGLE_COLUMN_POINTS,
    VERDICT_COLOURS,
    VERDICT_SHAPES,
    VERDICT_WORDS,
    chart_of,
    configure_print,
    lookup_labels,
    print_legend,
    share_legend,
    text_width,
    wrap_text,
)
from whyrobust.study.display_names import VERDICTS, capital, name_cause, name_test_set


def causes_panel(
    causes: pd.DataFrame,
    cause: str,
    colours: Mapping[str, str] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    theme: Mapping[str, str] = FILE_THEME,
    width: int = 300,
    wrap: int = 46,
    total: int | None = None,
    for_page: bool = False,
) -> alt.LayerChart:
    """Draw the comparisons of one cause: an interval a shift, on an axis that all causes share.

    Args:
        causes: All of ``causes.csv``, so that panels of one study have one axis. Effects are in percentage points.
        cause: The cause to draw.
        colours: Colours of ``raises``, ``lowers`` and ``unclear``, in place of the default ones.
        names: Shifts in words.
        theme: ``FILE_THEME`` or ``PAGE_THEME``.
        width: Width in pixels, not counting the names of the shifts.
        wrap: Letters a line in the heading of a comparison.
        total: Width of the whole figure in print, in points: text is of print's size, headings are wrapped within
            the panel, and there is a legend. None for a panel on a screen.
        for_page: Leave out the title, which the page sets itself.

    Returns:
        The panel. Filled points have an interval that leaves out zero; a missing effect says "not measured".
    """
    look = {**VERDICT_COLOURS, **(colours or {})}
    font, row_height = (12, _ROW_PIXELS) if total is None else (PRINT_FONT_POINTS, _ROW_POINTS)
    shifts = [name_test_set(shift, names) for shift in dict.fromkeys(causes["shift"])]
    if total is None:
        gutter = min(8 + 7 * max((len(name) for name in shifts), default=4), 130)
        wrap_heading, wrap_label = partial(textwrap.wrap, width=wrap), _one_line
    else:
        # As wide as the widest name, but never more than half of the panel; what is wider is wrapped.
        gutter = math.ceil(min(9 + max((text_width(name, font) for name in shifts), default=20), width))
        wrap_heading = partial(wrap_text, width=width + gutter, size=font * 1.06)  # bold letters are wider
        wrap_label = partial(wrap_text, width=gutter - 8, size=font)
    rows, labels, headings, height = _place_causes(causes[causes["cause"] == cause], names, wrap_heading, wrap_label)
    low, high = _effect_domain(causes)
    title = "points of effective robustness" if total is None else "effect on effective robustness (percentage points)"
    across: dict[str, Any] = {
        "scale": alt.Scale(domain=[low, high], nice=False, zero=False),
        "axis": alt.Axis(
            title=title if total is None else wrap_text(title, width, font),
            labelExpr="(datum.value > 0 ? '+' : '') + format(datum.value, '~g')",
            tickCount=6 if total is None else max(2, width // 30),
            **(axis_look(theme) | ({} if total is None else _PRINT_AXIS)),
        ),
    }
    x = alt.X("effect:Q", **across)
    # Spelled out by row, since names may repeat from comparison to comparison.
    downward: dict[str, Any] = {
        "scale": alt.Scale(domain=[height, 0], nice=False, zero=False),
        "axis": alt.Axis(
            title=None,
            values=[float(place) for place in labels],
            labelExpr=lookup_labels(labels, "format(datum.value, '.2f')"),
            grid=False,
            domain=False,
            ticks=False,
            labelPadding=8,
            labelColor=theme["muted"],
            labelLimit=gutter if total is None else 0,
            labelOverlap=False,
            minExtent=gutter,
            maxExtent=gutter,
        ),
    }
    y = alt.Y("row:Q", **downward)
    verdicts = list(VERDICTS)
    legend: Any = None
    if total is not None:
        legend = print_legend(verdicts, total, 3 if total > SINGLE_COLUMN_POINTS else 1, font, **VERDICT_WORDS)
    colour, shape, fill = (
        channel("verdict:N", scale=alt.Scale(domain=verdicts, range=values), legend=legend)
        for channel, values in (
            (alt.Color, [look[name] for name in verdicts]),
            (alt.Shape, [VERDICT_SHAPES[name] for name in verdicts]),
            # Hollow where the interval includes zero.
            (alt.Fill, [theme["paper"] if name == "unclear" else look[name] for name in verdicts]),
        )
    )
    tooltip = [
        alt.Tooltip("comparison:N", title="comparison"),
        alt.Tooltip("shift:N", title="shift"),
        alt.Tooltip("words:N", title="effect"),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("evidence:N", title="evidence"),
    ]
    measured = [row for row in rows if row["verdict"] != "not measured"]
    unmeasured = [row for row in rows if row["verdict"] == "not measured"]
    zero = chart_of([{"effect": 0}])
    drawn = chart_of(measured)
    named = chart_of(headings)
    layers = [
        zero.mark_rule(color=theme["muted"], strokeWidth=1.2).encode(x=x),
        drawn.mark_rule(strokeWidth=0.2 * font, strokeCap="round", clip=True).encode(
            x=alt.X("low:Q", **across), x2="high:Q", y=y, color=colour
        ),
        drawn.mark_point(filled=False, size=4.7 * font, opacity=1, strokeWidth=0.14 * font).encode(
            x=x, y=y, color=colour, shape=shape, fill=fill, tooltip=tooltip
        ),
        # Paper behind the headings, so that no line of the grid strikes them through.
        named.mark_rect(color=theme["paper"], opacity=1).encode(
            x=alt.value(0), x2=alt.value("width"), y=alt.Y("top:Q", **downward), y2="end:Q"
        ),
        named.mark_text(
            align="left", baseline="middle", dx=-gutter, color=theme["ink"], fontSize=font, fontWeight=600
        ).encode(x=alt.value(0), y=y, text="text:N"),
    ]
    if unmeasured:
        layers.append(
            chart_of(unmeasured)
            .mark_text(align="left", dx=6, color=theme["muted"], fontStyle="italic", fontSize=min(font, 11))
            .encode(x=alt.XDatum(0), y=y, text=alt.value("not measured"), tooltip=tooltip)
        )
    panel = alt.layer(*layers).properties(width=width, height=round(row_height * height))
    if for_page:
        return panel
    return panel.properties(title=alt.TitleParams(capital(name_cause(cause)), offset=0))


_ROW_PIXELS: Final = 19

_ROW_POINTS: Final = 10.5


def _one_line(text: str) -> list[str]:
    return [text]


def causes_chart(
    causes: pd.DataFrame,
    colours: Mapping[str, str] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 2,
) -> alt.HConcatChart:
    """Draw the effect of each cause with its interval: a panel a cause, a block a comparison, a row a shift.

    Args:
        causes: ``causes.csv``, drawn in the order of its rows.
        colours: Colours of ``raises``, ``lowers`` and ``unclear``, in place of the default ones.
        names: Shifts in words.
        total: Width of the whole figure in points.
        columns: Stacks of panels side by side; the next panel goes to the stack that is shortest.

    Raises:
        ValueError: The table has no row.
    """
    if causes.empty:
        raise ValueError("the table of causes has no row: attribute at least one cause before drawing it")
    found = list(dict.fromkeys(causes["cause"]))
    across = min(columns, len(found))

    def draw(width: int, spare: float = 0.0) -> alt.HConcatChart:
        stacks: list[list[alt.LayerChart]] = [[] for _ in range(across)]
        heights = [0.0] * across
        for cause in found:
            panel = causes_panel(causes, cause, colours, names=names, width=width, total=total)
            shortest = heights.index(min(heights))
            stacks[shortest].append(panel)
            heights[shortest] += panel.height + 4 * _ROW_POINTS  # its title and axis
        chart = alt.hconcat(*(_stack(panels) for panels in stacks), spacing=14)
        return configure_print(share_legend(chart), spare)

    return draw(*fit_width(draw, total, across))


def _stack(panels: Sequence[alt.LayerChart]) -> alt.VConcatChart:
    chart: alt.VConcatChart = share_legend(alt.vconcat(*panels, spacing=10))
    return chart


def first_comparisons(causes: pd.DataFrame) -> pd.DataFrame:
    """Choose the first comparison of each cause, which a study's config makes its main one."""
    return causes[causes["comparison"] == causes.groupby("cause")["comparison"].transform("first")]


def _place_causes(
    rows: pd.DataFrame,
    names: Mapping[str, str] | None,
    wrap_heading: Callable[[str], list[str]],
    wrap_label: Callable[[str], list[str]],
) -> tuple[list[dict[str, Any]], dict[str, str | list[str]], list[dict[str, Any]], float]:
    """Stack the rows of one cause from the top: a heading a comparison, then its shifts."""
    placed: list[dict[str, Any]] = []
    labels: dict[str, str | list[str]] = {}
    headings: list[dict[str, Any]] = []
    place = 0.0
    for comparison in dict.fromkeys(rows["comparison"]):
        for text in wrap_heading(comparison) or [""]:
            headings.append({"row": place + 0.6, "top": place - 0.1, "end": place + 0.95, "text": text})
            place += 0.85
        place += 0.15
        for row in rows[rows["comparison"] == comparison].to_dict("records"):
            lines = wrap_label(name_test_set(row["shift"], names))
            here = round(place + 0.5, 2)  # beside the first line of its name
            effect, low, high = row["effect_points"], row["low_points"], row["high_points"]
            labels[f"{here:.2f}"] = lines
            placed.append(
                {
                    "row": here,
                    "comparison": comparison,
                    "shift": name_test_set(row["shift"], names),
                    "effect": None if is_missing(effect) else effect,
                    "low": effect if is_missing(low) else low,
                    "high": effect if is_missing(high) else high,
                    "verdict": judge_effect(effect, low, high),
                    "words": f"{format_points(effect)} points ({format_points(low)} to {format_points(high)})",
                    "evidence": describe_evidence(row.get("pairs"), row.get("seeds")),
                }
            )
            place = here + len(lines) - 0.5
        place = round(place + 0.4, 2)
    placed = [{name: None if is_missing(value) else value for name, value in row.items()} for row in placed]
    return placed, labels, headings, place


def _effect_domain(causes: pd.DataFrame) -> tuple[float, float]:
    values = causes[["effect_points", "low_points", "high_points"]].to_numpy(dtype=float).ravel()
    finite = [float(value) for value in values if math.isfinite(value)] + [0.0]
    low, high = min(finite), max(finite)
    margin = max(0.06 * (high - low), 0.5)
    return low - margin, high + margin
