"""Tables of accuracies: with intervals, merged over the axes of a shift, and drawn from predictions by the bootstrap.

All read what `score_heads` wrote: ``accuracy.csv`` the counts, ``predictions.parquet`` the single images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.analysis.intervals import clopper_pearson
from whyrobust.study.plan import HEAD_FIELDS, matches
from whyrobust.study.restricted_names import restricted_name

if TYPE_CHECKING:
    import pandas as pd

#: Columns of ``accuracy.csv``.
ACCURACY_COLUMNS = (
    "run", "source", "train_images", "seed", "objective", "supervision", "caption", "labels", "pretrained_by", "model",
    "samples_seen", "head", "prompts", "fitted_on", "main", "test_set", "images", "correct", "accuracy", "low", "high",
)  # fmt: skip

#: What identifies an evaluated run: the run and the head that it is evaluated with.
KEYS = ("run", *HEAD_FIELDS)

#: One evaluated run: the values of `KEYS`.
Key = tuple[str, str, str, str]


class OutcomeError(ValueError):
    """Predictions that are missing, or that are not of the same images for all heads."""


@dataclass(frozen=True)
class ShiftAccuracies:
    """Accuracies of models on one shift and on one or several in-distribution test sets, with bootstrap draws.

    All are fractions. The models are in the same order everywhere, and one draw holds the same test images for all of
    them.

    Attributes:
        x: in-distribution accuracies, [models, test_sets].
        y: accuracies under shift, [models].
        x_draws: draws of x, [resamples, models, test_sets].
        y_draws: draws of y, [resamples, models].
        standard: which models the baseline is fitted to, [models].

    Raises:
        ValueError: where the shapes do not fit.
    """

    x: FloatArray
    y: FloatArray
    x_draws: FloatArray
    y_draws: FloatArray
    standard: BoolArray

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1] or self.standard.shape != self.x.shape[:1]:
            raise ValueError(
                f"x has shape {self.x.shape}, y {self.y.shape} and the standard mask {self.standard.shape}: give "
                "[models, test_sets], [models] and [models]."
            )
        if self.x_draws.shape[1:] != self.x.shape or self.y_draws.shape != (len(self.x_draws), self.y.size):
            raise ValueError(
                f"Draws have shapes {self.x_draws.shape} and {self.y_draws.shape} for {self.y.size} models and "
                f"{self.x.shape[1]} test sets: give [resamples, models, test_sets] and [resamples, models]."
            )


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


def axis_of_shift(test_set: str, shift: str, measured: Collection[str]) -> str:
    """Return the in-distribution test set of a shift: restricted to the shift's classes where that was measured."""
    restricted = restricted_name(test_set, shift)
    return restricted if restricted in measured else test_set


def merge_axes(accuracy: pd.DataFrame, x_test_set: str, shift: str) -> pd.DataFrame:
    """Return the evaluated runs that have an accuracy on both axes of a shift.

    Args:
        accuracy: ``accuracy.csv``.
        x_test_set: in-distribution test set, the x axis.
        shift: shifted test set, the y axis.

    Returns:
        One row for each, in the order of ``accuracy``: `KEYS`, ``main``, ``id_accuracy, id_images, shift_accuracy,
        shift_images``.
    """
    on_x = accuracy[accuracy["test_set"] == x_test_set][[*KEYS, "main", "accuracy", "images"]]
    on_shift = accuracy[accuracy["test_set"] == shift][[*KEYS, "accuracy", "images"]]
    return on_x.rename(columns={"accuracy": "id_accuracy", "images": "id_images"}).merge(
        on_shift.rename(columns={"accuracy": "shift_accuracy", "images": "shift_images"}),
        on=list(KEYS),
        validate="one_to_one",
    )


def select_runs(runs: pd.DataFrame, condition: Mapping[str, Any]) -> set[str]:
    """Return the names of the runs of ``runs.csv`` that meet a condition of the config: field -> value or values."""
    rows = ({str(name): value for name, value in row.items()} for row in runs.to_dict("records"))
    return {row["run"] for row in rows if matches(row, condition)}


def standard_models(keys: Sequence[Key], standard_runs: Collection[str]) -> BoolArray:
    """Return which evaluated runs the baseline is fitted to, [keys]: standard runs with their own classifier."""
    return np.array([run in standard_runs and head == "classifier" for run, head, _, _ in keys], dtype=bool)


def outcome_matrix(
    path: Path | str, test_set: str, rows: Sequence[Key]
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

    table = pq.read_table(path, columns=[*KEYS, "group", "correct"], filters=[("test_set", "=", test_set)]).to_pandas()
    parts = table.groupby(list(KEYS), observed=True, sort=False)
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
