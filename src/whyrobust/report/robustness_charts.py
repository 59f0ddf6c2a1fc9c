"""Charts of effective robustness: runs of a study and published models against the line of the standard models.

Where a point lies and what is said of it is decided here, once for print and page (`page_charts`). Every function takes
tables and plain values and returns an Altair chart; nothing here reads a file or decides what the result is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import accuracy_axis, accuracy_domain, transform_accuracy
from whyrobust.report.number_format import count_words, format_percent, format_points, is_missing, list_some
from whyrobust.report.render import fit_width
from whyrobust.report.theme import (
    _PRINT_AXIS,
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    NEUTRAL,
    PRINT_FONT_POINTS,
    SINGLE_COLUMN_POINTS,
    chart_of,
    choose_styles,
    configure_print,
    print_legend,
    text_width,
    wrap_text,
)
from whyrobust.study.display_names import (
    COLLECTION_WORDS,
    KIND_FIELDS,
    STANDARD_WORDS,
    name_head,
    name_kind,
    name_test_set,
    spaced,
)


def describe_points(effective: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Add what the charts need to the effective robustness table: the kind of training and the run in words.

    Args:
        effective: ``effective_robustness.csv``.
        runs: ``runs.csv`` or ``accuracy.csv``: ``run, source, train_images, seed, objective, supervision,
            caption``; repeated rows of a run are ignored.

    Returns:
        ``effective`` with the columns of ``runs`` and with ``kind`` and ``words``, same rows, same order.

    Raises:
        ValueError: A run of ``effective`` is not in ``runs``.
    """
    wanted = ["run", "source", "train_images", "seed", "objective", "supervision", "caption", "labels", "pretrained_by",
              "model", "samples_seen"]  # fmt: skip
    known = runs[[name for name in wanted if name in runs]].drop_duplicates("run")
    lost = sorted(set(effective["run"]) - set(known["run"]))
    if lost:
        raise ValueError(
            f"{len(lost)} runs of the effective robustness table are not in the table of runs, "
            f"first {lost[0]!r}: make both tables from the same study"
        )
    table = effective.merge(known, on="run", how="left", suffixes=("", "_of_run"))
    rows = table.to_dict("records")
    table["kind"] = [name_kind(**{name: row.get(name) for name in KIND_FIELDS}) for row in rows]
    table["words"] = [
        f"{row['kind']}, {int(row['train_images']):,} images, seed {row['seed']}, "
        f"{name_head(row['head'], row['prompts'], row.get('fitted_on'))}"
        for row in table.to_dict("records")
    ]
    return table


