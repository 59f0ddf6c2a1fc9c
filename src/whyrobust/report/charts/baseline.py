"""The line of the standard models and the line of equal accuracies, as layers of the charts of effective robustness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from whyrobust.report.accuracy_axes import transform_accuracy
from whyrobust.report.theme import chart_of
from whyrobust.study.table_cells import is_missing

#: The band about a fit holds so many standard deviations of its models to either side.
BAND_DEVIATIONS: Final = 2.0


def describe_baseline(baselines: pd.DataFrame, shift: str) -> str:
    """Say how the line of a shift was fitted, or return nothing if there is none."""
    fits = describe_fits(baselines, shift)
    if not fits:
        return ""
    lines = "line fitted to" if len(fits) == 1 else f"{len(fits)} lines fitted to"
    return f"{lines} {' and '.join(fits)}"


def describe_fits(baselines: pd.DataFrame, shift: str) -> list[str]:
    """Say of each line of a shift to how many models it is fitted and how well; of two, one may be without models."""
    rows = baselines[baselines["shift"] == shift] if len(baselines) else baselines
    fits = []
    for row in rows[rows["models"] > 1].to_dict("records") if len(rows) else []:
        digits = 3 if row["r_squared"] >= 0.995 else 2  # R² of 1.00 would claim too much
        fits.append(f"{int(row['models'])} models, R² {row['r_squared']:.{digits}f}")
    return fits


def position_line(baselines: pd.DataFrame, bands: pd.DataFrame, shift: str, scale: str) -> list[dict[str, Any]]:
    """Return the baseline of a shift as rows of a chart, none if there is no line.

    Args:
        baselines: ``baselines.csv``.
        bands: ``baseline_bands.csv``.
        shift: the shift.
        scale: ``logit``, ``probit`` or ``linear``.

    Returns:
        ``x, y, low, high`` on the transformed scale, with ``dash`` (dotted where x is outside the span of the standard
        models) and ``piece``: rows of one piece are joined.
    """
    fits = baselines[baselines["shift"] == shift].dropna(subset=["x_low"]).to_dict("records") if len(baselines) else []
    band = bands[bands["shift"] == shift].sort_values("x", kind="stable") if len(bands) else bands
    fits.sort(key=lambda fit: fit["x_low"])
    # ImageNet-A has two lines, which meet half-way between the spans of their models.
    cuts = [(left["x_high"] + right["x_low"]) / 2 for left, right in itertools.pairwise(fits)]
    positioned: list[dict[str, Any]] = []
    for row in band.to_dict("records"):
        values = {name: round(transform_accuracy(row[name], scale), 4) for name in ("x", "y", "low", "high")}
        if not (math.isfinite(values["x"]) and math.isfinite(values["y"])):
            continue
        for end in ("low", "high"):
            values[end] = values[end] if math.isfinite(values[end]) else values["y"]
        part = sum(row["x"] > cut for cut in cuts)
        fit = fits[part] if fits else None
        span = "fitted"
        if fit is not None and not is_missing(fit["x_low"]):
            span = "before" if row["x"] < fit["x_low"] else "after" if row["x"] > fit["x_high"] else "fitted"
        positioned.append({**values, "part": part, "span": span})
    return _split_pieces(positioned)


def _split_pieces(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Number the runs of rows of one line and span; the row where two spans meet is in both, so that no gap shows."""
    pieces: list[dict[str, Any]] = []
    number = 0
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and (before["part"], before["span"]) != (row["part"], row["span"]):
            number += 1
            if before["part"] == row["part"]:
                pieces.append(_row_of_piece(before, row["span"], number))
        pieces.append(_row_of_piece(row, row["span"], number))
    return pieces


def _row_of_piece(row: Mapping[str, Any], span: str, number: int) -> dict[str, Any]:
    dash = [1, 0] if span == "fitted" else [2, 3]
    return {name: row[name] for name in ("x", "y", "low", "high")} | {"dash": dash, "piece": number}


