"""The tables of causes of a study: effects of the comparisons, their shares of the gap, and the regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whyrobust.analysis.accuracies import KEYS
from whyrobust.analysis.arrays import FloatArray
from whyrobust.analysis.effects import attribute_causes, summarise_causes
from whyrobust.analysis.gap_shares import gap_shares
from whyrobust.analysis.regression import regress_causes
from whyrobust.study.comparisons import Comparison

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CauseTables:
    """``causes.csv``, ``regression.csv`` and ``summary.txt`` of a study."""

    causes: pd.DataFrame
    regression: pd.DataFrame
    summary: str


def make_cause_tables(
    effective_robustness: pd.DataFrame,
    draws: Mapping[str, FloatArray],
    runs: pd.DataFrame,
    comparisons: Sequence[Comparison],
    scale: str,
    confidence: float,
) -> CauseTables:
    """Attribute effective robustness to its possible causes.

    Args:
        effective_robustness: ``effective_robustness.csv``, as `read_effective_robustness` reads it.
        draws: shift -> draws of effective robustness, [resamples, rows of the shift].
        runs: ``runs.csv``, empty text read as such.
        comparisons: the controlled comparisons.
        scale: ``logit``, ``probit`` or ``linear``: of the regression.
        confidence: coverage of all intervals.

    Raises:
        ValueError: as `attribute_causes`, `gap_shares` and `regress_causes`.
    """
    measurements, evaluated = {}, runs.iloc[:0]
    for shift, drawn in draws.items():
        rows = effective_robustness[effective_robustness["shift"] == shift].reset_index(drop=True)
        evaluated = rows[[*KEYS, "main"]].merge(runs, on="run", validate="many_to_one")
        measurements[shift] = (rows["effective_robustness_points"].to_numpy(dtype=float), drawn.astype(float))
    causes = attribute_causes(comparisons, evaluated, measurements, confidence)
    shares = gap_shares(causes, comparisons, evaluated, measurements, confidence)
    names = ["cause", "comparison", "shift"]
    causes = causes.merge(shares.drop(columns="effect_points"), on=names, validate="one_to_one")

    accuracies = effective_robustness[[*KEYS, "shift", "id_accuracy", "shift_accuracy"]]
    points = accuracies.merge(runs.drop(columns="standard"), on="run", validate="many_to_one")
    points["standard"] = effective_robustness["standard"].to_numpy(dtype=bool)
    return CauseTables(causes, regress_causes(points, scale, confidence), summarise_causes(causes))


def read_effective_robustness(path: str) -> pd.DataFrame:
    """Read ``effective_robustness.csv``: text that is empty stays text, a number that is missing is NaN."""
    import pandas as pd

    table = pd.read_csv(path, keep_default_na=False, na_values=["nan", "NaN"])
    for column in ("effective_robustness_points", "id_accuracy", "shift_accuracy"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table
