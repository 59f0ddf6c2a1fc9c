"""The page of published models: a single self-contained HTML file, with the style and the scripts of a study's page.

Offers `render_published`. It measures nothing: every number is in a table of ``results/published/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from whyrobust.analysis.natural_experiments import EQUAL_SAMPLES, EQUAL_SIZE
from whyrobust.analysis.published_effects import COMPARISON, CONFIDENCE, MARGIN_POINTS
from whyrobust.analysis.published_lines import MAIN_SHIFTS, TESTBED_LINE
from whyrobust.analysis.published_study import TABLES
from whyrobust.report.charts.causes import causes_spec
from whyrobust.report.charts.published import (
    effects_table,
    model_points,
)
from whyrobust.report.number_format import format_points
from whyrobust.report.page_parts import Panel, table_rows
from whyrobust.report.published_findings import (
    MAIN_ARCHITECTURES,
    QUESTIONS,
    answers,
    comparison_key,
    comparison_rows,
    headline,
)
from whyrobust.report.published_rows import (
    contrasts_table,
    depends_table,
    disagreements_table,
    indirect_table,
    left_out_table,
    lines_table,
    second_axes_table,
    sources_table,
    undocumented_table,
)
from whyrobust.report.sections.explorers import explorer_settings
from whyrobust.report.sections.published import READING, published_explorer
from whyrobust.report.templating import page_environment
from whyrobust.study.display_names import MEAN, SHIFT_WORDS

_PAIR_HEAD: Final = (
    "Control",
    "Treatment",
    "ImageNet, points",
    "V2, Sketch, R: raw",
    "Effective robustness",
    "What else differs",
)


def render_published(tables: Mapping[str, pd.DataFrame], pretraining: pd.DataFrame) -> str:
    """Return the page as HTML.

    Args:
        tables: the tables of `whyrobust.analysis.published_study.TABLES`, by name.
        pretraining: ``resources/reference/pretraining.csv``, as `whyrobust.analysis.pretraining` reads it.
    """
    effects, models = tables["effects"], tables["models"]
    points = model_points(models, tables["effective_robustness"])
    drawn = points.drop_duplicates(["collection", "run"])
    explorer = published_explorer(points, tables["lines"])
    html: str = (
        page_environment()
        .get_template("published_report.html.j2")
        .render(
            headline=headline(effects, len(models)),
            answers=answers(effects, tables["indirect"]),
            questions={question: question_parts(tables, question) for question in QUESTIONS},
            panels=effect_panels(effects),
            explorer=explorer,
            reading=READING,
            lines=lines_table(tables),
            line=compare_lines_in_words(tables),
            depends=depends_table(tables),
            second_axes=second_axes_table(tables),
            contrasts=contrasts_table(tables),
            indirect=indirect_table(tables),
            families=families_in_words(tables["families"]),
            disagreements=disagreements_table(tables),
            left_out=left_out_table(tables),
            undocumented=undocumented_table(tables),
            sources=sources_table(pretraining),
            files=TABLES,
            counts={"models": len(models), "drawn": len(drawn), "rows": len(models) + len(tables["left_out"])},
            rule={
                "main": MAIN_ARCHITECTURES,
                "margin": f"{MARGIN_POINTS:g}",
                "confidence": f"{100 * CONFIDENCE:g}",
                "size": f"{EQUAL_SIZE:g}",
                "samples": f"{100 * (EQUAL_SAMPLES - 1):.0f}",
            },
            mean=MEAN,
            shifts={MEAN: "Mean", **{shift: SHIFT_WORDS[shift].removeprefix("ImageNet-") for shift in MAIN_SHIFTS}},
            page_data={
                "runs": {},
                "explorers": {explorer.name: explorer_settings(explorer)},
                "pairs": {"head": _PAIR_HEAD, "rows": pair_rows(tables["pairs"])},
            },
        )
    )
    return html


def question_parts(tables: Mapping[str, pd.DataFrame], question: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a question's tables: main comparisons, others with an interval, those without."""
    rows = comparison_rows(tables["effects"], tables["pairs"], question)
    none = "no interval"
    others = [row for row in rows if not row["main"]]
    return {
        "main": [row for row in rows if row["main"]],
        "others": [row for row in others if row["cells"][MEAN]["interval"] != none],
        "single": [row for row in others if row["cells"][MEAN]["interval"] == none],
    }


