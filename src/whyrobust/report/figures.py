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
from whyrobust.report.charts.published import effects_table
from whyrobust.report.charts.robustness import RobustnessData, published_chart, robustness_chart
from whyrobust.report.findings import main_comparisons
from whyrobust.report.latex import causes_table, effective_robustness_table
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


def draw_figures(
    folder: Path, study: RobustnessData, published: RobustnessData, causes: pd.DataFrame, colours: Mapping[str, str]
) -> None:
    """Draw ``effective_robustness``, ``published_models`` and ``causes`` at all `FIGURE_SIZES`.

    Args:
        folder: where the files go.
        study: runs of the study by their main head (see `describe_points`).
        published: published models (see `choose_published`).
        causes: ``causes.csv``; without a row there is no figure of causes.
        colours: colours that replace the default ones, by kind of training or verdict.
    """
    if causes.empty:
        logger.info("nothing was compared: no figure and no table of causes")
    for size in FIGURE_SIZES:
        total = size.total_points
        chart = robustness_chart(study, colours, total=total, columns=size.shifts_across)
        save_figure(chart, folder, f"effective_robustness{size.suffix}", study.points)
        chart = published_chart(published, total=total, columns=size.published_across)
        save_figure(chart, folder, f"published_models{size.suffix}", published.points)
        if not causes.empty:
            draw_causes(folder, causes, colours, size)


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


def write_latex_tables(folder: Path, study: str, causes: pd.DataFrame, points: pd.DataFrame, confidence: float) -> None:
    """Write ``causes.tex`` (where there are causes) and ``effective_robustness.tex``.

    Args:
        folder: where the files go.
        study: name of the study, for the captions.
        causes: ``causes.csv``.
        points: effective robustness with ``kind`` (see `describe_points`).
        confidence: of the intervals of effects.
    """
    if not causes.empty:
        write_text(folder / "causes.tex", causes_table(causes, study, confidence))
    write_text(folder / "effective_robustness.tex", effective_robustness_table(points, study))
