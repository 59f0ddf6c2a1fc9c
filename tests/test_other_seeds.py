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
