"""Scales on which accuracies are compared: logit, probit or linear, forwards and back.

Effective robustness is the distance to a line in logit (or probit) accuracy (Taori et al. 2020, arXiv 2007.00644,
section 3). These are the project's only two transforms: fits, bands, regressions and the axes of figures use them.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from whyrobust.analysis.arrays import FloatArray

Scale = Literal["logit", "probit", "linear"]

SCALES: tuple[str, ...] = get_args(Scale)
POINTS_PER_UNIT = 100.0  # percentage points in an accuracy of 1


def to_scale(accuracies: ArrayLike, scale: str) -> FloatArray:
    """Transform accuracies (fractions) to a scale.

    0 and 1 map to minus and plus infinity on ``logit`` and ``probit``; NaN stays NaN. Neither gives a warning.

    Args:
        accuracies: fractions, any shape.
        scale: ``logit``, ``probit`` or ``linear``.

    Returns:
        Values on the scale, in the shape of ``accuracies``.

    Raises:
        ValueError: for an unknown scale, or a value outside 0..1 on ``logit`` and ``probit``.
    """
    from scipy.special import logit, ndtri

    check_scale(scale)
    values = np.asarray(accuracies, dtype=float)
    if scale == "linear":
        return values.copy()
    outside = (values < 0) | (values > 1)
    if np.any(outside):
        raise ValueError(
            f"Found an accuracy of {values[outside].flat[0]:g}: the {scale} scale takes fractions "
            "from 0 to 1. If the accuracies are percentages, divide them by 100."
        )
    with np.errstate(divide="ignore"):
        result: FloatArray = np.asarray(logit(values) if scale == "logit" else ndtri(values), dtype=float)
    return result


def from_scale(values: ArrayLike, scale: str) -> FloatArray:
    """Transform values on a scale back to accuracies (fractions); the inverse of `to_scale`.

    On the linear scale the result may lie outside 0..1: a straight line does not know where accuracies end.

    Raises:
        ValueError: for an unknown scale.
    """
    from scipy.special import expit, ndtr

    check_scale(scale)
    on_scale = np.asarray(values, dtype=float)
    if scale == "linear":
        return on_scale.copy()
    result: FloatArray = np.asarray(expit(on_scale) if scale == "logit" else ndtr(on_scale), dtype=float)
    return result


def points_at(reference: float, change: ArrayLike, scale: str) -> FloatArray:
    """Return what a change on a scale is at one accuracy, in percentage points.

    Points cannot be compared between accuracies of .2 and .5, changes on the scale can; so that these can be read, all
    are spelt out at the same accuracy: 100 (accuracy after the change - accuracy before it).

    Args:
        reference: accuracy before the change, a fraction.
        change: on the scale, any shape; NaN stays NaN.
        scale: ``logit``, ``probit`` or ``linear``.

    Raises:
        ValueError: as `to_scale`.
    """
    return POINTS_PER_UNIT * (
        from_scale(to_scale(reference, scale) + np.asarray(change, dtype=float), scale) - reference
    )


def check_scale(scale: str) -> None:
    """Refuse a scale that is none of `SCALES`.

    Raises:
        ValueError: for an unknown scale.
    """
    if scale not in SCALES:
        raise ValueError(f"Unknown scale {scale!r}: choose one of {', '.join(SCALES)}.")
