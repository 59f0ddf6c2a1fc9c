"""The effects of all comparisons of a study as a table, tested in families, with a verdict for each.

`attribute_causes` makes ``causes.csv`` without the shares of `whyrobust.analysis.gap_shares`, `attribute_on_line` the
same beyond a single line, and `compare_architectures` tests whether main effects differ between models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.effects import (
    Contrasts,
    Effect,
    contrast_pairs,
    first_of_causes,
    match_comparisons,
    measure_effects,
)
from whyrobust.analysis.hypothesis_tests import (
    benjamini_hochberg,
    detectable_effect,
    equivalence,
    equivalence_p,
    equivalence_power,
    holm,
    two_sided_p,
)
from whyrobust.analysis.measured import SHIFT, MeasuredShift
from whyrobust.analysis.scales import POINTS_PER_UNIT, points_at, to_scale
from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.comparisons import Comparison, Pair
from whyrobust.study.display_names import MEAN, MEAN_SEEN
from whyrobust.study.table_cells import is_empty

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

CAUSE_COLUMNS = (
    "cause",
    "comparison",
    "main",
    "shift",
    "role",
    "pairs",
    "seeds",
    "effect_logits",
    "low_logits",
    "high_logits",
    "effect_points",
    "low_points",
    "high_points",
    "detectable_points",
    "p",
    "p_adjusted",
    "family",
    "verdict",
    "equivalence_low_points",
    "equivalence_high_points",
    "p_equivalence",
    "equivalence_power",
    "raw_id_points",
    "raw_id_low_points",
    "raw_id_high_points",
    "raw_shift_points",
    "raw_shift_low_points",
    "raw_shift_high_points",
    "extrapolated_pairs",
    "left_out_pairs",
    "holds_fixed",
)
ARCHITECTURE_COLUMNS = (
    "cause", "comparison", "shift", "model_a", "model_b", "seeds", "effect_a_logits", "effect_b_logits",
    "difference_logits", "low", "high", "p",
)  # fmt: skip

PRIMARY, SECONDARY = "primary", "secondary"
"""Families of tests: the main comparison of each cause on the mean over shifts, and all others."""


@dataclass(frozen=True)
class EffectSettings:
    """In what terms effects are stated and tested.

    Attributes:
        scale: ``logit``, ``probit`` or ``linear``: of the residuals.
        confidence: coverage of the intervals; tests have the level 1 - confidence.
        reference_accuracy: accuracy under shift at which effects are spelt out in points, a fraction.
        margin_points: smallest effect of interest, in percentage points.
    """

    scale: str = "logit"
    confidence: float = 0.95
    reference_accuracy: float = 0.5
    margin_points: float = 2.0

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        return 1.0 - self.confidence

    @property
    def margin(self) -> tuple[float, float]:
        """Ends of what counts as no effect, on the scale: the margin below and above the reference accuracy."""
        ends = self.reference_accuracy + np.array([-1.0, 1.0]) * self.margin_points / POINTS_PER_UNIT
        low, high = to_scale(ends, self.scale) - to_scale(self.reference_accuracy, self.scale)
        return float(low), float(high)

    def in_points(self, change: float) -> float:
        """Return what a change on the scale is at the reference accuracy, in percentage points."""
        return float(points_at(self.reference_accuracy, change, self.scale))


def shifts_of_means(measured: Mapping[str, MeasuredShift]) -> dict[str, list[str]]:
    """Return the shifts that each mean is over: those that take part in verdicts, apart if a source has their style.

    ``mean`` is over shifts whose style no training source has, ``mean_seen`` over the others; one without a shift is
    left out. Case studies and shifts that are not informative are in neither.
    """
    counted = {name: shift for name, shift in measured.items() if shift.role == SHIFT}
    means = {
        MEAN: [name for name, shift in counted.items() if not shift.seen_in],
        MEAN_SEEN: [name for name, shift in counted.items() if shift.seen_in],
    }
    return {mean: names for mean, names in means.items() if names}


def add_means(measured: Mapping[str, MeasuredShift]) -> dict[str, MeasuredShift]:
    """Return the means over shifts that take part in verdicts, before the shifts themselves, draws widened.

    Resampling u units gives draws of (u - 1) / u of the variance that other units would make, 5/6 with six teams; the
    deviations of the draws of a shift are scaled for it. Which shifts a mean is over says `shifts_of_means`; it has the
    role ``mean``.

    Args:
        measured: by shift, with the same models and as many draws in all.
    """
    widened = {name: _widen_shift(shift) for name, shift in measured.items()}
    groups = {mean: [widened[name] for name in names] for mean, names in shifts_of_means(measured).items()}
    means = {
        name: MeasuredShift(
            residuals=np.mean([shift.residuals for shift in shifts], axis=0),
            draws=np.mean([shift.draws for shift in shifts], axis=0),
            extrapolated=np.any([shift.extrapolated for shift in shifts], axis=0),
            id_accuracies=np.mean([shift.id_accuracies for shift in shifts], axis=0),
            shift_accuracy=np.mean([shift.shift_accuracy for shift in shifts], axis=0),
            role=MEAN,
            units=sum(shift.units - 1 for shift in shifts) + 1,
            id_draws=_mean_draws([shift.id_draws for shift in shifts]),
            shift_draws=_mean_draws([shift.shift_draws for shift in shifts]),
            # All shifts have the same in-distribution test sets.
            id_units=shifts[0].id_units,
        )
        for name, shifts in groups.items()
    }
    return means | widened


def _mean_draws(draws: Sequence[FloatArray | None]) -> FloatArray | None:
    """Return the mean of draws of several shifts; None where those of one are not known."""
    known = [drawn for drawn in draws if drawn is not None]
    return np.mean(known, axis=0) if len(known) == len(draws) else None


def _widen_shift(shift: MeasuredShift) -> MeasuredShift:
    """Return a shift with draws as wide as other units would make them."""
    of_axes = shift.id_draws
    if of_axes is not None:
        of_axes = np.stack(
            [_widen_draws(of_axes[..., number], units) for number, units in enumerate(shift.id_units)], axis=2
        )
    of_shift = None if shift.shift_draws is None else _widen_draws(shift.shift_draws, shift.units)
    return replace(shift, draws=_widen_draws(shift.draws, shift.units), id_draws=of_axes, shift_draws=of_shift)


def _widen_draws(draws: FloatArray, units: int) -> FloatArray:
    """Return draws, [resamples, models], widened for their number of units; as they are where that is not known."""
    if units < 2:
        return draws
    centre = draws.mean(axis=0)
    return np.where(np.isfinite(centre), centre + np.sqrt(units / (units - 1.0)) * (draws - centre), draws)


def attribute_causes(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    settings: EffectSettings,
) -> pd.DataFrame:
    """Measure every comparison on every shift and on the means over shifts, and test them in two families.

    The family ``primary`` is the main comparison of each cause (the first) on the mean over shifts, adjusted by Holm.
    All other rows on means and on shifts that take part in verdicts are the family ``secondary``, with q values of
    Benjamini and Hochberg. Case studies and shifts that are not informative have an interval, and no p and no verdict.
    Raw differences have intervals of the same kind as effects, and no test.

    Args:
        comparisons: the controlled comparisons.
        runs: one row for each evaluated run, with ``seed`` and the fields that the comparisons name.
        measured: shift -> measurement, in the order of the rows of ``runs``.
        settings: in what terms effects are stated.

    Returns:
        `CAUSE_COLUMNS`, comparison by comparison, the means before the shifts. A comparison that finds no pairs has its
        rows too, with 0 pairs and NaN for what is not known; so has the interval of a single seed. An effect of
        ``detectable_points`` would be found by the test of the row, in the primary family by the strictest of its
        tests, in four of five studies (`whyrobust.analysis.hypothesis_tests.POWER`).

    Raises:
        ValueError: as `match_comparisons` and `measure_effects`; where a shift does not fit the runs.
    """
    import pandas as pd

    rows = _effect_rows(comparisons, runs, add_means(measured), settings)
    primary = [row for row in rows if row["main"] and row["shift"] == MEAN]
    tested = [row for row in rows if row["role"] in (SHIFT, MEAN)]
    secondary = [row for row in tested if not (row["main"] and row["shift"] == MEAN)]
    tests = max(1, sum(bool(np.isfinite(row["p"])) for row in primary))
    for family, members, adjust, alpha in (
        (PRIMARY, primary, holm, settings.alpha / tests),
        (SECONDARY, secondary, benjamini_hochberg, settings.alpha),
    ):
        adjusted = adjust(np.array([row["p"] for row in members]))
        for row, p_adjusted in zip(members, adjusted, strict=True):
            _judge(row, float(p_adjusted), alpha, settings)
            row["family"] = family
    for row in rows:
        if row["role"] not in (SHIFT, MEAN):
            row["p"] = np.nan
    return pd.DataFrame(rows, columns=list(CAUSE_COLUMNS))


def attribute_on_line(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    settings: EffectSettings,
) -> pd.DataFrame:
    """Measure every comparison beyond a single line, for a look beside the main measurement.

    Returns:
        As `attribute_causes`, with p as it is, in no family, without a verdict.

    Raises:
        ValueError: as `attribute_causes`.
    """
    import pandas as pd

    return pd.DataFrame(_effect_rows(comparisons, runs, add_means(measured), settings), columns=list(CAUSE_COLUMNS))


def contrasts_of(pairs_of: Mapping[int, list[Pair]], measured: MeasuredShift, scale: str) -> list[Contrasts]:
    """Return the contrasts of all comparisons, by position, on one shift."""
    accuracy = to_scale(measured.id_accuracies.mean(axis=1), scale)
    return [contrast_pairs(pairs, accuracy) for pairs in pairs_of.values()]


def _effect_rows(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    settings: EffectSettings,
) -> list[dict[str, Any]]:
    """Return the rows of all comparisons and shifts, tested one by one, in no family."""
    pairs_of = match_comparisons(comparisons, runs)
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for shift, values in measured.items():
        if len(values.residuals) != len(runs):
            raise ValueError(
                f"The shift {shift} has {len(values.residuals)} residuals for {len(runs)} rows of runs: give one for "
                "each row, in the same order."
            )
        contrasts = contrasts_of(pairs_of, values, settings.scale)
        effects = measure_effects(contrasts, values.residuals, values.draws, shared_freedom(values))
        on_axes, under_shift = _raw_differences(contrasts, values)
        for number, (one, effect) in enumerate(zip(contrasts, effects, strict=True)):
            low, high = _possible(under_shift[number].interval(settings.confidence))
            id_low, id_high = _possible(on_axes[number].interval(settings.confidence))
            row = _stated(effect, settings) | {
                "raw_id_points": on_axes[number].effect,
                "raw_id_low_points": id_low,
                "raw_id_high_points": id_high,
                "raw_shift_points": under_shift[number].effect,
                "raw_shift_low_points": low,
                "raw_shift_high_points": high,
                "extrapolated_pairs": one.count_extrapolated(values.extrapolated),
                "left_out_pairs": one.left_out,
            }
            found[number, shift] = row | {"shift": shift, "role": values.role}
    seen: set[str] = set()
    rows = []
    for number, comparison in enumerate(comparisons):
        about = {
            "cause": comparison.cause,
            "comparison": comparison.name,
            "main": comparison.cause not in seen,
            "holds_fixed": comparison.holds_fixed,
        }
        seen.add(comparison.cause)
        rows += [found[number, shift] | about for shift in measured]
    return rows


def _possible(interval: tuple[float, float]) -> tuple[float, float]:
    """Cut the interval of a difference of accuracies, in percentage points, to what two accuracies can differ by."""
    low, high = (float(np.clip(end, -POINTS_PER_UNIT, POINTS_PER_UNIT)) for end in interval)
    return low, high


def _raw_differences(contrasts: Sequence[Contrasts], measured: MeasuredShift) -> tuple[list[Effect], list[Effect]]:
    """Return the differences of accuracy in percentage points: mean over in-distribution test sets, and under shift.

    Their error is over seeds and test images as that of effects, or over seeds alone where draws are not known.
    """
    on_axes = None if measured.id_draws is None else POINTS_PER_UNIT * measured.id_draws.mean(axis=2)
    under_shift = None if measured.shift_draws is None else POINTS_PER_UNIT * measured.shift_draws
    of_axes = sum(units - 1.0 for units in measured.id_units if units > 1)
    return (
        measure_effects(
            contrasts, POINTS_PER_UNIT * measured.id_accuracies.mean(axis=1), on_axes, of_axes if of_axes else np.inf
        ),
        measure_effects(contrasts, POINTS_PER_UNIT * measured.shift_accuracy, under_shift, shared_freedom(measured)),
    )


def shared_freedom(measured: MeasuredShift) -> float:
    """Return the degrees of freedom of what test images do: the units that they are of, less one."""
    return measured.units - 1.0 if measured.units > 1 else np.inf


def _stated(effect: Effect, settings: EffectSettings) -> dict[str, Any]:
    """Return an effect on the scale and in points, with its own test."""
    low, high = effect.interval(settings.confidence)
    smallest = detectable_effect(effect.error, effect.freedom, settings.alpha)
    return {
        "pairs": effect.pairs,
        "seeds": effect.seeds,
        "effect_logits": effect.effect,
        "low_logits": low,
        "high_logits": high,
        "effect_points": settings.in_points(effect.effect),
        "low_points": settings.in_points(low),
        "high_points": settings.in_points(high),
        "detectable_points": settings.in_points(smallest),
        "p": two_sided_p(effect.effect, effect.error, effect.freedom),
        "p_adjusted": np.nan,
        "family": "",
        "verdict": "",
        # Not a column of the table: what `_judge` needs.
        "estimate": effect,
    }


def _judge(row: dict[str, Any], p_adjusted: float, alpha: float, settings: EffectSettings) -> None:
    """Add to a row what follows from its family: adjusted p, equivalence, verdict, detectable effect at ``alpha``."""
    effect: Effect = row["estimate"]
    ends = equivalence(effect.effect, effect.error, effect.freedom, settings.alpha)
    low, high = (settings.in_points(end) for end in ends)
    row |= {
        "p_adjusted": p_adjusted,
        "equivalence_low_points": low,
        "equivalence_high_points": high,
        "p_equivalence": equivalence_p(effect.effect, effect.error, effect.freedom, settings.margin),
        "equivalence_power": equivalence_power(effect.error, effect.freedom, settings.alpha, settings.margin),
    }
    row["verdict"] = judge_effect(
        row["effect_points"], p_adjusted, (low, high), alpha=settings.alpha, margin=settings.margin_points
    )
    row["detectable_points"] = settings.in_points(detectable_effect(effect.error, effect.freedom, alpha))


def compare_architectures(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    settings: EffectSettings,
) -> pd.DataFrame:
    """Test whether the main effect of each cause differs between models.

    Where a main comparison has pairs of several models, or would have if it did not name one, the effect of each two is
    compared by the difference of differences. Like is compared with like: a pair of one model counts where the other
    model has a pair of the same seed, objective and whatever else the comparison holds fixed.

    Args:
        comparisons: as for `attribute_causes`; the first of each cause is looked at.
        runs: as for `attribute_causes`, with ``model``.
        measured: as for `attribute_causes`.
        settings: in what terms effects are stated.

    Returns:
        `ARCHITECTURE_COLUMNS`: one row for each two models of a comparison and each shift, ``difference_logits`` of
        ``model_b`` less ``model_a``, with an interval as of any effect. p is not adjusted.

    Raises:
        ValueError: as `attribute_causes`.
    """
    import itertools

    import pandas as pd

    of_any_model = [
        replace(comparison, where={field: value for field, value in comparison.where.items() if field != "model"})
        for comparison in first_of_causes(comparisons)
        if "model" not in comparison.changed
    ]
    matched = match_comparisons(of_any_model, runs)
    by_model = {number: _split_by_model(pairs, of_any_model[number], runs) for number, pairs in matched.items()}
    rows = []
    for shift, values in add_means(measured).items():
        accuracies = to_scale(values.id_accuracies.mean(axis=1), settings.scale)
        found, contrasts = [], []
        for number, comparison in enumerate(of_any_model):
            for first, second in itertools.combinations(sorted(by_model[number]), 2):
                both = _contrast_models(by_model[number][first], by_model[number][second], accuracies)
                if both is not None:
                    contrasts.append(both)
                    about = {"cause": comparison.cause, "comparison": comparison.name, "shift": shift}
                    found.append(about | {"model_a": first, "model_b": second})
        first_effects, second_effects, differences = (
            measure_effects(
                [three[side] for three in contrasts], values.residuals, values.draws, shared_freedom(values)
            )
            for side in range(3)
        )
        for about, one, other, difference in zip(found, first_effects, second_effects, differences, strict=True):
            low, high = difference.interval(settings.confidence)
            row: dict[str, Any] = {"seeds": difference.seeds, "difference_logits": difference.effect}
            row |= {"effect_a_logits": one.effect, "effect_b_logits": other.effect, "low": low, "high": high}
            rows.append(about | row | {"p": two_sided_p(difference.effect, difference.error, difference.freedom)})
    return pd.DataFrame(rows, columns=list(ARCHITECTURE_COLUMNS))


_PairsOfModel = dict[tuple[Any, ...], Pair]


def _split_by_model(pairs: Sequence[Pair], comparison: Comparison, runs: pd.DataFrame) -> dict[str, _PairsOfModel]:
    """Return pairs by model, and by what else their runs have in common."""
    fields = [field for field in ("seed", *comparison.matched) if field not in ("model", "seed")]
    rows = runs.to_dict("records")
    parts: dict[str, _PairsOfModel] = {}
    for pair in pairs:
        row = rows[pair.end]
        key = (pair.seed, *(None if is_empty(row[field]) else row[field] for field in fields))
        parts.setdefault(str(row["model"]), {})[key] = pair
    return parts


def _contrast_models(
    first: _PairsOfModel, second: _PairsOfModel, accuracies: FloatArray
) -> tuple[Contrasts, Contrasts, Contrasts] | None:
    """Return the contrasts of pairs that both models have, and those of the second less the first; None without any."""
    kept = []
    for key in first:
        if key in second:
            one, other = (contrast_pairs([pairs[key]], accuracies) for pairs in (first, second))
            if one.seeds and other.seeds:
                kept.append((key[0], one.weights[0], other.weights[0], other.weights[0] - one.weights[0]))
    if not kept:
        return None
    seeds = tuple(row[0] for row in kept)
    of_first, of_second, difference = (Contrasts(np.stack([row[side] for row in kept]), seeds, 0) for side in (1, 2, 3))
    return of_first, of_second, difference
