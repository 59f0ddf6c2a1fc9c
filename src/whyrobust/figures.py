"""The study's charts: effective robustness, causes, published models; and their files.

Charts are drawn in one place so that the figures in a paper and those on the report page come from the
same code. Every function takes tables and plain values and returns an Altair chart; nothing here reads a
result from disk or decides what the result is.

Whole charts are made for print at the size of a journal's column: one unit of Vega is one point of the PDF
(1/72 inch), a chart has exactly the width it is asked for, and all its text is 8 points.

Vega-Lite has no logit scale: accuracies are transformed here and the ticks are labelled back in percent.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, TypeVar

import altair as alt
import pandas as pd
from PIL import ImageFont

from whyrobust.files import atomic_path, write_json, write_text
from whyrobust.words import KIND_FIELDS, VERDICTS, name_cause, name_head, name_kind, name_test_set, spaced

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours (Color Universal Design, 2008), less black and yellow, which vanish on one ground."""

NEUTRAL: Final = "#8A9099"
"""For what is shown as a background to compare with: models that fit the line, effects that are not clear."""

SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

VERDICT_COLOURS: Final = dict(zip(VERDICTS, ("#0072B2", "#D55E00", NEUTRAL), strict=True))

VERDICT_SHAPES: Final = dict(zip(VERDICTS, ("triangle-right", "triangle-left", "circle"), strict=True))
"""Pointing the way the effect goes, so that colour is not needed to read the verdict."""

VERDICT_WORDS: Final = dict(
    zip(
        VERDICTS,
        ("raises: interval above zero", "lowers: interval below zero", "unclear: zero in the interval, or none"),
        strict=True,
    )
)

DOUBLE_COLUMN_POINTS: Final = 496
"""Width of a figure across both columns: 175 mm, in points of 1/72 inch."""

SINGLE_COLUMN_POINTS: Final = 240
"""Width of a figure in one column: 85 mm."""

PAGE_HEIGHT_POINTS: Final = 648
"""Most height a page has for a figure: 9 inches."""

PRINT_FONT_POINTS: Final = 8
"""Size of all text in print: the least that journals ask for, so that nothing has to be scaled."""

PNG_PIXELS_PER_INCH: Final = 300

FILE_THEME: Final = {
    "ink": "#1d2025",
    "muted": "#5a616b",
    "grid": "#e6e7e9",
    "paper": "#ffffff",
    "band": "#8A9099",
    "background": "#ffffff",
}
"""Literal colours, for files that other programs open."""

PAGE_THEME: Final = {
    "ink": "var(--ink)",
    "muted": "var(--muted)",
    "grid": "var(--grid)",
    "paper": "var(--paper)",
    "band": "var(--band)",
    "background": "transparent",
}
"""CSS variables, which an SVG inside a page resolves: one drawing serves light, dark and print."""

PRINT_FONT: Final = "Arial, 'Liberation Sans', Helvetica, sans-serif"
"""Vega lays text out, and the PDF sets it, in Liberation Sans, which is as wide as Arial letter by letter."""

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


# ---------------------------------------------------------------- words and numbers


def format_percent(rate: float) -> str:
    """Write a rate from 0 to 1 as percent with one decimal, ``n/a`` where there is none."""
    return "n/a" if _missing(rate) else f"{100 * rate:.1f} %"


def format_points(points: float) -> str:
    """Write an effect in percentage points with its sign and one decimal, ``n/a`` where there is none."""
    if _missing(points):
        return "n/a"
    rounded = round(points, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


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


# ---------------------------------------------------------------- scales


def transform_accuracy(accuracy: float, scale: str) -> float:
    """Put an accuracy on a chart's axis: its logit, its probit, or itself.

    Effective robustness is read off lines in logit (or probit) accuracy: Taori et al. 2020, section 3.

    Returns:
        The value on the axis; minus or plus infinity where accuracy 0 or 1 has no finite one, NaN for NaN.

    Raises:
        ValueError: The accuracy is outside 0..1, or the scale is not ``logit``, ``probit`` or ``linear``.
    """
    if scale not in ("logit", "probit", "linear"):
        raise ValueError(f"scale is {scale!r}: it must be 'logit', 'probit' or 'linear'")
    if _missing(accuracy):
        return math.nan
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}: accuracies are fractions from 0 to 1, not percent")
    if scale == "linear":
        return float(accuracy)
    if accuracy in (0, 1):
        return -math.inf if accuracy == 0 else math.inf
    if scale == "logit":
        return math.log(accuracy) - math.log1p(-accuracy)
    return NormalDist().inv_cdf(accuracy)


