"""The report page of a study: one file that opens without a network.

Stands alone, and last, because it only shows what other stages wrote: it measures nothing, so that every number on
the page is also in a table.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from whyrobust.figures import (
    REFERENCE_LOOK,
    causes_panel,
    choose_reference_styles,
    choose_styles,
    describe_baseline,
    describe_points,
    describe_reference,
    format_percent,
    format_points,
    judge_effect,
    note_points,
    page_spec,
    render_svg,
    robustness_panel,
)
from whyrobust.files import write_text
from whyrobust.plan import HEAD_FIELDS
from whyrobust.words import KIND_FIELDS, name_cause, name_head, name_kind, name_test_set, spaced

#: Collections of published models, as the chart names them.
COLLECTION_WORDS = {
    "imagenet_testbed": "other models of the ImageNet testbed",
    "open_clip": "CLIP models of open_clip, zero-shot",
}
SHIFT_WORDS = {
    "imagenet-v2": "ImageNet-V2",
    "imagenet-sketch": "ImageNet-Sketch",
    "imagenet-r": "ImageNet-R",
    "imagenet-a": "ImageNet-A",
    "objectnet": "ObjectNet",
}


@dataclass(frozen=True)
class Strip:
    """Sample images of one data set: a PNG, what it shows in words, and the captions below it."""

    name: str
    role: str
    png: bytes
    captions: Sequence[str]
    facts: str


@dataclass(frozen=True)
class Panel:
    """One chart of the page: its title, spec, drawing for readers without scripts, and description in words."""

    title: str
    spec: str
    svg: str
    words: str
    notes: Sequence[str]


def _rows(table: pd.DataFrame) -> list[Any]:
    """Return the rows with their columns as attributes."""
    return list(table.itertuples(index=False))


def published_points(effective: pd.DataFrame) -> pd.DataFrame:
    """Choose the published models that the page shows: the testbed's models and open_clip's CLIP models.

    The x axis is the full validation set for all, since that is what is known of the CLIP models.
    """
    rows = effective[(effective["x_test_set"] == "imagenet") & effective["collection"].isin(COLLECTION_WORDS)].copy()
    rows["collection"] = [
        "standard models (fit the line)" if standard else COLLECTION_WORDS[name]
        for standard, name in zip(rows["standard"], rows["collection"], strict=True)
    ]
    return rows


def answer_sentences(causes: pd.DataFrame) -> dict[str, list[str]]:
    """Say in words what the causes table shows.

    Args:
        causes: ``causes.csv``.

    Returns:
        For each cause, in words, one sentence a comparison: the effect on average over the shifts, and on which shifts
        its interval lies above zero, below zero, or holds zero.
    """
    sentences: dict[str, list[str]] = {}
    for (cause, contrast), rows in causes.groupby(["cause", "contrast"], sort=False):
        by_verdict: dict[str, list[str]] = {}
        for row in _rows(rows):
            found = judge_effect(row.effect_points, row.low_points, row.high_points)
            by_verdict.setdefault(found, []).append(name_test_set(str(row.shift)))
        parts = [
            f"{words} {', '.join(by_verdict[key])}"
            for key, words in (("raises", "raises it on"), ("lowers", "lowers it on"), ("unclear", "unclear on"))
            if key in by_verdict
        ]
        average = f"{format_points(float(rows['effect_points'].mean()))} points on average: "
        subject = name_cause(str(cause))
        said = sentences.setdefault(subject[:1].upper() + subject[1:], [])
        said.append(f"{contrast}, {average + '; '.join(parts) if parts else 'not measured'}.")
    return sentences


def headline(causes: pd.DataFrame) -> str:
    """Name the cause with the largest mean effect whose interval leaves out zero on most shifts, if there is one.

    Each cause speaks by its first comparison, which a study's config makes its main one.
    """
    best: tuple[float, str] | None = None
    main = causes[causes["contrast"] == causes.groupby("cause")["contrast"].transform("first")]
    for (cause, contrast), rows in main.groupby(["cause", "contrast"], sort=False):
        clear = ((rows["low_points"] > 0) | (rows["high_points"] < 0)).sum()
        mean = float(rows["effect_points"].mean())
        if clear * 2 > len(rows) and (best is None or abs(mean) > abs(best[0])):
            best = (
                mean,
                f"The largest clear effect is that of the {name_cause(str(cause))} ({contrast}): "
                f"{format_points(mean)} percentage points of effective robustness on average, "
                f"with an interval that leaves out zero on {clear} of {len(rows)} shifts.",
            )
    return best[1] if best else "No cause has an effect whose interval leaves out zero on most of the shifts."


def robustness_panels(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    styles: Mapping[str, tuple[str, str]],
    scale: str,
    names: Mapping[str, str],
    look: Mapping[str, Any],
) -> list[Panel]:
    """Make one panel a shift, in the order of the points."""
    panels = []
    for shift in dict.fromkeys(points["shift"]):
        chart = robustness_panel(points, baselines, bands, shift, styles, scale, names=names, for_page=True, **look)
        spec = page_spec(chart)
        mean = points[points["shift"] == shift].groupby("kind", sort=False)["effective_robustness_points"].mean()
        words = (
            f"Scatter of accuracy on {name_test_set(shift, names)} against in-distribution accuracy. Mean effective "
            "robustness in points: " + "; ".join(f"{kind} {format_points(value)}" for kind, value in mean.items()) + "."
        )
        line = describe_baseline(baselines, shift)
        notes = [*([line[:1].upper() + line[1:] + "."] if line else ["No baseline could be fitted."])]
        notes += note_points(points, shift, scale)
        panels.append(
            Panel(
                name_test_set(shift, names),
                json.dumps(spec).replace("<", "\\u003c"),
                render_svg(spec, 360),
                words,
                notes,
            )
        )
    return panels


def cause_panels(causes: pd.DataFrame, colours: Mapping[str, str]) -> list[tuple[Panel, list[tuple[str, str]]]]:
    """Make one panel a cause, with what each of its comparisons holds fixed."""
    panels = []
    for cause in dict.fromkeys(causes["cause"]):
        rows = causes[causes["cause"] == cause]
        spec = page_spec(causes_panel(causes, cause, colours, for_page=True))
        words = " ".join(answer_sentences(rows))
        fixed = list(dict.fromkeys(zip(rows["contrast"], rows["holds_fixed"], strict=True)))
        title = name_cause(cause)
        panel = Panel(
            title[:1].upper() + title[1:],
            json.dumps(spec).replace("<", "\\u003c"),
            render_svg(spec, 420),
            words,
            [],
        )
        panels.append((panel, fixed))
    return panels


def legend_entries(styles: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    """Return what the page's legend shows for each kind: words, colour and the character of its shape."""
    characters = {
        "circle": "●", "square": "■", "triangle-up": "▲", "diamond": "◆", "triangle-down": "▼", "cross": "✚",
        "triangle-right": "▶", "triangle-left": "◀",
    }  # fmt: skip
    return [
        {"kind": kind, "colour": colour, "mark": characters.get(shape, "●")} for kind, (colour, shape) in styles.items()
    ]


