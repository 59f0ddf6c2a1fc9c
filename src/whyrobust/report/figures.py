"""The figures of a study at the widths of a journal's columns, and its main results as LaTeX tables, in one folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import altair as alt
import pandas as pd

from whyrobust.report.charts.causes import causes_chart, least_height
from whyrobust.report.charts.distribution import dose_chart, frequency_chart
from whyrobust.report.charts.published import effects_table
from whyrobust.report.charts.residuals import residual_chart
from whyrobust.report.charts.robustness import RobustnessData, published_chart, robustness_chart
from whyrobust.report.findings import EffectTerms, main_comparisons
from whyrobust.report.latex import causes_table, effective_robustness_table, main_table
from whyrobust.report.render import FIGURE_ENDINGS, measure_chart, save_figure
from whyrobust.report.theme import DOUBLE_COLUMN_POINTS, PAGE_HEIGHT_POINTS, SINGLE_COLUMN_POINTS

logger = logging.getLogger("whyrobust")


@dataclass(frozen=True)
class FigureSize:
    """A width at which all figures are drawn: ending of their names, and panels side by side."""

    suffix: str
    total_points: int
    shifts_across: int
    causes_across: int
    published_across: int


FIGURE_SIZES: Final = (
    FigureSize("", DOUBLE_COLUMN_POINTS, 2, 2, 3),
    FigureSize("_column", SINGLE_COLUMN_POINTS, 2, 1, 2),
)

PRINTED_COLLECTIONS: Final = ("imagenet_testbed", "open_clip")
"""Published models in print, as in the first figure of Fang et al. 2022; the page shows VL Hub's models too."""


@dataclass(frozen=True)
class FigureTables:
    """What the figures of a study show.

    Attributes:
        main: runs of the study by their main head, beyond all in-distribution test sets (see `describe_points`).
        paper: the same by the paper's measurement, with its lines and bands.
        published: published models (see `choose_published`).
        causes: ``causes.csv``; without a row there is no figure of causes.
        doses: ``dose_response.csv``; without a row there is no figure of it.
        frequencies: rows of ``concept_frequency.csv`` (see `shown_frequencies`); without one there is no figure of it.
    """

    main: RobustnessData
    paper: RobustnessData
    published: RobustnessData
    causes: pd.DataFrame
    doses: pd.DataFrame
    frequencies: pd.DataFrame


def draw_figures(
    folder: Path, tables: FigureTables, reference_accuracy: float, colours: Mapping[str, str], processes: int = 1
) -> None:
    """Draw all figures of a study at all `FIGURE_SIZES`.

    Args:
        folder: where the files go.
        tables: what they show.
        reference_accuracy: accuracy under shift at which residuals are spelt out in points.
        colours: colours that replace the default ones, by kind of training or verdict.
        processes: how many draw at one time; the figures are the same for any number.
    """
    if tables.causes.empty:
        logger.info("nothing was compared: no figure and no table of causes")
    draw = partial(_draw_figure, folder, tables, reference_accuracy, colours)
    names = _names_of_figures(tables.causes, tables.doses, tables.frequencies)
    figures = [(name, size) for size in FIGURE_SIZES for name in names]
    if processes == 1:
        notes = list(starmap(draw, figures))
    else:
        # spawn: forking a process that already runs threads can hang.
        with ProcessPoolExecutor(min(processes, len(figures)), mp_context=get_context("spawn")) as executor:
            notes = list(executor.map(draw, *zip(*figures, strict=True)))
    for note in filter(None, notes):
        logger.info(note)


def list_figures(causes: pd.DataFrame, doses: pd.DataFrame, frequencies: pd.DataFrame) -> list[str]:
    """Return the names of the files that `draw_figures` writes; arguments as of `FigureTables`."""
    names = _names_of_figures(causes, doses, frequencies)
    return [f"{name}{size.suffix}.{ending}" for size in FIGURE_SIZES for name in names for ending in FIGURE_ENDINGS]


def _names_of_figures(causes: pd.DataFrame, doses: pd.DataFrame, frequencies: pd.DataFrame) -> list[str]:
    shown = {"causes": causes, "dose_response": doses, "concept_frequency": frequencies}
    always = ["effective_robustness", "residuals", "published_models"]
    return always + [name for name, table in shown.items() if not table.empty]


def _draw_figure(
    folder: Path,
    tables: FigureTables,
    reference_accuracy: float,
    colours: Mapping[str, str],
    name: str,
    size: FigureSize,
) -> str:
    """Draw one figure at one width, and return what the log should say of it."""
    total, paper, main = size.total_points, tables.paper, tables.main
    chart: alt.TopLevelMixin
    note = ""
    if name == "effective_robustness":
        chart, data = robustness_chart(paper, colours, total=total, columns=size.shifts_across), paper.points
    elif name == "residuals":
        chart = residual_chart(main, reference_accuracy, colours, total=total, columns=size.shifts_across)
        data = main.points
    elif name == "published_models":
        chart = published_chart(tables.published, total=total, columns=size.published_across)
        data = tables.published.points
    elif name == "causes":
        chart, data, note = _draw_causes(tables.causes, colours, size)
    elif name == "dose_response":
        chart, data = dose_chart(tables.doses, total=total, columns=size.shifts_across), tables.doses
    else:
        data = tables.frequencies
        chart = frequency_chart(data, total=total, columns=size.shifts_across)
    save_figure(chart, folder, f"{name}{size.suffix}", data)
    return note


def _draw_causes(
    causes: pd.DataFrame, colours: Mapping[str, str], size: FigureSize
) -> tuple[alt.HConcatChart, pd.DataFrame, str]:
    """Draw the effects of all comparisons, or of the main ones alone where all would be higher than a page."""
    total, columns = size.total_points, size.causes_across
    if least_height(causes, total=total, columns=columns) <= PAGE_HEIGHT_POINTS:
        chart = causes_chart(causes, colours, total=total, columns=columns)
        if measure_chart(chart)[1] <= PAGE_HEIGHT_POINTS:
            return chart, causes, ""
    causes = main_comparisons(causes)
    note = f"causes{size.suffix}: all comparisons are higher than a page: the first of each cause alone"
    return causes_chart(causes, colours, total=total, columns=columns), causes, note


def draw_published(folder: Path, effects: pd.DataFrame) -> None:
    """Draw ``questions``, the main comparisons among published models, at all `FIGURE_SIZES`.

    Args:
        folder: where the files go.
        effects: ``effects.csv`` of ``results/published``.
    """
    table = effects_table(effects)
    for size in FIGURE_SIZES:
        chart = causes_chart(table, total=size.total_points, columns=size.causes_across)
        save_figure(chart, folder, f"questions{size.suffix}", table)


def latex_tables(
    study: str, points: pd.DataFrame, causes: pd.DataFrame, single_causes: pd.DataFrame, terms: EffectTerms
) -> dict[str, str]:
    """Return the LaTeX tables of a study by file name.

    Args:
        study: its name, for the captions.
        points: its runs by their main head (see `describe_points`).
        causes: ``causes.csv``; without a row there is no table of causes.
        single_causes: ``causes_single_line.csv``.
        terms: what effects are stated in.
    """
    tables = {"effective_robustness.tex": effective_robustness_table(points, study)}
    if not causes.empty:
        tables["causes.tex"] = causes_table(causes, study, terms)
        tables["main_comparisons.tex"] = main_table(causes, single_causes, study, terms)
    return dict(sorted(tables.items()))
