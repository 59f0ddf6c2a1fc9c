"""The report page of a study: one file that opens without a network.

Stands alone, and last, because it only shows what other stages wrote: it measures nothing, so that every number on
the page is also in a table. Each section of the page has a template of its name and one function here that gives it
values; what a study lacks is said in its place.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from whyrobust.files import write_text
from whyrobust.report.cause_charts import causes_panel
from whyrobust.report.explorer import (
    LAYER_PREFIX,
    OTHER_READING,
    PUBLISHED_FIELDS,
    STUDY_FIELDS,
    STUDY_FILTERS,
    Choice,
    curves_panel,
    explorer_panel,
    histogram_panel,
    list_choices,
    published_points,
    stages_chart,
    study_points,
)
from whyrobust.report.findings import answer_sentences, causes_rows, headline, main_comparisons, regression_rows
from whyrobust.report.number_format import format_percent, format_points
from whyrobust.report.render import page_spec, render_svg
from whyrobust.report.robustness_charts import (
    choose_published,
    describe_baseline,
    describe_points,
    describe_reference,
    name_collections,
    note_points,
)
from whyrobust.report.theme import PAGE_THEME, PALETTE
from whyrobust.study.display_names import (
    KIND_FIELDS,
    SHIFT_WORDS,
    capital,
    name_cause,
    name_head,
    name_kind,
    name_objective,
    name_run,
    name_test_set,
    spaced,
)
from whyrobust.study.plan import HEAD_FIELDS
from whyrobust.study.stages import STAGES

#: Marks of the legend, by the names that Vega has for shapes.
MARKS = {
    "circle": "●", "square": "■", "triangle-up": "▲", "diamond": "◆", "triangle-down": "▼", "cross": "✚",
}  # fmt: skip
#: Below either, or with a falling line, the page warns of a baseline: a rule of thumb of our own; nothing is left out.
FEWEST_MODELS, LEAST_R_SQUARED = 5, 0.5
#: Points above which a panel has no drawing for readers without scripts, who are told in words: it would be too large.
MOST_DRAWN = 500
#: Kinds of the test sets of the paper's study, and the published accuracies on the same images.
PUBLISHED_SHIFTS = {
    "imagenet_v2": "imagenet-v2",
    "imagenet_sketch": "imagenet-sketch",
    "imagenet_r": "imagenet-r",
    "imagenet_a": "imagenet-a",
    "objectnet": "objectnet",
}


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study's results, as ``results/README.md`` describes them; ``several`` where it was asked for."""

    accuracy: pd.DataFrame
    effective: pd.DataFrame
    runs: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    causes: pd.DataFrame
    regression: pd.DataFrame
    several: pd.DataFrame | None = None


@dataclass(frozen=True)
class DataTables:
    """What the data of a study look like: tables of ``describe_data``, ``decontaminate`` and ``match_text``."""

    classes: pd.DataFrame
    captions: pd.DataFrame
    filters: pd.DataFrame
    samples: pd.DataFrame
    pairs: pd.DataFrame
    removed: pd.DataFrame
    text_matches: pd.DataFrame


@dataclass(frozen=True)
class RunTables:
    """What single runs did: the trained runs as the plan has them, and tables of the stage ``describe_runs``."""

    trained: pd.DataFrame
    curves: pd.DataFrame
    confusions: pd.DataFrame
    sample_predictions: pd.DataFrame


@dataclass(frozen=True)
class ReferenceTables:
    """Effective robustness, baselines and bands of published models."""

    effective: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame


@dataclass(frozen=True)
class Making:
    """How a study was made.

    Attributes:
        provenance: the record that ``provenance.json`` holds.
        stages: names of the stages it used.
        images_by_stage: images that a stage went through, where it goes through images.
        licences: ``name, by, part, licence`` of everything used.
        citations: how to cite the data.
        commands: the commands that remake the page.
        figures: file names in ``figures/``.
        latex: LaTeX tables by file name.
    """

    provenance: Mapping[str, Any]
    stages: Sequence[str]
    images_by_stage: Mapping[str, int]
    licences: pd.DataFrame
    citations: Sequence[str]
    commands: Sequence[str]
    figures: Sequence[str]
    latex: Mapping[str, str]


