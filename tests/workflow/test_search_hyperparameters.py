"""The search of hyper-parameters: equal trials, split by drawing, nothing repeated, the best marked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

import tools.search_hyperparameters as search
from tools.search_hyperparameters import (
    Place,
    Trial,
    beyond,
    carry_out,
    decay_trials,
    draw,
    first_trials,
    further_trials,
    mark,
    mirrors,
    rate_trials,
)
from whyrobust.data.pixel_store import write_pixels
from whyrobust.study.class_table import read_class_names
from whyrobust.study.config import load_config
from whyrobust.study.objectives_table import OBJECTIVES

#: What the rows of trials have where a test says nothing else.
USUAL = {
    "objective": "clip", "optimizer": "muon", "plain_share": 0.5, "flip": False, "batch_size": 64, "seed": 1,
    "weight_decay": 0.1, "held_out_images": 1000,
}  # fmt: skip


@pytest.fixture(scope="module")
def config(root):
    return load_config(yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def classes(config):
    return read_class_names(config.data.classes)


@pytest.fixture(scope="module")
def place(root, tmp_path_factory, classes):
    """Two sources of 60 drawings, three images each, in three classes that differ in grey; one has no label."""
    results = tmp_path_factory.mktemp("results")
    for folder in ("decontaminated", "captions/title", "images"):
        (results / folder).mkdir(parents=True)
    for source in ("studio", "web"):
        drawings = [f"{source}:{number}" for number in range(60) for _ in range(3)]
        uids = [f"{name}-{style}" for style, name in enumerate(drawings)]
        labels = [classes[number % 3] for number in range(60) for _ in range(3)]
        table = pd.DataFrame({"uid": uids, "label": [*labels[:-1], None], "group": drawings})
        table.to_parquet(results / "decontaminated" / f"{source}.parquet")
        table.assign(title=labels)[["uid", "title"]].to_parquet(results / "captions" / "title" / f"{source}.parquet")
        greys = np.repeat([40 + 80 * (number % 3) for number in range(60)], 3).astype(np.uint8)
        write_pixels(results / "images" / f"{source}.arrow", uids, np.tile(greys[:, None, None, None], (1, 32, 32, 3)))
    return Place(str(results), str(root / "config.yaml"), ("studio", "web"), 80, 320)


def test_every_objective_has_as_many_trials_and_they_are_taken_in_turns(config):
    trials = first_trials(config, list(OBJECTIVES), seed=100)
    assert set(Counter(trial.objective for trial in trials).values()) == {10}
    assert set(Counter((trial.objective, trial.flip) for trial in trials).values()) == {5}
    assert [trial.objective for trial in trials[: len(OBJECTIVES)]] == list(OBJECTIVES)
    assert {trial.seed for trial in trials}.isdisjoint(config.seeds)
    best = trials[: len(OBJECTIVES)]
    sizes = Counter(
        trial.objective for trial in further_trials(best) if trial.optimizer == "muon" and trial.plain_share
    )
    assert set(sizes.values()) == {2} and set(sizes) == set(OBJECTIVES)
    others = {(t.objective, t.optimizer, t.plain_share) for t in further_trials(best)}
    assert {("clip", "muon", 0.0), ("cross_entropy", "adamw", 0.5)} <= others
    assert {t.flip for t in further_trials(best)} == {best[0].flip}


@pytest.mark.parametrize("table", ["LEARNING_RATES", "USUAL_DECAY"])
def test_an_objective_without_a_row_is_an_error_that_says_where_to_add_it(config, monkeypatch, table):
    monkeypatch.delitem(getattr(search, table), "clip")
    with pytest.raises(SystemExit, match=f"no row for clip: add it to {table} in tools/search_hyperparameters.py"):
        first_trials(config, list(OBJECTIVES), seed=100)


def test_no_drawing_is_trained_on_and_held_out_and_sources_weigh_the_same(place, classes):
    drawn = draw(place, classes, 32, seed=100)
    trained, held_out = set(drawn.groups[: drawn.trained]), set(drawn.groups[drawn.trained :])
    assert drawn.trained == 80 and not trained & held_out
    assert Counter(drawn.source[:80]) == {"studio": 40, "web": 40}
    assert 10 < len(held_out) < 40
    assert set(draw(place, classes, 32, seed=101).groups[80:]) != held_out
    greys = drawn.pixels[:, 0, 0, 0].astype(int)
    assert (greys == 40 + 80 * drawn.labels).all(), "images, labels and titles stay together"
    assert list(drawn.titles) == [classes[label] for label in drawn.labels]


@pytest.mark.parametrize("objective", ["clip", "supcon", "fine_tuning"])
def test_a_trial_learns_from_the_training_drawings_and_is_scored_on_the_others(place, objective):
    row = carry_out(Trial(objective, "muon", 0.01, 16, 0.5, False, 100, 0.05), place)
    assert row["held_out_accuracy"] == pytest.approx((row["held_out_studio"] + row["held_out_web"]) / 2, abs=1e-4)
    assert row["held_out_accuracy"] > 0.5
    assert (row["samples_seen"], row["train_images"], row["source"]) == (320, 80, "studio+web")


def test_the_best_is_marked_and_where_it_lies_at_the_edge():
    rows = [
        USUAL | {"learning_rate": rate, "held_out_accuracy": accuracy}
        for rate, accuracy in ((0.1, 0.2), (0.2, 0.5), (0.4, 0.4))
    ]
    table = mark(rows)
    assert table["at_edge"].tolist() == [True, False, True] and table["chosen"].tolist() == [False, True, False]
    wider = mark([*rows, USUAL | {"learning_rate": 0.2, "batch_size": 128, "held_out_accuracy": 0.6}])
    assert wider.loc[wider["chosen"], ["batch_size", "at_edge"]].values.tolist() == [[128, True]]


def test_mirroring_is_one_for_all_objectives_whichever_their_best_trials_are_better_with():
    """Of `clip` the best trial of all is mirrored, but on the mean over objectives those that are not are better."""
    right = {
        ("clip", False): (0.2, 0.5, 0.4), ("clip", True): (0.3, 0.4, 0.55),
        ("supcon", False): (0.3, 0.7, 0.6), ("supcon", True): (0.6, 0.6, 0.5),
    }  # fmt: skip
    table = mark(
        [
            USUAL | {"objective": name, "flip": flip, "learning_rate": rate, "held_out_accuracy": accuracy}
            for (name, flip), accuracies in right.items()
            for rate, accuracy in zip((0.1, 0.2, 0.4), accuracies, strict=True)
        ]
    )
    assert not mirrors(table) and mirrors(table[table["objective"] == "clip"])
    chosen = table[table["chosen"]]
    assert chosen[["objective", "flip", "learning_rate"]].values.tolist() == [
        ["clip", False, 0.2],
        ["supcon", False, 0.2],
    ]
    assert not chosen["at_edge"].any() and beyond(table) == []
    # What was tried with mirroring does not make a rate without it an inner one.
    narrower = mark([row for row in table.to_dict("records") if row["flip"] or row["learning_rate"] < 0.4])
    assert [(trial.flip, trial.learning_rate) for trial in beyond(narrower)] == [(False, 0.4)] * 2


def test_the_search_goes_on_beyond_a_best_trial_at_an_edge_until_it_lies_inside():

    def searched(accuracies):
        return mark([USUAL | {"learning_rate": rate, "held_out_accuracy": right} for rate, right in accuracies.items()])

    (lower,) = beyond(searched({0.1: 0.5, 0.2: 0.4}))
    assert (lower.learning_rate, lower.batch_size) == (0.05, 64)
    (higher,) = beyond(searched({0.1: 0.3, 0.2: 0.4}))
    assert (higher.learning_rate, higher.batch_size) == (0.4, 64)
    assert beyond(searched({0.05: 0.3, 0.1: 0.5, 0.2: 0.4})) == []
    sized = searched({0.05: 0.3, 0.1: 0.5, 0.2: 0.4}).to_dict("records")
    best = sized[1] | {"batch_size": 128, "held_out_accuracy": 0.6}
    (larger,) = beyond(mark([*sized, best]))
    assert (larger.learning_rate, larger.batch_size) == (0.1, 256) and isinstance(larger.batch_size, int)


def test_batches_below_64_are_shown_and_not_chosen():
    """Muon's update of the weights takes as long after few images as after many."""
    of_sizes = {32: 0.7, 64: 0.6, 128: 0.5}
    rows = [USUAL | {"batch_size": size, "learning_rate": 0.1} for size in of_sizes]
    table = mark([row | {"held_out_accuracy": of_sizes[row["batch_size"]]} for row in rows])
    assert table.loc[table["chosen"], ["batch_size", "at_edge"]].values.tolist() == [[64, False]]
    assert beyond(table) == [] and beyond(mark(table[table["batch_size"] >= 64].to_dict("records"))) == []


