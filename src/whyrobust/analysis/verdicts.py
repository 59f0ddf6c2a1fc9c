"""Verdicts: what the interval of an effect shows. Page, figures, tables and terminal use the same words."""

from __future__ import annotations

from whyrobust.study.display_names import LOWERS, NOT_MEASURED, RAISES, UNCLEAR
from whyrobust.study.table_cells import is_missing


def judge_effect(effect: float, low: float, high: float) -> str:
    """Judge one effect on effective robustness by its interval.

    Args:
        effect: of a comparison, in any unit; missing where it was not measured.
        low: lower end of its interval; missing where there is none, as with a single seed.
        high: upper end.

    Returns:
        ``raises`` where the whole interval lies above zero, ``lowers`` where it lies below, ``unclear`` where it
        includes zero or is missing, ``not measured`` where there is no effect.

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