def effect_panels(effects: pd.DataFrame) -> dict[str, Panel]:
    """Make one panel per question: its main comparisons, in the mean over three shifts."""
    table = effects_table(effects)
    panels = {}
    for question, (cause, asked) in QUESTIONS.items():
        rows = table[table["cause"] == cause]
        spec = causes_spec(table, cause, letters=44, title=("points of effective robustness",))
        told = "; ".join(
            f"{row['comparison']} {format_points(row['effect_points'])} "
            f"({format_points(row['low_points'])} to {format_points(row['high_points'])})"
            for row in rows.to_dict("records")
        )
        description = f"{asked}: effects on effective robustness in points with their intervals. {told}."
        panels[question] = Panel(asked, spec, description)
    return panels


def pair_rows(pairs: pd.DataFrame) -> dict[str, list[list[str]]]:
    """Return the pairs of every comparison by its key: a row per pair, beyond the testbed's line."""
    chosen = pairs[(pairs["line"] == TESTBED_LINE) & pairs["shift"].isin(MAIN_SHIFTS)]
    found: dict[str, list[list[str]]] = {}
    by = [*COMPARISON, "model_control", "model_treatment"]
    parts: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for row in table_rows(chosen):
        parts.setdefault(tuple(str(row[name]) for name in by), {})[str(row["shift"])] = row
    for key, rows in parts.items():
        known = [rows[shift] for shift in MAIN_SHIFTS if shift in rows]
        raw, er = (
            ", ".join(format_points(row[name]) for row in known) for name in ("raw_shift_points", "effect_points")
        )
        differs = str(known[0]["also_differs"]) or "nothing that is documented"
        id_points = format_points(known[0]["raw_id_points"])
        found.setdefault(comparison_key(key[:-2]), []).append([*key[-2:], id_points, raw, er, differs])
    return found


def compare_lines_in_words(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Say how far both lines are apart, and how many verdicts depend on which one is used."""
    table = tables["line_differences"]
    full = table[(table["x_test_set"] == "imagenet") & table["shift"].isin(MAIN_SHIFTS)]
    parts = []
    for shift, part in full.groupby("shift", sort=False):
        low, high = part["difference_points"].min(), part["difference_points"].max()
        parts.append(f"{SHIFT_WORDS[str(shift)]}: {format_points(low)} to {format_points(high)} points")
    claims = tables["claims_by_line"]
    mean = claims[claims["shift"] == MEAN]
    depends = mean[mean["depends_on_line"]]
    several = int((depends["architectures"] > 1).sum())
    at = f"{100 * full['id_accuracy'].min():.0f} to {100 * full['id_accuracy'].max():.0f} %"
    return {
        "apart": f"From {at} on ImageNet, timm's line lies above the testbed's by: {'; '.join(parts)}.",
        "depends": (
            f"Of {len(mean)} comparisons, {len(depends)} have another verdict, or another sign, by timm's line, "
            f"{several} of them comparisons of several architectures."
        ),
    }


def families_in_words(families: pd.DataFrame) -> str:
    """Say how many effects keep their sign whichever family of architectures is left out."""
    keeps = families["sign_holds"].astype(bool)
    largest = families.loc[~keeps, "effect_points"].abs().max()
    tail = f"; the effects of the others are {largest:.1f} points or less" if (~keeps).any() else ""
    return (
        f"Of {len(families)} effects (comparison, shift and line) with two families of architectures or more, "
        f"{100 * keeps.mean():.0f} % keep their sign without any one family{tail}."
    )
