"""The style of every chart: colours, shapes, themes, fonts, widths and legends, in print and on the page.

In print one unit of Vega is one point of the PDF (1/72 inch) and all text is 8 points.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import altair as alt
import pandas as pd
from altair.utils.data import to_values
from PIL import ImageFont

from whyrobust.study.display_names import LOWERS, NO_VERDICT, RAISES, UNDECIDED, WITHIN

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours (Color Universal Design, 2008), without black and yellow: both vanish on one theme."""

NEUTRAL: Final = "#8A9099"
"""For what others are compared with: models that fit the line, undecided effects."""

SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

MARKS: Final = {
    "circle": "●", "square": "■", "triangle-up": "▲", "diamond": "◆", "triangle-down": "▼", "cross": "✚",
    "triangle-right": "▶", "triangle-left": "◀",
}  # fmt: skip
"""Characters of a legend in text, by the names that Vega has for shapes."""

LEAST_CONTRAST: Final = 3.0
"""Of every mark against its ground (WCAG 2.2, success criterion 1.4.11)."""

_GROUNDS: Final = {"light": "#e5e7e9", "dark": "#2e3236"}
"""The page's ground under a band of uncertainty, which is nearer to the colours of marks than the bare page is."""

VERDICT_STYLES: Final = {
    RAISES: ("#0072B2", "triangle-right"),
    LOWERS: ("#D55E00", "triangle-left"),
    WITHIN: ("#009E73", "square"),
    UNDECIDED: (NEUTRAL, "circle"),
    NO_VERDICT: (NEUTRAL, "cross"),
}
"""Colour and shape of each verdict; triangles point in the direction of the effect, so that colour is not needed."""

VERDICT_WORDS: Final = {
    RAISES: "raises",
    LOWERS: "lowers",
    WITHIN: "within the margin",
    UNDECIDED: "undecided",
    NO_VERDICT: "in no verdict, or without an interval",
}

DOUBLE_COLUMN_POINTS: Final = 496
"""Width of a figure across both columns: 175 mm, in points of 1/72 inch."""

SINGLE_COLUMN_POINTS: Final = 240
"""Width of a figure in one column: 85 mm."""

PAGE_HEIGHT_POINTS: Final = 648
"""Greatest height of a figure on a page: 9 inches."""

PRINT_FONT_POINTS: Final = 8
"""Size of all text in print: the smallest that journals accept, so that nothing has to be scaled."""

PNG_PIXELS_PER_INCH: Final = 300

AXIS_TITLE_PIXELS: Final = 12
"""Size of the titles of axes on the page."""

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
"""CSS variables, which an SVG inside a page resolves: one drawing serves the light and the dark theme and print."""

