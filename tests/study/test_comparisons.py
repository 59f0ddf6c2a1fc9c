"""Comparisons find their pairs, among planned and among measured runs."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.study.test_plan import CLIP, LABELS, make
from whyrobust.study.comparisons import Comparison, match_pairs, pair_rows
from whyrobust.study.plan import PlanError, evaluated_rows, plan_heads


def rows_of(runs, fitted=()):
    return evaluated_rows(runs, {run.run: plan_heads(run, ["ensemble", "name"], fitted) for run in runs})


def compare(start, end, where=None):
    return Comparison("c", "n", start, end, where or {}, "")


def make_rows() -> list[dict]:
    rows = [
        {
            "run": f"{source}-{size}-{objective}-{seed}",
            "source": source,
            "train_images": size,
            "seed": seed,
            "objective": objective,
            "caption": "title" if objective == "clip" else caption_of_labels,
            "supervision": "captions" if objective == "clip" else "labels",
            "model": "icon_cnn",
            "samples_seen": 1000,
            "head": head,
            "prompts": "ensemble" if head == "zero_shot" else "",
            "labels": "" if objective == "clip" else "annotated",
            "pretrained_by": "",
            "fitted_on": "own" if head == "nearest_mean" else "",
            "main": head != "nearest_mean",
            "standard": objective == "cross_entropy" and source == "studio",
        }
        for source, caption_of_labels in (("studio", ""), ("web", math.nan))
        for size in (1000, 2000)
        for seed in (1, 2, 3)
        for objective, heads in (("cross_entropy", ["classifier"]), ("clip", ["zero_shot", "nearest_mean"]))
        for head in heads
    ]
    return rows


def shuffled_rows() -> list[dict]:
    return random.Random(0).sample(make_rows(), 36)


# --- Planned runs -------------------------------------------------------------------------------------------


def test_pairs_differ_only_in_what_the_comparison_changes():
    rows = rows_of(make([LABELS, CLIP]))
    assert len(match_pairs(compare({"source": "studio"}, {"source": "web"}), rows)) == 4
    by_objective = compare(
        {"objective": "cross_entropy", "caption": "", "labels": "annotated"},
        {"objective": "clip", "caption": "title", "labels": ""},
    )
    assert len(match_pairs(by_objective, rows)) == 2
    assert "supervision" not in by_objective.matched and "source" in by_objective.matched


def test_heads_are_compared_within_a_run_where_they_are_named():
    rows = rows_of(make([LABELS, CLIP]), [{"head": "linear_probe", "fitted_on": "own", "where": {"source": "web"}}])
    between = compare(
        {"head": "zero_shot", "prompts": "ensemble", "fitted_on": ""},
        {"head": "linear_probe", "prompts": "", "fitted_on": "own"},
    )
    assert len(match_pairs(between, rows)) == 2
    through = compare({"train_images": 5}, {"train_images": 9}, {"head": "linear_probe", "objective": "cross_entropy"})
    assert len(match_pairs(through, rows)) == 2
    assert len(match_pairs(compare({"prompts": "name"}, {"prompts": "ensemble"}, {"head": "zero_shot"}), rows)) == 2


def test_a_comparison_with_two_candidates_or_with_itself_is_an_error():
    rows = rows_of(make([LABELS, CLIP, CLIP | {"caption": "template"}]))
    with pytest.raises(PlanError, match="2 runs"):
        match_pairs(
            compare({"objective": "cross_entropy", "caption": "", "labels": "annotated"},
                    {"objective": "clip", "caption": ["title", "template"], "labels": ""}), rows)  # fmt: skip
    with pytest.raises(PlanError, match="differ"):
        match_pairs(compare({"source": "web"}, {"source": ["web"]}), rows)


def test_runs_stopped_early_stand_together_at_the_start_of_a_pair():
    early = [LABELS | {"samples_seen": steps} for steps in (100, 200, 300)]
    rows = rows_of(make([*early, CLIP]))
    sides = (
        {"objective": "cross_entropy", "caption": "", "labels": "annotated", "samples_seen": [100, 200, 300]},
        {"objective": "clip", "caption": "title", "labels": "", "samples_seen": [30_000, rows[-1]["samples_seen"]]},
    )
    pairs = match_pairs(replace(compare(*sides), matched_accuracy=True), rows)
    assert len(pairs) == 2
    for pair in pairs:
        assert [rows[start]["samples_seen"] for start in pair.starts] == [100, 200, 300]
        assert rows[pair.end]["objective"] == "clip" and rows[pair.end]["seed"] == pair.seed
        assert {rows[start]["source"] for start in pair.starts} == {rows[pair.end]["source"]}
    with pytest.raises(PlanError, match="3 runs"):
        match_pairs(compare(*sides), rows)
    with pytest.raises(PlanError, match="matched accuracy"):
        match_pairs(replace(compare(sides[0] | {"samples_seen": 100}, sides[1]), matched_accuracy=True), rows)


# --- Measured runs ------------------------------------------------------------------------------------------


def test_pairs_agree_in_everything_matched_and_differ_in_the_cause():
    rows = shuffled_rows()
    pairs = pair_rows(
        rows,
        start={"source": "studio"},
        end={"source": "web"},
        where={"objective": ["cross_entropy"], "head": "classifier"},
        matched=["train_images"],
    )
    assert len(pairs) == 6 and pairs == sorted(pairs)
    for pair in pairs:
        start, end = rows[pair.starts[0]], rows[pair.end]
        assert (start["source"], end["source"]) == ("studio", "web")
        for field in ("train_images", "seed", "objective", "head"):
            assert start[field] == end[field]
        assert pair.seed == start["seed"]


@given(st.permutations(range(36)))
def test_pairs_do_not_depend_on_the_order_of_the_rows(order):
    arguments = ({"train_images": 1000}, {"train_images": 2000}, {"head": "classifier"}, ["source"])
    rows = make_rows()
    shuffled = [rows[position] for position in order]
    found, expected = (
        {(table[pair.starts[0]]["run"], table[pair.end]["run"]) for pair in pair_rows(table, *arguments)}
        for table in (shuffled, rows)
    )
    assert found == expected and len(found) == 6


def test_missing_and_empty_captions_are_the_same():
    sides = ({"source": "studio"}, {"source": "web"})
    pairs = pair_rows(shuffled_rows(), *sides, {"caption": ""}, ["train_images", "caption"])
    assert len(pairs) == 6
    assert len(pair_rows(shuffled_rows(), *sides, {"caption": None}, ["train_images"])) == 6


def test_two_candidates_are_an_error_that_names_them():
    with pytest.raises(
        PlanError,
        match=r"studio-1000-clip-1.*zero_shot.*studio-1000-clip-1.*nearest_mean|"
        r"studio-1000-clip-1.*nearest_mean.*studio-1000-clip-1.*zero_shot",
    ):
        pair_rows(
            shuffled_rows(),
            {"source": "studio"},
            {"source": "web"},
            {"objective": "clip", "train_images": 1000, "seed": 1},
            ["train_images"],
        )


def test_a_row_is_never_its_own_partner():
    with pytest.raises(PlanError, match="both choose studio-1000-cross_entropy-1 classifier"):
        pair_rows(
            make_rows(),
            {"source": "studio"},
            {"source": ["studio", "web"]},
            {"head": "classifier"},
            ["source", "train_images"],
        )


def test_the_seed_is_matched_named_or_not():
    first, second = {"seed": 1}, {"seed": 2}
    assert pair_rows(make_rows(), first, second, {"head": "classifier"}, ["source", "train_images"]) == []


def test_no_pairs_give_an_empty_list_and_unknown_fields_an_error():
    assert pair_rows(make_rows(), {"source": "studio"}, {"source": "none"}, {}, ["train_images"]) == []
    assert pair_rows([], {"source": "studio"}, {"source": "web"}, {}, ["train_images"]) == []
    with pytest.raises(PlanError, match="sauce"):
        pair_rows(make_rows(), {"sauce": "studio"}, {"source": "web"}, {}, [])
