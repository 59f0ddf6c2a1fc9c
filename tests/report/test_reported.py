"""Numbers that a paper reports beside what a study finds: the runs that the config names, and nothing else."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from tests.pages import SETTINGS, make_making, make_page, make_runs, make_study
from whyrobust.report.number_format import format_percent
from whyrobust.report.reported import REPORTED_COLUMNS, reported_rows

ROW = {
    "experiment": "clip_web", "place": "figure 9", "quantity": "top-1 accuracy",
    "test_set": "studio_test", "value": "35.7", "unit": "percent", "verified": "primary", "source": "its README",
}  # fmt: skip
CLIP = {"objective": "clip", "source": ["web"]}


@pytest.fixture(scope="module")
def accuracy():
    return make_study(make_runs()).accuracy


def test_found_is_the_mean_over_the_main_heads_of_the_runs_that_are_named(accuracy):
    chosen = accuracy[
        accuracy["main"]
        & (accuracy["objective"] == "clip")
        & (accuracy["source"] == "web")
        & (accuracy["test_set"] == "studio_test")
    ]["accuracy"]
    assert len(chosen) == 2
    low, mean, high = (format_percent(value) for value in (chosen.min(), chosen.mean(), chosen.max()))
    (row,) = reported_rows([ROW], {"clip_web": CLIP}, accuracy)
    assert row["found"] == f"{mean} (2 runs: {low} to {high})"
    assert row["reported"] == "35.7%" and row["experiment"] == "clip web" and row["place"] == "figure 9"
    (row,) = reported_rows([ROW], {"clip_web": CLIP | {"seed": 1}}, accuracy)
    assert row["found"].endswith("(1 run)")


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ({}, {}),
        ({"experiment": "another"}, {"clip_web": CLIP}),
        ({"test_set": ""}, {"clip_web": CLIP}),
        ({"test_set": "imagenet_val"}, {"clip_web": CLIP}),
        ({}, {"clip_web": {"objective": "supcon"}}),
    ],
)
def test_nothing_is_found_where_nothing_is_the_same(accuracy, change, runs):
    (row,) = reported_rows([ROW | change], runs, accuracy)
    assert row["found"] == "" and row["reported"] == "35.7%"


def test_the_committed_table_is_read_and_shown_on_the_page_where_a_study_has_one(root, accuracy):
    with (root / "resources" / "reference" / "fang2022.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == REPORTED_COLUMNS
    assert {row["reported"] for row in reported_rows(rows, {}, accuracy)} >= {"463,622 images", "35.7%"}
    assert "Reported, and found here" not in make_page()
    making = replace(make_making(), reported=[*rows, ROW])
    html = make_page(settings=replace(SETTINGS, reported={"clip_web": CLIP}), making=making)
    table = html[html.index('<h3 id="reported">') :]
    (found,) = [row["found"] for row in reported_rows([ROW], {"clip_web": CLIP}, accuracy)]
    assert found in table[: table.index("</table>")] and "463,622 images" in table


def test_a_table_of_another_kind_is_said(accuracy):
    with pytest.raises(ValueError, match="lacks the column 'verified'"):
        reported_rows([{name: text for name, text in ROW.items() if name != "verified"}], {}, accuracy)
