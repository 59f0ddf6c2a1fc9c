"""Accuracies with confidence intervals, and which model has which image right (for the bootstrap).

Both read what `score_heads` counted: `accuracy_table` the counts, `outcome_matrix` the predictions of single images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whyrobust.analysis.effective_robustness import clopper_pearson
from whyrobust.study.plan import HEAD_FIELDS

if TYPE_CHECKING:
    import pandas as pd

#: Columns of ``accuracy.csv``.
ACCURACY_COLUMNS = (
    "run", "source", "train_images", "seed", "objective", "supervision", "caption", "labels", "pretrained_by", "model",
    "samples_seen", "head", "prompts", "fitted_on", "main", "test_set", "images", "correct", "accuracy", "low", "high",
)  # fmt: skip


class OutcomeError(ValueError):
    """Predictions that are missing, or that are not of the same images for all heads."""


def accuracy_table(runs: pd.DataFrame, counts: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return ``accuracy.csv``: the fields of each run, counts, and accuracies with Clopper-Pearson intervals.

    Args:
        runs: rows of ``runs.csv``.
        counts: ``run, head, prompts, fitted_on, main, test_set, images, correct``.
        confidence: coverage of the intervals, for example 0.995.
    """
    table = counts.merge(runs, on="run", how="left", validate="many_to_one")
    table["accuracy"] = table["correct"] / table["images"]
    table["low"], table["high"] = clopper_pearson(table["correct"].to_numpy(), table["images"].to_numpy(), confidence)
    return table[list(ACCURACY_COLUMNS)]


def outcome_matrix(
    path: Path | str, test_set: str, rows: Sequence[tuple[str, str, str, str]]
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Read which heads predicted which images of a test set correctly.

    Args:
        path: predictions of the study, as `score_heads` writes them.
        test_set: name of the test set or restricted view.
        rows: (run, head, prompts, fitted_on) of each head, in the order wanted.

    Returns:
        correct ``[rows, images]`` and the group of each image ``[images]``, the unit that the bootstrap resamples.

    Raises:
        OutcomeError: a head has no predictions, or another number of images than the first.
    """
    import pyarrow.parquet as pq

    columns = ["run", *HEAD_FIELDS, "group", "correct"]
    table = pq.read_table(path, columns=columns, filters=[("test_set", "=", test_set)]).to_pandas()
    parts = table.groupby(["run", *HEAD_FIELDS], observed=True, sort=False)
    by_row = {key: table.iloc[positions] for key, positions in parts.indices.items()}
    missing = [row for row in rows if row not in by_row]
    if missing:
        raise OutcomeError(
            f"{len(missing)} heads have no predictions on '{test_set}' in {path}, for example {missing[0]}: "
            "run score_heads again"
        )
    groups = by_row[rows[0]]["group"].to_numpy(dtype=object)
    uneven = [row for row in rows if len(by_row[row]) != len(groups)]
    if uneven:
        raise OutcomeError(
            f"{path}: {uneven[0]} has {len(by_row[uneven[0]])} images on '{test_set}', {rows[0]} {len(groups)}: "
            "run score_heads again"
        )
    return np.stack([by_row[row]["correct"].to_numpy(dtype=bool) for row in rows]), groups
