"""Grids become runs, and comparisons find their pairs."""

import pytest

from whyrobust.plan import Contrast, PlanError, count_pairs, expand_grid, plan_runs


def make(grids, **changes):
    values = {"seeds": [0, 1], "model": "icon_cnn", "samples_seen": 10, "standard": {"objective": "cross_entropy"}}
    return plan_runs(grids, **(values | changes))


def test_a_grid_has_every_combination_once():
    entry = {"a": [1, 2], "b": "x", "c": [3, 4, 5]}
    expected = [{"a": a, "b": "x", "c": c} for a in (1, 2) for c in (3, 4, 5)]
    assert expand_grid(entry) == expected


def test_shared_runs_are_planned_once_and_names_are_unique():
    grid = {"objective": "cross_entropy", "source": ["studio", "web"], "train_images": [5, 9]}
    runs = make(
        [grid, grid | {"source": "web"}, {"objective": "clip", "caption": "title", "source": "web", "train_images": 9}]
    )
    assert len(runs) == 2 * 2 * 2 + 2
    assert len({run.run for run in runs}) == len(runs)
    assert sum(run.standard for run in runs) == 8
    assert {run.head for run in runs if run.objective == "clip"} == {"zero_shot"}


@pytest.mark.parametrize("grid", [{"objective": "clip"}, {"objective": "cross_entropy", "caption": "title"}])
def test_captions_must_fit_the_objective(grid):
    with pytest.raises(PlanError, match="caption"):
        make([{"source": "web", "train_images": 5} | grid])


def test_pairs_differ_only_in_what_the_comparison_changes():
    grid = {"objective": "cross_entropy", "source": ["studio", "web"], "train_images": [5, 9]}
    runs = make([grid, {"objective": "clip", "caption": "title", "source": "web", "train_images": 9}])
    by_source = Contrast("c", "n", {"source": "studio"}, {"source": "web"}, {}, "")
    assert count_pairs(by_source, runs) == 4
    by_objective = Contrast(
        "c", "n", {"objective": "cross_entropy", "caption": ""}, {"objective": "clip", "caption": "title"}, {}, ""
    )
    assert count_pairs(by_objective, runs) == 2
    assert "supervision" not in by_objective.matched and "source" in by_objective.matched
