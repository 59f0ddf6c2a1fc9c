"""The figures of a study: each is drawn, has a caption and is described, and no other is taken for one of them."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from jinja2 import Environment, UndefinedError

from tests.pages import make_runs, make_study
from whyrobust.report import figures
from whyrobust.report.tables import StudyTables
from whyrobust.study.figure_captions import FIGURE_CAPTIONS, fill_captions


def render_caption(root, figure):
    """Return the caption of a file in Snakemake's report, as Snakemake renders it."""
    text = (root / "workflow" / "report" / "figures.rst").read_text(encoding="utf-8")
    job = SimpleNamespace(
        wildcards=SimpleNamespace(figure=figure), params=SimpleNamespace(captions=fill_captions(0.7, 0.95))
    )
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(snakemake=job)


def test_each_figure_is_drawn_has_a_caption_and_is_described(root):
    assert list(figures._DRAW) == list(FIGURE_CAPTIONS)
    text = (root / "docs" / "figures.md").read_text(encoding="utf-8")
    (in_table,) = re.findall(r"^\| (.+) \| 496 points", text, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", in_table)) == sorted(FIGURE_CAPTIONS)
    assert sorted(re.findall(r"^\*\*`(\w+)`\*\*", text, re.MULTILINE)) == sorted(FIGURE_CAPTIONS)


def test_snakemakes_report_has_the_caption_and_the_width_of_a_figure(root):
    for name in FIGURE_CAPTIONS:
        for suffix, width in (("", "175 mm"), ("_column", "85 mm")):
            caption = render_caption(root, name + suffix)
            assert caption.startswith(fill_captions(0.7, 0.95)[name]) and width in caption
    assert "in points at 70.0 % accuracy" in render_caption(root, "residuals")
    assert "with a 95.0 % interval" in render_caption(root, "causes_column")


def test_an_unknown_figure_is_an_error_that_names_those_there_are(root, tmp_path):
    with pytest.raises(
        UndefinedError, match=r"no attribute 'caption of the figure pie, .* effective_robustness, residuals, "
    ):
        render_caption(root, "pie_column")
    with pytest.raises(ValueError, match=r"nothing draws the figure 'pie': .* effective_robustness, residuals, "):
        figures._draw_figure(tmp_path, None, "pie", figures.FIGURE_SIZES[0])


def test_a_study_without_rows_for_a_figure_has_none_of_it():
    study = make_study(make_runs())
    names = {name.split(".")[0] for name in figures.list_figures(figures.optional_rows(study))}
    assert names == {name + suffix for name in FIGURE_CAPTIONS for suffix in ("", "_column")}
    parts = vars(study) | {name: getattr(study, name).iloc[:0] for name in ("causes", "dose_response")}
    fewer = {name.split(".")[0] for name in figures.list_figures(figures.optional_rows(StudyTables(**parts)))}
    assert names - fewer == {"causes", "causes_column", "dose_response", "dose_response_column"}