def choose_ticks(low: float, high: float, scale: str, most: int = 7) -> list[float]:
    """Choose round accuracies to label an axis with, spread out on the transformed scale.

    Args:
        low: Lower end of the axis, on the transformed scale.
        high: Upper end of the axis, on the transformed scale.
        scale: ``logit``, ``probit`` or ``linear``.
        most: About how many ticks there is room for.

    Returns:
        Accuracies (fractions) in rising order, all inside the axis; rounder ones are preferred.
    """
    tens = [0.5, 0.1, 0.9, 0.01, 0.99, 0.2, 0.8, 0.3, 0.7, 0.05, 0.95, 0.4, 0.6, 0.02, 0.98, 0.001, 0.999]
    tiers = [
        [*tens, 0.0, 1.0, 0.005, 0.995, 0.002, 0.998, 0.0001, 0.9999],
        [k / 20 for k in range(1, 20)],
        [k / 100 for k in range(1, 100)],
        [k / 1000 for k in range(1, 1000)],
        [k / 10000 for k in range(1, 10000)],
    ]
    gap = (high - low) / most
    chosen: list[tuple[float, float]] = []
    for tier in tiers:
        for accuracy in tier:
            place = transform_accuracy(accuracy, scale)
            if low <= place <= high and all(abs(place - other) >= gap for other, _ in chosen):
                chosen.append((place, accuracy))
        if len(chosen) >= (4 if most > 5 else 2):
            break
    return [accuracy for _, accuracy in sorted(chosen)]


def _accuracy_axis(
    low: float,
    high: float,
    scale: str,
    title: str | list[str],
    theme: Mapping[str, str],
    most: int = 7,
    margin: float = 0.0,
    **look: Any,  # noqa: ANN401 - properties of an axis
) -> alt.Axis:
    """An axis in transformed accuracy with labels in percent, none of them in the margin, a share of the axis."""
    edge = margin * (high - low)
    ticks = choose_ticks(low + edge, high - edge, scale, most)
    places = [transform_accuracy(tick, scale) for tick in ticks]
    # Looked up by value: the same expression serves every scale, and no rounding of an inverse shows.
    # Shifted by 100, since d3 writes negative numbers with a typographic minus.
    lookup = {f"{place + 100:.4f}": f"{100 * tick:.4g}%" for place, tick in zip(places, ticks, strict=True)}
    return alt.Axis(
        values=places,
        labelExpr=f"({json.dumps(lookup)})[format(datum.value + 100, '.4f')]",
        title=title,
        **(_axis_look(theme) | look),
    )


def _axis_look(theme: Mapping[str, str]) -> dict[str, Any]:
    return {
        "gridColor": theme["grid"],
        "labelColor": theme["muted"],
        "titleColor": theme["ink"],
        "tickColor": theme["grid"],
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
    }


# ---------------------------------------------------------------- text in print


@cache
def _ruler() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(100)


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is, in the unit of ``size``, erring on the wide side.

    Measured in Pillow's own font, which has the proportions of Helvetica and is there wherever Pillow is.
    """
    return 1.06 * size / 100 * _ruler().getlength(text)


def wrap_text(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines that fit into ``width``; a word that is wider is broken too, nothing is cut off.

    Args:
        text: The text; white space is a place to break at.
        width: The most width of a line, in the unit of ``size``.
        size: The font's size.

    Returns:
        At least one line.
    """
    lines: list[str] = []
    here = ""
    for word in re.split(r"[ \t\n]+", text.strip()):  # a no-break space holds a number to its name
        joined = f"{here} {word}" if here else word
        if text_width(joined, size) <= width:
            here = joined
            continue
        if here:
            lines.append(here)
        here = ""
        for letter in word:
            if here and text_width(here + letter, size) > width:
                lines.append(here)
                here = ""
            here += letter
    return [*lines, here] if here or not lines else lines


