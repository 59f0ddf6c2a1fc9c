"""The points of the charts of effective robustness: names of models, and positions on the axes.

Print and page show the same points (`robustness`, `explorer`); what a point is and where it lies is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from whyrobust.report.accuracy_axes import transform_accuracy
from whyrobust.report.number_format import format_percent, format_points
from whyrobust.study.display_names import (
    COLLECTION_WORDS,
    STANDARD_WORDS,
    name_head,
    name_kind_of,
    name_runs,
    spaced,
)
from whyrobust.study.table_cells import is_missing

POINT_TOOLTIPS: Final = {
    "words": "model",
    "id_words": "in-distribution",
    "shift_words": "on the shift",
    "baseline_words": "predicted",
    "effect_words": "effective robustness",
    "remark": "note",
}
"""Fields of a point that its tooltip shows, with their titles."""

RUN_COLUMNS: Final = (
    "run", "source", "train_images", "seed", "objective", "supervision", "caption", "labels", "pretrained_by", "model",
    "samples_seen",
)  # fmt: skip
"""Columns of the table of runs that are added to the points, where the table has them."""


def describe_points(effective: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Add what the charts need to the effective robustness table: the run's settings, and names in plain words.

    Args:
        effective: ``effective_robustness.csv``.
        runs: ``runs.csv`` or ``accuracy.csv``: ``run, source, train_images, seed, objective, supervision,
            caption``; repeated rows of a run are ignored.

    Returns:
        ``effective`` with the columns of ``runs``, ``kind`` (kind of training) and ``words`` (kind, size, seed and
        head), same rows, same order.

    Raises:
        ValueError: a run of ``effective`` is not in ``runs``.
    """
    known = runs[[name for name in RUN_COLUMNS if name in runs]].drop_duplicates("run")
    lost = sorted(set(effective["run"]) - set(known["run"]))
    if lost:
        raise ValueError(
            f"{len(lost)} runs of the effective robustness table are not in the table of runs, "
            f"first {lost[0]!r}: make both tables from the same study"
        )
    table = effective.merge(known, on="run", how="left", suffixes=("", "_of_run"))
    table["kind"] = [name_kind_of(row) for row in table.to_dict("records")]
    named = name_runs([{str(name): value for name, value in row.items()} for row in known.to_dict("records")])
    table["words"] = [
        f"{named[row['run']]}, {name_head(row['head'], row['prompts'], row.get('fitted_on'))}"
        for row in table.to_dict("records")
    ]
    return table


def name_collections(effective: pd.DataFrame) -> pd.DataFrame:
    """Replace the collection of each published model by its display name; the standard models are one of their own."""
    names = [
        STANDARD_WORDS if standard else COLLECTION_WORDS.get(name, spaced(name))
        for standard, name in zip(effective["standard"], effective["collection"], strict=True)
    ]
    return effective.assign(collection=names)


def choose_published(effective: pd.DataFrame, collections: Sequence[str]) -> pd.DataFrame:
    """Choose published models whose x axis is the full validation set, which all collections report.

    Args:
        effective: effective robustness of published models.
        collections: the collections to choose.

    Returns:
        The chosen rows, with their collections by display name.
    """
    chosen = (effective["x_test_set"] == "imagenet") & effective["collection"].isin(collections)
    return name_collections(effective[chosen])


def describe_published(points: pd.DataFrame) -> pd.DataFrame:
    """Give published models the columns of `describe_points`: ``kind`` is the collection, ``words`` the model.

    Standard models come first: they are drawn behind the others and lead the legend.
    """
    table = points.assign(kind=[spaced(str(name)) for name in points["collection"]])
    table["words"] = table["run"].astype(str)
    others = [not kind.startswith("standard") for kind in table["kind"]]
    return table.assign(others=others).sort_values("others", kind="stable").drop(columns="others")


def measured_points(points: pd.DataFrame, shift: str) -> pd.DataFrame:
    """Return the points of a shift that have both accuracies."""
    return points[(points["shift"] == shift) & points["id_accuracy"].notna() & points["shift_accuracy"].notna()]


