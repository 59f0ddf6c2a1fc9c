"""Accuracy by class of the runs of two sources that are equal in all else: which classes a difference is made of.

It describes and tests nothing: a class of a test set has few images, so that single classes differ by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from whyrobust.study.comparisons import Comparison, match_pairs

CLASS_DIFFERENCE_COLUMNS: Final = (
    "comparison", "from", "to", "test_set", "class", "images", "pairs", "accuracy_from", "accuracy_to",
    "difference_points", "pairs_above", "pairs_below",
)  # fmt: skip


def compare_classes(
    class_accuracy: pd.DataFrame, runs: Sequence[Mapping[str, Any]], comparisons: Sequence[Comparison]
) -> pd.DataFrame:
    """Compare the accuracies of paired runs in each class of each test set.

    Args:
        class_accuracy: ``run, test_set, label, images, correct``, by the main head of each run.
        runs: rows of the evaluated runs by their main head, as `match_pairs` takes them.
        comparisons: of one source instead of another.

    Returns:
        `CLASS_DIFFERENCE_COLUMNS`, a row for each comparison, test set and class in the order of ``class_accuracy``:
        mean accuracies of both sides, from 0 to 1, their difference in percentage points, and in how many pairs the
        accuracy of the run of ``to`` is above and below that of the run of ``from``.
    """
    counts = class_accuracy.assign(accuracy=class_accuracy["correct"] / class_accuracy["images"])
    keys = ["test_set", "label"]
    parts = []
    for comparison in comparisons:
        pairs = [(runs[pair.starts[0]]["run"], runs[pair.end]["run"]) for pair in match_pairs(comparison, runs)]
        sides = [
            pd.DataFrame({"run": names, "pair": range(len(names))}).merge(counts, on="run", how="left")
            for names in zip(*pairs, strict=True)
        ]
        if not sides:
            continue
        both = sides[0].merge(sides[1], on=["pair", *keys], suffixes=("_from", "_to"), validate="one_to_one")
        change = both["accuracy_to"] - both["accuracy_from"]
        both = both.assign(difference_points=100 * change, pairs_above=change > 0, pairs_below=change < 0)
        table = both.groupby(keys, sort=False).agg(
            images=("images_to", "first"),
            pairs=("pair", "size"),
            accuracy_from=("accuracy_from", "mean"),
            accuracy_to=("accuracy_to", "mean"),
            difference_points=("difference_points", "mean"),
            pairs_above=("pairs_above", "sum"),
            pairs_below=("pairs_below", "sum"),
        )
        named = {"comparison": comparison.name, "from": comparison.start["source"], "to": comparison.end["source"]}
        parts.append(table.reset_index().rename(columns={"label": "class"}).assign(**named))
    whole = pd.concat(parts) if parts else pd.DataFrame(columns=list(CLASS_DIFFERENCE_COLUMNS))
    return whole[list(CLASS_DIFFERENCE_COLUMNS)].reset_index(drop=True)
