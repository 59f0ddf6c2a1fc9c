"""The charts of effective robustness on the page, whose colours and filters the reader picks.

A panel is that of `robustness` with its data in one named data set. Which field gives colour and shape, which values
are left out and which run is highlighted are parameters of the Vega-Lite spec, which the page's script sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import accuracy_axis
from whyrobust.report.charts.residuals import residual_axis, residual_panel
from whyrobust.report.charts.robustness import (
    EDGE_ANGLES,
    Mark,
    PointCharts,
    PointMarks,
    RobustnessData,
    ShiftPanel,
    panel_axes,
    panel_layers,
    point_tooltip,
    shift_panel,
)
from whyrobust.report.render import page_spec, with_data, with_parameters
from whyrobust.report.theme import AXIS_TITLE_PIXELS, NEUTRAL, PAGE_THEME, PALETTE, choose_styles, wrap_text
from whyrobust.study.display_names import name_head, name_objective, name_supervision, spaced

#: From few to many: colours of viridis (van der Walt and Smith 2015), less its ends, which vanish on one ground.
SEQUENCE: Final = ("#472D7B", "#3B528B", "#2C728E", "#21918C", "#28AE80", "#5EC962", "#ADBC2B")

#: Of values beside such a sequence.
BESIDE_SEQUENCE: Final = (PALETTE[1], PALETTE[3], NEUTRAL)

#: What a reader may colour the points of a study by.
STUDY_FIELDS: Final = {
    "kind": "kind of training",
    "source": "training source",
    "objective": "objective",
    "supervision": "supervision",
    "head": "head",
    "images": "training images",
    "model": "architecture",
    "samples": "samples seen",
}
#: What a reader may leave out, beyond those.
STUDY_FILTERS: Final = {"seed": "seed", "reading": "reading"}
MAIN_READING, OTHER_READING = "main head of a run", "its other heads"

#: Begins the values of published models behind the runs of a study, in every field.
LAYER_PREFIX: Final = "published: "

#: Points above which only the main heads are shown, so that the page stays small.
MOST_POINTS: Final = 6_000


#: Parameters of every chart with `steered_marks`, as they start: highlighted runs and the runs in a region.
STEERED: Final = {"chosen": "", "second": "", "region": None}

USUAL_WIDTH_PIXELS: Final = 400
"""About how wide a panel is, which decides where a label has room."""


#: Name of the reading in which one field gives the colour and another the shape.
PAIR: Final = "pair"
#: The fields that give them.
PAIRED_FIELDS: Final = ("source", "objective")

POINT_SIZES: Final = (40, 125)
"""Area of a point in square pixels: of the smallest and of the largest training set."""

_Y_LABELS: Final = 9
"""About how many labels an axis of residuals has room for."""

_TITLE_PIXELS: Final = {"x": 270, "y": 150}
"""Room for the title of an axis on paper, where panels are smallest."""


@dataclass(frozen=True)
class Choice:
    """A field of the points that a reader can filter by and, where ``colours``, colour by.

    ``styles`` is ``{"colour": ..., "shape": ...}`` by value.
    """

    name: str
    label: str
    styles: Mapping[str, Mapping[str, str]]
    colours: bool = True


@dataclass(frozen=True)
class ExplorerOptions:
    """What a reader can choose in the panels of an explorer, and how they start.

    Attributes:
        choices: fields to colour by and to filter by; the first gives the colours at the start.
        hidden: values left out at the start, by field.
        pair: fields of the colour and of the shape at the start, in place of the first choice.
        height: of a panel in pixels; it is as wide as its container.
        reference: accuracy under shift at which residuals are spelt out in points, from 0 to 1.
    """

    choices: Sequence[Choice]
    hidden: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pair: tuple[str, str] | None = None
    height: int = 320
    reference: float = 0.5


def _ordered(values: pd.Series) -> list[str]:
    """Return the values in the order of the table; numbers with separators in their own order."""
    unique = [str(value) for value in dict.fromkeys(values)]
    numbers = [value.replace(",", "") for value in unique]
    return sorted(unique, key=lambda value: int(value.replace(",", ""))) if all(map(str.isdigit, numbers)) else unique


def choose_value_styles(
    points: pd.DataFrame, field: str, colours: Mapping[str, str], order: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """Give every value of a field a colour and a shape: greys to the background, dark to light to sizes.

    Args:
        points: one row per point, with the field and with ``background``: whether it is shown to compare with.
        field: the column.
        colours: colours that replace the default ones, by value.
        order: values from few to many of something; they come first and go from dark to light, as sizes do.

    Returns:
        Value to ``{"colour": ..., "shape": ...}``; no two of the first 36 values in the foreground have the same.
    """
    values = _ordered(points.loc[~points["background"], field])
    ordered = values if field == "images" else [value for value in order if value in values]
    values = [*ordered, *(value for value in values if value not in ordered)]
    styles = choose_styles(values, colours)
    if len(ordered) > 1:
        steps = [SEQUENCE[round(number * (len(SEQUENCE) - 1) / (len(ordered) - 1))] for number in range(len(ordered))]
        beside = itertools.cycle(BESIDE_SEQUENCE)
        drawn = {value: steps.pop(0) if value in ordered else next(beside) for value in values}
        styles = {value: (colours.get(value, colour), styles[value][1]) for value, colour in drawn.items()}
    chosen = {value: {"colour": colour, "shape": shape} for value, (colour, shape) in styles.items()}
    behind = [value for value in _ordered(points.loc[points["background"], field]) if value not in chosen]
    greys = choose_styles(behind, {value: colours.get(value, NEUTRAL) for value in behind})
    return chosen | {value: {"colour": colour, "shape": shape} for value, (colour, shape) in greys.items()}


def study_points(points: pd.DataFrame) -> pd.DataFrame:
    """Add the fields that a reader can choose to the described points of a study (see `describe_points`).

    Beyond ``MOST_POINTS`` rows only main heads are kept.
    """
    table = points if len(points) <= MOST_POINTS else points[points["main"]]
    rows = table.to_dict("records")
    return table.assign(
        background=False,
        layer=False,
        objective=[name_objective(str(row["objective"])) for row in rows],
        source=[spaced(str(row["source"])) for row in rows],
        supervision=[name_supervision(row["supervision"], row["caption"], row["labels"]) for row in rows],
        head=[name_head(str(row["head"]), row["prompts"], row.get("fitted_on")) for row in rows],
        images=[f"{int(row['train_images']):,}" for row in rows],
        model=[spaced(str(row["model"])) for row in rows],
        samples=[f"{int(row['samples_seen']):,}" for row in rows],
        seed=[str(row["seed"]) for row in rows],
        reading=[MAIN_READING if row["main"] else OTHER_READING for row in rows],
    )


def published_points(points: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """Give described published models (see `describe_published`) the fields of a study's chart, as a layer behind it.

    Args:
        points: the models.
        fields: the fields that the chart's other points have, ``kind`` among them.
    """
    # Behind a study they fit no line of it.
    kinds = [f"{LAYER_PREFIX}{kind.partition(' (')[0]}" for kind in points["kind"]]
    return points.assign(background=True, layer=True, **dict.fromkeys(fields, kinds))


def list_choices(
    points: pd.DataFrame,
    fields: Mapping[str, str],
    filters: Mapping[str, str],
    colours: Mapping[str, str],
    orders: Mapping[str, Sequence[str]] | None = None,
) -> list[Choice]:
    """Return what a reader may choose: fields with more than one value, first those that give colours.

    A field of one value tells nothing apart; the first field is always there, so that there is a legend. ``orders``
    has values from few to many, by field (see `choose_value_styles`).
    """
    choices = []
    for number, (name, label) in enumerate((dict(fields) | dict(filters)).items()):
        styles = choose_value_styles(points, name, colours if number == 0 else {}, (orders or {}).get(name, ()))
        if number == 0 or len(styles) > 1:
            choices.append(Choice(name, label, styles, colours=name in fields))
    return choices


def choose_pair(choices: Sequence[Choice], colours: Mapping[str, str]) -> tuple[str, str] | None:
    """Return `PAIRED_FIELDS` where both tell points apart; a study that has ``colours`` of kinds starts with those."""
    names = [choice.name for choice in choices]
    return None if colours or not set(PAIRED_FIELDS) <= set(names) else PAIRED_FIELDS


def explorer_panel(
    data: RobustnessData,
    shift: str,
    options: ExplorerOptions,
    of_residuals: bool = False,
    spans: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Return one shift as a Vega-Lite spec that the page's script can steer.

    Args:
        data: described points with the fields of the choices and with ``layer``: whether it is a published model
            behind the runs of a study; baselines and bands.
        shift: the shift to draw.
        options: what the reader can choose.
        of_residuals: whether y is effective robustness and not accuracy; published models have none here.
        spans: of the axes of residuals (see `whyrobust.report.charts.residuals.shared_spans`).

    Returns:
        The spec, with the parameters ``by`` (name of the field that gives colour and shape, or `PAIR`), ``styles``
        (field to value to colour and shape), ``hidden`` (field to values left out), ``chosen`` and ``second`` (names of
        the highlighted runs or ""), ``region`` (names of the runs in the region, or null) and ``behind`` (whether
        published models in the background are shown). Its data set ``absent`` has the models without a place in the
        panel.
    """
    fields = [choice.name for choice in options.choices]
    panel = residual_panel(data, shift, POINT_SIZES, spans) if of_residuals else shift_panel(data, shift, POINT_SIZES)
    x_title = wrap_text(panel.x_title, _TITLE_PIXELS["x"], AXIS_TITLE_PIXELS)
    y_title = wrap_text(panel.y_title, _TITLE_PIXELS["y"], AXIS_TITLE_PIXELS)
    rows = _explorer_rows(panel, fields)
    x_axis = accuracy_axis(panel.x_span, data.scale, x_title, PAGE_THEME)
    y_axis = (
        residual_axis(panel.y_span, data.scale, options.reference, y_title, PAGE_THEME, _Y_LABELS)
        if of_residuals
        else accuracy_axis(panel.y_span, data.scale, y_title, PAGE_THEME)
    )
    axes = panel_axes(panel, x_axis, y_axis, (USUAL_WIDTH_PIXELS, options.height))
    filters = " && ".join(f"indexof(hidden['{name}'], datum['{name}']) < 0" for name in fields)
    models = (
        alt.Chart(alt.NamedData("points"))
        .transform_filter(f"datum.behind ? behind : ({filters})")
        .transform_calculate(style=_style_of(options.pair))
    )
    edges = [edge for edge in EDGE_ANGLES if any(row["edge"] == edge for row in rows)]
    charts = PointCharts(
        inside=models.transform_filter("datum.edge === ''"),
        beyond={edge: models.transform_filter(f"datum.edge === '{edge}'") for edge in edges},
        with_bars=models.transform_filter("datum.edge === '' && !datum.behind"),
    )
    layers = panel_layers(panel, axes, charts, steered_marks(intervals=True), PAGE_THEME, 11)
    ring = {"shape": "circle", "size": 300, "filled": False, "strokeWidth": 2, "color": PAGE_THEME["ink"]}
    for name, dash in (("chosen", [1, 0]), ("second", [3, 2])):
        marked = models.transform_filter(f"datum.run === {name}")
        layers.append(marked.mark_point(**ring, strokeDash=dash, tooltip=False).encode(x=axes.x(), y=axes.y()))
    parameters: dict[str, Any] = {
        "by": PAIR if options.pair else fields[0],
        "styles": {choice.name: choice.styles for choice in options.choices},
        "hidden": {name: list(options.hidden.get(name, ())) for name in fields},
        **STEERED,
        "behind": True,
    }
    chart = alt.layer(*layers, height=options.height)
    spec = with_data(with_parameters(page_spec(chart), parameters), "points", rows)
    absent = _absent_rows(data.points, shift, panel, fields)
    return with_data(spec, "absent", absent) if absent else spec


