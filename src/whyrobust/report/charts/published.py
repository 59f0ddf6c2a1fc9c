"""Charts of the page of published models: a panel per shift that the reader steers, and effects by question.

`model_points` gives every model the fields to choose from, `model_panel` draws a shift with both lines, of which the
reader picks one, and `effects_table` turns effects into what the charts of causes draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.analysis.published_lines import LINES, SCALE, TESTBED_LINE
from whyrobust.analysis.published_tables import FULL_VALIDATION
from whyrobust.report.accuracy_axes import accuracy_axis, accuracy_domain, transform_accuracy
from whyrobust.report.charts.baseline import BAND_DEVIATIONS, PanelAxes, line_layers
from whyrobust.report.charts.explorer import STEERED, USUAL_WIDTH_PIXELS, Choice, steered_marks
from whyrobust.report.charts.robustness import PointCharts, ShiftPanel, panel_axes, panel_layers
from whyrobust.report.number_format import format_points
from whyrobust.report.published_findings import QUESTIONS, choose_main, mean_effects
from whyrobust.report.render import page_spec, with_data, with_parameters
from whyrobust.report.theme import NEUTRAL, PAGE_THEME, choose_styles
from whyrobust.study.display_names import SHIFT_WORDS

#: What a reader may colour and filter published models by.
FIELDS: Final = {
    "data": "training data",
    "supervision": "supervision",
    "prediction": "how it predicts",
    "table": "table",
}
TABLE_WORDS: Final = {
    "timm": "timm",
    "open_clip": "open_clip",
    "imagenet_testbed": "ImageNet testbed",
    "vlhub": "VL Hub",
}
NOT_DOCUMENTED: Final = "not documented"
OTHER_DATA: Final = "another data set"
#: Data sets of fewer models share one entry of the legend.
FEWEST_MODELS: Final = 6
#: Models of a lower accuracy on ImageNet are not drawn: they would leave a corner of each panel to all others.
DRAWN_FROM: Final = 0.3
_HEIGHT: Final = 320


def model_points(models: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model and shift, on full validation, which all tables have.

    Args:
        models: ``models.csv`` of ``results/published``.
        measured: ``effective_robustness.csv``.

    Returns:
        ``run`` (the model), ``shift, id_accuracy, shift_accuracy``, `FIELDS`, and of each of `LINES` ``er_LINE`` in
        points and ``out_LINE`` (outside the span of the line's models), missing where a shift has no such line.
    """
    key = ["collection", "model"]
    full = measured[measured["x_test_set"] == FULL_VALIDATION]
    values = full.pivot_table(index=[*key, "shift"], columns="line", values=["er_points", "extrapolated"], sort=False)
    names = {"er_points": "er", "extrapolated": "out"}
    values.columns = [f"{names[column[0]]}_{column[1]}" for column in values.columns.to_list()]
    table = full.drop_duplicates([*key, "shift"])[[*key, "shift", "id_accuracy", "shift_accuracy"]]
    table = table.merge(values.reset_index(), on=[*key, "shift"]).merge(
        models[[*key, "data", "supervision", "prediction"]], on=key
    )
    counts = models["data"].value_counts()
    few = table["data"].map(counts) < FEWEST_MODELS
    table["data"] = table["data"].where(~few | (table["data"] == ""), OTHER_DATA)
    for field in ("data", "supervision", "prediction"):
        table[field] = table[field].replace("", NOT_DOCUMENTED)
    table["table"] = table["collection"].map(TABLE_WORDS)
    return table.rename(columns={"model": "run"})


def model_choices(points: pd.DataFrame) -> list[Choice]:
    """Return the fields to choose from, values of most models first; the most frequent one is grey."""
    choices = []
    models = points.drop_duplicates(["collection", "run"])
    for name, label in FIELDS.items():
        values = [str(value) for value in models[name].value_counts().index]
        values.sort(key=lambda value: value in (OTHER_DATA, NOT_DOCUMENTED))
        styles = choose_styles(values[1:])
        first = {values[0]: {"colour": NEUTRAL, "shape": "circle"}}
        rest = {value: {"colour": colour, "shape": shape} for value, (colour, shape) in styles.items()}
        choices.append(Choice(name, label, first | rest))
    return choices


