"""Verdicts: what the interval of an effect shows. Page, figures, tables and terminal use the same words."""

from __future__ import annotations

from typing import Final

from whyrobust.study.display_names import LOWERS, NOT_MEASURED, RAISES, UNCLEAR
from whyrobust.study.table_cells import is_missing

MARGIN_POINTS: Final = 2.0
"""The smallest effect of interest, in percentage points."""

WITHIN_MARGIN: Final = f"within ±{MARGIN_POINTS:g}"
UNDECIDED: Final = "undecided"
ONE_UNIT: Final = "one architecture"
"""Further verdicts of `judge_with_margin`; the last is that of an effect without an interval."""


def judge_effect(effect: float, low: float, high: float) -> str:
    """Judge one effect on effective robustness by its interval.

    Args:
        effect: of a comparison, in any unit; missing where it was not measured.
        low: lower end of its interval; missing if there is none, as with a single seed.
        high: upper end.

    Returns:
        ``raises`` where the whole interval lies above zero, ``lowers`` where it lies below, ``unclear`` where it
        includes zero or is missing, ``not measured`` if there is no effect.

    Raises:
        ValueError: where low is above high.
    """
    if is_missing(effect):
        return NOT_MEASURED
    if is_missing(low) or is_missing(high):
        return UNCLEAR
    if low > high:
        raise ValueError(f"The interval runs from {low} to {high}: give its lower end first.")
    return RAISES if low > 0 else LOWERS if high < 0 else UNCLEAR


def judge_with_margin(low: float, high: float, low_90: float, high_90: float) -> str:
    """Judge an effect by its interval, and tell small effects from undecided ones.

    An effect is small where two one-sided tests at 5 % say so, which is where its 90 % interval is within
    `MARGIN_POINTS` (Lakens 2017, Social Psychological and Personality Science 8).

    Args:
        low: lower end of the 95 % interval, in percentage points; NaN if there is no interval.
        high: upper end.
        low_90: lower end of the 90 % interval.
        high_90: upper end.

    Returns:
        ``raises``, ``lowers``, `WITHIN_MARGIN`, `UNDECIDED`, or `ONE_UNIT` without an interval.
    """
    if is_missing(low) or is_missing(high):
        return ONE_UNIT
    if low > 0:
        return RAISES
    if high < 0:
        return LOWERS
    return WITHIN_MARGIN if low_90 > -MARGIN_POINTS and high_90 < MARGIN_POINTS else UNDECIDED
