"""Dose response: effective robustness by the share of one source in place of another, with a test of a trend.

A dose that works shows in order: more of it, more effect (Hill 1965, Proceedings of the Royal Society of Medicine 58,
on the biological gradient). Variances are those of `whyrobust.analysis.effects.measure_effects`. `kept_share` says how
much of such an effect the baseline leaves to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.attribution import add_means, contrasts_of, shared_freedom, shifts_of_means
from whyrobust.analysis.effects import Contrasts, Effect, average_by_seed, match_comparisons, measure_effects
from whyrobust.analysis.hypothesis_tests import two_sided_p
from whyrobust.analysis.scales import POINTS_PER_UNIT, points_at, to_scale
from whyrobust.study.comparisons import MATCHED_FIELDS, Comparison, Pair
from whyrobust.study.doses import DoseSeries

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray, FloatArray
    from whyrobust.analysis.measured import MeasuredShift

#: Fields that all runs of a series agree in, besides what its doses change.
CELL_FIELDS = tuple(name for name in MATCHED_FIELDS if name not in ("source", "seed"))
SERIES_COLUMNS = ("source", "instead_of", "objective", "caption", "labels", "model", "train_images", "samples_seen")
DOSE_COLUMNS = (
    *SERIES_COLUMNS, "mixture", "share", "shift", "role", "seeds", "effect_logits", "low_logits", "high_logits",
    "effect_points", "low_points", "high_points", "kept_share", "extrapolated_pairs", "raw_shift_points",
)  # fmt: skip
TREND_COLUMNS = (
    *SERIES_COLUMNS, "shift", "role", "doses", "seeds", "trend_logits", "low_logits", "high_logits", "trend_points",
    "low_points", "high_points", "p",
)  # fmt: skip


@dataclass(frozen=True)
class DoseTables:
    """``dose_response.csv`` and ``dose_response_trends.csv``."""

    effects: pd.DataFrame
    trends: pd.DataFrame


@dataclass(frozen=True)
class _Curve:
    """The runs of one series that agree in all else.

    Attributes:
        fields: columns of the tables that describe it.
        doses: name of the mixture, share and contrast with the source of share 0, by rising share.
        trend: slope of the residuals on the share within each seed that has all doses, from none to all, and how many
            times as long its weights are as those of a difference.
    """

    fields: Mapping[str, Any]
    doses: Sequence[tuple[str, float, Contrasts]]
    trend: tuple[Contrasts, float] | None


def measure_doses(
    series: Sequence[DoseSeries],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    test_sets: Sequence[str],
    comparisons: Sequence[Comparison] = (),
    *,
    scale: str,
    reference: float,
    confidence: float,
) -> DoseTables:
    """Measure every dose of every series against its source without the other, and the trend over doses.

    Runs are paired within seeds, by their main heads. The trend is the slope of a least-squares line of the residuals
    on the share, for each seed by itself, averaged over seeds: the change from none to all. The means over shifts of
    `add_means` come before the shifts.

    Args:
        series: of the study.
        runs: one row for each evaluated run, with `MATCHED_FIELDS`, ``main`` and ``standard``, in the order of what is
            measured.
        measured: the main measurement by shift.
        test_sets: in-distribution test sets, in the order of ``MeasuredShift.id_accuracies``.
        comparisons: of the study. A dose that one of them compares too has its interval, whose variance is moderated
            over all of them: one estimate has one interval.
        scale: ``logit``, ``probit`` or ``linear``, of the residuals.
        reference: accuracy under shift at which effects are spelt out in points.
        confidence: of the intervals.
    """
    import pandas as pd

    with_means = add_means(measured)
    pairs_of = match_comparisons(comparisons, runs)
    of_causes = {shift: _effects_of_causes(pairs_of, values, scale) for shift, values in with_means.items()}
    curves = [(one, curve) for one in series for curve in _curves(one, runs)]
    effects, trends = [], []
    for one, curve in curves:
        contrasts_of_doses = [contrast for _, _, contrast in curve.doses]
        kept = kept_by_shift({**one.views, **one.shares}, contrasts_of_doses, runs, measured, scale)
        for shift, values in with_means.items():
            shown = {"shift": shift, "role": values.role}
            found, trend = _measure_curve(curve, values)
            found = [of_causes[shift].get(_key(one), own) for (_, _, one), own in zip(curve.doses, found, strict=True)]
            for number, ((mixture, share, contrasts), effect) in enumerate(zip(curve.doses, found, strict=True)):
                raw = {"shift": _raw_points(contrasts, values.shift_accuracy)} | {
                    name: _raw_points(contrasts, values.id_accuracies[:, column])
                    for column, name in enumerate(test_sets)
                }
                effects.append(
                    {**curve.fields, "mixture": mixture, "share": share, **shown, "seeds": effect.seeds}
                    | _interval(effect, "effect", reference, scale, confidence)
                    | {"kept_share": kept[shift][number]}
                    | {"extrapolated_pairs": contrasts.count_extrapolated(values.extrapolated)}
                    | {f"raw_{name}_points": points for name, points in raw.items()}
                )
            if trend is not None:
                trends.append(
                    {**curve.fields, **shown, "doses": len(curve.doses) + 1, "seeds": trend.seeds}
                    | _interval(trend, "trend", reference, scale, confidence)
                    | {"p": two_sided_p(trend.effect, trend.error, trend.freedom)}
                )
    columns = [*DOSE_COLUMNS, *(f"raw_{name}_points" for name in test_sets)]
    return DoseTables(pd.DataFrame(effects, columns=columns), pd.DataFrame(trends, columns=list(TREND_COLUMNS)))


def _curves(series: DoseSeries, runs: pd.DataFrame) -> Iterator[_Curve]:
    """Yield the runs of a series by what else they agree in, where there is a mixture to compare with its start."""
    rows = runs.reset_index(drop=True)
    rows = rows[rows["main"].to_numpy(dtype=bool) & rows["source"].isin(series.shares).to_numpy()]
    for _, cell in rows.groupby(list(CELL_FIELDS), sort=False, dropna=False):
        positions: dict[str, dict[Any, int]] = {}
        for position, source, seed in zip(cell.index, cell["source"], cell["seed"], strict=True):
            positions.setdefault(source, {})[seed] = int(position)
        shares = {name: share for name, share in series.shares.items() if name in positions}
        if series.start not in shares or not any(0 < share < 1 for share in shares.values()):
            continue
        start = positions[series.start]
        doses = []
        for name, share in shares.items():
            seeds = sorted(set(start) & set(positions[name])) if share > 0 else []
            if seeds:
                pairs = [{positions[name][seed]: 1.0, start[seed]: -1.0} for seed in seeds]
                doses.append((name, share, _contrasts(pairs, seeds, len(runs))))
        complete = sorted(set.intersection(*(set(positions[name]) for name in shares)))
        first = cell.iloc[0]
        fields = {"source": series.end, "instead_of": series.start} | {name: first[name] for name in SERIES_COLUMNS[2:]}
        yield _Curve(fields, doses, _trend(shares, positions, complete, len(runs)) if complete else None)


def _trend(
    shares: Mapping[str, float], positions: Mapping[str, Mapping[Any, int]], seeds: Sequence[Any], models: int
) -> tuple[Contrasts, float]:
    """Return the slope on the share within each seed, its weights as long as those of a difference of two runs.

    Of equal length, contrasts have about equal variances between seeds, so that these can be moderated together.
    """
    x = np.array(list(shares.values()))
    slope = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    length = float(np.linalg.norm(slope)) / math.sqrt(2.0)
    rows = [
        {positions[name][seed]: weight / length for name, weight in zip(shares, slope, strict=True)} for seed in seeds
    ]
    return _contrasts(rows, seeds, models), length


def _contrasts(rows: Sequence[Mapping[int, float]], seeds: Sequence[Any], models: int) -> Contrasts:
    weights = np.zeros((len(rows), models))
    for number, row in enumerate(rows):
        for position, weight in row.items():
            weights[number, position] = weight
    return Contrasts(weights, tuple(seeds), 0)


def _measure_curve(curve: _Curve, values: MeasuredShift) -> tuple[list[Effect], Effect | None]:
    """Return the effect of each dose, and the trend from none to all."""
    contrasts = [contrast for _, _, contrast in curve.doses]
    contrasts += [] if curve.trend is None else [curve.trend[0]]
    found = measure_effects(contrasts, values.residuals, values.draws, shared_freedom(values))
    if curve.trend is None:
        return found, None
    scaled, length = found.pop(), curve.trend[1]
    return found, Effect(
        scaled.effect * length, scaled.error * length, scaled.freedom, pairs=scaled.pairs, seeds=scaled.seeds
    )


def _effects_of_causes(
    pairs_of: Mapping[int, list[Pair]], values: MeasuredShift, scale: str
) -> dict[tuple[bytes, ...], Effect]:
    """Return the effects of all comparisons of a study on a shift, by the models that they compare."""
    contrasts = contrasts_of(pairs_of, values, scale)
    effects = measure_effects(contrasts, values.residuals, values.draws, shared_freedom(values))
    return {_key(one): effect for one, effect in zip(contrasts, effects, strict=True)}


def _key(contrasts: Contrasts) -> tuple[bytes, ...]:
    """Return what tells which models are compared, whatever the order of pairs."""
    return tuple(sorted(row.tobytes() for row in contrasts.weights))


def _interval(effect: Effect, name: str, reference: float, scale: str, confidence: float) -> dict[str, float]:
    """Return an effect with its ends on the scale and in points at the reference accuracy."""
    low, high = effect.interval(confidence)
    ends = {name: effect.effect, "low": low, "high": high}
    on_scale = {f"{end}_logits": value for end, value in ends.items()}
    return on_scale | {f"{end}_points": float(points_at(reference, value, scale)) for end, value in ends.items()}


def kept_by_shift(
    shares: Mapping[str, float],
    contrasts: Sequence[Contrasts],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    scale: str,
) -> dict[str, FloatArray]:
    """Return `kept_share` of comparisons by shift, [comparisons]; of a mean over shifts, the mean of theirs.

    Args:
        shares: share of a source in the training of each source, by its name.
        contrasts: of the comparisons.
        runs: as for `measure_doses`.
        measured: the main measurement by shift, without means.
        scale: of the accuracies that the baseline is over.
    """
    content = np.asarray(runs["source"].map(dict(shares)), dtype=float)
    # Standard models are measured by their classifier, and those of sources that are neither tell nothing here.
    standard = (runs["standard"] & runs["main"]).to_numpy(dtype=bool) & np.isfinite(content)
    kept = {
        shift: np.array(
            [kept_share(to_scale(values.id_accuracies, scale), standard, content, one) for one in contrasts]
        )
        for shift, values in measured.items()
    }
    means = shifts_of_means(measured).items()
    return kept | {mean: np.mean([kept[name] for name in names], axis=0) for mean, names in means}


def kept_share(x: FloatArray, standard: BoolArray, content: FloatArray, contrasts: Contrasts) -> float:
    """Return which share of an effect of a source, proportional to its share in training, is left in residuals.

    Suppose that accuracy under shift has, besides all else, an effect of what a model was trained on. The baseline is
    fitted to standard models that have the effect too, so that it takes away as much of it as accuracies in
    distribution can tell: least squares is linear, so the effect left in the residuals is what the same fit leaves of
    ``content`` itself. 1 is all of it; near 0, the plane would hide any such effect, and none can be shown.

    Args:
        x: accuracies in distribution on the scale, [models, test_sets].
        standard: models that the baseline is fitted to, [models].
        content: share of the source in the training of each model, [models]; NaN where it is of others.
        contrasts: of the comparison.

    Returns:
        The share; NaN where no baseline can be fitted, or where a model compared has an accuracy that the scale has no
        number for (0 and 1 on the logit scale).
    """
    design = np.column_stack([np.ones(len(x)), x])
    usable = standard & np.isfinite(design).all(axis=1)
    if usable.sum() <= design.shape[1] or np.linalg.matrix_rank(design[usable]) < design.shape[1]:
        return math.nan
    coefficients = np.linalg.lstsq(design[usable], content[usable], rcond=None)[0]
    left = content - np.where(np.isfinite(design), design, math.nan) @ coefficients
    whole, rest = (average_by_seed(contrasts, values, values[None]).by_seed.mean() for values in (content, left))
    return float(rest / whole)


def _raw_points(contrasts: Contrasts, accuracies: FloatArray) -> float:
    """Return a mean difference of accuracies in percentage points, over seeds of means over pairs."""
    return float(average_by_seed(contrasts, accuracies, accuracies[None]).by_seed.mean() * POINTS_PER_UNIT)
