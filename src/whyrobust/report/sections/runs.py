"""The runs: accuracies by test set, false negatives in their batches, and training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from whyrobust.report.charts.curves import curves_panel
from whyrobust.report.number_format import format_percent, format_points, format_points_interval
from whyrobust.report.page_parts import Panel, attempt, table_rows
from whyrobust.report.tables import RunTables, StudyTables
from whyrobust.report.theme import PALETTE
from whyrobust.study.display_names import (
    capital,
    count_noun,
    name_head,
    name_kind_of,
    name_objective,
    name_runs,
    spaced,
)
from whyrobust.study.objectives_table import MANY_FALSE_NEGATIVES
from whyrobust.study.plan import HEAD_FIELDS
from whyrobust.study.table_cells import is_missing


def runs_section(study: StudyTables, details: RunTables) -> dict[str, Any]:
    """Return the values of the section."""
    return {
        "test_sets": list(dict.fromkeys(study.accuracy["test_set"])),
        "rows": run_rows(study.accuracy, study.effective),
        "count": study.runs["run"].nunique(),
        "false_negatives": false_negative_rows(study.runs),
        "many_false_negatives": MANY_FALSE_NEGATIVES,
        "curves": attempt("The training curves", lambda: curve_panels(details.curves, details.trained)),
        "has_details": bool(len(details.confusions) or len(details.sample_predictions)),
    }


def run_rows(accuracy: pd.DataFrame, effective: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of runs, one per run and head, with a cell per test set.

    Args:
        accuracy: ``accuracy.csv``.
        effective: ``effective_robustness.csv``; what a run has beyond its prediction stands below its accuracy.
    """
    keys = ["run", *HEAD_FIELDS]
    filled = effective.fillna(dict.fromkeys(HEAD_FIELDS, ""))
    beyond = {
        (*(str(row[name]) for name in keys), str(row["shift"])): _name_beyond(row)
        for row in table_rows(filled)
        if not is_missing(row["effective_robustness_points"])
    }
    rows = []
    models, samples = (accuracy[name].nunique() > 1 for name in ("model", "samples_seen"))
    texts = ("prompts", "fitted_on", "caption", "labels", "pretrained_by")
    for (run, head, prompts, fitted_on), part in accuracy.fillna(dict.fromkeys(texts, "")).groupby(
        ["run", *HEAD_FIELDS], sort=False
    ):
        of_test_sets = table_rows(part)
        first = of_test_sets[0]
        cells = {
            row["test_set"]: {
                "value": f"{row['accuracy']:.4f}",
                "text": format_percent(row["accuracy"]),
                "interval": f"{format_percent(row['low'])} to {format_percent(row['high'])}, {row['images']:,} images",
                "beyond": beyond.get((str(run), str(head), str(prompts), str(fitted_on), str(row["test_set"])), ""),
            }
            for row in of_test_sets
        }
        rows.append(
            {
                "run": str(run),
                "main": bool(first["main"]),
                "kind": name_kind_of(first),
                "images": int(first["train_images"]),
                "seed": int(first["seed"]),
                "details": ", ".join(
                    [spaced(str(first["model"]))] * models + [f"{int(first['samples_seen']):,} seen"] * samples
                ),
                "head": name_head(str(head), str(prompts), str(fitted_on)),
                "cells": cells,
            }
        )
    return rows


def false_negative_rows(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the share of false negatives in a batch, by kind of training and size, the largest first.

    Args:
        runs: ``runs.csv``; a run whose loss compares no pairs of a batch, and a published one, has no share.

    Returns:
        ``kind``, ``images``, ``runs``, and ``low`` and ``high``, the ends of the share among them, from 0 to 1.
    """
    shares: dict[tuple[str, int], list[float]] = {}
    for row in table_rows(runs):
        if not is_missing(row["false_negative_share"]):
            shares.setdefault((name_kind_of(row), int(row["train_images"])), []).append(row["false_negative_share"])
    rows = [
        {"kind": kind, "images": images, "runs": len(of_runs), "low": min(of_runs), "high": max(of_runs)}
        for (kind, images), of_runs in shares.items()
    ]
    return sorted(rows, key=lambda row: -row["high"])


def _name_beyond(row: Mapping[str, Any]) -> str:
    """Return effective robustness with its interval: ``+2.1 (+0.3 to +4.5)``."""
    interval = format_points_interval(row["low_points"], row["high_points"])
    return format_points(row["effective_robustness_points"]) + (f" ({interval})" if interval else "")


def curve_panels(curves: pd.DataFrame, runs: pd.DataFrame) -> list[Panel]:
    """Make one panel per objective, since losses of different objectives cannot be compared."""
    if runs.empty or curves.empty:
        return []
    named = runs.assign(
        words=list(name_runs(table_rows(runs)).values()),
        source=[spaced(str(source)) for source in runs["source"]],
    )
    sources = dict.fromkeys(named["source"])
    colours = {source: PALETTE[number % len(PALETTE)] for number, source in enumerate(sources)}
    panels = []
    for objective in dict.fromkeys(named["objective"]):
        of_objective = named[named["objective"] == objective]
        part = curves[curves["run"].isin(of_objective["run"])]
        if part.empty:
            continue
        spec = curves_panel(part, of_objective, colours)
        last = part.groupby("run").tail(1)["loss"]
        title = capital(name_objective(str(objective)))
        description = (
            f"Training loss of {count_noun(part['run'].nunique(), 'run')} by {title}: last values from "
            f"{last.min():.3g} to {last.max():.3g}."
        )
        panels.append(Panel(title, spec, description))
    return panels
