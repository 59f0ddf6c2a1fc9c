"""What every page is made with: the templates, with their filters, and the scripts."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import jinja2

from whyrobust.report.number_format import format_p, format_percent
from whyrobust.report.page_parts import Failure
from whyrobust.study.display_names import capital, name_test_set, spaced, verdict_key


def page_environment() -> jinja2.Environment:
    """Return the environment of the templates, with the filters that turn numbers and names into text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("whyrobust.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Any] = {
        "number": lambda value: f"{value:,.0f}" if value == value else "not known",
        "decimal": lambda value: f"{value:,.1f}" if value == value else "not known",
        "percent": format_percent,
        "probability": format_p,
        "test_set": name_test_set,
        "spaced": spaced,
        "capital": capital,
        "verdict_class": lambda verdict: verdict_key(verdict).replace(" ", "-"),
    }
    environment.filters.update(filters)
    environment.tests["failure"] = lambda part: isinstance(part, Failure)
    return environment


@cache
def page_scripts() -> list[str]:
    """Return the scripts of a page: DataTables, Vega-Embed with Vega and Vega-Lite, and the page's own."""
    import vl_convert

    folder = resources.files("whyrobust.report") / "templates"
    own = [(folder / name).read_text(encoding="utf-8") for name in ("vendor/dataTables.min.js", "report.js")]
    vega: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return [script.replace("</script", "<\\/script") for script in (own[0], vega, own[1])]