def robustness_panel(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    shift: str,
    styles: Mapping[str, tuple[str, str]],
    scale: str = "logit",
    *,
    names: Mapping[str, str] | None = None,
    theme: Mapping[str, str] = FILE_THEME,
    width: int = 340,
    height: int = 300,
    intervals: bool = True,
    sizes: tuple[float, float] = (40, 125),
    opacity: float = 0.9,
    font: int = 11,
    legend_width: float = 420,
    legend_columns: int = 2,
) -> alt.LayerChart:
    """Draw one shift: accuracy on the shift against in-distribution accuracy, with the line of standard models.

    Args:
        points: Rows of ``effective_robustness.csv`` with ``kind`` and ``words`` (see ``describe_points``), and
            ``train_images`` where the size of a point shall say it. Accuracies are fractions.
        baselines: ``baselines.csv``; no row for the shift draws no line.
        bands: ``baseline_bands.csv``.
        shift: The shift to draw.
        styles: Colour and shape of each kind (see ``choose_styles``).
        scale: ``logit``, ``probit`` or ``linear``.
        names: Test sets in words, where the default (underscores as spaces) will not do.
        theme: ``FILE_THEME`` or ``PAGE_THEME``.
        width: Width of the panel in pixels.
        height: Height of the panel in pixels.
        intervals: Draw the interval of both accuracies.
        sizes: Area in square pixels of the smallest and largest training set.
        opacity: Of the points, from 0 to 1.
        font: Size of the text in the panel; titles and the legend are wrapped for it.
        legend_width: Width of the legend, within which its entries are wrapped.
        legend_columns: Entries of the legend side by side.

    Returns:
        The panel. A point with accuracy 0 or 1, which has no place on a logit axis, is a triangle on the edge.
    """
    rows = place_points(points[points["shift"] == shift], points, scale, sizes)
    line = place_line(baselines, bands, shift, scale)
    x_low, x_high = accuracy_domain(rows, line, "x", scale)
    y_low, y_high = accuracy_domain(rows, line, "y", scale)
    keep_inside(rows, (x_low, x_high), (y_low, y_high))
    x_name = rows[0]["x_name"] if rows else _first(baselines, shift, "x_test_set")
    x_title = wrap_text(f"accuracy on {name_test_set(x_name or 'the test set', names)}", width, font)
    y_title = wrap_text(f"accuracy on {name_test_set(shift, names)}", height, font)
    # Labels stay beside the panel: half of one would reach out at either end.
    across_look = {**_PRINT_AXIS, "margin": 1.3 * font / width}
    upward_look = {**_PRINT_AXIS, "margin": 0.6 * font / height, "minExtent": 3.4 * font}
    # Room for a label and a gap: "12.5%" across, one line upward.
    across_most, upward_most = (max(2, min(7, int(side / (n * font)))) for side, n in ((width, 3.4), (height, 2)))
    across: dict[str, Any] = {
        "scale": alt.Scale(domain=[x_low, x_high], nice=False, zero=False),
        "axis": accuracy_axis(x_low, x_high, scale, x_title, theme, across_most, **across_look),
    }
    upward: dict[str, Any] = {
        "scale": alt.Scale(domain=[y_low, y_high], nice=False, zero=False),
        "axis": accuracy_axis(y_low, y_high, scale, y_title, theme, upward_most, **upward_look),
    }
    x, y = alt.X("x:Q", **across), alt.Y("y:Q", **upward)
    kinds = list(styles)
    legend = print_legend(kinds, legend_width, legend_columns, font)
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[styles[kind][0] for kind in kinds]),
        legend=legend,
    )
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[styles[kind][1] for kind in kinds]),
        legend=legend,
    )
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in POINT_TOOLTIPS.items()]

    layers = line_layers(line, x, upward, theme)
    layers += equality_line((x_low, x_high), (y_low, y_high), x, y, theme, font, (width, height), rows)
    inside = [row for row in rows if not row["edge"]]
    if intervals:
        bars = chart_of(inside)
        look: dict[str, Any] = {"strokeWidth": 1, "opacity": 0.45, "clip": True}
        layers += [
            bars.mark_rule(**look).encode(x=x, y=alt.Y("y_low:Q", **upward), y2="y_high:Q", color=colour),
            bars.mark_rule(**look).encode(x=alt.X("x_low:Q", **across), x2="x_high:Q", y=y, color=colour),
        ]
    size = alt.Size("size:Q", scale=None, legend=None)
    dots = chart_of(inside)
    encoded = {"x": x, "y": y, "color": colour, "shape": shape, "size": size, "tooltip": tooltip}
    layers += [
        dots.transform_filter("!datum.hollow")
        .mark_point(filled=True, opacity=opacity, stroke=theme["paper"], strokeWidth=0.6 if intervals else 0.25)
        .encode(**encoded),
        dots.transform_filter("datum.hollow")
        .mark_point(filled=False, opacity=opacity, fill=theme["paper"], strokeWidth=1.5 if intervals else 1)
        .encode(**encoded),
    ]
    for edge, angle in EDGE_ANGLES.items():
        there = [row for row in rows if row["edge"] == edge]
        if there:
            layers.append(
                chart_of(there)
                .mark_point(
                    shape="triangle",
                    angle=angle,
                    size=50,
                    filled=False,
                    strokeWidth=1.2,
                )
                .encode(x=x, y=y, color=colour, tooltip=tooltip)
            )
    panel = alt.layer(*layers).properties(width=width, height=height)
    room = width + 1.2 * font  # up to the next panel
    fits = "; ".join(_describe_fits(baselines, shift)).replace("R² ", "R²\N{NO-BREAK SPACE}")
    subtitle = f"line fitted to {fits}" if fits else "no baseline"
    if text_width(subtitle, font) > room:
        subtitle = f"fit: {fits}"
    return panel.properties(
        title=alt.TitleParams(
            wrap_text(name_test_set(shift, names), room, font), subtitle=wrap_text(subtitle, room, font), frame="group"
        )
    )


