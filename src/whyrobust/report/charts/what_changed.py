"""What a comparison changed, as a chart of the page: raw differences first, then effective robustness.

A row per test set, four measures in each: accuracy in distribution, accuracy on the shift, effective robustness beyond
all in-distribution test sets (the main measurement, with its verdict at the margin) and the paper's, beyond one. Below
each, a dot for each seed; below accuracy on the shift, a stroke for each team of its images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import TICKS_OF_WIDTH, axis_style
from whyrobust.report.findings import is_mean, means_first, read_verdict
from whyrobust.report.number_format import format_points, format_points_interval
from whyrobust.report.page_parts import table_rows
from whyrobust.report.render import page_spec
from whyrobust.report.theme import NEUTRAL, PAGE_THEME, VERDICT_STYLES, chart_of, lookup_labels, wrap_text
from whyrobust.study.display_names import NO_INTERVAL, name_test_set, verdict_key
from whyrobust.study.table_cells import is_missing

RAW_ID, RAW_SHIFT, EFFECT, PAPER = "raw_id", "raw_shift", "effect", "paper"
MEASURE_WORDS: Final = {
    RAW_ID: "accuracy in distribution",
    RAW_SHIFT: "accuracy on the shift",
    EFFECT: "effective robustness beyond all in-distribution test sets",
    PAPER: "the paper's measurement: beyond one test set",
}
#: Characters of the legend beside the charts, by measure.
MEASURE_MARKS: Final = {RAW_ID: "○", RAW_SHIFT: "●", EFFECT: "▬", PAPER: "◇"}
SEED_MARK: Final = "•"
SEED_WORDS: Final = "small dots below a measure: each seed alone"
#: Fewest images of a team that is drawn: the difference on fewer says little.
FEWEST_IMAGES: Final = 50
TEAM_MARK: Final = "|"
TEAM_WORDS: Final = (
    f"strokes below accuracy on the shift: the images of each team alone, of teams with {FEWEST_IMAGES} or more"
)
#: Columns of ``causes_by_seed.csv`` by measure.
_SEED_COLUMNS: Final = {
    RAW_ID: "raw_id_points",
    RAW_SHIFT: "raw_shift_points",
    EFFECT: "effect_points",
    PAPER: "paper_points",
}
#: Raw differences and effects of effective robustness stand on one axis, in units of their own.
AXIS_TITLE: Final = (
    "accuracy: difference in percentage points;",
    "effective robustness: points at the reference accuracy",
)
APART: Final = "In no verdict:"
_LANE_PIXELS: Final = 11
#: How far below its lane a dot of a seed stands, in lanes: beside interval and point, which it must not hide.
_SEED_DROP: Final = 0.4
#: Lanes that the strokes of teams take.
_TEAM_LANES: Final = 0.8
_FONT: Final = 12


@dataclass(frozen=True)
class _Layout:
    """Where the rows of a panel lie, in lanes from the top."""

    marks: Sequence[Mapping[str, Any]]
    seeds: Sequence[Mapping[str, Any]]
    teams: Sequence[Mapping[str, Any]]
    names: Mapping[str, str | list[str]]
    verdicts: Mapping[str, str]
    headings: Sequence[Mapping[str, Any]]
    height: float


def what_changed_spec(
    effects: pd.DataFrame,
    paper: pd.DataFrame,
    margin: float,
    colours: Mapping[str, str] | None = None,
    by_seed: pd.DataFrame | None = None,
    by_team: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Draw one comparison.

    Args:
        effects: its rows of ``causes.csv``, one per test set and mean.
        paper: its rows of ``causes_single_line.csv`` by the paper's line; none where that is the main measurement.
        margin: smallest effect of interest, in points, drawn as a band.
        colours: colours by verdict, instead of the default ones.
        by_seed: its rows of ``causes_by_seed.csv``, each a dot below every measure that is drawn.
        by_team: its rows of ``causes_by_team.csv`` by `shown_teams`, each a stroke below accuracy on the shift.
    """
    theme = PAGE_THEME
    layout = _position(effects, paper, _by_shift(by_seed), _by_shift(by_team))
    low, high = _domain(layout, margin)
    signed = "(datum.value > 0 ? '+' : '') + format(datum.value, '~g')"
    x_axis = dict(labelExpr=signed, title=list(AXIS_TITLE), tickCount=TICKS_OF_WIDTH, **axis_style(theme))
    x_channel = {"scale": {"domain": [low, high], "nice": False, "zero": False}, "axis": x_axis}
    y_scale = {"domain": [layout.height, 0], "nice": False, "zero": False}
    y = alt.Y("lane:Q", scale=y_scale, axis=None)
    x = alt.X("value:Q", **x_channel)
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in _TOOLTIPS.items()]
    band = chart_of([{"low": -margin, "high": margin}])
    headings = chart_of(layout.headings)
    layers: list[alt.Chart] = [
        band.mark_rect(color=theme["band"], opacity=0.18, clip=True).encode(
            x=alt.X("low:Q", **x_channel), x2=alt.X2("high:Q"), tooltip=alt.value(None)
        ),
        chart_of([{"value": -margin}, {"value": margin}])
        .mark_rule(color=theme["muted"], strokeWidth=0.8, strokeDash=[2, 2], clip=True)
        .encode(x=x),
        chart_of([{"value": 0}]).mark_rule(color=theme["muted"], strokeWidth=1.2).encode(x=x),
    ]
    if layout.seeds:
        dots = chart_of(layout.seeds).mark_point(filled=True, opacity=1, size=10, color=theme["muted"])
        layers.append(dots.encode(x=x, y=y, tooltip=[*tooltip[:3], alt.Tooltip("seed:N")]))
    if layout.teams:
        strokes = chart_of(layout.teams).mark_tick(opacity=1, size=7, thickness=1.5, color=theme["muted"])
        about = [alt.Tooltip("team:N"), alt.Tooltip("images:N", title="images of the team")]
        layers.append(strokes.encode(x=x, y=y, tooltip=[*tooltip[:3], *about]))
    # The main measurement comes last, above the others.
    groups = dict.fromkeys((row["measure"], row["style"]) for row in layout.marks)
    for measure, style in sorted(groups, key=lambda group: group[0] == EFFECT):
        bar, point = _mark_style(measure, style, colours or {})
        rows = [row for row in layout.marks if (row["measure"], row["style"]) == (measure, style)]
        bars = chart_of(rows).mark_rule(clip=True, **bar)
        layers.append(bars.encode(x=alt.X("low:Q", **x_channel), x2=alt.X2("high:Q"), y=y))
        for hollow in (False, True):
            part = [row for row in rows if row["hollow"] == hollow]
            filling = point | ({"fill": theme["paper"]} if hollow else {})
            if part:
                layers.append(chart_of(part).mark_point(opacity=1, **filling).encode(x=x, y=y, tooltip=tooltip))
    if layout.headings:
        layers.append(
            headings.mark_text(
                align="left", baseline="middle", color=theme["muted"], fontStyle="italic", fontSize=11
            ).encode(x=alt.value(4), y=y, text=alt.Text("text:N"))
        )
    left = {"orient": "left", "labelColor": theme["ink"], "labelFontSize": _FONT, "minExtent": 70}
    right = {"orient": "right", "labelColor": theme["ink"], "labelFontSize": 11}
    layers += [_axis_layer(labels, y_scale, side) for labels, side in ((layout.names, left), (layout.verdicts, right))]
    chart = alt.layer(*layers).resolve_axis(y="independent")
    return page_spec(chart.properties(height=round(_LANE_PIXELS * layout.height)))


