"""The tables of causes of a study, and the summary of them in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.accuracies import KEYS
from whyrobust.analysis.attribution import (
    PRIMARY,
    EffectSettings,
    attribute_causes,
    attribute_on_line,
    compare_architectures,
    contrasts_of,
)
from whyrobust.analysis.dose_response import kept_by_shift
from whyrobust.analysis.effects import match_comparisons
from whyrobust.analysis.gap_shares import gap_shares
from whyrobust.analysis.measured import (
    CASE_STUDY,
    MEAN_AXIS,
    MIRROR,
    NOT_INFORMATIVE,
    OF_MEAN,
    PAPER,
    MeasuredShift,
    evaluated_runs,
)
from whyrobust.analysis.regression import regress_causes
from whyrobust.analysis.seed_effects import effects_by_seed
from whyrobust.analysis.shift_roles import explain_no_answer, name_apart
from whyrobust.study.comparisons import Comparison
from whyrobust.study.display_names import (
    ALL_COMPARISONS,
    NOT_MEASURED,
    count_noun,
    name_cause,
    name_test_set,
    name_weighting,
)
from whyrobust.study.doses import DoseSeries

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CauseTables:
    """The tables of `make_cause_tables`, by the names of their files.

    ``causes.csv``, ``causes_single_line.csv``, ``causes_by_seed.csv``, ``architectures.csv``, ``regression.csv`` and
    ``summary.txt``.
    """

    causes: pd.DataFrame
    single_lines: pd.DataFrame
    by_seed: pd.DataFrame
    architectures: pd.DataFrame
    regression: pd.DataFrame
    summary: str


@dataclass(frozen=True)
class OtherWeights:
    """``causes_other_weights.csv``, and what the config says about the choice of a weighting, "" for nothing."""

    causes: pd.DataFrame
    note: str = ""


def make_cause_tables(
    effective_robustness: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    lines: Mapping[str, Mapping[str, MeasuredShift]],
    runs: pd.DataFrame,
    comparisons: Sequence[Comparison],
    settings: EffectSettings,
    other_weights: OtherWeights,
    series: Sequence[DoseSeries] = (),
) -> CauseTables:
    """Attribute effective robustness to its possible causes.

    Args:
        effective_robustness: ``effective_robustness.csv``, empty text read as such.
        measured: the main measurement by shift, in the order of these rows (`whyrobust.analysis.measured`).
        lines: the measurement beyond each single line, by in-distribution test set (the paper's first, the mean of all
            last) and shift.
        runs: ``runs.csv``, empty text read as such.
        comparisons: the controlled comparisons.
        settings: in what terms effects are stated.
        other_weights: the main comparisons with classes weighted the other way, for the summary.
        series: mixtures of the study's sources.

    Raises:
        ValueError: as `attribute_causes`, `gap_shares` and `regress_causes`; where a shift has other rows than the
            first.
    """
    import pandas as pd

    evaluated = evaluated_runs(effective_robustness, runs)
    causes = attribute_causes(comparisons, evaluated, measured, settings)
    shares = gap_shares(causes, comparisons, evaluated, measured, settings)
    causes = causes.merge(shares, on=["cause", "comparison", "shift"], validate="one_to_one")
    causes["kept_share"] = _kept_shares(causes, comparisons, evaluated, measured, settings.scale, series)
    on_lines = [
        attribute_on_line(comparisons, evaluated, of_line, settings).assign(
            x_test_set=test_set,
            measurement=OF_MEAN if test_set == MEAN_AXIS else MIRROR if number else PAPER,
        )
        for number, (test_set, of_line) in enumerate(lines.items())
    ]
    names = [*KEYS, "shift", "mean_id_accuracy", "shift_accuracy"]
    accuracies = effective_robustness[names].rename(columns={"mean_id_accuracy": "id_accuracy"})
    points = accuracies.merge(runs.drop(columns="standard"), on="run", validate="many_to_one")
    points["standard"] = effective_robustness["standard"].to_numpy(dtype=bool)
    return CauseTables(
        causes=causes,
        single_lines=pd.concat(on_lines, ignore_index=True),
        by_seed=effects_by_seed(comparisons, evaluated, measured, next(iter(lines.values())), settings),
        architectures=compare_architectures(comparisons, evaluated, measured, settings),
        regression=regress_causes(points, settings),
        summary=summarise_causes(causes, settings, other_weights, measured),
    )


def _kept_shares(
    causes: pd.DataFrame,
    comparisons: Sequence[Comparison],
    evaluated: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    scale: str,
    series: Sequence[DoseSeries],
) -> list[float]:
    """Return for each row which share of an effect in step with a source's share the baseline leaves to be seen.

    Only comparisons of two sources, equal in all else, have one (`whyrobust.analysis.dose_response.kept_share`).
    """
    pairs_of = match_comparisons(comparisons, evaluated)
    first = next(iter(measured.values()))
    found: dict[tuple[str, str, str], float] = {}
    for number, comparison in enumerate(comparisons):
        start, end = comparison.start.get("source"), comparison.end.get("source")
        if comparison.changed != {"source"} or not (isinstance(start, str) and isinstance(end, str)):
            continue
        shares = {start: 0.0, end: 1.0}
        for one in series:
            if one.start == start and end in {**one.views, **one.shares}:
                shares = {**one.views, **one.shares}
        (contrasts,) = contrasts_of({0: pairs_of[number]}, first, scale)
        if len(contrasts.seeds):
            kept = kept_by_shift(shares, [contrasts], evaluated, measured, scale)
            found |= {(comparison.cause, comparison.name, shift): float(one[0]) for shift, one in kept.items()}
    keys = zip(causes["cause"], causes["comparison"], causes["shift"], strict=True)
    return [found.get(key, np.nan) for key in keys]


def summarise_causes(
    causes: pd.DataFrame,
    settings: EffectSettings,
    other_weights: OtherWeights,
    measured: Mapping[str, MeasuredShift],
) -> str:
    """Return the table of causes as plain text for the terminal: the primary family first, then all by comparison."""
    shifts = [(name, shift.role, shift.reason) for name, shift in measured.items()]
    at = f"points at an accuracy of {settings.reference_accuracy:g}"
    lines = [
        f"Effect on effective robustness beyond all in-distribution test sets, {at} ({100 * settings.confidence:g} % "
        "interval).",
        "Detectable: the effect that would be found in four of five studies.",
        "",
        "Primary family: the main comparison of each cause, mean over shifts, p adjusted by Holm",
    ]
    primary = causes[causes["family"] == PRIMARY]
    if primary.empty:
        lines.append(f"  {explain_no_answer(shifts)}")
    for row in primary.to_dict("records"):
        lines += [f"  {name_cause(str(row['cause']))}: {row['comparison']}", f"    {_describe(row)}"]
    lines += _summarise_other_weights(other_weights)
    lines += ["", f"{ALL_COMPARISONS}, p adjusted by Benjamini and Hochberg"]
    apart = [name_apart(*one) for one in shifts if one[1] in (CASE_STUDY, NOT_INFORMATIVE)]
    lines += [f"In no verdict: {'; '.join(apart)}"] if apart else []
    for (cause, comparison), rows in causes.groupby(["cause", "comparison"], sort=False):
        lines += ["", f"{name_cause(str(cause))}: {comparison}"]
        lines += [f"  {name_test_set(str(row['shift'])):<18} {_describe(row)}" for row in rows.to_dict("records")]
    return "\n".join(lines) + "\n"


def _summarise_other_weights(other: OtherWeights) -> list[str]:
    """Say what the primary family shows with the other weighting of classes; nothing where there is none."""
    primary = other.causes[other.causes["family"] == PRIMARY]
    if primary.empty:
        return []
    weighting = name_weighting(str(primary["class_weights"].iloc[0]))
    lines = ["", f"Sensitivity analysis: the same with accuracies {weighting}"]
    lines += [f"  {other.note}"] if other.note else []
    for row in primary.to_dict("records"):
        lines += [f"  {name_cause(str(row['cause']))}: {row['comparison']}", f"    {_describe(row)}"]
    return lines


def _describe(row: Mapping[Any, Any]) -> str:
    """Say in a line what a row of the table of causes shows."""
    effect, low, high = row["effect_points"], row["low_points"], row["high_points"]
    parts = [row["verdict"] or row["role"]]
    if np.isfinite(effect):
        interval = f"{_signed(low)} to {_signed(high)}" if np.isfinite(low) else "no interval"
        parts.append(f"{_signed(effect)} ({interval})")
    elif parts != [NOT_MEASURED]:
        parts.append(NOT_MEASURED)
    if np.isfinite(row["detectable_points"]):
        parts.append(f"detectable {row['detectable_points']:.1f}")
    if np.isfinite(row["p_adjusted"]):
        parts.append(f"p adjusted {row['p_adjusted']:.3f}" if row["p_adjusted"] >= 0.001 else "p adjusted < .001")
    parts.append(f"{count_noun(int(row['pairs']), 'pair')}, {count_noun(int(row['seeds']), 'seed')}")
    if row["extrapolated_pairs"]:
        parts.append(f"{row['extrapolated_pairs']} extrapolated")
    if row["left_out_pairs"]:
        parts.append(f"{row['left_out_pairs']} left out, outside of the accuracies to match")
    return "; ".join(parts)


def _signed(points: float) -> str:
    """Write points with a sign and one decimal, never a negative zero."""
    return f"{round(points, 1) + 0.0:+.1f}"
