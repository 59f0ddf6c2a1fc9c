"""What every page is made with: the templates, with their filters, its charts and the scripts."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Final

import jinja2

from whyrobust.report.number_format import format_p, format_percent
from whyrobust.report.page_parts import ChartData, Failure, compress_text
from whyrobust.study.display_names import capital, name_test_set, spaced, verdict_key

SCRIPT_PARTS: Final = (
    "elements", "numbers", "page_data", "address", "charts", "explorer", "find_model", "folded", "run_panel",
    "compare_runs", "region", "tables", "runs_table", "downloads", "classes", "pictures", "paper", "start",
)  # fmt: skip
"""Files of ``templates/script`` in the order in which they run; each may call the functions of all others."""


def page_environment() -> jinja2.Environment:
    """Return the environment of one page: filters that turn numbers and names into text, its charts, the scripts."""
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
    environment.globals.update(charts=ChartData(), table_scripts=table_scripts, chart_scripts=chart_scripts)
    environment.globals["own_script"] = own_script
    environment.tests["failure"] = lambda part: isinstance(part, Failure)
    return environment


@cache
def table_scripts() -> str:
    """Return DataTables as `compress_text` does; a page unpacks it once it answers."""
    folder = resources.files("whyrobust.report") / "templates" / "vendor"
    return compress_text((folder / "dataTables.min.js").read_text(encoding="utf-8"))


@cache
def chart_scripts() -> str:
    """Return Vega-Embed with Vega as `compress_text` does; the page unpacks it when the first chart comes near."""
    import vl_convert

    return compress_text(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def own_script() -> str:
    """Return the script of every page, as it stands in a script element: the files of ``templates/script``, joined."""
    folder = resources.files("whyrobust.report") / "templates" / "script"
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPT_PARTS]
    # One function around them all: they share their names and leave none in the window.
    whole = "\n".join(["(async function () {", '"use strict";', *parts, "})();"])
    return whole.replace("</script", "<\\/script")