@dataclass(frozen=True)
class PanelAxes:
    """The axes of a panel: ends on the transformed scale, size in pixels, scale and axis of both position channels."""

    x_span: tuple[float, float]
    y_span: tuple[float, float]
    size: tuple[int, int]
    x_channel: Mapping[str, Any]
    y_channel: Mapping[str, Any]

    def x(self, field: str = "x") -> alt.X:
        """Return the x channel of a field."""
        return alt.X(f"{field}:Q", **self.x_channel)

    def y(self, field: str = "y") -> alt.Y:
        """Return the y channel of a field."""
        return alt.Y(f"{field}:Q", **self.y_channel)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies in the panel, in pixels from its upper left corner."""
        return (
            self.size[0] * (x - self.x_span[0]) / (self.x_span[1] - self.x_span[0]),
            self.size[1] * (self.y_span[1] - y) / (self.y_span[1] - self.y_span[0]),
        )


def line_layers(line: Sequence[Mapping[str, Any]], axes: PanelAxes, theme: Mapping[str, str]) -> list[alt.Chart]:
    """Draw the line of the standard models (rows of `position_line`) with its band; nothing if there is none."""
    if not line:
        return []
    chart = chart_of(list(line))
    edge = {"color": theme["muted"], "strokeWidth": 0.6, "clip": True}
    edges = [
        chart.mark_line(**edge).encode(x=axes.x(), y=axes.y(end), detail=alt.Detail("piece:N"))
        for end in ("low", "high")
    ]
    return [
        chart.mark_area(color=theme["band"], opacity=0.22, clip=True).encode(
            x=axes.x(), y=axes.y("low"), y2=alt.Y2("high:Q"), detail=alt.Detail("piece:N")
        ),
        *edges,
        chart.mark_line(color=theme["muted"], strokeWidth=1.6, clip=True).encode(
            x=axes.x(),
            y=axes.y(),
            detail=alt.Detail("piece:N"),
            strokeDash=alt.StrokeDash("dash:N", scale=None, legend=None),
        ),
    ]


def equality_layers(
    axes: PanelAxes, theme: Mapping[str, str], font: float, points: Sequence[Mapping[str, Any]]
) -> list[alt.Chart]:
    """Draw the line of equal accuracies, labelled where the points leave room, or say on which side it lies."""
    (x_low, x_high), (y_low, y_high) = axes.x_span, axes.y_span
    low, high = max(x_low, y_low), min(x_high, y_high)
    text_style: dict[str, Any] = {"color": theme["muted"], "fontSize": font, "fontStyle": "italic"}
    if low >= high:
        above = y_high <= x_low
        text = "y = x lies above" if above else "y = x lies below"
        note = chart_of([{"label": text}]).mark_text(align="left", baseline="middle", dy=2, **text_style)
        return [note.encode(x=alt.value(6), y=alt.value(8 if above else "height"), text=alt.Text("label:N"))]
    # Above the upper end of the line, or below the lower one, whichever is farther from every point; inside the panel.
    width, height = 2.4 * font, font
    candidates = []
    for end, side in ((high, -1), (low, 1)):
        left, top = axes.pixel(end, end)
        centre = (
            min(max(left + side * (0.7 * font + width), width / 2 + 2), axes.size[0] - width / 2 - 2),
            min(max(top - side * 0.8 * font, height), axes.size[1] - height),
        )
        distance = min((math.dist(centre, axes.pixel(row["x"], row["y"])) for row in points), default=math.inf)
        candidates.append((distance, end, centre[0] - left, centre[1] - top))
    _, end, dx, dy = max(candidates, key=lambda candidate: candidate[0])
    ends = chart_of([{"x": low, "y": low}, {"x": high, "y": high}])
    label = chart_of([{"x": end, "y": end, "label": "y = x"}])
    return [
        ends.mark_line(color=theme["muted"], strokeDash=[5, 4], strokeWidth=1, opacity=0.8).encode(
            x=axes.x(), y=axes.y()
        ),
        label.mark_text(baseline="middle", dx=dx, dy=dy, **text_style).encode(
            x=axes.x(), y=axes.y(), text=alt.Text("label:N")
        ),
    ]
