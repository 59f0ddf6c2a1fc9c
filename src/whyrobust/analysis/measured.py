"""A measured shift, as the comparisons of causes need it: residuals of the evaluated runs, their draws, accuracies.

`read_measured` makes it of the files of the main measurement, `read_measured_lines` of those of the single lines;
`evaluated_runs` has what is known of the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.accuracies import KEYS
from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.study.restricted_names import split_restricted_name
from whyrobust.study.table_cells import is_missing

if TYPE_CHECKING:
    import pandas as pd

#: Roles of test sets in ``shifts.csv``; only a shift of role `SHIFT` takes part in verdicts.
IN_DISTRIBUTION, SHIFT, CASE_STUDY, NOT_INFORMATIVE = "in_distribution", "shift", "case study", "not informative"


#: Kinds of single lines: over the first in-distribution test set, over the others, over the mean of all.
PAPER, MIRROR, OF_MEAN = "paper", "mirror", "mean"

#: ``x_test_set`` of the line over the mean of all in-distribution test sets; no test set may have this name.
MEAN_AXIS = "mean"


@dataclass(frozen=True)
class MeasuredShift:
    """One shift, measured for the evaluated runs (a run with a head), which are in the order of the table's rows.

    Attributes:
        residuals: on the scale of the fit, beyond the baseline, [models]; NaN where there is none.
        draws: bootstrap draws of the residuals, [resamples, models].
        extrapolated: models that lie outside the standard models, [models].
        id_accuracies: fractions, on each in-distribution test set, restricted to the classes of the shift where it
            covers only some, [models, test_sets].
        shift_accuracy: fractions, [models].
        role: ``shift``, ``case study`` or ``not informative``.
        seen_in: training sources that contain the style of the shift.
        reason: why it takes part in no verdict; empty for one that does.
        units: how many units (teams, say) the bootstrap of its images resamples; 0 where that is not known.
        id_draws: draws of ``id_accuracies``, [resamples, models, test_sets]; None where they are not known.
        shift_draws: draws of ``shift_accuracy``, [resamples, models], of the same images; None likewise.
        id_units: how many units the images of each in-distribution test set are of, [test_sets].
    """

    residuals: FloatArray
    draws: FloatArray
    extrapolated: BoolArray
    id_accuracies: FloatArray
    shift_accuracy: FloatArray
    role: str
    seen_in: tuple[str, ...] = ()
    units: int = 0
    id_draws: FloatArray | None = None
    shift_draws: FloatArray | None = None
    id_units: tuple[int, ...] = ()
    reason: str = ""


def read_measured(
    effective_robustness: pd.DataFrame,
    draws: Mapping[str, FloatArray],
    accuracy_draws: Mapping[str, FloatArray],
    accuracy: pd.DataFrame,
    shifts: pd.DataFrame,
) -> dict[str, MeasuredShift]:
    """Return the main measurement by shift.

    All tables are read with ``keep_default_na=False``, so that empty text is text.

    Args:
        effective_robustness: ``effective_robustness.csv``.
        draws: of ``effective_robustness_draws.npz``: shift -> [resamples, rows of the shift].
        accuracy_draws: of ``accuracy_draws.npz``: test set -> [resamples, rows of a shift].
        accuracy: ``accuracy.csv``.
        shifts: ``shifts.csv``.

    Raises:
        ValueError: a shift has another number of rows than of draws, or an accuracy is missing.
    """
    return {
        str(shift): _measured_shift(str(shift), rows, draws[str(shift)], accuracy_draws, accuracy, shifts)
        for shift, rows in effective_robustness.groupby("shift", sort=False)
    }


def read_measured_lines(
    single_lines: pd.DataFrame,
    draws: Mapping[str, FloatArray],
    accuracy_draws: Mapping[str, FloatArray],
    accuracy: pd.DataFrame,
    shifts: pd.DataFrame,
) -> dict[str, dict[str, MeasuredShift]]:
    """Return the measurements beyond single lines: by in-distribution test set (whole, not restricted) and shift.

    The paper's line comes first, then its mirrors, then the line over the mean of all test sets, if there are several.

    Args:
        single_lines: ``single_lines.csv``.
        draws: of ``single_line_draws.npz``: ``<x_test_set>|<shift>`` -> [resamples, rows].
        accuracy_draws: as for `read_measured`.
        accuracy: ``accuracy.csv``.
        shifts: ``shifts.csv``.

    Raises:
        ValueError: as `read_measured`.
    """
    measured: dict[str, dict[str, MeasuredShift]] = {}
    for (x_test_set, shift), rows in single_lines.groupby(["x_test_set", "shift"], sort=False):
        test_set, _ = split_restricted_name(str(x_test_set))
        drawn = draws[line_key(str(x_test_set), str(shift))]
        of_shift = _measured_shift(str(shift), rows, drawn, accuracy_draws, accuracy, shifts)
        measured.setdefault(test_set, {})[str(shift)] = of_shift
    return measured


def evaluated_runs(effective_robustness: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluated runs (a run with a head) with the fields of each run, in the order of what is measured.

    Args:
        effective_robustness: ``effective_robustness.csv``, empty text read as such.
        runs: ``runs.csv``, read likewise.

    Raises:
        ValueError: a shift has other rows than the first.
    """
    keys = effective_robustness.groupby("shift", sort=False)[[*KEYS, "main"]]
    by_shift = {str(shift): rows.reset_index(drop=True) for shift, rows in keys}
    first = next(iter(by_shift.values()))
    for shift, rows in by_shift.items():
        if not rows.equals(first):
            raise ValueError(
                f"effective_robustness.csv has other runs or heads on {shift} than on {next(iter(by_shift))}: "
                "measure robustness again"
            )
    return first.merge(runs, on="run", validate="many_to_one")


