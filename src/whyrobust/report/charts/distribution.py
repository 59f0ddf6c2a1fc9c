"""What in a training distribution does it: effects by the share of a source, and accuracy by images of a class.

Both are drawn by the same functions in print and on the page, which differ in theme and sizes (`Drawing`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import axis_style
from whyrobust.report.charts.what_changed import EFFECT, MEASURE_WORDS, RAW_SHIFT
from whyrobust.report.number_format import format_points, format_points_interval
from whyrobust.report.page_parts import table_rows
from whyrobust.report.render import fit_width
from whyrobust.report.theme import (
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    PAGE_THEME,
    PALETTE,
    PRINT_AXIS,
    PRINT_FONT_POINTS,
    SINGLE_COLUMN_POINTS,
    chart_of,
    choose_styles,
    configure_print,
    lookup_labels,
    print_legend,
    share_legend,
    wrap_text,
)
from whyrobust.study.display_names import name_objective, name_test_set, spaced
from whyrobust.study.table_cells import is_missing

#: Columns of ``dose_response.csv`` that tell series of mixtures apart; each is a line.
SERIES_COLUMNS: Final = (
    "source",
    "instead_of",
    "objective",
    "caption",
    "labels",
    "model",
    "train_images",
    "samples_seen",
)
_MEASURES: Final = {EFFECT: MEASURE_WORDS[EFFECT], RAW_SHIFT: MEASURE_WORDS[RAW_SHIFT]}


@dataclass(frozen=True)
class Drawing:
    """What print and page set differently: theme, width and height of a panel, font, axes, legend, and titles."""

    theme: Mapping[str, str]
    width: int
    height: int
    font: float
    axis: Mapping[str, Any]
    legend: Callable[[Sequence[str]], Mapping[str, Any] | None]
    titled: bool = False
    rise: float = 100
    """Room for the title of the y axis: on the page, what a panel has on paper."""


def _page_legend(entries: Sequence[str]) -> dict[str, Any]:
    lines: dict[str, str | list[str]] = {entry: wrap_text(entry, _LEGEND_PIXELS, 12) for entry in entries}
    labels = {"labelColor": PAGE_THEME["ink"], "labelLimit": 0, "labelExpr": lookup_labels(lines)}
    return dict(title=None, orient="bottom", direction="vertical", columns=1, values=list(entries), **labels)


_LEGEND_PIXELS: Final = 240
"""Room for an entry of the legend on paper, where panels are smallest."""


PAGE_DRAWING: Final = Drawing(PAGE_THEME, 360, 260, 12, axis_style(PAGE_THEME), _page_legend)


def print_drawing(width: int, total: int, columns: int) -> Drawing:
    """Return how a panel ``width`` points wide is drawn in a figure of ``total`` points."""
    return Drawing(
        FILE_THEME,
        width,
        max(90, min(200, round(0.7 * width))),
        PRINT_FONT_POINTS,
        {**axis_style(FILE_THEME), **PRINT_AXIS},
        lambda entries: print_legend(entries, total, columns, PRINT_FONT_POINTS),
        titled=True,
        rise=max(90, min(200, round(0.7 * width))),
    )


def _axis_title(text: str, room: float, drawing: Drawing) -> list[str]:
    return wrap_text(text, room, drawing.font)


def dose_panel(doses: pd.DataFrame, shift: str, drawing: Drawing) -> alt.LayerChart:
    """Draw the effect of the share of a source on one shift, with its interval, and the raw difference.

    Args:
        doses: ``dose_response.csv``: ``share`` from 0 to 1; effects and differences from a share of 0 in points.
        shift: the shift.
        drawing: `PAGE_DRAWING` or `print_drawing`.
    """
    rows = [
        {
            "share": 100 * row["share"],
            "value": value,
            "low": value if is_missing(low) else low,
            "high": value if is_missing(high) else high,
            "measure": _MEASURES[measure],
            "words": f"{format_points(value)} points"
            + (f" ({format_points_interval(low, high)})" if format_points_interval(low, high) else ""),
            "group": " ".join(str(row[name]) for name in SERIES_COLUMNS if name in row) + f" {measure}",
        }
        for row in table_rows(doses[doses["shift"] == shift])
        for measure, value, low, high in (
            (EFFECT, row["effect_points"], row["low_points"], row["high_points"]),
            (RAW_SHIFT, row["raw_shift_points"], None, None),
        )
        if not is_missing(value)
    ]
    source = " or ".join(spaced(str(name)) for name in dict.fromkeys(doses["source"]))
    theme, entries = drawing.theme, list(_MEASURES.values())
    x = alt.X(
        "share:Q",
        title=_axis_title(f"share of {source} in the training set (%)", drawing.width, drawing),
        scale={"domain": [0, 100], "nice": False},
        axis=dict(tickCount=5, **drawing.axis),
    )
    signed = "(datum.value > 0 ? '+' : '') + format(datum.value, '~g')"
    y_title = _axis_title("difference in points", drawing.rise, drawing)
    y = alt.Y("value:Q", title=y_title, axis=dict(labelExpr=signed, tickCount=5, **drawing.axis))
    legend = drawing.legend(entries)
    colour = alt.Color("measure:N", scale={"domain": entries, "range": [PALETTE[0], theme["muted"]]}, legend=legend)
    shape = alt.Shape("measure:N", scale={"domain": entries, "range": ["circle", "square"]}, legend=legend)
    chart = chart_of(rows)
    tooltip = [
        alt.Tooltip("share:Q", title="share (%)"),
        alt.Tooltip("measure:N", title="measure"),
        alt.Tooltip("words:N", title="difference"),
    ]
    layers = [
        chart_of([{"value": 0}]).mark_rule(color=theme["muted"], strokeWidth=1).encode(y=y),
        chart.mark_line(strokeWidth=1.4).encode(x=x, y=y, color=colour, detail=alt.Detail("group:N")),
        chart.mark_rule(strokeWidth=1.4).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=colour),
        chart.mark_point(filled=True, size=3.4 * drawing.font, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=tooltip
        ),
    ]
    return _finish(layers, name_test_set(shift), drawing)


def name_group(row: Mapping[str, Any]) -> str:
    """Name what runs are grouped by where classes are counted: ``cross-entropy on web``."""
    return f"{name_objective(str(row['objective']))} on {spaced(str(row['source']))}"


def shown_frequencies(frequencies: pd.DataFrame, shifts: pd.DataFrame) -> pd.DataFrame:
    """Choose what is drawn of ``concept_frequency.csv``, so that a figure has thousands of points and not tens of them.

    Args:
        frequencies: the table.
        shifts: ``shifts.csv``.

    Returns:
        Classes with a training image, on test sets that take part in the answer, of one run of each objective and
        source with a test set of its own (of all sources where no run has one of these): the first seed, and of its
        runs the one with most training images.
    """
    counted = shifts.loc[shifts["role"].isin(["in_distribution", "shift"]), "test_set"]
    drawn = frequencies[(frequencies["train_images"] > 0) & frequencies["test_set"].isin(counted)]
    drawn = drawn[drawn["seed"] == drawn["seed"].min()]
    of_sources = drawn[drawn["source"].isin(shifts["source"].dropna())]
    drawn = of_sources if len(of_sources) else drawn
    sizes = drawn.groupby(["objective", "source", "run"], sort=False)["train_images"].sum().reset_index()
    largest = sizes.sort_values("train_images", ascending=False, kind="stable")
    return drawn[drawn["run"].isin(largest.drop_duplicates(["objective", "source"])["run"])]


def frequency_panel(
    frequencies: pd.DataFrame, test_set: str, styles: Mapping[str, tuple[str, str]], drawing: Drawing
) -> alt.LayerChart:
    """Draw accuracy by class against its images in the training set: a point a run and class.

    Args:
        frequencies: rows of ``concept_frequency.csv`` (see `shown_frequencies`).
        test_set: the test set.
        styles: colour and shape of each group (see `name_group`).
        drawing: `PAGE_DRAWING` or `print_drawing`.
    """
    rows = [
        {
            "images": row["train_images"],
            "accuracy": round(100 * row["accuracy"], 1),
            "group": name_group(row),
            "class": str(row["class"]),
        }
        for row in table_rows(frequencies[frequencies["test_set"] == test_set])
    ]
    entries = list(styles)
    colour, shape = (
        channel(
            "group:N",
            scale={"domain": entries, "range": [styles[name][part] for name in entries]},
            legend=drawing.legend(entries),
        )
        for part, channel in enumerate((alt.Color, alt.Shape))
    )
    x_title = _axis_title("training images of the class (log)", drawing.width, drawing)
    y_title = _axis_title(f"accuracy on {name_test_set(test_set)} (%)", drawing.rise, drawing)
    x_axis = dict(format="~g", tickCount=4, labelOverlap=True, **drawing.axis)
    points = chart_of(rows).mark_point(
        filled=False, strokeWidth=0.08 * drawing.font, size=1.6 * drawing.font, opacity=1
    )
    layer = points.encode(
        x=alt.X("images:Q", title=x_title, scale={"type": "log", "nice": False, "padding": 4}, axis=x_axis),
        y=alt.Y("accuracy:Q", title=y_title, scale={"domain": [0, 100]}, axis=dict(tickCount=5, **drawing.axis)),
        color=colour,
        shape=shape,
        tooltip=[
            alt.Tooltip("class:N"),
            alt.Tooltip("group:N", title="training"),
            alt.Tooltip("images:Q", title="training images"),
            alt.Tooltip("accuracy:Q", title="accuracy (%)"),
        ],
    )
    return _finish([layer], name_test_set(test_set), drawing)


def frequency_styles(frequencies: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Give each group of runs a colour and a shape."""
    groups = frequencies.drop_duplicates(["objective", "source"])
    return choose_styles([name_group(row) for row in table_rows(groups)])


