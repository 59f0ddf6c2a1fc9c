"""Lines through published models, and how far each model is from them.

Offers `fit_lines`, the two baselines of every shift and x axis, `measure_models`, each model's effective robustness
beyond both, and tables of the lines. The first baseline is the ImageNet testbed's (Taori et al. 2020, arXiv
2007.00644): 85 standard models to 2020. The second goes through timm's models that saw the labels of ImageNet-1k and
nothing else: several hundred recipes to 2026. Both take models from the accuracy on that the testbed takes.

Differences of models are taken on the logit scale, where the lines are straight. In points they are given at one
reference accuracy, that of the testbed's ResNet-50 on the axis (`LineSet.reference`): the same logits are worth other
points elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.baselines import fit_baseline, fit_two_lines
from whyrobust.analysis.pretraining import IMAGENET, NONE
from whyrobust.analysis.published_models import (
    PIVOT_MODEL,
    PIVOT_SHIFT,
    STANDARD_FROM,
    STANDARD_FROM_ON_OWN_CLASSES,
    read_accuracies,
)
from whyrobust.analysis.published_tables import FULL_VALIDATION
from whyrobust.analysis.scales import from_scale, to_scale

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray, FloatArray
    from whyrobust.analysis.baselines import Baseline, TwoLineBaseline

SCALE = "logit"
TESTBED_LINE, TIMM_LINE = "testbed", "timm_in1k"
LINES = (TESTBED_LINE, TIMM_LINE)
# Shifts of the summary. ObjectNet is not in timm's tables, and ImageNet-A was chosen against one of the models.
MAIN_SHIFTS = ("imagenet-v2", "imagenet-sketch", "imagenet-r")
# The accuracies at which the two lines are compared.
COMPARED_AT = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85)


@dataclass(frozen=True)
class LineSet:
    """The baselines of one shift and x axis, by the names `LINES`, and the accuracy that points are given at.

    ``models`` are how many standard models each baseline goes through. A baseline that no table allows is missing:
    timm has no ObjectNet.
    """

    shift: str
    x_test_set: str
    baselines: Mapping[str, Baseline | TwoLineBaseline]
    models: Mapping[str, int]
    residual_sd: Mapping[str, float]
    reference: float

    def points_at_reference(self, line: str, logits: FloatArray) -> FloatArray:
        """Convert effects in logits, any shape, to percentage points of a model at the reference accuracy."""
        base = to_scale(self.baselines[line].predict([self.reference]), SCALE)
        points: FloatArray = (from_scale(base + logits, SCALE) - from_scale(base, SCALE)) * 100.0
        return points


def trained_on_imagenet_alone(models: pd.DataFrame) -> BoolArray:
    """Return which of timm's models learned from the labels of ImageNet-1k by cross-entropy and from nothing else.

    Args:
        models: as `whyrobust.analysis.pretraining.describe_models` gives them. A model with an empty field is not
            one of them.
    """
    chosen = (
        (models["collection"] == "timm")
        & (models["data"] == IMAGENET)
        & (models["supervision"] == "labels")
        & (models["objective"] == "cross-entropy")
        & (models["teacher"] == NONE)
        & (models["fine_tuned_on"] == NONE)
    )
    result: BoolArray = chosen.to_numpy(dtype=bool)
    return result


def fit_lines(folder: Path, models: pd.DataFrame, accuracies: pd.DataFrame) -> dict[tuple[str, str], LineSet]:
    """Fit both baselines of every shift and x axis.

    Args:
        folder: ``resources/reference``, for the testbed's own table.
        models: as `whyrobust.analysis.pretraining.describe_models` gives them.
        accuracies: as `whyrobust.analysis.published_tables.read_published` gives them.

    Returns:
        The lines by shift and x axis.
    """
    testbed = read_accuracies(folder, "imagenet_testbed")
    timm = models.loc[trained_on_imagenet_alone(models), "model"]
    own = accuracies[(accuracies["collection"] == "timm") & accuracies["model"].isin(timm)]
    own = own[own["table"] == "timm"]
    sets = {}
    for (shift, x_test_set), group in testbed.groupby(["shift", "x_test_set"]):
        shift, x_test_set = str(shift), str(x_test_set)
        pivot = group.loc[group["model"] == PIVOT_MODEL, "id_accuracy"]
        here = own[(own["shift"] == shift) & (own["x_test_set"] == x_test_set)]
        standard = {TESTBED_LINE: group[group["standard"]], TIMM_LINE: here[_strong_enough(here, shift, x_test_set)]}
        baselines: dict[str, Baseline | TwoLineBaseline] = {}
        spread = {}
        for line, table in standard.items():
            if len(table):
                x, y = table[["id_accuracy"]].to_numpy(dtype=float), table["shift_accuracy"].to_numpy(dtype=float)
                two = shift == PIVOT_SHIFT
                baselines[line] = fit_two_lines(x, y, float(pivot.iloc[0]), SCALE) if two else fit_baseline(x, y, SCALE)
                residuals = to_scale(y, SCALE) - to_scale(baselines[line].predict(x), SCALE)
                spread[line] = float(np.std(residuals[np.isfinite(residuals)], ddof=2))
        sets[shift, x_test_set] = LineSet(
            shift=shift,
            x_test_set=x_test_set,
            baselines=baselines,
            models={line: len(standard[line]) for line in baselines},
            residual_sd=spread,
            reference=float(pivot.iloc[0]),
        )
    return sets


def measure_models(accuracies: pd.DataFrame, lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Measure every model against both baselines of every axis that it has.

    Returns:
        The rows of ``accuracies`` per line, with ``line``, ``expected`` (accuracy of a standard model),
        ``er_points`` (percentage points above it), ``residual_logits`` (the same on the logit scale) and
        ``extrapolated`` (the in-distribution accuracy lies outside those of the line's models).
    """
    import pandas as pd

    parts = []
    for (shift, x_test_set), group in accuracies.groupby(["shift", "x_test_set"]):
        one = lines[str(shift), str(x_test_set)]
        for line, baseline in one.baselines.items():
            x, y = group[["id_accuracy"]].to_numpy(dtype=float), group["shift_accuracy"].to_numpy(dtype=float)
            expected = baseline.predict(x)
            parts.append(
                group.assign(
                    line=line,
                    expected=expected,
                    er_points=(y - expected) * 100.0,
                    residual_logits=to_scale(y, SCALE) - to_scale(expected, SCALE),
                    extrapolated=~baseline.covers(x),
                )
            )
    return pd.concat(parts, ignore_index=True)