def line_key(x_test_set: str, shift: str) -> str:
    """Return the key of ``single_line_draws.npz`` for a line and a shift."""
    return f"{x_test_set}|{shift}"


def _measured_shift(
    shift: str,
    rows: pd.DataFrame,
    draws: FloatArray,
    accuracy_draws: Mapping[str, FloatArray],
    accuracy: pd.DataFrame,
    shifts: pd.DataFrame,
) -> MeasuredShift:
    if draws.shape[1:] != (len(rows),):
        raise ValueError(f"The draws for {shift} have shape {draws.shape}: give [resamples, {len(rows)} rows].")
    axes = str(rows["x_test_sets"].iloc[0]).split()
    wide = accuracy[accuracy["test_set"].isin(axes)].pivot(index=list(KEYS), columns="test_set", values="accuracy")
    on_axes = wide.reindex(list(rows[list(KEYS)].itertuples(index=False, name=None)))[axes].to_numpy(dtype=float)
    if np.isnan(on_axes).any():
        raise ValueError(f"accuracy.csv lacks accuracies on {' or '.join(axes)} of models measured on {shift}.")
    units = dict(zip(shifts["test_set"], shifts["units"].astype(int), strict=True))
    described = shifts[shifts["test_set"] == shift].iloc[0]
    return MeasuredShift(
        residuals=_numbers(rows["residual"]),
        draws=np.asarray(draws, dtype=float),
        extrapolated=rows["extrapolated"].to_numpy(dtype=bool),
        id_accuracies=on_axes,
        shift_accuracy=_numbers(rows["shift_accuracy"]),
        role=str(described["role"]),
        reason="" if is_missing(described["reason"]) else str(described["reason"]),
        seen_in=tuple(str(described["seen_in"]).split()),
        units=units[shift],
        id_draws=np.stack([accuracy_draws[axis] for axis in axes], axis=2, dtype=float),
        shift_draws=np.asarray(accuracy_draws[shift], dtype=float),
        id_units=tuple(units[split_restricted_name(axis)[0]] for axis in axes),
    )


def _numbers(column: pd.Series) -> FloatArray:
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
