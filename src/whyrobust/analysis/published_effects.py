"""Effects of the natural experiments, with intervals that treat an architecture as the unit.

Offers `estimate_effects`, one row per comparison, shift and line; `claims_by_line`, which says where the answer depends
on whose line is used; `leave_out_families`, how far an effect moves without one family; and `indirect_effects`, two
treatments compared through the control that both have, where no architecture has both.

The pairs of one architecture are averaged first: they share models, and ten recipes of ResNet-50 are no ten
replications. The interval is Student's t over architectures. Most comparisons have two or three, whose own variance
says next to nothing, so that variances are moderated over all comparisons of a shift and line (Smyth 2004, Statistical
Applications in Genetics and Molecular Biology 3(1), section 6.2): each becomes the mean of its own and a prior's,
weighted by degrees of freedom. A comparison of one architecture has an effect and no interval. The intervals
are about other architectures, not about other data sets: every model of a data set shares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.hypothesis_tests import benjamini_hochberg, detectable_effect, two_sided_p
from whyrobust.analysis.intervals import moderate_variances, student_half_width
from whyrobust.analysis.published_lines import LINES, MAIN_SHIFTS
from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.display_names import MEAN, name_margin

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray
    from whyrobust.analysis.published_lines import LineSet

CONFIDENCE = 0.95
MARGIN_POINTS = 2.0
"""Smallest effect of interest, in percentage points."""
COMPARISON = ("question", "control", "treatment", "prediction", "basis")


def estimate_effects(measured: pd.DataFrame, lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Estimate the effect of every comparison, per shift and line.

    Args:
        measured: as `whyrobust.analysis.natural_experiments.measure_pairs` gives it.
        lines: as `whyrobust.analysis.published_lines.fit_lines` gives them.

    Returns:
        One row per comparison (`COMPARISON`), line and shift, with `MEAN` over `MAIN_SHIFTS` as a further shift:
        ``pairs, architectures, families, exact_share`` (pairs of one architecture in name), ``extrapolated_share``,
        ``raw_id_points, raw_shift_points``, ``effect_logits, low_logits, high_logits`` and the same in points at the
        reference accuracy, ``low_plain_logits, high_plain_logits`` (without moderation), ``sd_logits`` between
        architectures, ``degrees_of_freedom`` of the moderated variance, ``p``, ``q`` (Benjamini and Hochberg 1995 over
        the comparisons of a line and shift), ``detectable_points`` (an effect that would be found four times out of
        five) and ``verdict``.
    """
    import pandas as pd

    units = _unit_effects(measured)
    keys = [*COMPARISON, "line", "shift"]
    table = _estimate(units, keys)
    parts = []
    for _, group in table.groupby(["line", "shift"], sort=False):
        parts.append(_add_intervals(group.copy(), lines))
    result = pd.concat(parts, ignore_index=True)
    order = {key: number for number, key in enumerate(dict.fromkeys(map(tuple, units[list(COMPARISON)].to_numpy())))}
    result["order"] = [order[tuple(key)] for key in result[list(COMPARISON)].to_numpy()]
    return result.sort_values(["order", "line", "shift"], ignore_index=True).drop(columns=["order", "axes"])


def claims_by_line(effects: pd.DataFrame) -> pd.DataFrame:
    """Return, per comparison and shift, the verdicts by both lines and whether the answer depends on the line."""
    first, second = (effects[effects["line"] == line] for line in LINES)
    keep = [*COMPARISON, "shift", "effect_points", "low_points", "high_points", "verdict"]
    both = first[[*keep, "architectures"]].merge(
        second[keep], on=[*COMPARISON, "shift"], suffixes=(f"_{LINES[0]}", f"_{LINES[1]}")
    )
    one, other = (both[f"verdict_{line}"] for line in LINES)
    effect, other_effect = (both[f"effect_points_{line}"] for line in LINES)
    apart = (np.sign(effect) != np.sign(other_effect)) & (np.abs(effect - other_effect) > 1.0)
    both["depends_on_line"] = (one != other) | (apart & (one != name_margin(MARGIN_POINTS)))
    return both