def robustness_chart(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    colours: Mapping[str, str] | None = None,
    scale: str = "logit",
    *,
    names: Mapping[str, str] | None = None,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 2,
) -> alt.ConcatChart:
    """Draw effective robustness, one panel a shift (Taori et al. 2020, figure 2; Fang et al. 2022, figure 1).

    Args:
        points: ``effective_robustness.csv`` with ``kind`` and ``words`` (see ``describe_points``).
        baselines: ``baselines.csv``.
        bands: ``baseline_bands.csv``.
        colours: Colours that replace the default ones, by kind.
        scale: ``logit``, ``probit`` or ``linear``.
        names: Test sets in words.
        total: Width of the whole figure in points.
        columns: Panels a row.

    Raises:
        ValueError: There is no shift to draw.
    """
    styles = choose_styles(points["kind"].tolist(), colours)
    look = {"sizes": (14, 44) if total > SINGLE_COLUMN_POINTS else (9, 26)}
    return _panels(points, baselines, bands, styles, scale, names, total, columns, **look)


def reference_chart(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    colours: Mapping[str, str] | None = None,
    scale: str = "logit",
    *,
    names: Mapping[str, str] | None = None,
    total: int = DOUBLE_COLUMN_POINTS,
    columns: int = 3,
) -> alt.ConcatChart:
    """Draw published models with the lines of the standard ones (Fang et al. 2022, figure 1).

    Args:
        points: The columns of ``effective_robustness.csv``, ``run`` being the model's name, and ``collection``
            (the kind of model; a name that starts with "standard" is drawn grey).
        baselines: ``baselines.csv`` of the published models.
        bands: ``baseline_bands.csv`` of the published models.
        colours: Colours that replace the default ones, by collection.
        scale: ``logit``, ``probit`` or ``linear``.
        names: Test sets in words.
        total: Width of the whole figure in points.
        columns: Panels a row.

    Raises:
        ValueError: There is no shift to draw.
    """
    described = describe_reference(points)
    styles = choose_reference_styles(described["kind"].tolist(), colours)
    look = REFERENCE_LOOK | {"sizes": (9, 9)}
    return _panels(described, baselines, bands, styles, scale, names, total, columns, **look)


REFERENCE_LOOK: Final[dict[str, Any]] = {"intervals": False, "sizes": (26, 26), "opacity": 0.75}


def name_collections(effective: pd.DataFrame) -> pd.DataFrame:
    """Name the collections of published models in words, the standard models as one of their own."""
    words = [
        STANDARD_WORDS if standard else COLLECTION_WORDS.get(name, spaced(name))
        for standard, name in zip(effective["standard"], effective["collection"], strict=True)
    ]
    return effective.assign(collection=words)


def choose_published(effective: pd.DataFrame, collections: Sequence[str] = tuple(COLLECTION_WORDS)) -> pd.DataFrame:
    """Choose published models whose x axis is the full validation set, and name their collections in words.

    That axis is what is known of all collections.

    Args:
        effective: effective robustness of published models.
        collections: the collections to choose.
    """
    chosen = (effective["x_test_set"] == "imagenet") & effective["collection"].isin(collections)
    return name_collections(effective[chosen])


