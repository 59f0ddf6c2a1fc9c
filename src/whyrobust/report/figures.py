"""The figures of a study at the widths of a journal's columns, and its main results as LaTeX tables, in one folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
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
from whyrobust.report.charts.distribution import dose_chart, frequency_chart, shown_frequencies
from whyrobust.report.charts.published import effects_table
from whyrobust.report.charts.residuals import residual_chart
from whyrobust.report.charts.robustness import RobustnessData, published_chart, robustness_chart
from whyrobust.report.findings import EffectTerms, main_comparisons
from whyrobust.report.latex import causes_table, effective_robustness_table, main_table
from whyrobust.report.render import FIGURE_ENDINGS, measure_chart, save_figure
from whyrobust.report.tables import StudyTables
from whyrobust.report.theme import DOUBLE_COLUMN_POINTS, PAGE_HEIGHT_POINTS, SINGLE_COLUMN_POINTS
from whyrobust.study.figure_captions import FIGURE_CAPTIONS

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
class FigureContents:
    """What the figures of a study show.

    Attributes:
        main: runs of the study by their main head, beyond all in-distribution test sets (see `describe_points`).
        paper: the same by the paper's measurement, with its lines and bands.
        published: published models (see `choose_published`).
        rows: table of each figure that not every study has (see `optional_rows`).
        reference_accuracy: accuracy under shift at which residuals are spelt out in points.
        colours: colours that replace the default ones, by kind of training or verdict.
    """

    main: RobustnessData
    paper: RobustnessData
    published: RobustnessData
    rows: Mapping[str, pd.DataFrame]
    reference_accuracy: float
    colours: Mapping[str, str]


@dataclass(frozen=True)
class Drawn:
    """A figure, the rows that it shows, and what the log should say of it."""

    chart: alt.TopLevelMixin
    rows: pd.DataFrame
    note: str = ""


def optional_rows(study: StudyTables) -> dict[str, pd.DataFrame]:
    """Return what those figures show that not every study has, by name: without a row there is no figure."""
    return {
        "causes": study.causes,
        "dose_response": study.dose_response,
        "concept_frequency": shown_frequencies(study.concept_frequency, study.shifts),
    }


def draw_figures(folder: Path, contents: FigureContents, processes: int = 1) -> None:
    """Draw all figures of a study at all `FIGURE_SIZES`.

    Args:
        folder: where the files go.
        contents: what they show.
        processes: how many draw at one time; the figures are the same for any number.
    """
    if contents.rows["causes"].empty:
        logger.info("nothing was compared: no figure and no table of causes")
    draw = partial(_draw_figure, folder, contents)
    figures = [(name, size) for size in FIGURE_SIZES for name in _names_of_figures(contents.rows)]
    if processes == 1:
        notes = list(starmap(draw, figures))
    else:
        # spawn: forking a process that already runs threads can hang.
        with ProcessPoolExecutor(min(processes, len(figures)), mp_context=get_context("spawn")) as executor:
            notes = list(executor.map(draw, *zip(*figures, strict=True)))
    for note in filter(None, notes):
        logger.info(note)


def list_figures(rows: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the names of the files that `draw_figures` writes; ``rows`` as of `FigureContents`."""
    names = _names_of_figures(rows)
    return [f"{name}{size.suffix}.{ending}" for size in FIGURE_SIZES for name in names for ending in FIGURE_ENDINGS]


def _names_of_figures(rows: Mapping[str, pd.DataFrame]) -> list[str]:
    return [name for name in FIGURE_CAPTIONS if name not in rows or not rows[name].empty]


def _draw_figure(folder: Path, contents: FigureContents, name: str, size: FigureSize) -> str:
    """Draw one figure at one width, and return what the log should say of it."""
    if name not in _DRAW:
        raise ValueError(f"nothing draws the figure {name!r}: _DRAW in report/figures.py has {', '.join(_DRAW)}")
    drawn = _DRAW[name](contents, size)
    save_figure(drawn.chart, folder, f"{name}{size.suffix}", drawn.rows)
    return drawn.note


def _draw_robustness(contents: FigureContents, size: FigureSize) -> Drawn:
    paper = contents.paper
    chart = robustness_chart(paper, contents.colours, total=size.total_points, columns=size.shifts_across)
    return Drawn(chart, paper.points)


def _draw_residuals(contents: FigureContents, size: FigureSize) -> Drawn:
    main, accuracy = contents.main, contents.reference_accuracy
    chart = residual_chart(main, accuracy, contents.colours, total=size.total_points, columns=size.shifts_across)
    return Drawn(chart, main.points)


def _draw_published_models(contents: FigureContents, size: FigureSize) -> Drawn:
    published = contents.published
    chart = published_chart(published, total=size.total_points, columns=size.published_across)
    return Drawn(chart, published.points)


def _draw_causes(contents: FigureContents, size: FigureSize) -> Drawn:
    """Draw the effects of all comparisons, or of the main ones alone where all would be higher than a page."""
    causes, colours = contents.rows["causes"], contents.colours
    total, columns = size.total_points, size.causes_across
    if least_height(causes, total=total, columns=columns) <= PAGE_HEIGHT_POINTS:
        chart = causes_chart(causes, colours, total=total, columns=columns)
        if measure_chart(chart)[1] <= PAGE_HEIGHT_POINTS:
            return Drawn(chart, causes)
    causes = main_comparisons(causes)
    note = f"causes{size.suffix}: all comparisons are higher than a page: the first of each cause alone"
    return Drawn(causes_chart(causes, colours, total=total, columns=columns), causes, note)


def _draw_doses(contents: FigureContents, size: FigureSize) -> Drawn:
    doses = contents.rows["dose_response"]
    return Drawn(dose_chart(doses, total=size.total_points, columns=size.shifts_across), doses)


def _draw_frequencies(contents: FigureContents, size: FigureSize) -> Drawn:
    frequencies = contents.rows["concept_frequency"]
    return Drawn(frequency_chart(frequencies, total=size.total_points, columns=size.shifts_across), frequencies)


#: What draws each figure of `FIGURE_CAPTIONS`.
_DRAW: Final[Mapping[str, Callable[[FigureContents, FigureSize], Drawn]]] = {
    "effective_robustness": _draw_robustness,
    "residuals": _draw_residuals,
    "published_models": _draw_published_models,
    "causes": _draw_causes,
    "dose_response": _draw_doses,
    "concept_frequency": _draw_frequencies,
}


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
