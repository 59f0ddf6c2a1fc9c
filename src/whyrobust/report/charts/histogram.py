"""The images per class of a data set, as a chart of the page."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import axis_style
from whyrobust.report.render import page_spec
from whyrobust.report.theme import PAGE_THEME, chart_of


def by_falling_size(counts: pd.DataFrame) -> pd.DataFrame:
    """Return ``class, images`` from the largest class to the smallest; equal ones by name."""
    return counts.sort_values(["images", "class"], ascending=[False, True], kind="stable")


def histogram_panel(counts: pd.DataFrame, colour: str, *, height: int = 90) -> dict[str, Any]:
    """Return the images per class of one data set, from the largest class to the smallest, as a Vega-Lite spec.

    Args:
        counts: ``class, images``, one row per class.
        colour: of the bars.
        height: of the panel in pixels.
    """
    rows = by_falling_size(counts)
    values = [
        {"rank": rank, "class": str(name), "images": int(images)}
        for rank, (name, images) in enumerate(zip(rows["class"], rows["images"], strict=True), start=1)
    ]
    bars = chart_of(values).mark_bar(color=colour, binSpacing=0)
    chart = bars.encode(
        x=alt.X(
            "rank:Q",
            title="classes, largest first",
            scale={"domain": [0.5, len(values) + 0.5], "nice": False},
            axis=dict(tickMinStep=1, tickCount=5, **axis_style(PAGE_THEME)),
        ),
        x2=alt.X2("next:Q"),
        y2=alt.datum(0),
        y=alt.Y("images:Q", title="images", axis=dict(tickCount=3, format="~s", **axis_style(PAGE_THEME))),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("images:Q", format=",")],
    ).transform_calculate(rank="datum.rank - 0.5", next="datum.rank + 1")
    return page_spec(alt.layer(chart).properties(height=height))
