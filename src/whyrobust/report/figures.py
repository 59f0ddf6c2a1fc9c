"""The figures of a study at the widths of a journal's columns, and its main results as LaTeX tables, in one folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from whyrobust.files import write_text
from whyrobust.report.charts.causes import causes_chart
from whyrobust.report.charts.distribution import dose_chart, frequency_chart
from whyrobust.report.charts.published import effects_table
from whyrobust.report.charts.residuals import residual_chart
from whyrobust.report.charts.robustness import RobustnessData, published_chart, robustness_chart
from whyrobust.report.findings import EffectTerms, main_comparisons
from whyrobust.report.latex import causes_table, effective_robustness_table, main_table
from whyrobust.report.render import measure_chart, save_figure
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


def draw_figures(folder: Path, tables: FigureTables, reference_accuracy: float, colours: Mapping[str, str]) -> None:
    """Draw all figures of a study at all `FIGURE_SIZES`.

    Args:
        folder: where the files go.
        tables: what they show.
        reference_accuracy: accuracy under shift at which residuals are spelt out in points.
        colours: colours that replace the default ones, by kind of training or verdict.
    """
    if tables.causes.empty:
        logger.info("nothing was compared: no figure and no table of causes")
    for size in FIGURE_SIZES:
        total = size.total_points
        paper, main = tables.paper, tables.main
        chart = robustness_chart(paper, colours, total=total, columns=size.shifts_across)
        save_figure(chart, folder, f"effective_robustness{size.suffix}", paper.points)
        chart = residual_chart(main, reference_accuracy, colours, total=total, columns=size.shifts_across)
        save_figure(chart, folder, f"residuals{size.suffix}", main.points)
        chart = published_chart(tables.published, total=total, columns=size.published_across)
        save_figure(chart, folder, f"published_models{size.suffix}", tables.published.points)
        if not tables.causes.empty:
            draw_causes(folder, tables.causes, colours, size)
        if not tables.doses.empty:
            chart = dose_chart(tables.doses, total=total, columns=size.shifts_across)
            save_figure(chart, folder, f"dose_response{size.suffix}", tables.doses)
        if not tables.frequencies.empty:
            chart = frequency_chart(tables.frequencies, total=total, columns=size.shifts_across)
            save_figure(chart, folder, f"concept_frequency{size.suffix}", tables.frequencies)


def draw_causes(folder: Path, causes: pd.DataFrame, colours: Mapping[str, str], size: FigureSize) -> None:
    """Draw the effects of all comparisons, or of the main ones alone where all would be higher than a page."""
    name, total, columns = f"causes{size.suffix}", size.total_points, size.causes_across
    chart = causes_chart(causes, colours, total=total, columns=columns)
    if measure_chart(chart)[1] > PAGE_HEIGHT_POINTS:
        causes = main_comparisons(causes)
        chart = causes_chart(causes, colours, total=total, columns=columns)
        logger.info("%s: all comparisons are higher than a page: the first of each cause alone", name)
    save_figure(chart, folder, name, causes)


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


def write_latex_tables(
    folder: Path, study: str, tables: FigureTables, single_causes: pd.DataFrame, terms: EffectTerms
) -> None:
    """Write ``main_comparisons.tex`` and ``causes.tex`` (where there are causes) and ``effective_robustness.tex``.

    Args:
        folder: where the files go.
        study: name of the study, for the captions.
        tables: the tables.
        single_causes: ``causes_single_line.csv``.
        terms: what effects are stated in.
    """
    if not tables.causes.empty:
        write_text(folder / "causes.tex", causes_table(tables.causes, study, terms))
        write_text(folder / "main_comparisons.tex", main_table(tables.causes, single_causes, study, terms))
    write_text(folder / "effective_robustness.tex", effective_robustness_table(tables.main.points, study))