def line_rows(lines: pd.DataFrame, shift: str, span: tuple[float, float]) -> list[dict[str, Any]]:
    """Return both lines of a shift as rows of a chart, dotted beyond the models that they go through.

    Args:
        lines: ``lines.csv``.
        shift: the shift; the x axis is full validation.
        span: ends of the x axis on the transformed scale.
    """
    rows: list[dict[str, Any]] = []
    chosen = lines[(lines["shift"] == shift) & (lines["x_test_set"] == FULL_VALIDATION)]
    for _, fits in chosen.groupby("line", sort=False):
        parts = sorted(fits.to_dict("records"), key=lambda fit: fit["x_low"])
        ends = [(transform_accuracy(fit["x_low"], SCALE), transform_accuracy(fit["x_high"], SCALE)) for fit in parts]
        for number, (fit, (low, high)) in enumerate(zip(parts, ends, strict=True)):
            # ImageNet-A has two lines, which meet half-way between the spans of their models.
            start = span[0] if number == 0 else (ends[number - 1][1] + low) / 2
            stop = span[1] if number == len(parts) - 1 else (high + ends[number + 1][0]) / 2
            pieces = ((start, low, [2, 3]), (low, high, [1, 0]), (high, stop, [2, 3]))
            for place, (left, right, dash) in enumerate(pieces):
                for x in (left, right) if right > left else ():
                    y, spread = fit["intercept"] + fit["slope"] * x, BAND_DEVIATIONS * fit["residual_sd"]
                    rows.append(
                        {
                            "line": fit["line"],
                            "piece": f"{fit['line']} {number} {place}",
                            "x": round(x, 4),
                            "y": round(y, 4),
                            "low": round(y - spread, 4),
                            "high": round(y + spread, 4),
                            "dash": dash,
                        }
                    )
    return rows


def drawn_on(points: pd.DataFrame, shift: str) -> pd.DataFrame:
    """Return the models that the charts of a shift draw: from `DRAWN_FROM` on, neither accuracy 0 or 1."""
    return _on_logits(points, shift, DRAWN_FROM)


def _on_logits(points: pd.DataFrame, shift: str, least: float = 0.0) -> pd.DataFrame:
    """Return the models of a shift whose accuracies have logits and are ``least`` or more on ImageNet."""
    here = points[(points["shift"] == shift) & (points["id_accuracy"] >= least)]
    return here[here["id_accuracy"].between(0, 1, "neither") & here["shift_accuracy"].between(0, 1, "neither")]