def _finish(layers: Sequence[alt.Chart], title: str, drawing: Drawing) -> alt.LayerChart:
    shown = alt.TitleParams(title, frame="group") if drawing.titled else alt.Undefined
    return alt.layer(*layers, width=drawing.width, height=drawing.height, title=shown)


def dose_chart(doses: pd.DataFrame, *, total: int = DOUBLE_COLUMN_POINTS, columns: int = 2) -> alt.ConcatChart:
    """Draw all shifts of ``dose_response.csv`` in print.

    Args:
        doses: the table.
        total: width of the whole figure in points.
        columns: panels side by side.
    """
    shifts = list(dict.fromkeys(doses["shift"]))

    def panel(shift: str, drawing: Drawing, _: bool) -> alt.LayerChart:
        return dose_panel(doses, shift, drawing)

    return _draw(panel, shifts, total, columns)


def frequency_chart(
    frequencies: pd.DataFrame, *, total: int = DOUBLE_COLUMN_POINTS, columns: int = 2
) -> alt.ConcatChart:
    """Draw all test sets of ``concept_frequency.csv`` in print.

    Args:
        frequencies: rows of the table (see `shown_frequencies`).
        total: width of the whole figure in points.
        columns: panels side by side.
    """
    styles = frequency_styles(frequencies)
    test_sets = list(dict.fromkeys(frequencies["test_set"]))
    # Thousands of points take seconds to draw, and the outermost ones alone give the same axes.
    rows = frequencies.reset_index(drop=True).groupby("test_set")["train_images"]
    outermost = frequencies.reset_index(drop=True).loc[sorted({*rows.idxmin(), *rows.idxmax()})]

    def panel(name: str, drawing: Drawing, to_measure: bool) -> alt.LayerChart:
        return frequency_panel(outermost if to_measure else frequencies, name, styles, drawing)

    return _draw(panel, test_sets, total, columns)


def _draw(
    panel: Callable[[str, Drawing, bool], alt.LayerChart], names: Sequence[str], total: int, columns: int
) -> alt.ConcatChart:
    """Draw a panel per name with one legend, ``total`` points wide; ``panel`` is told whether it is only measured."""
    if not names:
        raise ValueError("the table has no row: draw no figure of it")
    across = min(columns, len(names))
    legend_columns = 2 if total > SINGLE_COLUMN_POINTS else 1

    def draw(width: int, spare: float = 0.0, to_measure: bool = False) -> alt.ConcatChart:
        drawing = print_drawing(width, total, legend_columns)
        panels = [panel(name, drawing, to_measure) for name in names]
        return configure_print(share_legend(alt.concat(*panels, columns=across, spacing=12)), spare)

    return draw(*fit_width(lambda width: draw(width, to_measure=True), total, across))