PRINT_FONT: Final = "Arial, 'Liberation Sans', Helvetica, sans-serif"
"""Vega lays text out, and the PDF sets it, in Liberation Sans, which is as wide as Arial letter by letter."""

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


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
        text: the text; lines break at white space.
        width: greatest width of a line, in the unit of ``size``.
        size: size of the font.

    Returns:
        At least one line.
    """
    lines: list[str] = []
    line = ""
    for word in re.split(r"[ \t\n]+", text.strip()):  # not at a no-break space, which joins a number and its name
        joined = f"{line} {word}" if line else word
        if text_width(joined, size) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = ""
        for letter in word:
            if line and text_width(line + letter, size) > width:
                lines.append(line)
                line = ""
            line += letter
    return [*lines, line] if line or not lines else lines


def lookup_labels(labels: Mapping[str, str | list[str]], key: str = "datum.label") -> str:
    """Return the Vega expression that looks a label up; a list is shown as lines."""
    return f"({json.dumps(labels)})[{key}]"


AnyChart = TypeVar("AnyChart", alt.LayerChart, alt.ConcatChart, alt.HConcatChart, alt.VConcatChart)


def _values_once(data: Any) -> Any:  # noqa: ANN401 - what a chart may have as data
    """Return data as a spec has them, a data frame's as they were the first time: the layers of a panel share frames.

    Unlike Altair's own transformer, of which this is a part, it takes any number of rows.
    """
    if not isinstance(data, pd.DataFrame):
        return to_values(data)
    known = _values.get(id(data))
    if known is None:
        known = _values[id(data)] = to_values(data)
        weakref.finalize(data, _values.pop, id(data), None)
    return known


_values: Final[dict[int, Any]] = {}
alt.data_transformers.register("values_once", _values_once)
alt.data_transformers.enable("values_once")


def chart_of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """Start a chart of these rows; as a data frame, which Altair does not copy each time charts are combined."""
    return alt.Chart(pd.DataFrame(list(rows)))


def page_colour(colour: str) -> str:
    """Return a colour as the page shows it: as CSS that is darker on light and lighter on dark, where contrast asks.

    Args:
        colour: as ``#RRGGBB``.

    Returns:
        ``light-dark(#..., #...)``, each with `LEAST_CONTRAST` to the page, under a band too, of the same hue.
    """
    linear = [_to_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5)]
    luminance = _luminance(linear)
    most = (_luminance_of(_GROUNDS["light"]) + 0.05) / LEAST_CONTRAST - 0.05 - _ROUNDING
    least = (_luminance_of(_GROUNDS["dark"]) + 0.05) * LEAST_CONTRAST - 0.05 + _ROUNDING
    darker = min(1.0, most / luminance) if luminance else 1.0
    lighter = max(0.0, (least - luminance) / (1 - luminance)) if luminance < 1 else 0.0
    light = _to_hex([darker * part for part in linear])
    return f"light-dark({light}, {_to_hex([part + (1 - part) * lighter for part in linear])})"


_ROUNDING: Final = 0.004
"""What rounding to 8 bits may change of a luminance."""


def _luminance_of(colour: str) -> float:
    return _luminance([_to_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5)])


def _luminance(linear: Sequence[float]) -> float:
    """Return the relative luminance of linear sRGB, from 0 to 1."""
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _to_linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _to_hex(linear: Sequence[float]) -> str:
    parts = [12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055 for part in linear]
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)


def choose_styles(kinds: Sequence[str], colours: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """Give each kind its own colour and shape, so that two kinds differ without colour and without shape.

    Args:
        kinds: the kinds in the order of the legend.
        colours: colours that replace the default ones, by kind.

    Returns:
        Kind to (colour, shape); no two of the first 36 kinds have both in common unless ``colours`` says so.
    """
    given = colours or {}
    styles = {}
    for number, kind in enumerate(dict.fromkeys(kinds)):
        turn, slot = divmod(number, len(PALETTE))
        styles[kind] = (given.get(kind, PALETTE[slot]), SHAPES[(slot + turn) % len(SHAPES)])
    return styles


def configure_print(chart: AnyChart, spare: float = 0.0) -> AnyChart:
    """Set fonts and background of a whole chart in print, with little padding, since the page has margins of its own.

    Like `configure_page` and `share_legend` it changes the chart itself: each of Altair's methods for this would copy
    the whole chart several times.

    Args:
        chart: the chart.
        spare: padding on the right, in points, that brings it to the width it is asked to have.
    """
    size, ink = PRINT_FONT_POINTS, FILE_THEME["ink"]
    chart.config = alt.Config(
        font=PRINT_FONT,
        background=FILE_THEME["background"],
        padding={"left": 2, "top": 2, "right": 2 + spare, "bottom": 2},
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(labelFontSize=size, titleFontSize=size, titleFontWeight="normal"),
        legend=alt.LegendConfig(
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
        ),
        title=alt.TitleConfig(
            color=ink,
            subtitleColor=FILE_THEME["muted"],
            anchor="start",
            fontSize=size,
            subtitleFontSize=size,
            offset=6,
            subtitlePadding=2,
            limit=0,
        ),
    )
    return chart


def configure_page(chart: AnyChart, theme: Mapping[str, str]) -> AnyChart:
    """Set fonts and background of a whole chart on the page."""
    chart.config = alt.Config(
        font=FONT,
        background=theme["background"],
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(labelFontSize=11, titleFontSize=AXIS_TITLE_PIXELS, titleFontWeight="normal"),
        legend=alt.LegendConfig(
            labelColor=theme["ink"],
            titleColor=theme["ink"],
            labelFontSize=12,
            labelLimit=420,
            symbolSize=90,
            symbolOpacity=1,
        ),
        title=alt.TitleConfig(
            color=theme["ink"], subtitleColor=theme["muted"], anchor="start", fontSize=14, subtitleFontSize=11
        ),
    )
    return chart


_LEGEND_INDENT_POINTS: Final = 46

PRINT_AXIS: Final[dict[str, Any]] = {"labelPadding": 3, "titlePadding": 3}


def print_legend(entries: Sequence[str], width: float, columns: int, font: float, **labels: str) -> dict[str, Any]:
    """Return a legend below a chart, its entries wrapped so that ``columns`` of them fit into ``width``.

    Args:
        entries: names of the entries.
        width: of the chart.
        columns: entries side by side.
        font: size of the text.
        labels: what entries are shown as, where that is not their name.
    """
    # A legend starts where the data do; the symbol is to the left of an entry; between two columns there is a gap.
    room = (width - _LEGEND_INDENT_POINTS) / columns - 3 * font
    lines: dict[str, str | list[str]] = {entry: wrap_text(labels.get(entry, entry), room, font) for entry in entries}
    return {
        "title": None,
        "orient": "bottom",
        "columns": columns,
        "direction": "vertical",
        "labelExpr": lookup_labels(lines),
    }


def share_legend(chart: AnyChart, channels: Sequence[str] = ("color", "shape", "fill")) -> AnyChart:
    """Let the panels of a chart, any concatenation, share one legend."""
    chart.resolve = alt.Resolve(scale=alt.ScaleResolveMap(**dict.fromkeys(channels, "shared")))
    return chart