def model_rows(points: pd.DataFrame, shift: str, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Return the models of a shift as rows of its charts, also those only found by their name; grey ones first.

    Args:
        points: as `model_points` gives them; accuracies of 0 or 1, which have no logit, are left out.
        shift: the shift.
        choices: as `model_choices` gives them.
    """
    fields = [choice.name for choice in choices]
    rows = [_point_row(row, fields) for row in _on_logits(points, shift).to_dict("records")]
    rows.sort(key=lambda row: choices[0].styles[row[choices[0].name]]["colour"] != NEUTRAL)
    return rows


def drawn_models(choices: Sequence[Choice]) -> alt.Chart:
    """Return the models that the reader has left in and that are drawn, with what marks and tooltips need."""
    filters = " && ".join(f"indexof(hidden['{choice.name}'], datum['{choice.name}']) < 0" for choice in choices)
    drawn = alt.Chart(alt.NamedData("points")).transform_filter(f"datum.drawn && {filters}")
    return _described(drawn)


def ring_layers(models: alt.Chart, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Ring the model that is chosen, and smaller those whose name has what is searched for."""
    tests = (("datum.run === chosen", 300), ("search !== '' && indexof(lower(datum.run), search) >= 0", 130))
    return [
        models.transform_filter(test)
        .mark_point(shape="circle", size=size, filled=False, strokeWidth=2, color=PAGE_THEME["ink"], tooltip=False)
        .encode(x=x, y=y)
        for test, size in tests
    ]


def steering(choices: Sequence[Choice]) -> dict[str, Any]:
    """Return the parameters by which the page's script steers a chart of published models, as they start."""
    return {
        "by": choices[0].name,
        "styles": {choice.name: choice.styles for choice in choices},
        "hidden": {choice.name: [] for choice in choices},
        **STEERED,
        "search": "",
        "line": TESTBED_LINE,
    }


def model_panel(points: pd.DataFrame, lines: pd.DataFrame, shift: str, choices: Sequence[Choice]) -> dict[str, Any]:
    """Return one shift as a Vega-Lite spec that the page's script can steer.

    Args:
        points: as `model_points` gives them; accuracies of 0 or 1, which have no logit, are not drawn.
        lines: ``lines.csv``.
        shift: the shift.
        choices: as `model_choices` gives them.

    Returns:
        The spec, with the parameters of `whyrobust.report.charts.explorer.explorer_panel`, ``line`` (which baseline is
        shown and counts) and ``search`` (in small letters: models whose name has it are ringed).
    """
    here = _on_logits(points, shift)
    rows = model_rows(points, shift, choices)
    ends = [_with_ends(row) for row in rows if row["drawn"]]
    x_span, y_span = (accuracy_domain(ends, [], axis, SCALE) for axis in ("x", "y"))
    titles = [f"accuracy on {SHIFT_WORDS[name]}" for name in (FULL_VALIDATION, shift)]
    panel = ShiftPanel(here, ends, [], x_span, y_span, titles[0], titles[1])
    x_axis, y_axis = (
        accuracy_axis(span, SCALE, title, PAGE_THEME) for span, title in zip((x_span, y_span), titles, strict=True)
    )
    axes = panel_axes(panel, x_axis, y_axis, (USUAL_WIDTH_PIXELS, _HEIGHT))
    models = drawn_models(choices)
    layers = _chosen_line(line_rows(lines, shift, x_span), axes)
    layers += panel_layers(panel, axes, PointCharts(models, {}, models), steered_marks(intervals=False), PAGE_THEME, 11)
    layers += ring_layers(models, axes.x(), axes.y())
    chart = alt.layer(*layers, height=_HEIGHT)
    return with_data(with_parameters(page_spec(chart), steering(choices)), "points", rows)


def effects_table(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the main comparisons of all questions as a table of causes, a row each, in the mean over three shifts.

    ``shift`` says how many architectures a comparison has, which the charts write beside it.
    """
    parts = []
    for question, (cause, _) in QUESTIONS.items():
        mean = mean_effects(effects, question)
        main = mean[choose_main(mean)]
        names = [
            f"{row['treatment']} instead of {row['control']}" + (f" ({row['basis']})" if row["basis"] else "")
            for row in main.to_dict("records")
        ]
        evidence = [f"{row['architectures']} architectures, {row['pairs']} pairs" for row in main.to_dict("records")]
        shown = [text.partition(",")[0] for text in evidence]
        parts.append(main.assign(cause=cause, comparison=names, shift=shown, evidence=evidence))
    columns = ["cause", "comparison", "shift", "effect_points", "low_points", "high_points", "verdict", "evidence"]
    return pd.concat(parts, ignore_index=True)[columns]


def _point_row(row: Mapping[Any, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Return the values of a point; what can be computed from them is computed on the page."""
    values: dict[str, Any] = {"run": row["run"]}
    values |= {axis: round(transform_accuracy(row[f"{name}_accuracy"], SCALE), 4) for axis, name in _AXES}
    for line in LINES:
        er = row.get(f"er_{line}", math.nan)
        values[f"er_{line}"] = None if math.isnan(er) else round(er, 1)
        values[f"out_{line}"] = 1 if row.get(f"out_{line}") == 1 else 0
    values["drawn"] = 1 if row["id_accuracy"] >= DRAWN_FROM else 0
    return values | {field: str(row[field]) for field in fields}


_AXES: Final = (("x", "id"), ("y", "shift"))


def _with_ends(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with intervals of no length, which the span of an axis asks for."""
    return {**row, "x_low": row["x"], "x_high": row["x"], "y_low": row["y"], "y_high": row["y"]}


def _described(models: alt.Chart) -> alt.Chart:
    """Add what marks and tooltips need, by the line that is chosen."""
    at = f"datum['er_' + line] === null ? datum.er_{TESTBED_LINE} : datum['er_' + line]"
    percent = "format(100 / (1 + exp(-datum.{0})), '.1f') + ' %'"
    return models.transform_calculate(
        style="styles[by][datum[by]]",
        er=at,
        hollow="datum['out_' + line] === 1",
        size="26",
        words="datum.run",
        id_words=percent.format("x"),
        shift_words=percent.format("y"),
        baseline_words="format(100 / (1 + exp(-datum.y)) - datum.er, '.1f') + ' %'",
        effect_words="format(datum.er, '+.1f') + ' points'",
        remark="datum.data + '; ' + datum.supervision + '; ' + datum.prediction",
    )


def _chosen_line(rows: Sequence[Mapping[str, Any]], axes: PanelAxes) -> list[alt.Chart]:
    """Draw the line that is chosen; where a shift has the testbed's only, that one."""
    both = len({row["line"] for row in rows}) > 1
    layers = line_layers(rows, axes, PAGE_THEME)
    return [layer.transform_filter("datum.line === line") for layer in layers] if both else layers


def describe_panel(points: pd.DataFrame, shift: str) -> str:
    """Say in words what the panel of a shift shows: the mean effective robustness by training data."""
    return (
        f"Scatter of accuracy on {SHIFT_WORDS[shift]} against accuracy on ImageNet, "
        f"{describe_means(drawn_on(points, shift))}"
    )


def describe_means(drawn: pd.DataFrame) -> str:
    """Say how many models are drawn, at which accuracies, and the means by training data, most models first."""
    means = drawn.groupby("data", sort=False)[f"er_{TESTBED_LINE}"].agg(["mean", "size"])
    rows = means.sort_values("size", ascending=False, kind="stable").iterrows()
    told = "; ".join(f"{data} {format_points(row['mean'])} ({int(row['size'])})" for data, row in rows)
    low, high = drawn["id_accuracy"].min(), drawn["id_accuracy"].max()
    return (
        f"{len(drawn):,} models from {100 * low:.0f} to {100 * high:.0f} % on ImageNet. Mean effective robustness "
        f"beyond the testbed's line in points, by training data (models): {told}."
    )
