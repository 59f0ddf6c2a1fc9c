"""Whether the effect of a main comparison differs between two architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from whyrobust.analysis.scales import points_at
from whyrobust.report.findings import is_mean
from whyrobust.report.number_format import format_points, format_points_interval, name_p
from whyrobust.report.page_parts import holds_zero, table_rows
from whyrobust.study.display_names import capital, count_noun, name_cause, name_test_set, spaced


def architectures_section(architectures: pd.DataFrame, reference: float, scale: str) -> dict[str, Any]:
    """Return what the page says of ``architectures.csv``: ``rows`` and ``sentences``, none where it has no row."""
    rows = architecture_rows(architectures, reference, scale)
    return {"rows": rows, "sentences": architecture_sentences(rows)}


def architecture_rows(architectures: pd.DataFrame, reference: float, scale: str) -> list[dict[str, Any]]:
    """Return the differences of effects between architectures as text, a row for each comparison and test set.

    Args:
        architectures: ``architectures.csv``.
        reference: accuracy at which effects and differences are spelt out in points, from 0 to 1.
        scale: of the effects.
    """
    order = {key: number for number, key in enumerate(dict.fromkeys(map(_pair_of, table_rows(architectures))))}
    rows = []
    for row in sorted(table_rows(architectures), key=lambda row: order[_pair_of(row)]):
        named = ("effect_a_logits", "effect_b_logits", "difference_logits", "low", "high")
        first, second, difference, low, high = (float(points_at(reference, row[name], scale)) for name in named)
        rows.append(
            {
                "cause": capital(name_cause(str(row["cause"]))),
                "comparison": str(row["comparison"]),
                "models": (spaced(str(row["model_a"])), spaced(str(row["model_b"]))),
                "shift": name_test_set(str(row["shift"])),
                "is_mean": is_mean(str(row["shift"])),
                "effects": (format_points(first), format_points(second)),
                "difference": format_points(difference),
                "interval": format_points_interval(low, high),
                "spans_zero": holds_zero(low, high),
                "p": row["p"],
                "seeds": int(row["seeds"]),
            }
        )
    return rows


def architecture_sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say of each comparison by how much its mean effect differs between two architectures, and how sure that is."""
    sentences = []
    for row in rows:
        if not row["is_mean"]:
            continue
        first, second = row["models"]
        told = (
            f"{capital(row['comparison'])}: the effect with {second} less that with {first} is {row['difference']} "
            f"points ({row['interval']}; {name_p(row['p'])}; {count_noun(row['seeds'], 'seed')}) in the {row['shift']}"
        )
        shown = (
            "so no difference is shown, nor that there is none"
            if row["spans_zero"]
            else "so it depends on the architecture by this interval, which is over seeds and not adjusted"
        )
        sentences.append(f"{told}, {shown}.")
    return sentences


def _pair_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("cause", "comparison", "model_a", "model_b"))