_TOOLTIPS: Final = {"test_set": "test set", "words": "measure", "told": "difference", "verdict": "verdict"}


def shown_teams(by_team: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``causes_by_team.csv`` that are drawn: teams of `FEWEST_IMAGES`, where a shift has several."""
    if not len(by_team):
        return by_team
    large = by_team[by_team["images"] >= FEWEST_IMAGES]
    return large[large.groupby(["cause", "comparison", "shift"])["team"].transform("size") > 1]


def _by_shift(table: pd.DataFrame | None) -> Mapping[str, list[dict[str, Any]]]:
    """Return the rows of a table by their test set."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in [] if table is None else table_rows(table):
        found.setdefault(row["shift"], []).append(row)
    return found


_Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def _position(effects: pd.DataFrame, paper: pd.DataFrame, by_seed: _Rows, by_team: _Rows) -> _Layout:
    """Stack the test sets from the top: means, shifts, then what is in no verdict under a heading."""
    by_paper = {row["shift"]: row for row in table_rows(paper)}
    marks: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    teams: list[dict[str, Any]] = []
    names: dict[str, str | list[str]] = {}
    verdicts: dict[str, str] = {}
    headings: list[dict[str, Any]] = []
    top = 0.3
    for row in table_rows(means_first(effects)):
        if not is_mean(row["shift"]) and row["role"] != "shift" and not headings:
            headings.append({"lane": top + 0.5, "text": APART})
            top += 1.2
        lane = place = top + 0.5
        for measure in _measures(row, by_paper.get(row["shift"])):
            place = lane if measure["measure"] == EFFECT else place
            marks.append(measure | {"lane": round(lane, 2)})
            seeds += _seed_dots(measure, by_seed.get(row["shift"], []), lane + _SEED_DROP)
            lane += 1
            if measure["measure"] == RAW_SHIFT and row["shift"] in by_team:
                teams += _team_strokes(measure, by_team[row["shift"]], lane)
                lane += _TEAM_LANES
        bottom = lane - 0.5
        names[f"{(top + bottom) / 2:.2f}"] = wrap_text(name_test_set(str(row["shift"])), 100, _FONT)
        verdicts[f"{place:.2f}"] = f"{format_points(row['effect_points'])} {read_verdict(row)}"
        top = round(bottom + 0.8, 2)
    return _Layout(marks, seeds, teams, names, verdicts, headings, top)


def _measures(row: Mapping[str, Any], paper: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the measures of one test set from the top, as rows of a chart; one that is missing is left out."""
    nothing = math.nan
    told: list[tuple[str, float, float, float]] = [
        (RAW_ID, row["raw_id_points"], nothing, nothing),
        (RAW_SHIFT, row["raw_shift_points"], row["raw_shift_low_points"], row["raw_shift_high_points"]),
        (EFFECT, row["effect_points"], row["low_points"], row["high_points"]),
    ]
    if paper is not None:
        told.append((PAPER, paper["effect_points"], paper["low_points"], paper["high_points"]))
    beyond = row["extrapolated_pairs"]
    return [
        {
            "measure": measure,
            "value": value,
            "low": value if is_missing(low) else low,
            "high": value if is_missing(high) else high,
            "style": verdict_key(row["verdict"]) if measure == EFFECT else measure,
            "hollow": measure == EFFECT and not is_missing(beyond) and beyond > 0,
            "test_set": name_test_set(str(row["shift"])),
            "words": MEASURE_WORDS[measure],
            "told": f"{format_points(value)} points"
            + ("" if measure == RAW_ID else f" ({format_points_interval(low, high) or NO_INTERVAL})"),
            "verdict": read_verdict(row) if measure == EFFECT else "\N{EN DASH}",
        }
        for measure, value, low, high in told
        if not is_missing(value)
    ]


def _seed_dots(measure: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], lane: float) -> list[dict[str, Any]]:
    """Return the dots of the seeds below a measure of a test set, from its rows of ``causes_by_seed.csv``."""
    column = _SEED_COLUMNS[measure["measure"]]
    return [
        {
            # A hundredth of a point is less than a pixel, and shorter on the page.
            "value": round(row[column], 2),
            "lane": round(lane, 2),
            "seed": str(row["seed"]),
            "test_set": measure["test_set"],
            "words": measure["words"],
            "told": f"{format_points(row[column])} points",
        }
        for row in rows
        if not is_missing(row[column])
    ]


def _team_strokes(measure: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], lane: float) -> list[dict[str, Any]]:
    """Return the strokes of the teams below accuracy on the shift, from its rows of ``causes_by_team.csv``."""
    return [
        {
            "value": round(row["raw_shift_points"], 2),
            "lane": round(lane, 2),
            "team": row["team"],
            "images": str(row["images"]),
            "test_set": measure["test_set"],
            "words": measure["words"],
            "told": f"{format_points(row['raw_shift_points'])} points",
        }
        for row in rows
    ]


def _mark_style(measure: str, style: str, colours: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the properties of the bar and of the point of a measure; the point has a ``fill`` of its own."""
    theme = PAGE_THEME
    if measure == EFFECT:
        colour, shape = VERDICT_STYLES[style]
        colour = colours.get(style, colour)
        return (
            {"color": colour, "strokeWidth": 3, "strokeCap": "round"},
            {"shape": shape, "size": 80, "stroke": colour, "strokeWidth": 1.5, "fill": colour},
        )
    ink = theme["ink"] if measure == RAW_SHIFT else theme["muted"]
    point = {"shape": "diamond" if measure == PAPER else "circle", "size": 42, "stroke": ink, "strokeWidth": 1.4}
    return {"color": ink, "strokeWidth": 1}, point | {"fill": ink if measure == RAW_SHIFT else theme["paper"]}


def _axis_layer(labels: Mapping[str, Any], y_scale: Mapping[str, Any], side: Mapping[str, Any]) -> alt.Chart:
    """Return a layer of nothing but an axis, which labels lanes by what stands there."""
    axis = dict(
        title=None,
        values=[float(lane) for lane in labels],
        labelExpr=lookup_labels(labels, "format(datum.value, '.2f')"),
        grid=False,
        domain=False,
        ticks=False,
        labelPadding=8,
        labelOverlap=False,
        labelLimit=0,
        **side,
    )
    lanes = chart_of([{"lane": float(lane)} for lane in labels])
    return lanes.mark_point(opacity=0, size=1, color=NEUTRAL).encode(y=alt.Y("lane:Q", scale=y_scale, axis=axis))


def _domain(layout: _Layout, margin: float) -> tuple[float, float]:
    """Return the span of all measures, intervals, seeds and teams, the band and a margin included."""
    values = [float(row[name]) for row in layout.marks for name in ("value", "low", "high")] + [-margin, margin]
    values += [float(row["value"]) for row in (*layout.seeds, *layout.teams)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    return low - 0.06 * (high - low), high + 0.06 * (high - low)