def test_another_decay_is_chosen_where_it_is_better_not_by_chance_and_fine_tuning_has_that_of_its_objective():
    """Of 1,000 images 30 more may be chance (one-sided p = .10), 50 are not (p = .014)."""

    def chosen(accuracies):
        rows = [
            USUAL | {"objective": name, "weight_decay": decay, "learning_rate": 0.1, "held_out_accuracy": right}
            for (name, decay), right in accuracies.items()
        ]
        table = mark(rows)
        return dict(table.loc[table["chosen"], ["objective", "weight_decay"]].values.tolist())

    by_chance = {("cross_entropy", 0.05): 0.5, ("cross_entropy", 0.2): 0.53}
    better = by_chance | {("cross_entropy", 0.2): 0.55}
    tuned = {("fine_tuning", 0.05): 0.9, ("fine_tuning", 0.2): 0.1}
    assert chosen(by_chance | tuned) == {"cross_entropy": 0.05, "fine_tuning": 0.05}
    assert chosen(better | tuned) == {"cross_entropy": 0.2, "fine_tuning": 0.2}
    assert chosen(by_chance) == {"cross_entropy": 0.05} and chosen(better) == {"cross_entropy": 0.2}


def test_other_decays_and_what_is_tried_at_a_chosen_one():
    usual = Trial("cross_entropy", "muon", 0.01, 64, 0.5, False, 100, 0.05)
    tuned = replace(usual, objective="fine_tuning", learning_rate=0.02)
    assert [trial.weight_decay for trial in decay_trials([usual, tuned])] == pytest.approx([0.0125, 0.2, 0.8])
    assert {trial.objective for trial in decay_trials([usual, tuned])} == {"cross_entropy"}
    assert rate_trials([usual, tuned]) == [], "nothing follows from the usual decay"
    after = rate_trials([replace(usual, weight_decay=0.2), tuned])
    assert [(trial.objective, trial.weight_decay, trial.learning_rate) for trial in after] == [
        *[("cross_entropy", 0.2, rate) for rate in (0.01, 0.005, 0.02)],
        *[("fine_tuning", 0.2, rate) for rate in (0.02, 0.01, 0.04)],
    ]


