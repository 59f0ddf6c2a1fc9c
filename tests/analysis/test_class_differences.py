"""Accuracy by class of two sources, against plain loops over the pairs."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.pages import make_runs
from whyrobust.analysis.class_differences import CLASS_DIFFERENCE_COLUMNS, compare_classes
from whyrobust.study.comparisons import Comparison, compare_sources

COUNTS = {"cat": 40, "dog": 7, "": 3}


def comparison(start="studio", end="web", **where):
    sides = ({"source": start}, {"source": end})
    return Comparison("training_distribution", f"{end} instead of {start}", *sides, where, "everything else")


def evaluated():
    return make_runs().assign(main=True).to_dict("records")


def class_accuracy(runs):
    return pd.DataFrame(
        {"run": run["run"], "test_set": test_set, "label": label, "images": images}
        | {"correct": (5 * number + 3 * len(label) + len(test_set)) % (images + 1)}
        for number, run in enumerate(runs)
        for test_set in ("v2", "sketch")
        for label, images in COUNTS.items()
    )


def test_differences_are_means_over_pairs_that_differ_in_the_source_alone():
    runs = evaluated()
    counts = class_accuracy(runs)
    table = compare_classes(counts, runs, [comparison(objective="cross_entropy"), comparison("studio", "no such")])
    assert list(table.columns) == list(CLASS_DIFFERENCE_COLUMNS) and len(table) == 2 * len(COUNTS)
    share = {(row["run"], row["test_set"], row["label"]): row["correct"] / row["images"]
             for row in counts.to_dict("records")}  # fmt: skip
    for row in table.to_dict("records"):
        key = (row["test_set"], row["class"])
        pairs = [
            (share[(f"cross_entropy-studio-{size}-{seed}", *key)], share[(f"cross_entropy-web-{size}-{seed}", *key)])
            for size in (500, 2000)
            for seed in (0, 1)
        ]
        changes = [second - first for first, second in pairs]
        assert (row["images"], row["pairs"]) == (COUNTS[row["class"]], 4)
        assert row["accuracy_to"] == pytest.approx(sum(second for _, second in pairs) / 4)
        assert row["difference_points"] == pytest.approx(100 * sum(changes) / 4)
        assert row["pairs_above"] == sum(change > 0 for change in changes)
        assert row["pairs_below"] == sum(change < 0 for change in changes)


def test_a_pair_of_equal_accuracies_is_neither_above_nor_below():
    runs = evaluated()
    equal = class_accuracy(runs).assign(correct=1)
    table = compare_classes(equal, runs, [comparison(objective="cross_entropy")])
    assert (table["pairs"] == 4).all() and (table[["pairs_above", "pairs_below"]] == 0).all(axis=None)


def test_without_a_comparison_of_sources_there_is_no_row():
    runs = evaluated()
    assert compare_classes(class_accuracy(runs), runs, []).empty
    other = Comparison("size", "more", {"train_images": 500}, {"train_images": 2000}, {}, "")
    mixed = Comparison("x", "two sources", {"source": ["studio", "web"]}, {"source": "half"}, {}, "")
    both = Comparison("x", "source and size", {"source": "studio"}, {"source": "web", "train_images": 5}, {}, "")
    first, again, back = comparison(), comparison(seed=0), comparison("web", "studio")
    assert compare_sources([other, mixed, both, first, again, back]) == [first, back]