def _lookup_labels(labels: Mapping[str, str | list[str]], key: str = "datum.label") -> str:
    """Return the Vega expression that looks a label up; a list is shown as lines."""
    return f"({json.dumps(labels)})[{key}]"


# ---------------------------------------------------------------- styles

_AnyChart = TypeVar("_AnyChart", alt.LayerChart, alt.ConcatChart, alt.HConcatChart)


def choose_styles(kinds: Sequence[str], colours: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """Give each kind a colour and a shape of its own, so that neither is needed to tell two kinds apart.

    Args:
        kinds: The kinds in the order of the legend.
        colours: Colours that replace the default ones, by kind.

    Returns:
        Kind to (colour, shape); no two of the first 36 kinds are alike in both unless ``colours`` says so.
    """
    given = colours or {}
    styles = {}
    for place, kind in enumerate(dict.fromkeys(kinds)):
        turn, slot = divmod(place, len(PALETTE))
        styles[kind] = (given.get(kind, PALETTE[slot]), SHAPES[(slot + turn) % len(SHAPES)])
    return styles


def _configure_print(chart: _AnyChart, spare: float = 0.0) -> _AnyChart:
    """Set fonts and grounds once for a chart in print; little padding, since the page has margins of its own.

    ``spare`` is what the chart lacks to the width that it shall have, in points.
    """
    size, ink = PRINT_FONT_POINTS, FILE_THEME["ink"]
    padding = {"left": 2, "top": 2, "right": 2 + spare, "bottom": 2}
    configured = chart.configure(font=PRINT_FONT, background=FILE_THEME["background"], padding=padding)
    configured = configured.configure_view(stroke=None).configure_axis(
        labelFontSize=size, titleFontSize=size, titleFontWeight="normal"
    )
    configured = configured.configure_legend(
        labelColor=ink,
        titleColor=ink,
        labelFontSize=size,
        titleFontSize=size,
        labelLimit=0,
        symbolSize=36,
        symbolOpacity=1,
        rowPadding=2,
        columnPadding=12,
        offset=8,
    )
    return configured.configure_title(
        color=ink,
        subtitleColor=FILE_THEME["muted"],
        anchor="start",
        fontSize=size,
        subtitleFontSize=size,
        offset=6,
        subtitlePadding=2,
        limit=0,
    )


def _configure(chart: _AnyChart, theme: Mapping[str, str]) -> _AnyChart:
    """Set fonts and grounds once for a whole chart."""
    configured = chart.configure(font=FONT, background=theme["background"])
    configured = configured.configure_view(stroke=None).configure_axis(
        labelFontSize=11, titleFontSize=12, titleFontWeight="normal"
    )
    return configured.configure_legend(
        labelColor=theme["ink"],
        titleColor=theme["ink"],
        labelFontSize=12,
        labelLimit=420,
        symbolSize=90,
        symbolOpacity=1,
    ).configure_title(
        color=theme["ink"], subtitleColor=theme["muted"], anchor="start", fontSize=14, subtitleFontSize=11
    )


# ---------------------------------------------------------------- effective robustness


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
    for_page: bool = False,
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
        for_page: Leave out title and legend, which the page sets itself, and add a parameter ``hidden``, the
            list of kinds not to show.

    Returns:
        The panel. A point with accuracy 0 or 1, which has no place on a logit axis, is a triangle on the edge.
    """
    rows = _place_points(points[points["shift"] == shift], points, scale, sizes)
    line = _place_line(baselines, bands, shift, scale)
    x_low, x_high = _domain(rows, line, "x", scale)
    y_low, y_high = _domain(rows, line, "y", scale)
    for row in rows:  # what lies at infinity is drawn on the edge of the panel
        row["x"] = min(max(row["x"], x_low), x_high)
        row["y"] = min(max(row["y"], y_low), y_high)
        for end, (low, high) in {"x": (x_low, x_high), "y": (y_low, y_high)}.items():
            for side in ("low", "high"):
                value = row[f"{end}_{side}"]
                row[f"{end}_{side}"] = None if value is None else min(max(value, low), high)

    x_name = rows[0]["x_name"] if rows else _first(baselines, shift, "x_test_set")
    x_title: str | list[str] = f"accuracy on {name_test_set(x_name or 'the test set', names)}"
    y_title: str | list[str] = f"accuracy on {name_test_set(shift, names)}"
    across_most = upward_most = 7
    across_look: dict[str, Any] = {}
    upward_look: dict[str, Any] = {}
    if not for_page:
        # Labels stay beside the panel: half of one would reach out at either end.
        across_look = {**_PRINT_AXIS, "margin": 1.3 * font / width}
        upward_look = {**_PRINT_AXIS, "margin": 0.6 * font / height, "minExtent": 3.4 * font}
        x_title, y_title = wrap_text(x_title, width, font), wrap_text(y_title, height, font)
        # Room for a label and a gap: "12.5%" across, one line upward.
        across_most, upward_most = (max(2, min(7, int(side / (n * font)))) for side, n in ((width, 3.4), (height, 2)))
    across: dict[str, Any] = {
        "scale": alt.Scale(domain=[x_low, x_high], nice=False, zero=False),
        "axis": _accuracy_axis(x_low, x_high, scale, x_title, theme, across_most, **across_look),
    }
    upward: dict[str, Any] = {
        "scale": alt.Scale(domain=[y_low, y_high], nice=False, zero=False),
        "axis": _accuracy_axis(y_low, y_high, scale, y_title, theme, upward_most, **upward_look),
    }
    x, y = alt.X("x:Q", **across), alt.Y("y:Q", **upward)
    kinds = list(styles)
    legend: Any = None if for_page else _legend(kinds, legend_width, legend_columns, font)
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
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in _TOOLTIPS.items()]

    layers: list[alt.Chart] = []
    if line:
        drawn = alt.Chart(alt.InlineData(values=line))
        layers += [
            drawn.mark_area(color=theme["band"], opacity=0.22, clip=True).encode(
                x=x, y=alt.Y("low:Q", **upward), y2="high:Q", detail="piece:N"
            ),
            drawn.mark_line(color=theme["muted"], strokeWidth=1.6, clip=True).encode(
                x=x,
                y=y,
                detail="piece:N",
                strokeDash=alt.StrokeDash("dash:N", scale=None, legend=None),
            ),
        ]
    layers += _equality_line((x_low, x_high), (y_low, y_high), x, y, theme, font, (width, height), rows)
    inside = [row for row in rows if not row["edge"]]
    if intervals:
        bars = alt.Chart(alt.InlineData(values=inside))
        look: dict[str, Any] = {"strokeWidth": 1, "opacity": 0.45, "clip": True}
        layers += [
            bars.mark_rule(**look).encode(x=x, y=alt.Y("y_low:Q", **upward), y2="y_high:Q", color=colour),
            bars.mark_rule(**look).encode(x=alt.X("x_low:Q", **across), x2="x_high:Q", y=y, color=colour),
        ]
    size = alt.Size("size:Q", scale=None, legend=None)
    dots = alt.Chart(alt.InlineData(values=inside))
    encoded = {"x": x, "y": y, "color": colour, "shape": shape, "size": size, "tooltip": tooltip}
    layers += [
        dots.transform_filter("!datum.hollow")
        .mark_point(filled=True, opacity=opacity, stroke=theme["paper"], strokeWidth=0.6 if intervals else 0.25)
        .encode(**encoded),
        dots.transform_filter("datum.hollow")
        .mark_point(filled=False, opacity=opacity, fill=theme["paper"], strokeWidth=1.5 if intervals else 1)
        .encode(**encoded),
    ]
    for edge, angle in {"left": 270, "right": 90, "bottom": 180, "top": 0}.items():
        there = [row for row in rows if row["edge"] == edge]
        if there:
            layers.append(
                alt.Chart(alt.InlineData(values=there))
                .mark_point(
                    shape="triangle",
                    angle=angle,
                    size=150 if for_page else 50,
                    filled=False,
                    strokeWidth=2 if for_page else 1.2,
                )
                .encode(x=x, y=y, color=colour, tooltip=tooltip)
            )
    if for_page:
        layers = [layer.transform_filter("!isValid(datum.kind) || indexof(hidden, datum.kind) < 0") for layer in layers]
    panel = alt.layer(*layers).properties(width=width, height=height)
    if for_page:
        return panel.add_params(alt.param(name="hidden", value=[]))
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


_LEGEND_INDENT_POINTS: Final = 46
_PRINT_AXIS: Final[dict[str, Any]] = {"labelPadding": 3, "titlePadding": 3}


def _legend(entries: Sequence[str], width: float, columns: int, font: float, **words: str) -> alt.Legend:
    """A legend below a chart, its entries wrapped so that ``columns`` of them fit into ``width``.

    ``words`` are what entries are shown as, where that is not their name.
    """
    # A legend begins where the data do; left of an entry stands its symbol; between two columns there is a gap.
    room = (width - _LEGEND_INDENT_POINTS) / columns - 3 * font
    lines: dict[str, str | list[str]] = {entry: wrap_text(words.get(entry, entry), room, font) for entry in entries}
    return alt.Legend(
        title=None, orient="bottom", columns=columns, direction="vertical", labelExpr=_lookup_labels(lines)
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
        return _configure_print(chart, spare)

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
        if any(_missing(value) for value in pair):
            absent.append(row["words"])
        elif any(math.isinf(transform_accuracy(value, scale)) for value in pair):
            extreme.append(row["words"])
        hollow += bool(row.get("extrapolated", False))
    if extreme:
        notes.append(
            f"Triangles on the edge: {_count(len(extreme), 'point')} at 0 % or 100 %, "
            f"which has no place on a {scale} axis ({_list_some(extreme)})."
        )
    if absent:
        notes.append(f"Not drawn: {_count(len(absent), 'point')} without a measured accuracy ({_list_some(absent)}).")
    if hollow:
        notes.append(
            f"Hollow: {_count(hollow, 'point')} outside the span of the standard models, where the line is "
            "extrapolated."
        )
    return notes


_TOOLTIPS: Final = {
    "words": "model",
    "id_words": "in-distribution",
    "shift_words": "on the shift",
    "baseline_words": "the line predicts",
    "effect_words": "effective robustness",
    "remark": "note",
}


def _place_points(
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
        remark = str(row["note"]) if not _missing(row.get("note")) and str(row.get("note", "")) else ""
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
        here = row[f"{name}_accuracy"] if _missing(value) else value
        ends[f"{axis}_{side}"] = round(transform_accuracy(here, scale), 4)
    return ends


def _with_interval(row: Mapping[Any, Any], value: str, low: str, high: str) -> str:
    words = format_percent(row[value])
    if _missing(row.get(low)) or _missing(row.get(high)):
        return words
    return f"{words} ({100 * row[low]:.1f} to {100 * row[high]:.1f})"


def _effect_words(row: Mapping[Any, Any]) -> str:
    effect = row.get("effective_robustness_points", math.nan)
    if _missing(effect):
        return "not measured"
    words = f"{format_points(effect)} points"
    if _missing(row.get("low_points")) or _missing(row.get("high_points")):
        return words
    return f"{words} ({format_points(row['low_points'])} to {format_points(row['high_points'])})"


def _point_size(
    images: Any,  # noqa: ANN401 - a number, or what pandas has for a missing one
    smallest: float,
    largest: float,
    sizes: tuple[float, float],
) -> float:
    if _missing(images) or largest <= smallest:
        return (sizes[0] + sizes[1]) / 2
    share = math.log(float(images) / smallest) / math.log(largest / smallest)
    return sizes[0] + share * (sizes[1] - sizes[0])


def _place_line(baselines: pd.DataFrame, bands: pd.DataFrame, shift: str, scale: str) -> list[dict[str, Any]]:
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
        if fit is not None and not _missing(fit["x_low"]):
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


def _domain(
    points: Sequence[Mapping[str, Any]], line: Sequence[Mapping[str, Any]], axis: str, scale: str
) -> tuple[float, float]:
    """The span of an axis: every point, its bars within reason, and a margin; the line where there is no point."""
    values = [row[axis] for row in points if math.isfinite(row[axis])] or [row[axis] for row in line]
    if not values:
        return (0.0, 1.0) if scale == "linear" else (-2.0, 2.0)
    low, high = min(values), max(values)
    # The bar of one point on few images must not squeeze all the others.
    reach = max(0.6 * (high - low), 0.35 if scale != "linear" else 0.05)
    ends = [row[f"{axis}_{side}"] for row in points for side in ("low", "high")]
    ends = [end for end in ends if end is not None and math.isfinite(end)]
    low = max(min([low, *ends]), low - reach)
    high = min(max([high, *ends]), high + reach)
    margin = max(0.05 * (high - low), 0.08 if scale != "linear" else 0.01)
    if scale == "linear":
        return max(low - margin, -0.01), min(high + margin, 1.01)
    return low - margin, high + margin


def _equality_line(
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
        note = alt.Chart(alt.InlineData(values=[{"label": text}])).mark_text(
            align="left", baseline="middle", color=theme["muted"], fontSize=font, fontStyle="italic", dy=2
        )
        return [note.encode(x=alt.value(6), y=alt.value(8 if above else "height"), text="label:N")]
    ends = alt.Chart(alt.InlineData(values=[{"x": low, "y": low}, {"x": high, "y": high}]))

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
    label = alt.Chart(alt.InlineData(values=[{"x": end, "y": end, "label": "y = x"}]))
    return [
        ends.mark_line(color=theme["muted"], strokeDash=[5, 4], strokeWidth=1, opacity=0.8).encode(x=x, y=y),
        label.mark_text(
            baseline="middle", color=theme["muted"], fontSize=font, fontStyle="italic", dx=across, dy=downward
        ).encode(x=x, y=y, text="label:N"),
    ]


# ---------------------------------------------------------------- causes


def judge_effect(effect: float, low: float, high: float) -> str:
    """Judge one effect by its interval.

    Returns:
        ``raises`` where the interval lies above zero, ``lowers`` where below, ``unclear`` where it includes
        zero or is missing, ``not measured`` where there is no effect.
    """
    if _missing(effect):
        return "not measured"
    if _missing(low) or _missing(high):
        return "unclear"
    return "raises" if low > 0 else "lowers" if high < 0 else "unclear"


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
    """Draw the contrasts of one cause: an interval a shift, on an axis that all causes share.

    Args:
        causes: All of ``causes.csv``, so that panels of one study have one axis. Effects are in percentage points.
        cause: The cause to draw.
        colours: Colours of ``raises``, ``lowers`` and ``unclear``, in place of the default ones.
        names: Shifts in words.
        theme: ``FILE_THEME`` or ``PAGE_THEME``.
        width: Width in pixels, not counting the names of the shifts.
        wrap: Letters a line in the heading of a contrast.
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
            **(_axis_look(theme) | ({} if total is None else _PRINT_AXIS)),
        ),
    }
    x = alt.X("effect:Q", **across)
    # Spelled out by row, since names may repeat from contrast to contrast.
    downward: dict[str, Any] = {
        "scale": alt.Scale(domain=[height, 0], nice=False, zero=False),
        "axis": alt.Axis(
            title=None,
            values=[float(place) for place in labels],
            labelExpr=_lookup_labels(labels, "format(datum.value, '.2f')"),
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
        legend = _legend(verdicts, total, 3 if total > SINGLE_COLUMN_POINTS else 1, font, **VERDICT_WORDS)
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
        alt.Tooltip("contrast:N", title="comparison"),
        alt.Tooltip("shift:N", title="shift"),
        alt.Tooltip("words:N", title="effect"),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("evidence:N", title="evidence"),
    ]
    measured = [row for row in rows if row["verdict"] != "not measured"]
    unmeasured = [row for row in rows if row["verdict"] == "not measured"]
    zero = alt.Chart(alt.InlineData(values=[{"effect": 0}]))
    drawn = alt.Chart(alt.InlineData(values=measured))
    named = alt.Chart(alt.InlineData(values=headings))
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
            alt.Chart(alt.InlineData(values=unmeasured))
            .mark_text(align="left", dx=6, color=theme["muted"], fontStyle="italic", fontSize=min(font, 11))
            .encode(x=alt.XDatum(0), y=y, text=alt.value("not measured"), tooltip=tooltip)
        )
    panel = alt.layer(*layers).properties(width=width, height=round(row_height * height))
    if for_page:
        return panel
    return panel.properties(title=alt.TitleParams(_capital(name_cause(cause)), offset=0))


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
    """Draw the effect of each cause with its interval: a panel a cause, a block a contrast, a row a shift.

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
        return _configure_print(_share_legend(chart), spare)

    return draw(*fit_width(draw, total, across))


def _stack(panels: Sequence[alt.LayerChart]) -> alt.VConcatChart:
    chart: alt.VConcatChart = _share_legend(alt.vconcat(*panels, spacing=10))
    return chart


def _share_legend(chart: Any) -> Any:  # noqa: ANN401 - any concatenation
    return chart.resolve_scale(color="shared", shape="shared", fill="shared")


def first_contrasts(causes: pd.DataFrame) -> pd.DataFrame:
    """Choose the first contrast of each cause, which a study's config makes its main one."""
    return causes[causes["contrast"] == causes.groupby("cause")["contrast"].transform("first")]


