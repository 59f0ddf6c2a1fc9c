"""The average of accuracies over several shifts, as one more shift (Taori et al. 2020; Fang et al. 2022, figure 1).

Accuracies are averaged first, as fractions; the average then has a baseline and effective robustness of its own. The
mean over shifts, which verdicts are about, is another thing: of residuals, each beyond the baseline of its shift.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.accuracies import KEYS, Key
from whyrobust.study.display_names import AVERAGE, join_test_sets

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

DrawAccuracies = Callable[[str, tuple[Key, ...]], "FloatArray"]
"""Draws accuracies of evaluated runs on a test set, [resamples, keys]."""


def add_average(accuracy: pd.DataFrame, shifts: Sequence[str]) -> pd.DataFrame:
    """Return ``accuracy.csv`` with rows of the test set `AVERAGE`: for each evaluated run its mean accuracy.

    ``effective_images`` of these rows are those of all shifts together: no interval can be made of them, since the
    shifts have different accuracies.

    Args:
        accuracy: ``accuracy.csv``.
        shifts: the shifts that are averaged, all alike.

    Raises:
        ValueError: an evaluated run has no accuracy on one of them, or two.
    """
    import pandas as pd

    members = accuracy[accuracy["test_set"].isin(shifts)]
    groups = members.groupby([*KEYS, "main"], sort=False)
    counted = groups["test_set"].agg(["size", "nunique"])
    uneven = counted[(counted["size"] != len(shifts)) | (counted["nunique"] != len(shifts))]
    if len(uneven):
        raise ValueError(
            f"accuracy.csv has {uneven['size'].iloc[0]} accuracies of {uneven.index[0][0]} on {', '.join(shifts)}: one "
            "on each is averaged; run score_heads again"
        )
    means = groups.agg(accuracy=("accuracy", "mean"), effective_images=("effective_images", "sum")).reset_index()
    return pd.concat([accuracy, means.assign(test_set=AVERAGE)], ignore_index=True)


def draw_average(draw: DrawAccuracies, shifts: Sequence[str]) -> DrawAccuracies:
    """Return a function that draws as ``draw`` does and for `AVERAGE` the mean of its draws on the shifts."""

    def with_average(test_set: str, keys: tuple[Key, ...]) -> FloatArray:
        if test_set != AVERAGE:
            return draw(test_set, keys)
        drawn: FloatArray = np.mean([draw(shift, keys) for shift in shifts], axis=0)
        return drawn

    return with_average


def describe_average(
    members: Sequence[Mapping[str, Any]], median_accuracy: float, r_squared: float, r_squared_line: float
) -> dict[str, Any]:
    """Return the row of ``shifts.csv`` of the average; it takes part in no verdict.

    Args:
        members: rows of the shifts that are averaged.
        median_accuracy: over standard models.
        r_squared: of the main baseline.
        r_squared_line: of the paper's line.

    Returns:
        Images, drawings and the sources that have the style of a shift are those of all members; ``units`` is the
        smallest number of theirs, since draws are widened for it.
    """
    seen_in = dict.fromkeys(source for row in members for source in str(row["seen_in"]).split())
    names = join_test_sets(str(row["test_set"]) for row in members)
    return {
        "test_set": AVERAGE,
        "role": AVERAGE,
        "reason": f"accuracies on {names}, averaged first; the mean over shifts is of effects",
        "source": "",
        "seen_in": " ".join(seen_in),
        "images": sum(row["images"] for row in members),
        "drawings": sum(row["drawings"] for row in members),
        "classes": max(row["classes"] for row in members),
        "unit": "",
        "units": min(row["units"] for row in members),
        "chance": float(np.mean([row["chance"] for row in members])),
        "median_accuracy": median_accuracy,
        "r_squared": r_squared,
        "r_squared_line": r_squared_line,
    }
