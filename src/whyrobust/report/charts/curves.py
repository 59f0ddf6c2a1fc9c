"""Training curves as a chart of the page, which highlights the run that the reader picks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import axis_style
from whyrobust.report.render import page_spec, with_data
from whyrobust.report.theme import PAGE_THEME


def curves_panel(
    curves: pd.DataFrame, runs: pd.DataFrame, colours: Mapping[str, str], *, height: int = 220
) -> dict[str, Any]:
    """Return the training curves of runs of one objective as a Vega-Lite spec that the page's script can steer.

    Args:
        curves: ``curves.csv`` of these runs: ``run, samples, loss``.
        runs: ``run, source, words`` of each; ``words`` names it in the tooltip.
        colours: colour of each source.
        height: of the panel in pixels.

    Returns:
        The spec, with the parameters ``chosen`` and ``second``: names of the highlighted runs, or "".
    """
    table = curves.merge(runs[["run", "source", "words"]], on="run", validate="many_to_one")
    rows = table[["run", "samples", "loss", "source", "words"]].round({"loss": 4}).to_dict("records")
    sources = list(dict.fromkeys(table["source"]))
    clear = "chosen === '' || datum.run === chosen || datum.run === second"
    x = alt.X("samples:Q", title="training images shown", axis=dict(format="~s", tickCount=5, **axis_style(PAGE_THEME)))
    y = alt.Y("loss:Q", title="loss (nats)", scale={"zero": False}, axis=dict(**axis_style(PAGE_THEME)))
    lines = alt.Chart(alt.NamedData("curves")).encode(
        x=x,
        y=y,
        detail=alt.Detail("run:N"),
        color=alt.Color(
            "source:N",
            scale={"domain": sources, "range": [colours[source] for source in sources]},
            legend={"title": None, "orient": "bottom", "labelColor": PAGE_THEME["ink"], "columns": 2},
        ),
        opacity=alt.condition(clear, alt.value(1), alt.value(0.1)),
        tooltip=[
            alt.Tooltip("words:N", title="run"),
            alt.Tooltip("samples:Q", title="images shown", format=","),
            alt.Tooltip("loss:Q", title="loss", format=".3f"),
        ],
    )
    chart = lines.mark_line(strokeWidth=1.2, cursor="pointer").properties(height=height)
    spec = page_spec(alt.layer(chart).add_params(*(alt.param(name=name, value="") for name in ("chosen", "second"))))
    return with_data(spec, "curves", rows)
