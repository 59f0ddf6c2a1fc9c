"""The tool that writes a study with other seeds: the same runs, heads and comparisons, each with another seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools.other_seeds import raise_seeds
from whyrobust.study.study import Study

ROOT = Path(__file__).parent.parent


def other(runs):
    """Return runs as a study with seeds 7 higher should have them."""
    return [
        {**run, "seed": run["seed"] + 7, "run": run["run"].replace(f"seed_{run['seed']}", f"seed_{run['seed'] + 7}")}
        for run in runs
    ]


@pytest.mark.parametrize("name", ["config.yaml", "config/icons-why.yaml"])
def test_a_study_with_other_seeds_differs_in_nothing_else(name):
    given = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    study, repeated = Study.load(given, ROOT), Study.load(raise_seeds(given, 7), ROOT)
    expected, found = other(study.rows_of(study.evaluated)), repeated.rows_of(repeated.evaluated)
    assert [run["run"] for run in found] == [run["run"] for run in expected]
    for before, after in zip(expected, found, strict=True):
        same = {key for key in before if "pretrain" not in key}
        assert {key: before[key] for key in same} == {key: after[key] for key in same}
    of_runs = [list(each.heads_of(each.evaluated).values()) for each in (study, repeated)]
    assert of_runs[0] == of_runs[1]
    assert repeated.comparison_rows == study.comparison_rows
    assert (repeated.config.data, repeated.config.intervals) == (study.config.data, study.config.intervals)
    assert repeated.name != study.name


def test_seeds_are_raised_wherever_runs_are_chosen_by_them_and_nowhere_else():
    given = {
        "study": "s", "data": {"seed": 3}, "intervals": {"seed": 4}, "seeds": [0, 1],
        "runs": [{"seed": 1}, {"seed": [0, 2]}],
        "heads": [{"where": {"seed": 1}}], "baseline": {"standard": {"seed": [0, 1]}},
        "causes": {"size": [{"from": {"seed": 0}, "where": {"seed": [1, 2]}}]},
    }  # fmt: skip
    assert raise_seeds(given, 5) == {
        "study": "s_seeds_5", "data": {"seed": 3}, "intervals": {"seed": 4}, "seeds": [5, 6],
        "runs": [{"seed": 6}, {"seed": [5, 7]}],
        "heads": [{"where": {"seed": 6}}], "baseline": {"standard": {"seed": [5, 6]}},
        "causes": {"size": [{"from": {"seed": 5}, "where": {"seed": [6, 7]}}]},
    }  # fmt: skip