def table_of_models(models: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model: what it is, its accuracies and its effective robustness beyond each line, per shift.

    Args:
        models: as `whyrobust.analysis.pretraining.describe_models` gives them.
        measured: as `measure_models` gives it. Of a shift's x axes, its own classes count where a model has them.

    Returns:
        ``models`` with ``<shift>: x`` and ``<shift>: y`` (fractions) and ``<shift>: er_points, <line>``.
    """
    last = measured.sort_values("x_test_set").drop_duplicates(["collection", "model", "shift", "line"], keep="last")
    key = ["collection", "model"]
    result = models
    for shift, group in last.groupby("shift"):
        first = group.drop_duplicates(key)[[*key, "id_accuracy", "shift_accuracy"]]
        names = {"id_accuracy": f"{shift}: x", "shift_accuracy": f"{shift}: y"}
        result = result.merge(first.rename(columns=names), on=key, how="left")
        for line, part in group.groupby("line"):
            er = part[[*key, "er_points"]].rename(columns={"er_points": f"{shift}: er_points, {line}"})
            result = result.merge(er, on=key, how="left")
    return result


def table_of_lines(lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Return the lines: slope, intercept and R² on logits, the spread of the standard models, the reference accuracy.

    ImageNet-A has two lines, below and above ResNet-50 (``part``), of which ``residual_sd`` is common.
    """
    import pandas as pd

    rows = []
    for (shift, x_test_set), one in lines.items():
        for line, baseline in one.baselines.items():
            for part, fitted in baseline.lines.items():
                rows.append(
                    {
                        "shift": shift,
                        "x_test_set": x_test_set,
                        "line": line,
                        "part": part,
                        "models": fitted.models,
                        "slope": fitted.slopes[0],
                        "intercept": fitted.intercept,
                        "r_squared": fitted.r_squared,
                        "residual_sd": one.residual_sd[line],
                        "x_low": fitted.x_low[0],
                        "x_high": fitted.x_high[0],
                        "reference_accuracy": one.reference,
                        "reference_shift_accuracy": float(baseline.predict([one.reference])),
                    }
                )
    return pd.DataFrame(rows)


def compare_lines(lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Return what both baselines expect at some accuracies, and by how many points timm's is above the testbed's."""
    import pandas as pd

    rows = []
    for (shift, x_test_set), one in lines.items():
        if TIMM_LINE not in one.baselines:
            continue
        for x in COMPARED_AT if x_test_set == FULL_VALIDATION else (*COMPARED_AT, 0.9, 0.95):
            testbed, timm = (float(one.baselines[line].predict([x])) for line in LINES)
            rows.append(
                {
                    "shift": shift,
                    "x_test_set": x_test_set,
                    "id_accuracy": x,
                    TESTBED_LINE: testbed,
                    TIMM_LINE: timm,
                    "difference_points": (timm - testbed) * 100.0,
                }
            )
    return pd.DataFrame(rows)


def _strong_enough(table: pd.DataFrame, shift: str, x_test_set: str) -> BoolArray:
    """Return which models are accurate enough for a line, by the testbed's thresholds."""
    own_classes = x_test_set != FULL_VALIDATION
    threshold = STANDARD_FROM_ON_OWN_CLASSES.get(shift, STANDARD_FROM) if own_classes else STANDARD_FROM
    result: BoolArray = (table["id_accuracy"] >= threshold).to_numpy(dtype=bool)
    return result