def describe_reference(points: pd.DataFrame) -> pd.DataFrame:
    """Name published models as the charts need it: ``kind`` from the collection, ``words`` from the model."""
    table = points.assign(kind=[spaced(str(name)) for name in points["collection"]])
    table["words"] = table["run"].astype(str)
    # Standard models are the background of the others: drawn first, listed first.
    background = [not kind.startswith("standard") for kind in table["kind"]]
    return table.assign(background=background).sort_values("background", kind="stable").drop(columns="background")


def choose_reference_styles(
    kinds: Sequence[str], colours: Mapping[str, str] | None = None
) -> dict[str, tuple[str, str]]:
    """Choose styles as ``choose_styles`` does, with the standard models in grey."""
    unique = list(dict.fromkeys(kinds))
    given = dict(colours or {})
    standard = [kind for kind in unique if kind.startswith("standard")]
    others = choose_styles([kind for kind in unique if kind not in standard], given)
    return {kind: (given.get(kind, NEUTRAL), "circle") for kind in standard} | others


def _panels(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    styles: Mapping[str, tuple[str, str]],
    scale: str,
    names: Mapping[str, str] | None,
    total: int,
    columns: int,
    **look: Any,  # noqa: ANN401 - keyword arguments of robustness_panel
) -> alt.ConcatChart:
    shifts = list(dict.fromkeys(points["shift"]))
    if not shifts:
        raise ValueError("the effective robustness table has no row: measure at least one run on one shift")
    across = min(columns, len(shifts))

    def draw(width: int, drawn: pd.DataFrame, spare: float = 0.0) -> alt.ConcatChart:
        panels = [
            robustness_panel(
                drawn, baselines, bands, shift, styles, scale, names=names, width=width,
                height=max(90, min(220, round(0.75 * width))), font=PRINT_FONT_POINTS, legend_width=total,
                legend_columns=2 if total > SINGLE_COLUMN_POINTS else 1, **look,
            )
            for shift in shifts
        ]  # fmt: skip
        chart = alt.concat(*panels, columns=across, spacing=12).resolve_scale(color="shared", shape="shared")
        return configure_print(chart, spare)

    # Hundreds of models take seconds to draw, and the outermost ones alone give the same axes.
    width, spare = fit_width(lambda width: draw(width, _outermost(points)), total, across)
    return draw(width, points, spare)


def _outermost(points: pd.DataFrame) -> pd.DataFrame:
    """Choose the points that decide where axes begin and end: the least and the largest of each column, by shift."""
    ends = ["id_accuracy", "shift_accuracy", "id_low", "id_high", "shift_low", "shift_high"]
    chosen: set[Any] = set()
    for _, rows in points.reset_index(drop=True).groupby("shift"):
        for name in [end for end in ends if end in rows]:
            known = rows[name].dropna().sort_values()
            within = known[(known > 0) & (known < 1)]  # 0 and 1 are not on the axis but on its edge
            chosen |= {*known.index[:1], *known.index[-1:], *within.index[:1], *within.index[-1:]}
    return points.reset_index(drop=True).loc[sorted(chosen)]


def describe_baseline(baselines: pd.DataFrame, shift: str) -> str:
    """Say how the line of a shift was fitted, or return nothing where there is none."""
    parts = _describe_fits(baselines, shift)
    if not parts:
        return ""
    lines = "line fitted to" if len(parts) == 1 else f"{len(parts)} lines fitted to"
    return f"{lines} {' and '.join(parts)}"


def _describe_fits(baselines: pd.DataFrame, shift: str) -> list[str]:
    """Say of each line of a shift how many models it is fitted to and how well."""
    rows = baselines[baselines["shift"] == shift] if len(baselines) else baselines
    parts = []
    for row in rows.to_dict("records"):
        digits = 3 if row["r_squared"] >= 0.995 else 2  # R² of 1.00 would claim too much
        parts.append(f"{int(row['models'])} models, R² {row['r_squared']:.{digits}f}")
    return parts


