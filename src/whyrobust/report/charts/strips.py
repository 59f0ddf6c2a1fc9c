"""Published models as strips: effective robustness on one shift, a row a family of training data, a point a model.

A strip and the panel of accuracies of the same shift (`whyrobust.report.charts.published`) show the same models, and
the page's script steers both in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.analysis.published_lines import LINES, MAIN_SHIFTS, TESTBED_LINE
from whyrobust.report.accuracy_axes import axis_style
from whyrobust.report.charts.explorer import Choice, steered_marks
from whyrobust.report.charts.published import (
    NOT_DOCUMENTED,
    OTHER_DATA,
    describe_means,
    drawn_models,
    drawn_on,
    model_rows,
    ring_layers,
    steering,
)
from whyrobust.report.render import page_spec, with_data, with_parameters
from whyrobust.report.theme import PAGE_THEME, chart_of, lookup_labels, wrap_text
from whyrobust.study.display_names import SHIFT_WORDS

_FONT: Final = 11
_NAME_PIXELS: Final = 130
_LINE_PIXELS: Final = 13
_ROOM_FOR_MEANS: Final = 0.4
"""Share of the axis beyond the outermost model, where the mean of each row is written."""
#: Spreads the models of a row over its height, by digits of their accuracies: the same in every drawing.
_SPREAD: Final = "0.64 * (abs(datum.x * 7919.7 + datum.y * 104729.3) % 1) - 0.32"


def order_families(points: pd.DataFrame) -> list[str]:
    """Return the families of training data, from the most robust to the least, collective names last.

    Args:
        points: as `whyrobust.report.charts.published.model_points` gives them. The order is that of the mean effective
            robustness beyond the testbed's line over the main shifts, each shift counting once.
    """
    drawn = pd.concat([drawn_on(points, shift) for shift in MAIN_SHIFTS])
    by_shift = drawn.groupby(["data", "shift"])[f"er_{TESTBED_LINE}"].mean()
    means = by_shift.groupby("data").mean().sort_values(ascending=False, kind="stable")
    others = [name for name in dict.fromkeys(points["data"]) if name not in means.index]
    return sorted([*map(str, means.index), *others], key=lambda name: name in (OTHER_DATA, NOT_DOCUMENTED))


def strip_panel(points: pd.DataFrame, shift: str, families: Sequence[str], choices: Sequence[Choice]) -> dict[str, Any]:
    """Return one shift as a Vega-Lite spec that the page's script can steer.

    Args:
        points: as `whyrobust.report.charts.published.model_points` gives them.
        shift: the shift.
        families: the rows from the top, as `order_families` gives them; a shift may lack some.
        choices: as `whyrobust.report.charts.published.model_choices` gives them.

    Returns:
        The spec, with the parameters of `whyrobust.report.charts.published.model_panel`. The mean of each row, its bar
        and the number of models follow the filters and the line that is chosen.
    """
    here = drawn_on(points, shift)
    present = set(here["data"])
    rows = [family for family in families if family in present]
    names = [wrap_text(family, _NAME_PIXELS, _FONT) for family in rows]
    height = _LINE_PIXELS * max([2, *map(len, names)])
    low, high = _span(here)
    room = _ROOM_FOR_MEANS * (high - low)
    x_axis = dict(
        values=_round_values(low, high),
        labelExpr="(datum.value > 0 ? '+' : '') + format(datum.value, '~g')",
        title="effective robustness, points",
        **axis_style(PAGE_THEME),
    )
    x_channel = {"scale": {"domain": [low, high + room], "nice": False, "zero": False}, "axis": x_axis}
    y_axis = {
        "title": None,
        "values": list(range(len(rows))),
        "labelExpr": lookup_labels({str(row): lines for row, lines in enumerate(names)}, "datum.value"),
        "labelColor": PAGE_THEME["ink"],
        "labelFontSize": _FONT,
        "labelOffset": _centred(names),
        "labelLimit": 0,
        "labelOverlap": False,
        "labelPadding": 6,
        "grid": False,
        "domain": False,
        "ticks": False,
    }
    y_channel = {"scale": {"domain": [len(rows) - 0.4, -1.1], "nice": False, "zero": False}, "axis": y_axis}
    x, y = alt.X("er:Q", **x_channel), alt.Y("lane:Q", **y_channel)
    models = drawn_models(choices).transform_calculate(lane=f"rows[datum.data] + {_SPREAD}")
    marks = steered_marks(intervals=False)
    zero = chart_of([{"er": 0}]).mark_rule(color=PAGE_THEME["muted"], strokeWidth=1.2)
    layers = [
        zero.encode(x=x),
        *(
            models.transform_filter(test).mark_point(**mark.properties).encode(x=x, y=y, **mark.channels)
            for test, mark in (("!datum.hollow", marks.filled), ("datum.hollow", marks.hollow))
        ),
        *_mean_layers(models, x_channel, y_channel, high + room),
        *ring_layers(models, x, y),
    ]
    chart = alt.layer(*layers, height=round(height * (len(rows) + 0.7)))
    parameters = steering(choices) | {"rows": {family: row for row, family in enumerate(rows)}}
    return with_data(with_parameters(page_spec(chart), parameters), "points", model_rows(points, shift, choices))


def describe_strips(points: pd.DataFrame, shift: str) -> str:
    """Say in words what the strips of a shift show: the mean effective robustness by training data."""
    return (
        f"Strips of effective robustness on {SHIFT_WORDS[shift]}, a row a family of training data, "
        f"{describe_means(drawn_on(points, shift))}"
    )


def _mean_layers(
    models: alt.Chart, x_channel: Mapping[str, Any], y_channel: Mapping[str, Any], end: float
) -> list[alt.Chart]:
    """Draw the mean of each row as a bar across it, and write it with the number of models at the right end."""
    means = models.transform_aggregate(mean="mean(er)", count="count()", groupby=["data"]).transform_calculate(
        row="rows[datum.data]",
        top="rows[datum.data] - 0.42",
        end="rows[datum.data] + 0.42",
        words="format(datum.mean, '+.1f') + ' (' + format(datum.count, ',') + ')'",
    )
    text = {"align": "right", "baseline": "middle", "fontSize": _FONT}
    heading = chart_of([{"row": -0.8, "words": "mean (models)"}])
    row, at_end = alt.Y("row:Q", **y_channel), alt.XDatum(end, **x_channel)
    return [
        means.mark_rule(color=PAGE_THEME["ink"], strokeWidth=2.5, tooltip=False).encode(
            x=alt.X("mean:Q", **x_channel), y=alt.Y("top:Q", **y_channel), y2=alt.Y2("end:Q")
        ),
        means.mark_text(color=PAGE_THEME["ink"], tooltip=False, **text).encode(
            x=at_end, y=row, text=alt.Text("words:N")
        ),
        heading.mark_text(color=PAGE_THEME["muted"], **text).encode(x=at_end, y=row, text=alt.Text("words:N")),
    ]


def _centred(names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the offsets of labels of several lines, which would begin in the middle of their row."""
    lines = [len(name) for name in names]
    tests = [
        {"test": f"indexof({[row for row, other in enumerate(lines) if other == count]}, datum.value) >= 0"}
        | {"value": -_LINE_PIXELS * (count - 1) / 2}
        for count in sorted(set(lines) - {1})
    ]
    return {"condition": tests, "value": 0}


def _span(here: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis: every model beyond either line, zero, and a margin."""
    columns = [f"er_{line}" for line in LINES if f"er_{line}" in here]
    values = here[columns].to_numpy(dtype=float).ravel()
    known = [0.0, *(float(value) for value in values if math.isfinite(value))]
    margin = max(0.04 * (max(known) - min(known)), 0.5)
    return min(known) - margin, max(known) + margin


def _round_values(low: float, high: float) -> list[float]:
    """Return round numbers to label an axis with, six at most."""
    step = next((step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 6), 100)
    return [float(number * step) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
