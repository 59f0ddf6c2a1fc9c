"""Interactive charts of the report page: what other modules draw for print, with parameters that the reader sets.

Stands alone because these charts have a second author, the reader: which field gives the colour, what is filtered out
and which run is highlighted are parameters of the spec, set by the page's script. What a point is and where it lies is
decided by `robustness_figures`, once for print and page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import networkx as nx
import pandas as pd

from whyrobust.report.accuracy_axes import accuracy_axis, accuracy_domain, axis_look
from whyrobust.report.render import page_spec
from whyrobust.report.robustness_charts import (
    EDGE_ANGLES,
    POINT_TOOLTIPS,
    equality_line,
    keep_inside,
    line_layers,
    place_line,
    place_points,
)
from whyrobust.report.theme import NEUTRAL, PAGE_THEME, chart_of, choose_styles
from whyrobust.study.display_names import name_head, name_objective, name_supervision, name_test_set, spaced
from whyrobust.study.stages import STAGES

#: From few to many: colours of viridis (van der Walt and Smith 2015), less its ends, which vanish on one ground.
SEQUENCE: Final = ("#472D7B", "#3B528B", "#2C728E", "#21918C", "#28AE80", "#5EC962", "#ADBC2B")

#: What a reader may colour the points of a study by.
STUDY_FIELDS: Final = {
    "kind": "kind of training",
    "source": "training source",
    "objective": "objective",
    "supervision": "supervision",
    "head": "head",
    "images": "training images",
    "model": "architecture",
}
#: What a reader may leave out, beyond those.
STUDY_FILTERS: Final = {"seed": "seed", "reading": "reading"}
MAIN_READING, OTHER_READING = "main head of a run", "its other heads"

PUBLISHED_FIELDS: Final = {"kind": "collection", "training": "training data or type"}

#: Begins the values of published models behind the runs of a study, in every field.
LAYER_PREFIX: Final = "published: "

#: Points above which only the main heads are shown, so that the page stays small.
MOST_POINTS: Final = 6_000


@dataclass(frozen=True)
class Choice:
    """A field of the points that a reader can colour by or filter: its name, words, and look of each value."""

    name: str
    words: str
    looks: Mapping[str, Mapping[str, str]]
    colours: bool = True


def _ordered(values: pd.Series) -> list[str]:
    """Return the values in the order of the table; numbers with separators in their own order."""
    unique = [str(value) for value in dict.fromkeys(values)]
    numbers = [value.replace(",", "") for value in unique]
    return sorted(unique, key=lambda value: int(value.replace(",", ""))) if all(map(str.isdigit, numbers)) else unique


def choose_looks(points: pd.DataFrame, field: str, colours: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Give every value of a field a colour and a shape; published models stay grey, sizes go from dark to light.

    Args:
        points: a row a point, with the field and with ``background``: whether it is shown to compare with.
        field: the column.
        colours: colours that replace the default ones, by value.

    Returns:
        Value to ``{"colour": ..., "shape": ...}``; no two of the first 36 values in the foreground look alike.
    """
    values = _ordered(points.loc[~points["background"], field])
    styles = choose_styles(values, colours)
    if field == "images" and len(values) > 1:
        steps = [SEQUENCE[round(place * (len(SEQUENCE) - 1) / (len(values) - 1))] for place in range(len(values))]
        styles = {value: (colour, styles[value][1]) for value, colour in zip(values, steps, strict=True)}
    looks = {value: {"colour": colour, "shape": shape} for value, (colour, shape) in styles.items()}
    behind = [value for value in _ordered(points.loc[points["background"], field]) if value not in looks]
    greys = choose_styles(behind, {value: colours.get(value, NEUTRAL) for value in behind})
    return looks | {value: {"colour": colour, "shape": shape} for value, (colour, shape) in greys.items()}


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
        seed=[str(row["seed"]) for row in rows],
        reading=[MAIN_READING if row["main"] else OTHER_READING for row in rows],
    )


def published_points(points: pd.DataFrame, fields: Sequence[str], background: bool) -> pd.DataFrame:
    """Give described published models (see `describe_reference`) the fields of a chart.

    Args:
        points: the models.
        fields: the fields that the chart's other points have; a model's own are ``kind`` and ``training``.
        background: whether they are a layer behind the runs of a study; else the standard ones are behind the rest.
    """
    table = points.assign(training=[spaced(str(value)) for value in points["training"].fillna("not stated")])
    # Behind a study they fit no line of it.
    kinds = [f"{LAYER_PREFIX}{kind.partition(' (')[0]}" if background else kind for kind in table["kind"]]
    missing = {field: kinds for field in fields if field not in PUBLISHED_FIELDS}
    grey = [background or bool(standard) for standard in table["standard"]]
    return table.assign(background=grey, layer=background, **(missing | {"kind": kinds}))