def note_points(points: pd.DataFrame, shift: str, scale: str = "logit") -> list[str]:
    """Say which points of a panel could not be drawn at their place, and which not at all.

    Returns:
        Sentences to set under the panel: points at accuracy 0 or 1 (triangles on the edge), points without an
        accuracy (not drawn), hollow points, and the notes of the table.
    """
    rows = points[points["shift"] == shift]
    notes: list[str] = []
    extreme, absent, hollow = [], [], 0
    for row in rows.to_dict("records"):
        pair = (row["id_accuracy"], row["shift_accuracy"])
        if any(is_missing(value) for value in pair):
            absent.append(row["words"])
        elif any(math.isinf(transform_accuracy(value, scale)) for value in pair):
            extreme.append(row["words"])
        hollow += bool(row.get("extrapolated", False))
    if extreme:
        notes.append(
            f"Triangles on the edge: {count_words(len(extreme), 'point')} at 0 % or 100 %, "
            f"which has no place on a {scale} axis ({list_some(extreme)})."
        )
    if absent:
        notes.append(
            f"Not drawn: {count_words(len(absent), 'point')} without a measured accuracy ({list_some(absent)})."
        )
    if hollow:
        notes.append(
            f"Hollow: {count_words(hollow, 'point')} outside the span of the standard models, where the line is "
            "extrapolated."
        )
    return notes


POINT_TOOLTIPS: Final = {
    "words": "model",
    "id_words": "in-distribution",
    "shift_words": "on the shift",
    "baseline_words": "the line predicts",
    "effect_words": "effective robustness",
    "remark": "note",
}


def place_points(
    rows: pd.DataFrame, everything: pd.DataFrame, scale: str, sizes: tuple[float, float]
) -> list[dict[str, Any]]:
    """Turn rows of the table into what the marks need, in transformed accuracy."""
    placed: list[dict[str, Any]] = []
    images = everything["train_images"].dropna() if "train_images" in everything else pd.Series(dtype=float)
    smallest, largest = (float(images.min()), float(images.max())) if len(images) else (1.0, 1.0)
    for row in rows.to_dict("records"):
        x = transform_accuracy(row["id_accuracy"], scale)
        y = transform_accuracy(row["shift_accuracy"], scale)
        if math.isnan(x) or math.isnan(y):
            continue  # listed by note_points
        edge = ""
        if math.isinf(y):
            edge = "bottom" if y < 0 else "top"
        elif math.isinf(x):
            edge = "left" if x < 0 else "right"
        remark = str(row["note"]) if not is_missing(row.get("note")) and str(row.get("note", "")) else ""
        if row.get("extrapolated", False):
            remark = "; ".join(filter(None, [remark, "outside the span of the standard models"]))
        if row.get("standard", False):
            remark = "; ".join(filter(None, [remark, "one of the models the line is fitted to"]))
        placed.append(
            {
                "x": round(x, 4),
                "y": round(y, 4),
                **_ends(row, "id", "x", scale),
                **_ends(row, "shift", "y", scale),
                "x_name": str(row["x_test_set"]),
                "kind": row["kind"],
                "edge": edge,
                "hollow": bool(row.get("extrapolated", False)),
                "size": _point_size(row.get("train_images"), smallest, largest, sizes),
                "words": row["words"],
                "id_words": _with_interval(row, "id_accuracy", "id_low", "id_high"),
                "shift_words": _with_interval(row, "shift_accuracy", "shift_low", "shift_high"),
                "baseline_words": format_percent(row.get("baseline_accuracy", math.nan)),
                "effect_words": _effect_words(row),
                "remark": remark or "\N{EN DASH}",
            }
        )
    return placed


