"""Verdicts: what the test of an effect shows. Page, figures, tables and terminal use the same words."""

from __future__ import annotations

from whyrobust.study.display_names import LOWERS, NO_INTERVAL, NOT_MEASURED, RAISES, UNDECIDED, name_margin
from whyrobust.study.table_cells import is_missing


def judge_effect(
    effect: float, p_adjusted: float, equivalence: tuple[float, float], *, alpha: float, margin: float
) -> str:
    """Judge one effect on effective robustness.

    Args:
        effect: of a comparison, in percentage points; missing where it was not measured.
        p_adjusted: of the test that it is zero, adjusted for the family of tests it belongs to; missing where there is
            no standard error, as with a single seed.
        equivalence: interval that two one-sided tests compare with the margin, in percentage points
            (`whyrobust.analysis.hypothesis_tests.equivalence`).
        alpha: level of the tests.
        margin: smallest effect of interest, in percentage points.

    Returns:
        ``raises`` or ``lowers`` where the effect differs from zero; else ``within ±2`` (of a margin of 2) where two
        one-sided tests say that it is smaller, and ``undecided`` where they do not. ``not measured`` without an effect,
        ``no interval`` without a test.

    Raises:
        ValueError: where the interval's ends are the wrong way round.
    """
    low, high = equivalence
    if is_missing(effect):
        return NOT_MEASURED
    if is_missing(p_adjusted) or is_missing(low) or is_missing(high):
        return NO_INTERVAL
    if low > high:
        raise ValueError(f"The interval runs from {low} to {high}: give its lower end first.")
    if p_adjusted < alpha:
        return RAISES if effect > 0 else LOWERS
    return name_margin(margin) if -margin < low and high < margin else UNDECIDED