def _effect_cells(part: pd.DataFrame, column: str) -> dict[str, dict[str, str]]:
    """Return what a table says of one effect on each shift: the effect in ``column``, its interval and the verdict."""
    return {
        row["shift"]: {
            "effect": format_points(row[column]),
            "interval": f"{format_points(row['low_points'])} to {format_points(row['high_points'])}",
            "verdict": judge_effect(row[column], row["low_points"], row["high_points"]),
        }
        for row in part.to_dict("records")
    }


def causes_rows(causes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of causes: one a comparison, a cell a shift."""
    rows = []
    for (cause, contrast), part in causes.groupby(["cause", "contrast"], sort=False):
        cells = _effect_cells(part, "effect_points")
        pairs = f"{int(part['pairs'].min())} pairs, {int(part['seeds'].min())} seeds"
        rows.append({"cause": name_cause(str(cause)), "contrast": contrast, "cells": cells, "pairs": pairs})
    return rows


def regression_rows(regression: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table of the second opinion: one a term, a cell a shift."""
    rows = []
    for (cause, term), part in regression.groupby(["cause", "term"], sort=False):
        cells = _effect_cells(part, "points")
        inflation = float(part["vif"].max())
        words = "cannot be told apart" if not np.isfinite(inflation) else f"{inflation:.1f}"
        rows.append({"cause": name_cause(str(cause)), "term": spaced(str(term)), "cells": cells, "inflation": words})
    return rows


def run_rows(accuracy: pd.DataFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the test sets and the rows of the table of runs, one a run and head."""
    test_sets = list(dict.fromkeys(accuracy["test_set"]))
    rows = []
    texts = ("prompts", "fitted_on", "caption", "labels", "pretrained_by")
    for (_, head, prompts, fitted_on), part in accuracy.fillna(dict.fromkeys(texts, "")).groupby(
        ["run", *HEAD_FIELDS], sort=False
    ):
        first = part.iloc[0]
        cells = {
            row.test_set: {
                "value": f"{row.accuracy:.4f}",
                "text": format_percent(row.accuracy),
                "interval": f"{format_percent(row.low)} to {format_percent(row.high)}, {row.images:,} images",
            }
            for row in _rows(part)
        }
        rows.append(
            {
                "kind": name_kind(**{name: first[name] for name in KIND_FIELDS}),
                "images": int(first["train_images"]),
                "seed": int(first["seed"]),
                "head": name_head(str(head), str(prompts), str(fitted_on)),
                "cells": cells,
            }
        )
    return test_sets, rows


def render_report(
    study: str,
    accuracy: pd.DataFrame,
    effective: pd.DataFrame,
    runs: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    causes: pd.DataFrame,
    regression: pd.DataFrame,
    reference: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None,
    strips: Sequence[Strip],
    removed: pd.DataFrame,
    sizes: pd.DataFrame,
    pair_strips: Sequence[Strip],
    similarity: float,
    licences: pd.DataFrame,
    text_matches: pd.DataFrame,
    text_fields: Sequence[str],
    provenance: Mapping[str, Any],
    scale: str,
    colours: Mapping[str, str],
) -> str:
    """Return the page as HTML.

    Args:
        study: name of the study.
        accuracy: ``accuracy.csv``.
        effective: ``effective_robustness.csv``.
        runs: ``runs.csv``.
        baselines: ``baselines.csv``.
        bands: ``baseline_bands.csv``.
        causes: ``causes.csv``; without rows the page says that nothing was compared.
        regression: ``regression.csv``.
        reference: effective robustness, baselines and bands of published models, or None.
        strips: sample images of every data set.
        removed: ``source, test_set, reason, images``: training images that repeat test images.
        sizes: images a data set before and after.
        pair_strips: pairs near the threshold.
        similarity: the threshold.
        licences: ``name, by, part, licence`` of everything used.
        text_matches: ``source, records, matched, precision, recall``: labels found in text, a row a source.
        text_fields: the text fields that were searched.
        provenance: the record that ``provenance.json`` holds.
        scale: scale of the axes.
        colours: colours by kind of training.
    """
    import vl_convert

    points = describe_points(effective[effective["main"]], runs)
    styles = choose_styles(points["kind"].tolist(), colours)
    published: dict[str, Any] = {"panels": [], "legend": []}
    if reference is not None:
        chosen = describe_reference(published_points(reference[0]))
        lines, band = (table[table["x_test_set"] == "imagenet"] for table in reference[1:])
        reference_styles = choose_reference_styles(chosen["kind"].tolist(), colours)
        published = {
            "panels": robustness_panels(chosen, lines, band, reference_styles, "logit", SHIFT_WORDS, REFERENCE_LOOK),
            "legend": legend_entries(reference_styles),
        }
    test_sets, table = run_rows(accuracy)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("whyrobust", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    html: str = environment.get_template("report.html.j2").render(
        study=study,
        headline=headline(causes),
        answers=answer_sentences(causes),
        shifts=list(dict.fromkeys(effective["shift"])),
        name_test_set=name_test_set,
        causes=causes_rows(causes),
        cause_panels=cause_panels(causes, {}),
        regression=regression_rows(regression),
        panels=robustness_panels(points, baselines, bands, styles, scale, {}, {}),
        legend=legend_entries(styles),
        published=published,
        strips=strips,
        pair_strips=pair_strips,
        similarity=similarity,
        removed=removed.to_dict("records"),
        sizes=sizes.to_dict("records"),
        test_sets=test_sets,
        runs=table,
        run_count=runs["run"].nunique(),
        licences=licences.to_dict("records"),
        text_matches=text_matches.to_dict("records"),
        text_fields=text_fields,
        percent=format_percent,
        provenance=provenance,
        bundle=vl_convert.javascript_bundle(""),
    )
    return html


def write_report(path: Path | str, html: str) -> None:
    """Write the page, whole or not at all."""
    write_text(path, html)
