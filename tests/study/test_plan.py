"""Grids become runs, and runs get heads."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.study.plan import (
    Head,
    PlanError,
    expand_grid,
    name_pattern,
    plan_heads,
    plan_runs,
)

LABELS = {"objective": "cross_entropy", "source": ["studio", "web"], "train_images": [5, 9]}
CLIP = {"objective": "clip", "caption": "title", "source": "web", "train_images": 9}


def make(grids, **changes):
    values = {"seeds": [0, 1], "model": "icon_cnn", "samples_seen": 10, "standard": {"objective": "cross_entropy"}}
    return plan_runs(grids, **(values | changes))


def test_a_grid_has_every_combination_once():
    entry = {"a": [1, 2], "b": "x", "c": [3, 4, 5]}
    expected = [{"a": a, "b": "x", "c": c} for a in (1, 2) for c in (3, 4, 5)]
    assert expand_grid(entry) == expected


def test_shared_runs_are_planned_once_and_names_are_unique():
    runs = make([LABELS, LABELS | {"source": "web"}, CLIP])
    assert len(runs) == 2 * 2 * 2 + 2
    assert len({run.run for run in runs}) == len(runs)
    assert sum(run.standard for run in runs) == 8
    assert {run.labels for run in runs if run.supervision == "labels"} == {"annotated"}


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"objective": "clip"}, "caption is missing"),
        ({"objective": "cross_entropy", "caption": "title"}, "caption is 'title'"),
        ({"objective": "clip", "caption": "title", "labels": "annotated"}, "labels is 'annotated'"),
        ({"objective": "simclr", "labels": "annotated"}, "labels is 'annotated'"),
        ({"objective": "cross_entropy", "labels": ""}, "labels is missing"),
        ({"objective": "cross_entropy", "pretrain": {"objective": "clip"}}, "pretrain.caption is missing"),
    ],
)
def test_captions_and_labels_must_fit_the_objective(grid, words):
    with pytest.raises(PlanError, match=words):
        make([{"source": "web", "train_images": 5} | grid])


def test_a_run_that_starts_from_another_comes_after_it_and_is_no_standard_model():
    grid = LABELS | {"source": "web", "labels": "text_match", "pretrain": {"objective": "simclr", "samples_seen": 7}}
    runs = make([grid])
    names = [run.run for run in runs]
    assert len(runs) == 8
    for run in runs:
        if run.objective == "simclr":
            assert not run.evaluated
            assert run.samples_seen == 7
            assert plan_heads(run, ["ensemble"], []) == []
        else:
            assert run.evaluated and not run.standard and run.pretrained_by == "simclr"
            first = runs[names.index(run.pretrained_run)]
            assert names.index(run.pretrained_run) < names.index(run.run)
            assert (first.source, first.train_images, first.seed) == (run.source, run.train_images, run.seed)


def test_a_run_that_others_start_from_is_evaluated_where_a_grid_asks_for_it():
    simclr = {"objective": "simclr", "source": "web", "train_images": 5, "seed": 0}
    tuned = LABELS | {"source": "web", "train_images": 5, "seed": 0, "pretrain": {"objective": "simclr"}}
    for grids in ([simclr, tuned], [tuned, simclr]):
        assert [run.evaluated for run in make(grids) if run.objective == "simclr"] == [True]


def test_heads_main_first_and_each_once():
    (run,) = make([CLIP | {"seed": 0}])
    fitted = [{"head": "linear_probe", "fitted_on": ["own", "studio"]}] * 2 + [
        {"head": "nearest_mean", "fitted_on": "own", "where": {"objective": "cross_entropy"}}
    ]
    assert plan_heads(run, ["ensemble", "name"], fitted) == [
        Head("zero_shot", "ensemble", "", True),
        Head("zero_shot", "name", "", False),
        Head("linear_probe", "", "own", False),
        Head("linear_probe", "", "studio", False),
    ]
    (run,) = make([{"objective": "supcon", "source": "web", "train_images": 5, "seed": 0}])
    assert plan_heads(run, ["ensemble"], fitted)[0] == Head("linear_probe", "", "own", True)


@given(st.lists(st.text("ab-.|", max_size=6), max_size=8), st.text("ab-.|", max_size=6))
def test_a_pattern_matches_its_names_and_nothing_else(names, other):
    pattern = re.compile(name_pattern(names) or "(?!)")
    assert all(pattern.fullmatch(name) for name in names)
    assert bool(pattern.fullmatch(other)) == (other in names) or not names


def test_the_pattern_of_a_grid_is_as_long_as_its_values():
    grid = {"train_images": list(range(100, 200)), "model": ["cnn", "resnet"], "seed": list(range(50))}
    names = [f"clip-{size}_images-{model}-seed_{seed}" for size, model, seed in itertools.product(*grid.values())]
    assert len(names) == 10_000 and len(name_pattern(names)) < 5_000


def test_views_are_counted_twice_where_a_step_shows_two_and_with_those_of_the_run_before():
    grid = {"source": "web", "train_images": 10, "labels": "annotated"}
    grids = [
        grid | {"objective": "cross_entropy"},
        grid | {"objective": "supcon"},
        grid
        | {"objective": "cross_entropy", "samples_seen": 150, "pretrain": {"objective": "simclr", "samples_seen": 200}},
    ]
    runs = plan_runs(grids, [0], "icon_cnn", 300, {})
    seen = {(run.objective, run.pretrained_by): (run.samples_seen, run.views_seen) for run in runs}
    assert seen == {
        ("cross_entropy", ""): (300, 300),
        ("supcon", ""): (300, 600),
        ("simclr", ""): (200, 400),
        ("cross_entropy", "simclr"): (150, 550),
    }
    assert runs[1].as_row()["views_seen"] == 600, "a column of runs.csv"