@dataclass(frozen=True)
class Panel:
    """One chart of the page.

    Attributes:
        title: heading.
        spec: Vega-Lite spec as JSON that may stand in a script element.
        svg: drawing for readers without scripts and for print, or nothing where a table says the same.
        words: description of what it shows.
        notes: what to know about single points.
    """

    title: str
    spec: str
    svg: str
    words: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Explorer:
    """Panels that the reader steers together: what points are coloured and filtered by, and what is hidden at first."""

    name: str
    panels: Sequence[Panel]
    choices: Sequence[Choice]
    hidden: Mapping[str, Sequence[str]]
    background: bool


@dataclass(frozen=True)
class Failure:
    """A part of the page that could not be made, and why; the others are shown all the same."""

    words: str


def attempt(what: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever a part of the page is made of
    """Return an optional part of the page, or what went wrong in its place, which is logged with its traceback.

    A study takes hours or days: a broken side table must not withhold its answer.
    """
    try:
        return make()
    except Exception as error:
        logging.getLogger("whyrobust").exception("%s could not be made", what)
        return Failure(f"{what} could not be made ({type(error).__name__}: {error}).")


def embed_json(value: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Return JSON that may stand inside a script element, whatever names it holds; no NaN, which JSON lacks."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def pack_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows by column, and a column of few texts as codes: a third of the size, since names do not repeat.

    Returns:
        ``{"rows": number, "columns": {name: values or {"texts": [...], "codes": [...]}}}``; None where a row lacks a
        column.
    """
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        texts = {value: place for place, value in enumerate(dict.fromkeys(v for v in values if isinstance(v, str)))}
        if all(isinstance(value, str) for value in values) and 2 * len(texts) < len(values):
            columns[name] = {"texts": list(texts), "codes": [texts[str(value)] for value in values]}
        else:
            columns[name] = values
    return {"rows": len(rows), "columns": columns}


def embed_spec(spec: Mapping[str, Any]) -> str:
    """Return a Vega-Lite spec as `embed_json` does, its data sets packed; the page's script unpacks them."""
    packed = {name: pack_rows(rows) for name, rows in spec.get("datasets", {}).items()}
    return embed_json(dict(spec) | {"datasets": packed})


def picture_uri(data: bytes) -> str:
    """Return the bytes of a PNG, JPEG or WebP picture as an address that needs no file."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg" if data.startswith(b"\xff\xd8") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _text(value: object) -> str:
    """Return a cell as text, nothing where it is missing."""
    return "" if value is None or value != value else str(value)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


# ---------------------------------------------------------------- the answer


def cause_panels(causes: pd.DataFrame, colours: Mapping[str, str]) -> list[tuple[Panel, list[tuple[str, str]]]]:
    """Make one panel a cause, with what each of its comparisons holds fixed."""
    panels = []
    for cause in dict.fromkeys(causes["cause"]):
        rows = causes[causes["cause"] == cause]
        spec = page_spec(causes_panel(causes, cause, colours, theme=PAGE_THEME, for_page=True))
        words = " ".join(sentence for sentences in answer_sentences(rows).values() for sentence in sentences)
        fixed = list(dict.fromkeys(zip(rows["comparison"], rows["holds_fixed"], strict=True)))
        panels.append((Panel(capital(name_cause(cause)), embed_spec(spec), render_svg(spec, 420), words), fixed))
    return panels


def overview_panel(causes: pd.DataFrame, colours: Mapping[str, str]) -> Panel:
    """Make one panel of the main comparison of every cause: the first that the config names."""
    main = main_comparisons(causes)
    named = [
        f"{capital(name_cause(cause))}: {comparison}"
        for cause, comparison in zip(main["cause"], main["comparison"], strict=True)
    ]
    spec = page_spec(
        causes_panel(
            main.assign(cause="main", comparison=named), "main", colours, theme=PAGE_THEME, wrap=44, for_page=True
        )
    )
    words = " ".join(f"{cause}: {said[0]}" for cause, said in answer_sentences(main).items())
    return Panel("The main comparison of each cause", embed_spec(spec), render_svg(spec, 420), words)


def answer_section(study: StudyTables, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return what the section on the answer shows: the headline, a panel a cause, and the same in words and numbers."""
    return {
        "headline": headline(study.causes),
        "answers": answer_sentences(study.causes),
        "overview": overview_panel(study.causes, colours) if len(study.causes) else None,
        "cause_panels": cause_panels(study.causes, colours),
        "causes": causes_rows(study.causes),
        "regression": regression_rows(study.regression),
        "shifts": list(dict.fromkeys(study.effective["shift"])),
    }


# ---------------------------------------------------------------- effective robustness


def explorer_panels(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    bands: pd.DataFrame,
    choices: Sequence[Choice],
    hidden: Mapping[str, Sequence[str]],
    scale: str,
    names: Mapping[str, str],
    **look: Any,  # noqa: ANN401 - keyword arguments of explorer_panel
) -> list[Panel]:
    """Make one panel a shift, in the order of the points."""
    panels = []
    first = points
    for field, values in hidden.items():
        first = first[~first[field].isin(values)]
    for shift in dict.fromkeys(points["shift"]):
        spec = explorer_panel(points, baselines, bands, shift, choices, hidden, scale, names=names, **look)
        shown = first[first["shift"] == shift]
        mean = shown.groupby("kind", sort=False)["effective_robustness_points"].mean()
        words = (
            f"Scatter of accuracy on {name_test_set(shift, names)} against in-distribution accuracy. Mean effective "
            "robustness in points: " + "; ".join(f"{kind} {format_points(value)}" for kind, value in mean.items()) + "."
        )
        line = describe_baseline(baselines, shift)
        notes = [
            f"{capital(line)}."
            if line
            else "No baseline: there are not two standard models with different accuracies "
            "here, so effective robustness is not measured."
        ]
        notes += warn_of_baseline(baselines, shift) + note_points(shown[~shown["layer"]], shift, scale)
        drawn = render_svg(spec, 360) if len(points[points["shift"] == shift]) <= MOST_DRAWN else ""
        panels.append(Panel(name_test_set(shift, names), embed_spec(spec), drawn, words, notes))
    return panels


def warn_of_baseline(baselines: pd.DataFrame, shift: str) -> list[str]:
    """Warn where the line of a shift is no ground to measure from: too few models, falling, or without a fit."""
    rows = baselines[baselines["shift"] == shift]
    weak = (rows["models"] < FEWEST_MODELS) | (rows["slope"] <= 0) | (rows["r_squared"] < LEAST_R_SQUARED)
    return ["The line predicts poorly here, so effective robustness says little."] if weak.any() else []


def robustness_section(
    described: pd.DataFrame,
    study: StudyTables,
    reference: ReferenceTables | None,
    test_kinds: Mapping[str, str],
    scale: str,
    colours: Mapping[str, str],
) -> Explorer:
    """Return the explorer of a study's runs, with published models behind them where the test sets are the same.

    Args:
        described: effective robustness of every run, head and shift (see `describe_points`).
        study: the results.
        reference: published models, or None.
        test_kinds: kind of each test set, such as ``imagenet_r``, as the config names it.
        scale: scale of the axes.
        colours: colours by kind of training.
    """
    points = study_points(described)
    layer = _published_layer(points, reference, test_kinds)
    choices = list_choices(
        pd.concat([points, layer], ignore_index=True) if len(layer) else points, STUDY_FIELDS, STUDY_FILTERS, colours
    )
    hidden = {"reading": [OTHER_READING]} if any(choice.name == "reading" for choice in choices) else {}
    together = pd.concat([layer, points], ignore_index=True) if len(layer) else points
    panels = explorer_panels(together, study.baselines, study.bands, choices, hidden, scale, {})
    return Explorer("study", panels, choices, hidden, bool(len(layer)))


def several_rows(study: StudyTables) -> list[dict[str, Any]]:
    """Return mean effective robustness beyond several in-distribution test sets at once, a row a kind of training.

    Shi et al. 2023 (arXiv 2302.01381): one in-distribution test set favours the source it comes from.
    """
    if study.several is None or study.several.empty:
        return []
    keys = ["run", *HEAD_FIELDS]
    texts = dict.fromkeys(HEAD_FIELDS, "")
    main = study.effective[study.effective["main"]].fillna(texts)[keys].drop_duplicates()
    points = describe_points(study.several.fillna(texts).merge(main, on=keys), study.runs)
    rows = []
    for (sets, kind), part in points.groupby(["x_test_sets", "kind"], sort=False):
        means = part.groupby("shift", sort=False)["effective_robustness_points"].mean()
        cells = {str(shift): format_points(float(mean)) for shift, mean in means.items()}
        rows.append({"sets": str(sets), "kind": str(kind), "runs": part["run"].nunique(), "cells": cells})
    return rows


def _published_layer(
    points: pd.DataFrame, reference: ReferenceTables | None, test_kinds: Mapping[str, str]
) -> pd.DataFrame:
    """Return published models on the shifts and axes of a study's points, none where the test sets differ."""
    if reference is None:
        return points.iloc[:0]
    axes = points.drop_duplicates("shift")[["shift", "x_test_set"]]
    parts = []
    for shift, x_test_set in zip(axes["shift"], axes["x_test_set"], strict=True):
        published = PUBLISHED_SHIFTS.get(test_kinds.get(shift, ""))
        if published is None:
            continue
        axis = f"imagenet@{published}" if "@" in x_test_set else "imagenet"
        rows = reference.effective
        rows = rows[(rows["shift"] == published) & (rows["x_test_set"] == axis)]
        parts.append(rows.assign(shift=shift, x_test_set=x_test_set))
    if not parts:
        return points.iloc[:0]
    described = describe_reference(name_collections(pd.concat(parts, ignore_index=True)))
    return published_points(described, [*STUDY_FIELDS, *STUDY_FILTERS], background=True)


def published_section(reference: ReferenceTables | None, colours: Mapping[str, str]) -> Explorer | None:
    """Return the explorer of published models, or None where their tables are missing."""
    if reference is None or reference.effective.empty:
        return None
    points = published_points(describe_reference(choose_published(reference.effective)), [], background=False)
    lines, band = (table[table["x_test_set"] == "imagenet"] for table in (reference.baselines, reference.bands))
    choices = list_choices(points, PUBLISHED_FIELDS, {}, colours)
    panels = explorer_panels(points, lines, band, choices, {}, "logit", SHIFT_WORDS, intervals=False, sizes=(26, 26))
    return Explorer("published", panels, choices, {}, False)


# ---------------------------------------------------------------- the data


def data_section(data: DataTables, similarity: float, text_fields: Sequence[str]) -> dict[str, Any]:
    """Return what the section on the data shows: samples, class counts, captions, filters and repeats."""
    data_sets = []
    for (name, role), rows in data.samples.groupby(["dataset", "role"], sort=False):
        counts = data.classes[data.classes["dataset"] == name]
        source = role == "training_source"
        panel = None
        if len(counts):
            spec = histogram_panel(counts, PALETTE[0] if source else PALETTE[1])
            panel = Panel(str(name), embed_spec(spec), "", _describe_counts(counts))
        tiles = [
            {
                "picture": picture_uri(row["picture"]),
                "label": _text(row["label"]),
                "caption": _caption(row),
            }
            for row in _rows(rows)
        ]
        words = spaced(str(role))
        data_sets.append({"name": str(name), "role": words, "tiles": tiles, "histogram": panel})
    steps = list(dict.fromkeys(data.filters["step"]))
    filters = [
        {"dataset": dataset, "images": dict(zip(rows["step"], rows["images"], strict=True))}
        for dataset, rows in data.filters.groupby("dataset", sort=False)
    ]
    bands = [
        {
            "low": low,
            "high": high,
            "in_band": int(rows.drop_duplicates("source")["in_band"].sum()),
            "pairs": [
                row | {"picture": picture_uri(row["picture"]), "test_picture": picture_uri(row["test_picture"])}
                for row in _rows(rows)
            ],
        }
        for (low, high), rows in data.pairs.groupby(["low", "high"])
    ]
    return {
        "data_sets": data_sets,
        "captions": _rows(data.captions),
        "steps": steps,
        "filters": filters,
        "removed": _rows(data.removed[data.removed["images"] > 0]),
        "bands": bands,
        "similarity": similarity,
        "text_matches": _rows(data.text_matches),
        "text_fields": [spaced(field) for field in text_fields],
    }


def _caption(record: Mapping[str, Any]) -> str:
    """Return all the text of a record in one line: title, description, tags."""
    tags = record["tags"]
    parts = [_text(record["title"]), _text(record["description"]), "" if tags is None else ", ".join(tags)]
    return "; ".join(filter(None, parts))


def _describe_counts(counts: pd.DataFrame) -> str:
    """Say in words what a class histogram shows."""
    rows = counts.sort_values(["images", "class"], ascending=[False, True], kind="stable")
    largest, smallest = rows.iloc[0], rows.iloc[-1]
    empty = int((rows["images"] == 0).sum())
    words = (
        f"{int(rows['images'].sum()):,} labelled images of {len(rows) - empty} classes; median "
        f"{rows['images'].median():,.0f} a class; most: {largest['class']} ({int(largest['images']):,}); fewest: "
        f"{smallest['class']} ({int(smallest['images']):,})"
    )
    return words + (f"; {empty} classes without an image." if empty else ".")


# ---------------------------------------------------------------- the runs


def run_rows(accuracy: pd.DataFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the test sets and the rows of the table of runs, one a run and head."""
    test_sets = list(dict.fromkeys(accuracy["test_set"]))
    rows = []
    texts = ("prompts", "fitted_on", "caption", "labels", "pretrained_by")
    for (run, head, prompts, fitted_on), part in accuracy.fillna(dict.fromkeys(texts, "")).groupby(
        ["run", *HEAD_FIELDS], sort=False
    ):
        first = part.iloc[0]
        cells = {
            row["test_set"]: {
                "value": f"{row['accuracy']:.4f}",
                "text": format_percent(row["accuracy"]),
                "interval": f"{format_percent(row['low'])} to {format_percent(row['high'])}, {row['images']:,} images",
            }
            for row in _rows(part)
        }
        rows.append(
            {
                "run": str(run),
                "main": bool(first["main"]),
                "kind": name_kind(**{name: first[name] for name in KIND_FIELDS}),
                "images": int(first["train_images"]),
                "seed": int(first["seed"]),
                "head": name_head(str(head), str(prompts), str(fitted_on)),
                "cells": cells,
            }
        )
    return test_sets, rows


def curve_panels(curves: pd.DataFrame, runs: pd.DataFrame) -> list[Panel]:
    """Make one panel an objective, since losses of different objectives cannot be compared."""
    if runs.empty or curves.empty:
        return []
    named = runs.assign(
        words=[
            name_run(name_kind(**{name: row[name] for name in KIND_FIELDS}), row["train_images"], row["seed"])
            for row in _rows(runs)
        ],
        source=[spaced(str(source)) for source in runs["source"]],
    )
    sources = dict.fromkeys(named["source"])
    colours = {source: PALETTE[place % len(PALETTE)] for place, source in enumerate(sources)}
    panels = []
    for objective in dict.fromkeys(named["objective"]):
        of_objective = named[named["objective"] == objective]
        part = curves[curves["run"].isin(of_objective["run"])]
        if part.empty:
            continue
        spec = curves_panel(part, of_objective, colours)
        last = part.groupby("run").tail(1)["loss"]
        title = capital(name_objective(str(objective)))
        words = (
            f"Training loss of {part['run'].nunique()} runs by {title}: last values from {last.min():.3g} to "
            f"{last.max():.3g}."
        )
        panels.append(Panel(title, embed_spec(spec), render_svg(spec, 360), words))
    return panels


def runs_section(study: StudyTables, details: RunTables) -> dict[str, Any]:
    """Return what the section on the runs shows: the table of accuracies and the training curves."""
    test_sets, rows = run_rows(study.accuracy)
    return {
        "test_sets": test_sets,
        "rows": rows,
        "count": study.runs["run"].nunique(),
        "curves": attempt("The training curves", lambda: curve_panels(details.curves, details.trained)),
        "has_details": bool(len(details.confusions) or len(details.sample_predictions)),
    }


def page_data(points: pd.DataFrame, details: RunTables, samples: pd.DataFrame) -> dict[str, Any]:
    """Return what the page's script shows of a chosen run: what it is, its results, confusions and answers.

    Args:
        points: effective robustness of every run by its main head (see `describe_points`).
        details: confusions and answers to sample images of each run.
        samples: the sample images, whose order the answers have.

    Returns:
        ``runs``: run to ``words`` and ``results`` (main head, a row a shift); ``names``: labels and answers;
        ``confusions``: run to test set to ``[label, answer, images, images of the class]`` with places in ``names``;
        ``answers``: run to test set to ``[answer, right]`` for each sample image, None where there is none;
        ``default``: the run to show first, the one with the highest mean effective robustness.
    """
    runs: dict[str, dict[str, Any]] = {}
    for row in _rows(points):
        entry = runs.setdefault(row["run"], {"words": row["words"], "results": []})
        entry["results"].append(
            [name_test_set(row["shift"])]
            + [format_percent(row[name]) for name in ("id_accuracy", "shift_accuracy", "baseline_accuracy")]
            + [format_points(row["effective_robustness_points"])]
        )
    means = points.groupby("run")["effective_robustness_points"].mean().dropna()
    names: dict[str, int] = {}

    def place(name: object) -> int:
        return names.setdefault(spaced(_text(name)), len(names))

    confusions: dict[str, dict[str, list[list[int]]]] = {}
    for row in _rows(details.confusions):
        confusions.setdefault(row["run"], {}).setdefault(row["test_set"], []).append(
            [place(row["label"]), place(row["prediction"]), int(row["images"]), int(row["class_images"])]
        )
    place_of = {
        (row["dataset"], row["uid"]): number
        for _, rows in samples.groupby("dataset", sort=False)
        for number, row in enumerate(_rows(rows))
    }
    sizes = samples.groupby("dataset").size()
    answers: dict[str, dict[str, list[list[int] | None]]] = {}
    for row in _rows(details.sample_predictions):
        of_run = answers.setdefault(row["run"], {})
        given = of_run.setdefault(row["test_set"], [None] * int(sizes[row["test_set"]]))
        given[place_of[row["test_set"], row["uid"]]] = [place(row["prediction"]), int(bool(row["correct"]))]
    return {
        "runs": runs,
        "names": list(names),
        "confusions": confusions,
        "answers": answers,
        "test_sets": {name: name_test_set(name) for name in dict.fromkeys(details.sample_predictions["test_set"])},
        "default": str(means.idxmax()) if len(means) else next(iter(runs), ""),
    }


# ---------------------------------------------------------------- how it was made


def _stages_panel(stages: Sequence[str]) -> Panel:
    """Make the picture of the stages."""
    spec = page_spec(stages_chart(stages))
    described = "; ".join(f"{spaced(stage.name)}: {stage.words}" for stage in STAGES if stage.name in stages)
    return Panel("Stages", embed_spec(spec), render_svg(spec, 620), described)


def made_section(making: Making) -> dict[str, Any]:
    """Return what the section on the making shows: stages and their cost, machine, config, licences and citations."""
    words = {stage.name: stage.words for stage in STAGES}
    times: Mapping[str, Mapping[str, float]] = making.provenance["seconds_by_stage"]
    whole = sum(cost["seconds"] for cost in times.values())
    costs = []
    for stage in (stage.name for stage in STAGES if stage.name in times):
        cost = times[stage]
        images = making.images_by_stage.get(stage)
        speed = f"{images / cost['seconds']:,.0f}" if images and cost["seconds"] else ""
        costs.append(
            {
                "stage": spaced(stage),
                "words": words[stage],
                "jobs": f"{int(cost['jobs']):,}",
                "seconds": f"{cost['seconds']:,.1f}",
                "share": format_percent(cost["seconds"] / whole) if whole else "",
                "memory": f"{cost['memory_mb']:,.0f}",
                "speed": speed,
            }
        )
    record = {name: value for name, value in making.provenance.items() if name != "config"}
    formats: dict[str, list[str]] = {}
    for name in sorted(making.figures):
        formats.setdefault(Path(name).stem, []).append(Path(name).suffix.removeprefix("."))
    return {
        "stages": attempt("The picture of the stages", lambda: _stages_panel(making.stages)),
        "costs": costs,
        "whole": f"{whole / 60:,.1f}",
        "machine": making.provenance["machine"],
        "commit": making.provenance["commit"],
        "record": record,
        "config": yaml.safe_dump(making.provenance["config"], sort_keys=False, allow_unicode=True, width=110),
        "checksums": making.provenance["checksums_sha256"],
        "licences": _rows(making.licences),
        "citations": making.citations,
        "commands": making.commands,
        "formats": formats,
        "latex": making.latex,
    }


# ---------------------------------------------------------------- the page


@cache
def _scripts() -> list[str]:
    """Return the scripts of the page: DataTables, Vega-Embed with Vega and Vega-Lite, and the page's own."""
    import vl_convert

    folder = resources.files("whyrobust.report") / "templates"
    own = [(folder / name).read_text(encoding="utf-8") for name in ("vendor/dataTables.min.js", "report.js")]
    vega: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return [script.replace("</script", "<\\/script") for script in (own[0], vega, own[1])]


def render_report(
    name: str,
    study: StudyTables,
    data: DataTables,
    details: RunTables,
    reference: ReferenceTables | None,
    making: Making,
    test_kinds: Mapping[str, str],
    similarity: float,
    text_fields: Sequence[str],
    scale: str,
    colours: Mapping[str, str],
    confidence: tuple[float, float],
) -> str:
    """Return the page as HTML.

    Args:
        name: of the study.
        study: its results; tables may have no row, and the page then says what is missing.
        data: what its data look like.
        details: what its runs did.
        reference: published models, or None.
        making: how it was made.
        test_kinds: kind of each test set, as the config names it.
        similarity: from which a training image counts as a near-duplicate of a test image.
        text_fields: the text fields that were searched for labels.
        scale: scale of the axes.
        colours: colours by kind of training, and of effects.
        confidence: of the intervals of accuracies and of effects, from 0 to 1.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("whyrobust.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests["failure"] = lambda part: isinstance(part, Failure)
    environment.filters["number"] = lambda value: f"{value:,.0f}" if value == value else "not known"
    environment.filters["decimal"] = lambda value: f"{value:,.1f}" if value == value else "not known"
    environment.filters["percent"] = format_percent
    environment.filters["test_set"] = name_test_set
    environment.filters["spaced"] = spaced
    points = describe_points(study.effective, study.runs)
    explorer = robustness_section(points, study, reference, test_kinds, scale, colours)
    published = attempt("The chart of published models", lambda: published_section(reference, colours))
    explorers = [part for part in (explorer, published) if isinstance(part, Explorer)]
    steered = {part.name: _explorer_data(part) for part in explorers}
    html: str = environment.get_template("report.html.j2").render(
        name=name,
        answer=answer_section(study, colours),
        explorer=explorer,
        several=attempt("The table beyond several test sets", lambda: several_rows(study)),
        data=data_section(data, similarity, text_fields),
        runs=runs_section(study, details),
        published=published,
        made=made_section(making),
        page_data=embed_json(page_data(points[points["main"]], details, data.samples) | {"explorers": steered}),
        standard=list(dict.fromkeys(points.loc[points["standard"], "kind"])),
        accuracy_percent=f"{100 * confidence[0]:g}",
        effect_percent=f"{100 * confidence[1]:g}",
        scripts=_scripts(),
    )
    return html


def _explorer_data(explorer: Explorer) -> dict[str, Any]:
    """Return what the page's script needs to steer an explorer."""
    return {
        "choices": [
            {
                "name": choice.name,
                "words": choice.words,
                "colours": choice.colours,
                "values": [
                    {"value": value, "colour": look["colour"], "mark": MARKS[look["shape"]]}
                    | ({"layer": True} if value.startswith(LAYER_PREFIX) else {})
                    for value, look in choice.looks.items()
                ],
            }
            for choice in explorer.choices
        ],
        "hidden": {field: list(values) for field, values in explorer.hidden.items()},
        "background": explorer.background,
    }


def write_report(path: Path | str, html: str) -> None:
    """Write the page, whole or not at all."""
    write_text(path, html)
