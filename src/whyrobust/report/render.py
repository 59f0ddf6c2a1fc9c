"""Rendering: charts to specs of the page, to SVG and to files, at exactly the width that is asked for.

Specs are not validated here, a seventh of the time of a figure: what they are built of does not depend on a study, and
tests compare them with Vega-Lite's schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.files import atomic_path, write_json, write_table, write_text
from whyrobust.report.theme import PAGE_THEME, PNG_PIXELS_PER_INCH, configure_page, page_colour


def page_spec(chart: alt.LayerChart) -> dict[str, Any]:
    """Return a panel's Vega-Lite spec as the report page embeds it: as wide as its container, in CSS colours."""
    whole = configure_page(chart, PAGE_THEME).to_dict(validate=False)
    spec: dict[str, Any] = {key: part if key == "datasets" else on_page(part) for key, part in whole.items()}
    spec["width"] = "container"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"]["aria"] = False  # the page describes the whole figure
    return spec


def on_page(part: Any) -> Any:  # noqa: ANN401 - a part of a spec is anything that JSON has
    """Return a part of a spec with its colours as the page shows them, see `page_colour`."""
    if isinstance(part, str):
        return page_colour(part) if re.fullmatch("#[0-9A-Fa-f]{6}", part) else part
    if isinstance(part, Mapping):
        return {key: on_page(value) for key, value in part.items()}
    return [on_page(value) for value in part] if isinstance(part, list | tuple) else part


def with_data(spec: dict[str, Any], name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add a named data set to those of a spec."""
    return spec | {"datasets": spec.get("datasets", {}) | {name: rows}}


def with_parameters(spec: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Add parameters, with the values that they start with, to a spec; Altair would copy the whole chart for each."""
    return spec | {
        "params": [*spec.get("params", []), *({"name": name, "value": on_page(values[name])} for name in values)]
    }


def render_svg(spec: Mapping[str, Any]) -> str:
    """Render a Vega-Lite spec to SVG without a browser and without a network."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(dict(spec), vl_version=vega_lite_version())
    return svg


def measure_chart(chart: alt.TopLevelMixin) -> tuple[float, float]:
    """Return the width and height that a chart has when it is drawn, in points."""
    size = re.search(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"', render_svg(chart.to_dict(validate=False)))
    if size is None:
        raise ValueError("the SVG of a chart has no width and height: check that vl-convert still writes both")
    return float(size[1]), float(size[2])


def fit_width(draw: Callable[[int], alt.TopLevelMixin], total: int, across: int) -> tuple[int, float]:
    """Find how wide panels must be for a chart to be as wide as asked, axes and legend included.

    Args:
        draw: Draws the chart with panels of a given width.
        total: Width of the whole chart, in points.
        across: Panels side by side.

    Returns:
        The width of a panel, and what is left over, to be added as padding. The chart is wider than asked, with nothing
        left over, only where even the narrowest panels are too wide.
    """
    width, tried = max(_LEAST_PANEL_POINTS, total // across - 40), dict[int, float]()
    # The space beside the panels hardly depends on their width: two drawings are enough unless a label comes or goes
    # with a point of width.
    while width not in tried and len(tried) < 6:
        tried[width] = total - measure_chart(draw(width))[0]
        width = max(_LEAST_PANEL_POINTS, width + math.floor(tried[width] / across))
    best = max((panel for panel in tried if tried[panel] >= 0), default=min(tried))
    return best, max(0.0, tried[best])


_LEAST_PANEL_POINTS: Final = 40


def _in_points(svg: str) -> str:
    """Give a drawing its size in points, since a number alone is taken for 1/96 inch."""
    return re.sub(r'(<svg[^>]*? width="[\d.]+)(" height="[\d.]+)"', r'\1pt\2pt"', svg, count=1)


def save_figure(
    chart: alt.TopLevelMixin, folder: Path | str, name: str, data: pd.DataFrame | None = None
) -> list[Path]:
    """Write a chart as SVG, PDF, PNG (300 pixels per inch), Vega-Lite JSON, and its data as CSV.

    Args:
        chart: The chart.
        folder: Where to write; made if it is not there.
        name: File name without its ending.
        data: The table behind the chart; without it, the rows in the spec, with the number of their data set.

    Returns:
        The five paths: svg, pdf, png, json, csv.
    """
    import vl_convert

    spec = chart.to_dict(validate=False)
    base = Path(folder)
    svg, pdf, png, json_path, csv = paths = [base / f"{name}.{ending}" for ending in FIGURE_ENDINGS]
    drawing = render_svg(spec)
    write_text(svg, _in_points(drawing))
    with atomic_path(pdf) as temporary:
        temporary.write_bytes(vl_convert.svg_to_pdf(drawing))
    with atomic_path(png) as temporary:
        temporary.write_bytes(vl_convert.svg_to_png(drawing, ppi=PNG_PIXELS_PER_INCH))
    write_json(json_path, spec)
    if data is None:
        sets = spec.get("datasets", {}).values()
        data = pd.concat([pd.DataFrame(rows).assign(data_set=number) for number, rows in enumerate(sets) if rows])
    write_table(csv, data)
    return paths


FIGURE_ENDINGS: Final = ("svg", "pdf", "png", "json", "csv")


def vega_lite_version() -> str:
    """Return the Vega-Lite version that Altair writes, as vl-convert names it: ``6.4``."""
    major, minor = str(alt.SCHEMA_VERSION).removeprefix("v").split(".")[:2]
    return f"{major}.{minor}"