def _place_causes(
    rows: pd.DataFrame,
    names: Mapping[str, str] | None,
    wrap_heading: Callable[[str], list[str]],
    wrap_label: Callable[[str], list[str]],
) -> tuple[list[dict[str, Any]], dict[str, str | list[str]], list[dict[str, Any]], float]:
    """Stack the rows of one cause from the top: a heading a contrast, then its shifts."""
    placed: list[dict[str, Any]] = []
    labels: dict[str, str | list[str]] = {}
    headings: list[dict[str, Any]] = []
    place = 0.0
    for contrast in dict.fromkeys(rows["contrast"]):
        for text in wrap_heading(contrast) or [""]:
            headings.append({"row": place + 0.6, "top": place - 0.1, "end": place + 0.95, "text": text})
            place += 0.85
        place += 0.15
        for row in rows[rows["contrast"] == contrast].to_dict("records"):
            lines = wrap_label(name_test_set(row["shift"], names))
            here = round(place + 0.5, 2)  # beside the first line of its name
            effect, low, high = row["effect_points"], row["low_points"], row["high_points"]
            labels[f"{here:.2f}"] = lines
            placed.append(
                {
                    "row": here,
                    "contrast": contrast,
                    "shift": name_test_set(row["shift"], names),
                    "effect": None if _missing(effect) else effect,
                    "low": effect if _missing(low) else low,
                    "high": effect if _missing(high) else high,
                    "verdict": judge_effect(effect, low, high),
                    "words": f"{format_points(effect)} points ({format_points(low)} to {format_points(high)})",
                    "evidence": describe_evidence(row.get("pairs"), row.get("seeds")),
                }
            )
            place = here + len(lines) - 0.5
        place = round(place + 0.4, 2)
    placed = [{name: None if _missing(value) else value for name, value in row.items()} for row in placed]
    return placed, labels, headings, place


