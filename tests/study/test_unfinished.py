"""The finished part of a study that still runs: a valid config of its own, which says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from whyrobust.study.study import Study
from whyrobust.study.unfinished import TooEarlyError, finished_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def given():
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(given):
    return Study.load(given, ROOT)


def test_the_config_of_a_part_plans_its_runs_and_nothing_else(given, whole):
    """Runs keep their names, by which their files are found, and groups, by which they are evaluated."""
    finished = {name for name, run in whole.runs.items() if run.seed != 1}
    part = Study.load(finished_config(given, whole, finished), ROOT)
    assert set(part.runs) == finished and part.name == whole.name
    for name, run in part.runs.items():
        assert run == whole.runs[name] and part.plan.heads[name] == whole.plan.heads[name]
    assert all(set(runs) <= set(whole.groups[group]) for group, runs in part.groups.items())
    assert [row["name"] for row in part.comparison_rows] == [row["name"] for row in whole.comparison_rows]
    assert part.config.training.device == "cpu"
    lacks = part.config.unfinished
    assert lacks.planned == len(whole.runs) and len(lacks.runs) == len(whole.runs) - len(finished)
    assert all(text.endswith("seed 1") for text in lacks.runs)
    # Each comparison has pairs of each seed: one of several lacks some.
    assert all(0 < row.pairs < row.planned for row in lacks.comparisons)


def test_a_whole_study_lacks_nothing(given, whole):
    part = Study.load(finished_config(given, whole, set(whole.runs)), ROOT)
    assert part.config.unfinished.runs == () and part.config.unfinished.comparisons == ()
    assert list(part.runs) == list(whole.runs) or set(part.runs) == set(whole.runs)
    assert part.comparison_rows == whole.comparison_rows


def test_a_cause_waits_for_its_main_comparison(given, whole):
    """Else the page would show another comparison as the main one, and test it as such."""
    main = next(one for one in whole.plan.comparisons if one.cause == "training_set_size")
    without = {name for name, run in whole.runs.items() if run.train_images != main.start["train_images"]}
    config = finished_config(given, whole, without)
    assert "training_set_size" not in config["causes"] and "training_distribution" in config["causes"]
    lacking = {row["comparison"]: row["pairs"] for row in config["unfinished"]["comparisons"]}
    assert lacking[main.name] == 0
    Study.load(config, ROOT)
    # Mixtures could be compared with studio already.
    without_web = {name for name, run in whole.runs.items() if run.source != "web" or run.train_images == 1_250}
    config = finished_config(given, whole, without_web)
    assert "training_distribution" not in config["causes"]
    lacking = {row["comparison"]: row["pairs"] for row in config["unfinished"]["comparisons"]}
    assert lacking["a tenth web instead of studio"] == 0


def test_comparisons_at_matched_accuracy_wait_until_they_can_be_interpolated(given, whole):
    matched = [one for one in whole.plan.comparisons if one.matched_accuracy]
    assert matched
    few = {name for name, run in whole.runs.items() if run.samples_seen >= 30_000 or run.objective != "cross_entropy"}
    config = finished_config(given, whole, few)
    shown = {entry["comparison"] for entries in config["causes"].values() for entry in entries}
    assert not shown & {one.name for one in matched}
    Study.load(config, ROOT)


def test_colours_of_kinds_that_are_not_there_yet_are_left_out(given, whole):
    colours = {"CLIP on web titles": "#000000", "raises": "#ffffff"}
    with_colours = given | {"figures": {"colours": colours}}
    finished = {name for name, run in whole.runs.items() if run.objective == "cross_entropy"}
    config = finished_config(with_colours, whole, finished)
    assert config["figures"] == {"colours": {"raises": "#ffffff"}}
    Study.load(config, ROOT)
    assert finished_config(with_colours, whole, set(whole.runs))["figures"] == {"colours": colours}


def test_where_nothing_can_be_shown_it_says_how_much_is_finished(given, whole):
    for finished in (set(), {next(iter(whole.runs))}):
        with pytest.raises(TooEarlyError, match=rf"{len(finished)} of \d+ runs of icons are finished"):
            finished_config(given, whole, finished)