def _ends(row: Mapping[Any, Any], name: str, axis: str, scale: str) -> dict[str, float | None]:
    ends: dict[str, float | None] = {}
    for side in ("low", "high"):
        value = row.get(f"{name}_{side}", math.nan)
        # A missing end falls on the point itself: no bar.
        here = row[f"{name}_accuracy"] if is_missing(value) else value
        ends[f"{axis}_{side}"] = round(transform_accuracy(here, scale), 4)
    return ends


def _with_interval(row: Mapping[Any, Any], value: str, low: str, high: str) -> str:
    words = format_percent(row[value])
    if is_missing(row.get(low)) or is_missing(row.get(high)):
        return words
    return f"{words} ({100 * row[low]:.1f} to {100 * row[high]:.1f})"


def _effect_words(row: Mapping[Any, Any]) -> str:
    effect = row.get("effective_robustness_points", math.nan)
    if is_missing(effect):
        return "not measured"
    words = f"{format_points(effect)} points"
    if is_missing(row.get("low_points")) or is_missing(row.get("high_points")):
        return words
    return f"{words} ({format_points(row['low_points'])} to {format_points(row['high_points'])})"


def _point_size(
    images: Any,  # noqa: ANN401 - a number, or what pandas has for a missing one
    smallest: float,
    largest: float,
    sizes: tuple[float, float],
) -> float:
    if is_missing(images) or largest <= smallest:
        return (sizes[0] + sizes[1]) / 2
    share = math.log(float(images) / smallest) / math.log(largest / smallest)
    return sizes[0] + share * (sizes[1] - sizes[0])


def place_line(baselines: pd.DataFrame, bands: pd.DataFrame, shift: str, scale: str) -> list[dict[str, Any]]:
    """The baseline of a shift as rows for an area and a line, dashed outside the span of the standard models."""
    fits = baselines[baselines["shift"] == shift].to_dict("records") if len(baselines) else []
    here = bands[bands["shift"] == shift].sort_values("x", kind="stable") if len(bands) else bands
    fits.sort(key=lambda fit: fit["x_low"])
    # ImageNet-A has two lines, met between the spans of their models.
    cuts = [(left["x_high"] + right["x_low"]) / 2 for left, right in itertools.pairwise(fits)]
    placed: list[dict[str, Any]] = []
    for row in here.to_dict("records"):
        values = {name: round(transform_accuracy(row[name], scale), 4) for name in ("x", "y", "low", "high")}
        if not (math.isfinite(values["x"]) and math.isfinite(values["y"])):
            continue
        for end in ("low", "high"):
            values[end] = values[end] if math.isfinite(values[end]) else values["y"]
        part = sum(row["x"] > cut for cut in cuts)
        fit = fits[part] if fits else None
        place = "fitted"
        if fit is not None and not is_missing(fit["x_low"]):
            place = "before" if row["x"] < fit["x_low"] else "after" if row["x"] > fit["x_high"] else "fitted"
        placed.append({**values, "part": part, "place": place})
    return _join_pieces(placed)


