"""Habits of the paper on the page: the average of accuracies beside the mean of effects, and which line is meant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from tests.pages import SETTINGS, make_page, make_runs, make_study
from whyrobust.report.charts.baseline import describe_fits, position_line
from whyrobust.report.sections.explorers import note_baseline
from whyrobust.study.paper_measurement import PaperMeasurement, describe_paper_line


def with_average(study):
    """Return a made-up study that has measured an average, with the numbers of its shift v2."""
    changed = {}
    for name in ("effective", "single_lines", "baselines", "bands"):
        table = getattr(study, name)
        changed[name] = pd.concat([table, table[table["shift"] == "v2"].assign(shift="average")], ignore_index=True)
    for name in ("causes", "single_causes"):
        table = getattr(study, name)
        added = table[table["shift"] == "v2"].assign(shift="average", role="average", verdict="", family="")
        changed[name] = pd.concat([table, added], ignore_index=True)
    row = study.shifts[study.shifts["test_set"] == "v2"]
    row = row.assign(test_set="average", role="average", reason="accuracies on v2, sketch, averaged first")
    return replace(study, shifts=pd.concat([study.shifts, row], ignore_index=True), **changed)


def section(html, name):
    return html.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def test_the_page_names_the_average_of_accuracies_beside_the_mean_of_effects():
    study = make_study(make_runs())
    html = make_page(study=with_average(study))
    answer, robustness, compared = (section(html, name) for name in ("answer", "robustness", "compared"))
    for words in ("beyond all", "the paper&#39;s"):
        assert f"Average accuracy over shifts, {words}</th>" in answer
    assert "accuracies are averaged first and then measured as one shift, not tested" in answer
    assert "Average accuracy over shifts: average (accuracies on v2, sketch, averaged first)." in answer
    assert "<h3>average accuracy over shifts" in robustness
    assert compared and "average accuracy" not in compared
    assert "verage accuracy over shifts" not in make_page(study=study)


def test_the_page_says_which_line_is_meant_where_that_is_not_the_usual_one():
    told = describe_paper_line(PaperMeasurement(two_lines={"imagenet_a": 0.9186}), "imagenet_val")
    assert len(told) == 1 and told[0].startswith("On ImageNet-A the line over ImageNet validation is two: one through")
    assert "less than 91.86 % there" in told[0]
    html = make_page(settings=replace(SETTINGS, paper_line=told))
    assert all(told[0] in section(html, name) for name in ("answer", "robustness"))
    assert describe_paper_line(PaperMeasurement(average_over=("a", "b")), "imagenet_val") == []


def test_of_two_lines_one_may_be_without_models():
    """A study whose models all lie below the pivot has one line, which is drawn and described as any other."""
    one = {"shift": "a", "x_test_set": "val", "models": 9, "slope": 1.0, "r_squared": 0.9, "x_low": 0.3, "x_high": 0.7}
    none = one | {"models": 0, "slope": np.nan, "r_squared": np.nan, "x_low": np.nan, "x_high": np.nan}
    alone = pd.DataFrame([one])
    x = np.linspace(0.1, 0.9, 9)
    bands = pd.DataFrame({"shift": "a", "x": x, "y": x, "low": x - 0.02, "high": x + 0.02})
    assert describe_fits(alone, "a") == ["9 models, R² 0.90"]
    for both in (pd.DataFrame([one, none]), pd.DataFrame([none, one])):
        assert describe_fits(both, "a") == describe_fits(alone, "a")
        assert note_baseline(both, "a") == note_baseline(alone, "a")
        assert position_line(both, bands, "a", "logit") == position_line(alone, bands, "a", "logit")
    assert describe_fits(pd.DataFrame([none]), "a") == []