def position_points(
    points: pd.DataFrame, all_points: pd.DataFrame, scale: str, sizes: tuple[float, float]
) -> list[dict[str, Any]]:
    """Turn measured points into the rows that the marks of a chart need.

    Args:
        points: described points of one shift, with both accuracies.
        all_points: the points of all panels, whose training set sizes set the areas of the marks.
        scale: ``logit``, ``probit`` or ``linear``.
        sizes: area in square pixels of the smallest and the largest training set.

    Returns:
        One row per point: ``x, y`` and the ends of both intervals on the transformed scale, infinite where the scale
        has no value; ``edge``: the edge of the panel that such a point is drawn on, or ""; ``hollow``: whether the
        line is extrapolated there; ``size``; ``kind`` and the fields of `POINT_TOOLTIPS`.
    """
    images = all_points["train_images"].dropna() if "train_images" in all_points else pd.Series(dtype=float)
    smallest, largest = (float(images.min()), float(images.max())) if len(images) else (1.0, 1.0)
    positioned: list[dict[str, Any]] = []
    for row in points.to_dict("records"):
        x = transform_accuracy(row["id_accuracy"], scale)
        y = transform_accuracy(row["shift_accuracy"], scale)
        positioned.append(
            {
                "x": round(x, 4),
                "y": round(y, 4),
                **_interval_ends(row, "id", "x", scale),
                **_interval_ends(row, "shift", "y", scale),
                "x_name": str(row["x_test_set"]),
                "kind": row["kind"],
                "edge": _edge_of(x, y),
                "hollow": bool(row.get("extrapolated", False)),
                "size": _point_size(row.get("train_images"), smallest, largest, sizes),
                "words": row["words"],
                "id_words": _accuracy_text(row, "id"),
                "shift_words": _accuracy_text(row, "shift"),
                "baseline_words": format_percent(row.get("baseline_accuracy", math.nan)),
                "effect_words": _effect_text(row),
                "remark": _remark(row),
            }
        )
    return positioned


def _edge_of(x: float, y: float) -> str:
    """Return the edge that a point beyond the scale is drawn on, or nothing."""
    if math.isinf(y):
        return "bottom" if y < 0 else "top"
    if math.isinf(x):
        return "left" if x < 0 else "right"
    return ""


def _remark(row: Mapping[Any, Any]) -> str:
    """Return the note of the table and what a hollow point and a standard model are, or a dash."""
    remarks = [
        "" if is_missing(row.get("note")) else str(row["note"]),
        "outside the span of the standard models" if row.get("extrapolated", False) else "",
        "one of the models the line is fitted to" if row.get("standard", False) else "",
    ]
    return "; ".join(filter(None, remarks)) or "\N{EN DASH}"


def _interval_ends(row: Mapping[Any, Any], name: str, axis: str, scale: str) -> dict[str, float | None]:
    """Return the ends of an accuracy's interval on an axis; a missing end falls on the point, which draws no bar."""
    ends: dict[str, float | None] = {}
    for side in ("low", "high"):
        value = row.get(f"{name}_{side}", math.nan)
        end = row[f"{name}_accuracy"] if is_missing(value) else value
        ends[f"{axis}_{side}"] = round(transform_accuracy(end, scale), 4)
    return ends


def _accuracy_text(row: Mapping[Any, Any], name: str) -> str:
    """Return the accuracy ``id`` or ``shift`` in percent, with its interval if there is one."""
    text = format_percent(row[f"{name}_accuracy"])
    low, high = (row.get(f"{name}_{side}", math.nan) for side in ("low", "high"))
    return text if is_missing(low) or is_missing(high) else f"{text} ({100 * low:.1f} to {100 * high:.1f})"


def _effect_text(row: Mapping[Any, Any]) -> str:
    """Return the effective robustness in points, with its interval if there is one."""
    effect, low, high = (
        row.get(name, math.nan) for name in ("effective_robustness_points", "low_points", "high_points")
    )
    if is_missing(effect):
        return "not measured"
    text = f"{format_points(effect)} points"
    return text if is_missing(low) or is_missing(high) else f"{text} ({format_points(low)} to {format_points(high)})"


def _point_size(
    images: Any,  # noqa: ANN401 - a number, or what pandas has for a missing one
    smallest: float,
    largest: float,
    sizes: tuple[float, float],
) -> float:
    """Return a mark's area: by the logarithm of the training set's size, the middle where that is not known."""
    if is_missing(images) or largest <= smallest:
        return (sizes[0] + sizes[1]) / 2
    share = math.log(float(images) / smallest) / math.log(largest / smallest)
    return sizes[0] + share * (sizes[1] - sizes[0])


def clip_to_panel(
    rows: Sequence[Mapping[str, Any]], x_span: tuple[float, float], y_span: tuple[float, float]
) -> list[dict[str, Any]]:
    """Move points at infinity, and ends of intervals beyond the panel, onto its edge."""
    spans = {f"{axis}{end}": span for axis, span in {"x": x_span, "y": y_span}.items() for end in ("", "_low", "_high")}

    def clip(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell
        return min(max(value, spans[name][0]), spans[name][1]) if name in spans else value

    return [{name: clip(name, value) for name, value in row.items()} for row in rows]