def list_choices(
    points: pd.DataFrame, fields: Mapping[str, str], filters: Mapping[str, str], colours: Mapping[str, str]
) -> list[Choice]:
    """Return what a reader may choose: fields with more than one value, first those that give colours.

    A field of one value tells nothing apart; the first field is always there, so that there is a legend.
    """
    choices = []
    for place, (name, words) in enumerate((dict(fields) | dict(filters)).items()):
        looks = choose_looks(points, name, colours if place == 0 else {})
        if place == 0 or len(looks) > 1:
            choices.append(Choice(name, words, looks, colours=name in fields))
    return choices


def explorer_panel(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    shift: str,
    choices: Sequence[Choice],
    hidden: Mapping[str, Sequence[str]],
    scale: str,
    *,
    names: Mapping[str, str] | None = None,
    intervals: bool = True,
    sizes: tuple[float, float] = (40, 125),
    height: int = 320,
) -> dict[str, Any]:
    """Return one shift as a Vega-Lite spec that the page's script can steer.

    Args:
        points: described points with the fields of ``choices`` and with ``layer``: whether it is a published model
            behind the runs of a study.
        baselines: ``baselines.csv``; no row for the shift draws no line.
        bands: ``baseline_bands.csv``.
        shift: the shift to draw.
        choices: fields that points can be coloured by or left out by.
        hidden: values left out at the start, by field.
        scale: ``logit``, ``probit`` or ``linear``.
        names: test sets in words, where the default (underscores as spaces) will not do.
        intervals: draw the interval of both accuracies.
        sizes: area in square pixels of the smallest and largest training set.
        height: of the panel in pixels; it is as wide as its place.

    Returns:
        The spec, with the parameters ``by`` (name of the field that gives colour and shape), ``looks`` (field to value
        to colour and shape), ``hidden`` (field to values left out), ``chosen`` (name of the highlighted run or "") and
        ``behind`` (whether published models in the background are shown).
    """
    shown = points[(points["shift"] == shift) & points["id_accuracy"].notna() & points["shift_accuracy"].notna()]
    placed = place_points(shown, points, scale, sizes)
    fields = [choice.name for choice in choices]
    line = place_line(baselines, bands, shift, scale)
    x_span, y_span = accuracy_domain(placed, line, "x", scale), accuracy_domain(placed, line, "y", scale)
    keep_inside(placed, x_span, y_span)
    unused = {"x_name", "kind"} | (set() if intervals else {"x_low", "x_high", "y_low", "y_high"})
    rows = [
        {name: value for name, value in place.items() if name not in unused}
        | {field: str(row[field]) for field in (fields[:1] if row["layer"] else fields)}
        | {"run": row["run"], "behind": bool(row["layer"])}
        | ({"baseline_words": f"{place['baseline_words']} (their own line)"} if row["layer"] else {})
        for place, row in zip(placed, shown.to_dict("records"), strict=True)
    ]
    x_name = str(shown["x_test_set"].iloc[0]) if len(shown) else "the test set"
    across: dict[str, Any] = {
        "scale": alt.Scale(domain=list(x_span), nice=False, zero=False),
        "axis": accuracy_axis(*x_span, scale, f"accuracy on {name_test_set(x_name, names)}", PAGE_THEME),
    }
    upward: dict[str, Any] = {
        "scale": alt.Scale(domain=list(y_span), nice=False, zero=False),
        "axis": accuracy_axis(*y_span, scale, f"accuracy on {name_test_set(shift, names)}", PAGE_THEME),
    }
    x, y = alt.X("x:Q", **across), alt.Y("y:Q", **upward)
    layers = line_layers(line, x, upward, PAGE_THEME)
    # The panel is as wide as its place: about this wide.
    layers += equality_line(x_span, y_span, x, y, PAGE_THEME, 11, (400, height), placed)
    kept = " && ".join(f"indexof(hidden['{field}'], datum['{field}']) < 0" for field in fields)
    models = (
        alt.Chart(alt.NamedData("points"))
        .transform_filter(f"datum.behind ? behind : ({kept})")
        .transform_calculate(look="looks[by][isValid(datum[by]) ? datum[by] : datum.kind]")
    )
    colour = alt.Color("look.colour:N", scale=None, legend=None)
    clear = "chosen === '' || datum.run === chosen"
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in POINT_TOOLTIPS.items()]
    if intervals:
        bars = models.transform_filter("datum.edge === '' && !datum.behind")
        faded = alt.condition(clear, alt.value(0.45), alt.value(0.06))
        look: dict[str, Any] = {"strokeWidth": 1, "clip": True}
        layers += [
            bars.mark_rule(**look).encode(
                x=x, y=alt.Y("y_low:Q", **upward), y2="y_high:Q", color=colour, opacity=faded
            ),
            bars.mark_rule(**look).encode(
                x=alt.X("x_low:Q", **across), x2="x_high:Q", y=y, color=colour, opacity=faded
            ),
        ]
    dots = models.transform_filter("datum.edge === ''")
    encoded: dict[str, Any] = {
        "x": x,
        "y": y,
        "shape": alt.Shape("look.shape:N", scale=None, legend=None),
        "size": alt.Size("size:Q", scale=None, legend=None),
        "opacity": alt.condition(clear, alt.value(0.9), alt.value(0.12)),
        "tooltip": tooltip,
    }
    layers += [
        dots.transform_filter("!datum.hollow")
        .mark_point(filled=True, stroke=PAGE_THEME["paper"], strokeWidth=0.5, cursor="pointer")
        .encode(fill=alt.Fill("look.colour:N", scale=None, legend=None), **encoded),
        dots.transform_filter("datum.hollow")
        .mark_point(filled=False, fill=PAGE_THEME["paper"], strokeWidth=1.5, cursor="pointer")
        .encode(stroke=alt.Stroke("look.colour:N", scale=None, legend=None), **encoded),
    ]
    for edge, angle in EDGE_ANGLES.items():
        if any(row["edge"] == edge for row in rows):
            layers.append(
                models.transform_filter(f"datum.edge === '{edge}'")
                .mark_point(shape="triangle", angle=angle, size=150, filled=False, strokeWidth=2, cursor="pointer")
                .encode(x=x, y=y, color=colour, opacity=encoded["opacity"], tooltip=tooltip)
            )
    layers.append(
        models.transform_filter("datum.run === chosen")
        .mark_point(shape="circle", size=300, filled=False, strokeWidth=2, color=PAGE_THEME["ink"], tooltip=False)
        .encode(x=x, y=y)
    )
    parameters = {
        "by": fields[0],
        "looks": {choice.name: choice.looks for choice in choices},
        "hidden": {field: list(hidden.get(field, ())) for field in fields},
        "chosen": "",
        "behind": True,
    }
    chart = alt.layer(*layers).properties(height=height)
    for name, value in parameters.items():
        chart = chart.add_params(alt.param(name=name, value=value))
    return _with_data(page_spec(chart), "points", rows)