@pytest.fixture
def searched(place, tmp_path, monkeypatch):
    """Return a search of objectives whose trials have the accuracies of a function: its table, and what was asked."""

    class AtOnce:
        """Carries out in this process what is submitted."""

        def __init__(self, *_, **__): ...

        def __enter__(self):
            return self

        def __exit__(self, *_): ...

        def submit(self, function, trial, place):
            asked.append(trial)
            return function(trial, place)

    class Answer:
        def __init__(self, row):
            self.row = row

        def result(self):
            return self.row

    def run(accuracy, *objectives):
        def carry_out_at_once(trial, _):
            return Answer(vars(trial) | {"held_out_accuracy": accuracy(trial), "held_out_images": 1000})

        monkeypatch.setattr(search, "carry_out", carry_out_at_once)
        asked.clear()
        return search.search(place, objectives, 100, 2, tmp_path / "table.csv"), list(asked)

    asked: list[Trial] = []
    monkeypatch.setattr(search, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(search, "as_completed", list)
    return run


def without_decay(trial, rate):
    """Return an accuracy that is highest at a rate, with 64 images a step, Muon, half of them plain, not mirrored."""
    better = 0.5 - abs(trial.learning_rate - rate)
    better -= 0.001 * (trial.batch_size != 64) + 0.01 * (trial.optimizer != "muon")
    return better - 0.1 * (trial.plain_share == 0) - 0.05 * trial.flip


def test_trials_that_the_table_has_are_not_repeated(searched, tmp_path):
    def accuracy(trial):
        return without_decay(trial, 0.004 if trial.weight_decay < 1 else 0.002) + 0.2 * (trial.weight_decay == 1.6)

    table, asked = searched(accuracy, "clip")
    # Rates and all else; decays; half and twice the rate at the best decay; half the rate again, and a decay beyond.
    assert len(asked) == len(table) == len(set(asked)) == 15 + 3 + 2 + 1 + 1
    (row,) = table[table["chosen"]].to_dict("records")
    chosen = row["learning_rate"], row["batch_size"], row["weight_decay"], row["at_edge"]
    assert chosen == (0.002, 64, 1.6, False)
    assert replace(asked[4], plain_share=0.0) in asked
    whole = (tmp_path / "table.csv").read_text(encoding="utf-8")
    _, again = searched(accuracy, "clip")
    assert again == [] and (tmp_path / "table.csv").read_text(encoding="utf-8") == whole


@pytest.mark.parametrize(("gain", "chosen"), [(0.01, 0.05), (0.2, 0.8)])
def test_a_decay_that_is_not_chosen_is_tried_with_other_rates_too_and_fine_tuning_has_chosen_ones_alone(
    searched, gain, chosen
):
    table, asked = searched(
        lambda trial: without_decay(trial, 0.02) + gain * (trial.weight_decay == 0.8), "cross_entropy", "fine_tuning"
    )
    decays = {name: {t.weight_decay for t in asked if t.objective == name} for name in ("cross_entropy", "fine_tuning")}
    assert decays == {"cross_entropy": {0.0125, 0.05, 0.2, 0.8, 3.2}, "fine_tuning": {0.05, chosen}}
    rates = {t.learning_rate for t in asked if (t.objective, t.weight_decay) == ("cross_entropy", 0.8)}
    assert rates == {0.01, 0.02, 0.04}
    of_chosen = {t.learning_rate for t in asked if (t.objective, t.weight_decay) == ("fine_tuning", chosen)}
    assert of_chosen >= {0.01, 0.02, 0.04}
    assert set(table.loc[table["chosen"], "weight_decay"]) == {chosen}
