"""What is measured of every evaluated run on one shift: the values that comparisons of runs are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whyrobust.analysis.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class MeasuredShift:
    """One shift, measured on all evaluated runs, in the order of their rows.

    Attributes:
        residuals: distance to the baseline on its scale (logits as a rule), [models].
        draws: bootstrap draws of the same, [resamples, models].
        extrapolated: models outside of what the standard models cover, [models].
        id_accuracies: in-distribution accuracies, fractions, [models, test_sets].
        shift_accuracy: accuracies under shift, fractions, [models].
        role: of the test set in the study, as in ``shifts.csv``: ``shift``, ``case study`` or ``not informative``.
    """

    residuals: FloatArray
    draws: FloatArray
    extrapolated: BoolArray
    id_accuracies: FloatArray
    shift_accuracy: FloatArray
    role: str