def leave_out_families(measured: pd.DataFrame, lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Return how far the effects move where one family of architectures is left out.

    Returns:
        One row per comparison of two or more families, line and shift: ``effect_points``, ``lowest_points`` and
        ``highest_points`` over the families left out, ``without_lowest`` and ``without_highest`` (the families), and
        ``sign_holds``.
    """
    import pandas as pd

    units = _unit_effects(measured)
    keys = [*COMPARISON, "line", "shift"]
    rows = []
    for key, group in units.groupby(keys, sort=False):
        families = sorted(group["family"].unique())
        if len(families) < 2:
            continue
        left = {family: group[group["family"] != family]["effect_logits"].mean() for family in families}
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        axes = str(group["axes"].iloc[0])
        points = _to_points(row, axes, np.array([group["effect_logits"].mean(), *left.values()]), lines)
        lowest, highest = int(np.argmin(points[1:])), int(np.argmax(points[1:]))
        row |= {"families": len(families), "effect_points": points[0]}
        row |= {"lowest_points": points[1:].min(), "without_lowest": families[lowest]}
        row |= {"highest_points": points[1:].max(), "without_highest": families[highest]}
        row["sign_holds"] = bool((np.sign(points) == np.sign(points[0])).all())
        rows.append(row)
    return pd.DataFrame(rows)


def indirect_effects(effects: pd.DataFrame, lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Compare two treatments through their common control, as in a network of trials.

    The effect of B against A is that of B against the control, less that of A against it. Both sets of architectures
    are independent, so that variances add (Bucher et al. 1997, Journal of Clinical Epidemiology 50); Welch's degrees of
    freedom. It rests on the control's being the same thing in both sets.

    Returns:
        One row per question, control, two treatments, line and shift, for treatments that no architecture has both of
        and that two or more have each: ``first, second``, ``effect_logits`` (second against first) with an interval,
        the same in points, ``p``, ``q`` (over the rows of a line and shift) and ``verdict``.
    """
    import pandas as pd

    usable = effects[effects["se_logits"].notna() & (effects["question"] == "language_training")]
    direct = {frozenset(pair) for pair in zip(effects["control"], effects["treatment"], strict=True)}
    rows, ends_of = [], []
    for (question, control, line, shift), group in usable.groupby(["question", "control", "line", "shift"], sort=False):
        found = group.to_dict("records")
        for number, one in enumerate(found):
            for other in found[number + 1 :]:
                if frozenset((one["treatment"], other["treatment"])) in direct:
                    continue
                variances = np.array([row["se_logits"] ** 2 for row in (one, other)])
                degrees = np.array([row["degrees_of_freedom"] for row in (one, other)])
                welch = variances.sum() ** 2 / np.sum(variances**2 / degrees) if np.isfinite(degrees).any() else np.inf
                effect = other["effect_logits"] - one["effect_logits"]
                error = float(np.sqrt(variances.sum()))
                half = {level: student_half_width(error, welch, level) for level in (CONFIDENCE, 0.9)}
                row = {
                    "question": question,
                    "control": control,
                    "first": one["treatment"],
                    "second": other["treatment"],
                }
                row |= {"line": line, "shift": shift}
                row |= {"architectures_first": one["architectures"], "architectures_second": other["architectures"]}
                row |= {"effect_logits": effect, "low_logits": effect - half[CONFIDENCE]}
                row["high_logits"] = effect + half[CONFIDENCE]
                ends = [effect, *(effect + sign * half[level] for level in (CONFIDENCE, 0.9) for sign in (-1, 1))]
                points = _to_points(row, _own_axes(lines), np.array(ends), lines)
                row |= dict(zip(("effect_points", "low_points", "high_points"), points[:3], strict=True))
                rows.append(row | {"p": two_sided_p(effect, error, welch)})
                ends_of.append(points)
    table = pd.DataFrame(rows)
    if len(table):
        table["q"] = table.groupby(["line", "shift"])["p"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
        table["verdict"] = _judge(np.array(ends_of), table["q"].to_numpy(dtype=float))
    return table


# --- Parts --------------------------------------------------------------------------------------------------


def _unit_effects(measured: pd.DataFrame) -> pd.DataFrame:
    """Average the pairs of an architecture; add the mean over the main shifts, of architectures that have them all."""
    import pandas as pd

    keys = [*COMPARISON, "line", "shift", "architecture_class", "family"]
    units = (
        measured.assign(axes=measured["shift"] + "=" + measured["x_test_set"])
        .groupby(keys, sort=False)
        .agg(
            pairs=("effect_logits", "size"),
            exact=("exact_architecture", "sum"),
            extrapolated=("extrapolated", "sum"),
            raw_id_points=("raw_id_points", "mean"),
            raw_shift_points=("raw_shift_points", "mean"),
            effect_logits=("effect_logits", "mean"),
            axes=("axes", "first"),
        )
        .reset_index()
    )
    main = units[units["shift"].isin(MAIN_SHIFTS)]
    grouped = main.groupby([key for key in keys if key != "shift"], sort=False)
    mean = grouped[["pairs", "exact", "extrapolated"]].sum()
    mean[["raw_id_points", "raw_shift_points", "effect_logits"]] = grouped[
        ["raw_id_points", "raw_shift_points", "effect_logits"]
    ].mean()
    mean["axes"] = grouped["axes"].agg(";".join)
    # Each pair once, however many shifts it has.
    mean[["pairs", "exact", "extrapolated"]] /= len(MAIN_SHIFTS)
    mean = mean[grouped.size() == len(MAIN_SHIFTS)].reset_index().assign(shift=MEAN)
    return pd.concat([units, mean], ignore_index=True)


def _estimate(units: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the means over architectures of every comparison, line and shift."""
    table = (
        units.groupby(keys, sort=False)
        .agg(
            pairs=("pairs", "sum"),
            architectures=("architecture_class", "size"),
            families=("family", "nunique"),
            exact=("exact", "sum"),
            extrapolated=("extrapolated", "sum"),
            raw_id_points=("raw_id_points", "mean"),
            raw_shift_points=("raw_shift_points", "mean"),
            effect_logits=("effect_logits", "mean"),
            sd_logits=("effect_logits", "std"),
            axes=("axes", "first"),
        )
        .reset_index()
    )
    table["exact_share"] = table.pop("exact") / table["pairs"]
    table["extrapolated_share"] = table.pop("extrapolated") / table["pairs"]
    table["pairs"] = table["pairs"].round().astype(int)
    return table


def _add_intervals(table: pd.DataFrame, lines: Mapping[tuple[str, str], LineSet]) -> pd.DataFrame:
    """Add intervals, p, q and verdicts to the comparisons of one line and shift."""
    from scipy.stats import t

    count = table["architectures"].to_numpy(dtype=float)
    several = (count >= 2) & (table["sd_logits"].to_numpy(dtype=float) > 0)
    plain = table["sd_logits"].to_numpy(dtype=float) / np.sqrt(count)
    moderated, degrees = np.full(len(table), np.nan), np.full(len(table), np.nan)
    if several.any():
        own = table["sd_logits"].to_numpy(dtype=float)[several] ** 2
        moderated[several], degrees[several] = moderate_variances(own, count[several] - 1)
    error = np.sqrt(moderated / count)
    effect = table["effect_logits"].to_numpy(dtype=float)
    quantile = t.ppf(0.5 + CONFIDENCE / 2, degrees)
    own_quantile = np.where(several, t.ppf(0.5 + CONFIDENCE / 2, np.maximum(count - 1, 1)), np.nan)
    narrow = t.ppf(0.95, degrees)
    table["se_logits"], table["degrees_of_freedom"] = error, degrees
    table["low_logits"], table["high_logits"] = effect - quantile * error, effect + quantile * error
    table["low_plain_logits"], table["high_plain_logits"] = effect - own_quantile * plain, effect + own_quantile * plain
    table["p"] = 2 * t.sf(np.abs(effect) / error, degrees)
    table["q"] = benjamini_hochberg(table["p"].to_numpy(dtype=float))
    ends = np.stack(
        [effect, table["low_logits"], table["high_logits"], effect - narrow * error, effect + narrow * error]
    )
    detectable = [
        detectable_effect(its, freedom, 1.0 - CONFIDENCE) for its, freedom in zip(error, degrees, strict=True)
    ]
    rows = table.to_dict("records")
    points = np.array(
        [
            _to_points({str(key): value for key, value in row.items()}, row["axes"], values, lines)
            for row, values in zip(rows, np.vstack([ends, detectable]).T, strict=True)
        ]
    )
    table["effect_points"], table["low_points"], table["high_points"] = points[:, 0], points[:, 1], points[:, 2]
    table["detectable_points"] = points[:, 5]
    table["verdict"] = _judge(points, table["q"].to_numpy(dtype=float))
    return table


def _judge(points: FloatArray, q: FloatArray) -> list[str]:
    """Return verdicts on effects: ``points`` are effect, ends of its interval and of that of equivalence, [rows, 5]."""
    return [
        judge_effect(row[0], adjusted, (row[3], row[4]), alpha=1.0 - CONFIDENCE, margin=MARGIN_POINTS)
        for row, adjusted in zip(points, q, strict=True)
    ]


def _to_points(
    row: Mapping[str, Any], axes: str, logits: FloatArray, lines: Mapping[tuple[str, str], LineSet]
) -> FloatArray:
    """Convert logits of a row's line to points at the reference accuracy; for the mean, the mean over its shifts.

    ``axes`` says on which x axis each shift was measured: ``shift=x_test_set``, separated by semicolons.
    """
    pairs = [pair.split("=") for pair in axes.split(";")]
    wanted = [pair for pair in pairs if pair[0] == row["shift"] or (row["shift"] == MEAN and pair[0] in MAIN_SHIFTS)]
    parts = [lines[shift, x_test_set].points_at_reference(row["line"], logits) for shift, x_test_set in wanted]
    result: FloatArray = np.mean(parts, axis=0)
    return result


def _own_axes(lines: Mapping[tuple[str, str], LineSet]) -> str:
    """Return every shift on the axis of its own classes, where it has one, else on full validation."""
    last = dict(sorted(lines))
    return ";".join(f"{shift}={x_test_set}" for shift, x_test_set in last.items())