def _with_data(spec: dict[str, Any], name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add a named data set to those of a spec."""
    return spec | {"datasets": spec.get("datasets", {}) | {name: rows}}


def curves_panel(
    curves: pd.DataFrame, runs: pd.DataFrame, colours: Mapping[str, str], *, height: int = 220
) -> dict[str, Any]:
    """Return the training curves of runs of one objective as a spec that the page's script can steer.

    Args:
        curves: ``curves.csv`` of these runs: ``run, samples, loss``.
        runs: ``run, source, words`` of each.
        colours: colour of each source.
        height: of the panel in pixels.

    Returns:
        The spec, with the parameter ``chosen`` as in `explorer_panel`.
    """
    table = curves.merge(runs[["run", "source", "words"]], on="run", validate="many_to_one")
    rows = table[["run", "samples", "loss", "source", "words"]].round({"loss": 4}).to_dict("records")
    sources = list(dict.fromkeys(table["source"]))
    clear = "chosen === '' || datum.run === chosen"
    x = alt.X(
        "samples:Q", title="training images shown", axis=alt.Axis(format="~s", tickCount=5, **axis_look(PAGE_THEME))
    )
    y = alt.Y("loss:Q", title="loss (nats)", scale=alt.Scale(zero=False), axis=alt.Axis(**axis_look(PAGE_THEME)))
    lines = alt.Chart(alt.NamedData("curves")).encode(
        x=x,
        y=y,
        detail="run:N",
        color=alt.Color(
            "source:N",
            scale=alt.Scale(domain=sources, range=[colours[source] for source in sources]),
            legend=alt.Legend(title=None, orient="bottom", labelColor=PAGE_THEME["ink"], columns=2),
        ),
        opacity=alt.condition(clear, alt.value(0.75), alt.value(0.1)),
        tooltip=[
            alt.Tooltip("words:N", title="run"),
            alt.Tooltip("samples:Q", title="images shown", format=","),
            alt.Tooltip("loss:Q", title="loss", format=".3f"),
        ],
    )
    chart = lines.mark_line(strokeWidth=1.5, cursor="pointer").properties(height=height)
    spec = page_spec(alt.layer(chart).add_params(alt.param(name="chosen", value="")))
    return _with_data(spec, "curves", rows)


def histogram_panel(counts: pd.DataFrame, colour: str, *, height: int = 90) -> dict[str, Any]:
    """Return the images a class of one data set, from the largest class to the smallest, as a spec.

    Args:
        counts: ``class, images``, a row a class.
        colour: of the bars.
        height: of the panel in pixels.
    """
    rows = counts.sort_values(["images", "class"], ascending=[False, True], kind="stable")
    values = [
        {"place": place, "class": str(name), "images": int(images)}
        for place, (name, images) in enumerate(zip(rows["class"], rows["images"], strict=True), start=1)
    ]
    bars = chart_of(values).mark_bar(color=colour, binSpacing=0)
    chart = bars.encode(
        x=alt.X(
            "place:Q",
            title="classes, largest first",
            scale=alt.Scale(domain=[0.5, len(values) + 0.5], nice=False),
            axis=alt.Axis(tickMinStep=1, tickCount=5, **axis_look(PAGE_THEME)),
        ),
        x2=alt.X2("next:Q"),
        y2=alt.datum(0),
        y=alt.Y("images:Q", title="images", axis=alt.Axis(tickCount=3, format="~s", **axis_look(PAGE_THEME))),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("images:Q", format=",")],
    ).transform_calculate(place="datum.place - 0.5", next="datum.place + 1")
    return page_spec(alt.layer(chart).properties(height=height))


def stage_graph(used: Iterable[str]) -> nx.DiGraph:
    """Return the graph of the stages that a study uses, an edge from what is needed to what waits for it.

    A stage that is not used is bridged, and an edge that others imply is left out (transitive reduction).
    """
    whole = nx.DiGraph()
    whole.add_nodes_from(stage.name for stage in STAGES)
    whole.add_edges_from((need, stage.name) for stage in STAGES for need in stage.needs)
    names = set(used)
    closure = nx.transitive_closure_dag(whole).subgraph([stage.name for stage in STAGES if stage.name in names])
    return nx.transitive_reduction(closure)


def _places(graph: nx.DiGraph) -> dict[str, tuple[float, int]]:
    """Return the place of each stage: across from 0 to 1 and its layer from the top; neighbours near each other."""
    # Each stage as late as it can be, so that what is needed only at the end stands there.
    layers = [list(layer) for layer in nx.topological_generations(graph.reverse())][::-1]
    across = {name: (place + 0.5) / len(layer) for layer in layers for place, name in enumerate(layer)}
    # Sugiyama et al. 1981: order each layer by the mean place of the neighbours, down and up again.
    for neighbours, order in ((graph.predecessors, layers), (graph.successors, layers[::-1])) * 4:
        for layer in order:
            means = {name: [across[other] for other in neighbours(name)] or [across[name]] for name in layer}
            layer.sort(key=lambda name, means=means: sum(means[name]) / len(means[name]))  # type: ignore[misc]
            across.update({name: (place + 0.5) / len(layer) for place, name in enumerate(layer)})
    return {name: (across[name], row) for row, layer in enumerate(layers) for name in layer}


def stages_chart(used: Iterable[str], row_pixels: int = 46) -> alt.LayerChart:
    """Draw the stages of a study from the first, on top, to the last.

    Args:
        used: names of the stages.
        row_pixels: height of a layer.

    Returns:
        The chart, as wide as its place; the words of a stage are its tooltip.
    """
    graph = stage_graph(used)
    places = _places(graph)
    rows = max((row for _, row in places.values()), default=0) + 1
    words = {stage.name: stage.words for stage in STAGES}
    nodes = [
        {"x": x, "y": y, "name": spaced(name), "words": words[name], "top": y - 0.28, "end": y + 0.28}
        | {"left": x - 0.02, "right": x + 0.02}
        for name, (x, y) in places.items()
    ]
    edges = [
        {"x": places[a][0], "y": places[a][1] + 0.28, "x_end": places[b][0], "y_end": places[b][1] - 0.28}
        for a, b in graph.edges
    ]
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[rows - 0.5, -0.5], nice=False, zero=False), axis=None)
    tooltip = [alt.Tooltip("name:N", title="stage"), alt.Tooltip("words:N", title="what it does")]
    drawn = chart_of(nodes)
    return alt.layer(
        chart_of(edges)
        .mark_rule(color=PAGE_THEME["muted"], strokeWidth=1.2)
        .encode(x=x, x2="x_end:Q", y=y, y2="y_end:Q"),
        drawn.mark_text(fontSize=11, color=PAGE_THEME["paper"], stroke=PAGE_THEME["paper"], strokeWidth=7).encode(
            x=x, y=y, text="name:N"
        ),
        drawn.mark_text(fontSize=11, color=PAGE_THEME["ink"]).encode(x=x, y=y, text="name:N", tooltip=tooltip),
    ).properties(height=rows * row_pixels)