def describe_evidence(pairs: Any, seeds: Any) -> str:  # noqa: ANN401 - numbers, or what pandas has for missing ones
    """Say how much an effect rests on: ``6 pairs of runs, 3 seeds``."""
    parts = []
    if not _missing(pairs):
        parts.append(_count(int(pairs), "pair") + " of runs")
    if not _missing(seeds):
        parts.append(_count(int(seeds), "seed"))
    return ", ".join(parts)


def _effect_domain(causes: pd.DataFrame) -> tuple[float, float]:
    values = causes[["effect_points", "low_points", "high_points"]].to_numpy(dtype=float).ravel()
    finite = [float(value) for value in values if math.isfinite(value)] + [0.0]
    low, high = min(finite), max(finite)
    margin = max(0.06 * (high - low), 0.5)
    return low - margin, high + margin


# ---------------------------------------------------------------- specs and files


def page_spec(chart: alt.LayerChart) -> dict[str, Any]:
    """Return a panel's Vega-Lite spec as the report page embeds it: as wide as its place, in CSS colours."""
    spec: dict[str, Any] = _configure(chart, PAGE_THEME).to_dict()
    spec["width"] = "container"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"]["aria"] = False  # the page describes the whole figure in a sentence
    return spec


def render_svg(spec: Mapping[str, Any], width: int | None = None) -> str:
    """Render a Vega-Lite spec to SVG without a browser and without a network.

    Args:
        spec: The spec.
        width: Pixels to use where the spec takes its width from the page.
    """
    import vl_convert

    fixed = dict(spec)
    if width is not None:
        fixed["width"] = width
    svg: str = vl_convert.vegalite_to_svg(fixed, vl_version=_vega_lite_version())
    return svg


