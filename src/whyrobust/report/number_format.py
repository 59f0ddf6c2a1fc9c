"""Numbers as text: percent, percentage points and counts, the same in figures and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whyrobust.study.display_names import count_noun
from whyrobust.study.table_cells import is_missing


def format_percent(rate: float) -> str:
    """Write a rate from 0 to 1 as percent with one decimal, ``n/a`` if there is none."""
    return "n/a" if is_missing(rate) else f"{100 * rate:.1f} %"


def format_whole_percent(share: float | None) -> str:
    """Write a share without decimals: ``13 %``; "" for a missing one."""
    return "" if share is None or is_missing(share) else f"{round(100 * share)} %".replace("-", "\N{MINUS SIGN}")


def format_points(points: float) -> str:
    """Write an effect in percentage points with its sign and one decimal, ``n/a`` if there is none."""
    if is_missing(points):
        return "n/a"
    rounded = round(points, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def format_points_interval(low: float, high: float) -> str:
    """Write the interval of an effect: ``+1.8 to +9.5``; nothing if an end is missing."""
    return "" if is_missing(low) or is_missing(high) else f"{_format_end(low)} to {_format_end(high)}"


def _format_end(points: float) -> str:
    """Write an end of an interval with one decimal, with more where it would look like zero: its sign matters."""
    digits = next((digits for digits in (1, 2, 3, 4) if round(points, digits)), 0)
    return f"{points:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if digits > 1 else format_points(points)


def format_p(p: float) -> str:
    """Write a probability: ``.12``, ``.004``, ``< .001``, ``.0496``; nothing if there is none.

    It has two digits, three below .01, and near .05 as many as it takes to see on which side it lies.
    """
    if is_missing(p):
        return ""
    if p < 0.0005:
        return "< .001"
    digits = 3 if p < 0.00995 or 0.045 <= p < 0.055 else 2
    if digits == 3 and p != 0.05 and f"{p:.3f}" == "0.050":
        digits = next((more for more in (4, 5, 6) if float(f"{p:.{more}f}") != 0.05), 6)
    text = f"{p:.{digits}f}"
    return text if p >= 0.995 else text.removeprefix("0")


def name_p(p: float) -> str:
    """Write a probability with its name: ``p = .12``, ``p < .001``; nothing if there is none."""
    text = format_p(p)
    return f"p {text if text.startswith('<') else f'= {text}'}" if text else ""


def describe_evidence(pairs: Any, seeds: Any) -> str:  # noqa: ANN401 - numbers, or what pandas has for missing ones
    """Say how much an effect rests on: ``6 pairs of runs, 3 seeds``."""
    parts = []
    if not is_missing(pairs):
        parts.append(count_noun(int(pairs), "pair") + " of runs")
    if not is_missing(seeds):
        parts.append(count_noun(int(seeds), "seed"))
    return ", ".join(parts)


def join_words(parts: Sequence[str]) -> str:
    """Join clauses to a list: ``a``, ``a and b``, ``a; b; and c``."""
    return " and ".join(parts) if len(parts) < 3 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"


def list_some(items: Sequence[str], most: int = 3) -> str:
    """List the first few things and say how many more there are."""
    rest = len(items) - most
    return "; ".join(items[:most]) + (f"; and {rest} more" if rest > 0 else "")