def _join_pieces(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each run of like rows its own piece, and repeat the meeting row so that no gap shows."""
    pieces: list[dict[str, Any]] = []
    number = 0
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and (before["part"], before["place"]) != (row["part"], row["place"]):
            number += 1
            if before["part"] == row["part"]:
                pieces.append(_dashed(before, row["place"], number))
        pieces.append(_dashed(row, row["place"], number))
    return pieces


def _dashed(row: Mapping[str, Any], place: str, number: int) -> dict[str, Any]:
    dash = [1, 0] if place == "fitted" else [2, 3]
    return {name: row[name] for name in ("x", "y", "low", "high")} | {"dash": dash, "piece": number}


EDGE_ANGLES: Final = {"left": 270, "right": 90, "bottom": 180, "top": 0}
"""Degrees that a triangle is turned by where a point lies beyond that edge of a panel."""


def keep_inside(rows: Sequence[dict[str, Any]], x_span: tuple[float, float], y_span: tuple[float, float]) -> None:
    """Move what lies beyond a panel, at infinity or with the end of an interval, onto its edge."""
    for row in rows:
        for axis, (low, high) in {"x": x_span, "y": y_span}.items():
            for end in (axis, f"{axis}_low", f"{axis}_high"):
                if row[end] is not None:
                    row[end] = min(max(row[end], low), high)


def line_layers(
    line: Sequence[Mapping[str, Any]], x: alt.X, upward: Mapping[str, Any], theme: Mapping[str, str]
) -> list[alt.Chart]:
    """Draw the line of the standard models with its band; nothing where there is none.

    Args:
        line: rows of ``place_line``.
        x: the x channel.
        upward: scale and axis of the y channel.
        theme: ``FILE_THEME`` or ``PAGE_THEME``.
    """
    if not line:
        return []
    drawn = chart_of(list(line))
    return [
        drawn.mark_area(color=theme["band"], opacity=0.22, clip=True).encode(
            x=x, y=alt.Y("low:Q", **upward), y2="high:Q", detail="piece:N"
        ),
        drawn.mark_line(color=theme["muted"], strokeWidth=1.6, clip=True).encode(
            x=x,
            y=alt.Y("y:Q", **upward),
            detail="piece:N",
            strokeDash=alt.StrokeDash("dash:N", scale=None, legend=None),
        ),
    ]


def equality_line(
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    x: alt.X,
    y: alt.Y,
    theme: Mapping[str, str],
    font: float,
    size: tuple[int, int],
    points: Sequence[Mapping[str, Any]],
) -> list[alt.Chart]:
    """The line where a shift costs nothing, or a word on where it lies."""
    low, high = max(x_span[0], y_span[0]), min(x_span[1], y_span[1])
    if low >= high:
        above = y_span[1] <= x_span[0]
        text = "y = x lies above" if above else "y = x lies below"
        note = chart_of([{"label": text}]).mark_text(
            align="left", baseline="middle", color=theme["muted"], fontSize=font, fontStyle="italic", dy=2
        )
        return [note.encode(x=alt.value(6), y=alt.value(8 if above else "height"), text="label:N")]
    ends = chart_of([{"x": low, "y": low}, {"x": high, "y": high}])

    def pixel(x_value: float, y_value: float) -> tuple[float, float]:
        return (
            size[0] * (x_value - x_span[0]) / (x_span[1] - x_span[0]),
            size[1] * (y_span[1] - y_value) / (y_span[1] - y_span[0]),
        )

    # Above the upper end of the line, or below the lower one, whichever is farther from every point; inside the panel.
    width = 2.4 * font
    places = []
    for end, side in ((high, -1), (low, 1)):
        left, top = pixel(end, end)
        centre = (
            min(max(left + side * (0.7 * font + width), width / 2 + 2), size[0] - width / 2 - 2),
            min(max(top - side * 0.8 * font, font), size[1] - font),
        )
        free = min((math.dist(centre, pixel(row["x"], row["y"])) for row in points), default=math.inf)
        places.append((free, end, centre[0] - left, centre[1] - top))
    _, end, across, downward = max(places, key=lambda place: place[0])
    label = chart_of([{"x": end, "y": end, "label": "y = x"}])
    return [
        ends.mark_line(color=theme["muted"], strokeDash=[5, 4], strokeWidth=1, opacity=0.8).encode(x=x, y=y),
        label.mark_text(
            baseline="middle", color=theme["muted"], fontSize=font, fontStyle="italic", dx=across, dy=downward
        ).encode(x=x, y=y, text="label:N"),
    ]


def _first(table: pd.DataFrame, shift: str, column: str) -> str | None:
    if table.empty or column not in table:
        return None
    values = table.loc[table["shift"] == shift, column].dropna()
    return str(values.iloc[0]) if len(values) else None