def measure_chart(chart: alt.TopLevelMixin) -> tuple[float, float]:
    """Return the width and height that a chart has when it is drawn, in points."""
    size = re.search(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"', render_svg(chart.to_dict(validate=False)))
    if size is None:
        raise ValueError("the drawing of a chart says no width and height: has vl-convert changed its SVG?")
    return float(size[1]), float(size[2])


def fit_width(draw: Callable[[int], alt.TopLevelMixin], total: int, across: int) -> tuple[int, float]:
    """Find how wide panels must be for a chart to be as wide as asked, axes and legend included.

    Args:
        draw: Draws the chart with panels of a given width.
        total: Width of the whole chart, in points.
        across: Panels side by side.

    Returns:
        The width of a panel and what is then left over, to be added as padding. Nothing is left, and the chart is
        wider than asked, only where even the narrowest panels are too wide.
    """
    width, tried = max(_LEAST_PANEL_POINTS, total // across - 40), dict[int, float]()
    # What is beside the panels hardly depends on their width, so that two drawings are enough but for a label that
    # comes or goes with a point of width.
    while width not in tried and len(tried) < 6:
        tried[width] = total - measure_chart(draw(width))[0]
        width = max(_LEAST_PANEL_POINTS, width + math.floor(tried[width] / across))
    best = max((place for place in tried if tried[place] >= 0), default=min(tried))
    return best, max(0.0, tried[best])


_LEAST_PANEL_POINTS: Final = 40


def _in_points(svg: str) -> str:
    """Give a drawing its size in points, since a number alone is taken for 1/96 inch."""
    return re.sub(r'(<svg[^>]*? width="[\d.]+)(" height="[\d.]+)"', r'\1pt\2pt"', svg, count=1)


def save_figure(
    chart: alt.TopLevelMixin, folder: Path | str, name: str, data: pd.DataFrame | None = None
) -> list[Path]:
    """Write a chart as SVG, PDF, PNG (300 pixels an inch), Vega-Lite JSON, and its data as CSV, each whole.

    Args:
        chart: The chart.
        folder: Where to write; made if it is not there.
        name: File name without its ending.
        data: The table behind the chart; without it, the rows in the spec, with the number of their data set.

    Returns:
        The five paths: svg, pdf, png, json, csv.
    """
    import vl_convert

    spec = chart.to_dict()
    base = Path(folder)
    svg, pdf, png, json_path, csv = paths = [base / f"{name}.{ending}" for ending in _FIGURE_ENDINGS]
    write_text(svg, _in_points(render_svg(spec)))
    with atomic_path(pdf) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_pdf(spec, vl_version=_vega_lite_version()))
    with atomic_path(png) as temporary:
        drawn = vl_convert.vegalite_to_png(spec, vl_version=_vega_lite_version(), ppi=PNG_PIXELS_PER_INCH)
        temporary.write_bytes(drawn)
    write_json(json_path, spec)
    if data is None:
        sets = spec.get("datasets", {}).values()
        data = pd.concat([pd.DataFrame(rows).assign(data_set=number) for number, rows in enumerate(sets) if rows])
    with atomic_path(csv) as temporary:
        data.to_csv(temporary, index=False, lineterminator="\n")
    return paths


_FIGURE_ENDINGS: Final = ("svg", "pdf", "png", "json", "csv")


def _vega_lite_version() -> str:
    """The Vega-Lite version that Altair writes, as vl-convert names it: ``6.4``."""
    major, minor = str(alt.SCHEMA_VERSION).removeprefix("v").split(".")[:2]
    return f"{major}.{minor}"


# ---------------------------------------------------------------- small helpers


def _missing(value: Any) -> bool:  # noqa: ANN401 - a cell of a table
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _list_some(items: Sequence[str], most: int = 3) -> str:
    rest = len(items) - most
    return "; ".join(items[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _first(table: pd.DataFrame, shift: str, column: str) -> str | None:
    if table.empty or column not in table:
        return None
    values = table.loc[table["shift"] == shift, column].dropna()
    return str(values.iloc[0]) if len(values) else None