def _style_of(pair: tuple[str, str] | None) -> str:
    """Return the expression of a point's style; published models have that of their kind in every field."""
    of_field = "styles[by][isValid(datum[by]) ? datum[by] : datum.kind]"
    if not pair:
        return of_field
    colour, shape = pair
    both = f"{{colour: styles.{colour}[datum.{colour}].colour, shape: styles.{shape}[datum.{shape}].shape}}"
    return f"by !== '{PAIR}' ? {of_field} : datum.behind ? styles.kind[datum.kind] : {both}"


def _absent_rows(points: pd.DataFrame, shift: str, panel: ShiftPanel, fields: Sequence[str]) -> list[dict[str, str]]:
    """Return the models of a shift that have no place in its panel, with the fields to choose from."""
    missing = points[
        (points["shift"] == shift) & ~points["layer"].astype(bool) & ~points.index.isin(panel.points.index)
    ]
    return [{name: str(row[name]) for name in ("words", *fields)} for row in missing.to_dict("records")]


def _explorer_rows(panel: ShiftPanel, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a panel with the fields to choose from; published models have the first field only."""
    return [
        {name: value for name, value in positioned.items() if name not in ("x_name", "kind")}
        | {name: str(row[name]) for name in (fields[:1] if row["layer"] else fields)}
        | {"run": row["run"], "behind": bool(row["layer"])}
        | ({"baseline_words": f"{positioned['baseline_words']} (their own line)"} if row["layer"] else {})
        for positioned, row in zip(panel.rows, panel.points.to_dict("records"), strict=True)
    ]


def steered_marks(intervals: bool) -> PointMarks:
    """Return marks whose colour and shape follow the field that the reader picks, all but the chosen runs faded."""
    in_region = "chosen === '' && (region === null || indexof(region, datum.run) >= 0)"
    clear = f"{in_region} || datum.run === chosen || datum.run === second"
    paper, tooltip = PAGE_THEME["paper"], point_tooltip()
    colour = alt.Color("style.colour:N", scale=None, legend=None)
    opacity = alt.condition(clear, alt.value(1), alt.value(0.12))
    channels = {
        "shape": alt.Shape("style.shape:N", scale=None, legend=None),
        "size": alt.Size("size:Q", scale=None, legend=None),
        "opacity": opacity,
        "tooltip": tooltip,
    }
    bar = Mark(
        {"strokeWidth": 0.8, "clip": True},
        {"color": colour, "opacity": alt.condition(clear, alt.value(1), alt.value(0.06))},
    )
    return PointMarks(
        filled=Mark(
            {"filled": True, "stroke": paper, "strokeWidth": 0.5, "cursor": "pointer"},
            {"fill": alt.Fill("style.colour:N", scale=None, legend=None), **channels},
        ),
        hollow=Mark(
            {"filled": False, "fill": paper, "strokeWidth": 1.5, "cursor": "pointer"},
            {"stroke": alt.Stroke("style.colour:N", scale=None, legend=None), **channels},
        ),
        triangle=Mark(
            {"size": 150, "strokeWidth": 2, "cursor": "pointer"},
            {"color": colour, "opacity": opacity, "tooltip": tooltip},
        ),
        bar=bar if intervals else None,
    )
