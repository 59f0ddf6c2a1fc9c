"""Shares of the gap: how much of the distance between the most robust and the standard models each effect closes.

Sources: Fieller 1954 for the interval of a ratio; `whyrobust.analysis.effects.estimate_variance` for the variances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.analysis.attribution import EffectSettings, add_means, contrasts_of
from whyrobust.analysis.effects import SeedDifferences, average_by_seed, estimate_variance, match_comparisons
from whyrobust.analysis.intervals import fieller_interval
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.study.comparisons import Comparison
from whyrobust.study.display_names import KIND_FIELDS, MEAN
from whyrobust.study.table_cells import is_empty

if TYPE_CHECKING:
    import pandas as pd

#: Fields of a run that tell the candidates for the most robust training apart, where the table of runs has them.
CANDIDATE_FIELDS = (*KIND_FIELDS, "model")

SHARE_COLUMNS = (
    "cause",
    "comparison",
    "shift",
    "gap_points",
    "gap_low_points",
    "gap_high_points",
    "most_robust",
    "share",
    "share_low",
    "share_high",
    "note",
)

# candidate -> seed -> rows of its runs of that seed.
_Candidates = dict[tuple[Any, ...], dict[Any, list[int]]]


@dataclass(frozen=True)
class Gap:
    """The distance between the most robust kind of training and the standard models on one shift.

    Attributes:
        differences: gap of each seed and its draws, on the scale of the residuals.
        most_robust: the kind, or the kinds where different seeds choose differently.
    """

    differences: SeedDifferences
    most_robust: str


def measure_gaps(runs: pd.DataFrame, measured: Mapping[str, MeasuredShift]) -> dict[str, Gap]:
    """Measure on every shift how far the most robust kind of training lies above the standard models.

    A kind is what `CANDIDATE_FIELDS` say, at its largest training set, evaluated with its main head. The gap of a seed
    is the mean residual of the chosen kind's runs of that seed, minus the mean of all standard models (about 0, since
    the baseline is fitted to them).

    Which kind is the most robust is chosen on data other than what it is measured on, since the largest of several
    noisy means is too large: for each seed, by the mean over all shifts and over the kind's other seeds. So the noise
    of the seed that is measured has no part in the choice. What is left is the noise of test images: those of one shift
    weigh as one of all shifts in the choice, those of the in-distribution test set in full. With one seed the choice
    uses that seed. Kinds with standard models among them are not candidates.

    Args:
        runs: one row for each evaluated run, with ``seed``, ``train_images``, ``standard``, ``main`` (the main head
            of its run) and those of `CANDIDATE_FIELDS` that apply.
        measured: shift -> measurement, in the order of the rows of ``runs``, the means over shifts among them.

    Returns:
        shift -> gap. Empty if there is no kind that is measured on all shifts, or no standard model.

    Raises:
        ValueError: for missing columns.
    """
    missing = [column for column in ("seed", "train_images", "standard", "main") if column not in runs.columns]
    if missing:
        raise ValueError(f"The table of runs lacks the columns {missing}, which a gap needs: it has {list(runs)}.")
    standard = runs["standard"].to_numpy(dtype=bool) & runs["main"].to_numpy(dtype=bool)
    if not standard.any() or not measured:
        return {}
    # Without a shift that counts, all are as good as any.
    over_shifts = (
        measured[MEAN].residuals if MEAN in measured else np.mean([one.residuals for one in measured.values()], axis=0)
    )
    candidates = _find_candidates(runs, standard, over_shifts)
    chosen = _choose_most_robust(candidates, over_shifts)
    if not chosen:
        return {}
    names = [", ".join(str(value) for value in dict.fromkeys(kind) if value is not None) for kind in chosen.values()]
    picked = [candidates[kind][seed] for seed, kind in chosen.items()]
    gaps = {}
    for shift, one in measured.items():
        points, draws = one.residuals, one.draws
        by_seed = np.array([points[rows].mean() - _known_mean(points[standard]) for rows in picked])
        by_draw = np.column_stack([draws[:, rows].mean(axis=1) - _known_mean(draws[:, standard]) for rows in picked])
        gaps[shift] = Gap(SeedDifferences(tuple(chosen), by_seed, by_draw), "; ".join(dict.fromkeys(names)))
    return gaps


def _known_mean(values: FloatArray) -> FloatArray:
    """Return the mean over the last axis of what is not missing; missing where nothing is known."""
    with np.errstate(invalid="ignore"):
        mean: FloatArray = np.nansum(values, axis=-1) / np.sum(~np.isnan(values), axis=-1)
    return mean


def gap_shares(
    causes: pd.DataFrame,
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    settings: EffectSettings,
) -> pd.DataFrame:
    """Say which share of the gap between the most robust and the standard models each effect closes.

    share = effect / gap, both on the scale (logits), with the gap of `measure_gaps`. Its interval is that of Fieller
    (1954) for a ratio of two estimates: all shares r for which effect - r * gap does not differ from 0. Effect and gap
    are measured on the same seeds and test images, so their variances and covariance are estimated together: between
    seeds, plus what all seeds share, with the degrees of freedom of effect - share * gap. They are not moderated, since
    a gap is of other runs than a comparison, so that intervals are wider than those of effects. Shares of different
    causes need not add up to 1: comparisons overlap and causes may interact. A share above 1 or below 0 is possible.

    Args:
        causes: the table of `whyrobust.analysis.attribution.attribute_causes`.
        comparisons: the comparisons that it was made of.
        runs: as for `measure_gaps` and `attribute_causes`.
        measured: as for `attribute_causes`, without the means.
        settings: in what terms effects are stated.

    Returns:
        One row for each row of ``causes``, with `SHARE_COLUMNS`; the gap in points at the reference accuracy. A share
        is left empty where the effect is not measured or the interval of the gap reaches 0 or below, for then there is
        no gap to have a share of; ``note`` says so.

    Raises:
        ValueError: as `measure_gaps` and `match_comparisons`; where ``causes`` has a comparison that is not among
            ``comparisons`` or a shift that is not measured.
    """
    import pandas as pd

    with_means = add_means(measured)
    gaps = measure_gaps(runs, with_means)
    position = {(comparison.cause, comparison.name): number for number, comparison in enumerate(comparisons)}
    pairs_of = match_comparisons(comparisons, runs)
    contrasts = {shift: contrasts_of(pairs_of, one, settings.scale) for shift, one in with_means.items()}
    rows = []
    for found in causes.to_dict("records"):
        name, shift = (str(found["cause"]), str(found["comparison"])), str(found["shift"])
        if name not in position or shift not in with_means:
            raise ValueError(
                f"The table of causes has the comparison {name[1]!r} of {name[0]!r} on {shift!r}, which is not among "
                "the comparisons or shifts given: give those that the table was made of."
            )
        one = with_means[shift]
        differences = average_by_seed(contrasts[shift][position[name]], one.residuals, one.draws)
        row = {key: found[key] for key in SHARE_COLUMNS[:3]}
        rows.append(row | _share_of_gap(differences, gaps.get(shift), settings))
    return pd.DataFrame(rows, columns=list(SHARE_COLUMNS))


def _find_candidates(runs: pd.DataFrame, standard: BoolArray, over_shifts: FloatArray) -> _Candidates:
    """Return the kinds of training without standard models that are measured on all shifts, at their largest size.

    Args:
        runs: as for `measure_gaps`.
        standard: which rows are standard models, [rows].
        over_shifts: mean residual over shifts, [rows].
    """
    fields = [name for name in CANDIDATE_FIELDS if name in runs.columns]
    columns = [[None if is_empty(value) else value for value in runs[name]] for name in fields]
    rows_of: dict[tuple[Any, ...], list[int]] = {}
    for row in np.flatnonzero(runs["main"].to_numpy(dtype=bool)).tolist():
        rows_of.setdefault(tuple(column[row] for column in columns), []).append(row)
    sizes, seeds = runs["train_images"].to_numpy(), runs["seed"].tolist()
    candidates: _Candidates = {}
    for kind, rows in rows_of.items():
        largest = [row for row in rows if sizes[row] == max(sizes[row] for row in rows)]
        if standard[rows].any() or not np.isfinite(over_shifts[largest]).all():
            continue
        for row in largest:
            candidates.setdefault(kind, {}).setdefault(seeds[row], []).append(row)
    return candidates


def _choose_most_robust(candidates: _Candidates, over_shifts: FloatArray) -> dict[Any, tuple[Any, ...]]:
    """Return the most robust candidate for each seed, judged on its other seeds, in the order of seeds."""
    chosen: dict[Any, tuple[Any, ...]] = {}
    for seed in sorted({seed for by_seed in candidates.values() for seed in by_seed}):
        judged_on = {kind: [s for s in rows if s != seed] for kind, rows in candidates.items() if seed in rows}
        if any(judged_on.values()):
            # A kind that was trained with this seed alone cannot be judged on others, as the rest are.
            judged_on = {kind: others for kind, others in judged_on.items() if others}
        else:
            judged_on = {kind: [seed] for kind in judged_on}
        means = {
            kind: float(np.mean([over_shifts[candidates[kind][s]].mean() for s in seeds]))
            for kind, seeds in judged_on.items()
        }
        chosen[seed] = max(means, key=lambda kind: means[kind])
    return chosen


def _share_of_gap(effect: SeedDifferences, gap: Gap | None, settings: EffectSettings) -> dict[str, Any]:
    """Return the columns of `gap_shares` for one effect, without those that name it."""
    values: dict[str, Any] = dict.fromkeys(SHARE_COLUMNS[3:-1], np.nan)
    if gap is None:
        return values | {"most_robust": "", "note": "No share: no other kind of training is measured on all shifts."}
    of_gap = gap.differences
    middle, half = float(of_gap.by_seed.mean()), np.nan
    variance = estimate_variance(of_gap.by_seed[None], of_gap.by_draw[None])
    if variance is not None:
        half = variance.half_width(np.ones(1), settings.confidence)
    ends = {"gap_points": middle, "gap_low_points": middle - half, "gap_high_points": middle + half}
    values |= {name: settings.in_points(end) for name, end in ends.items()}
    notes = []
    if effect.by_seed.size == 0 or not np.isfinite(effect.by_seed).all():
        notes.append("No share: the effect is not measured.")
    elif np.isnan(half):
        notes.append("No share: the gap has no interval, for which it takes two seeds.")
    elif middle - half <= 0:
        notes.append("No share: the interval of the gap reaches 0 or below.")
    else:
        values["share"] = float(effect.by_seed.mean()) / middle
        if effect.seeds != of_gap.seeds:
            notes.append("No interval of the share: effect and gap are measured with different seeds.")
        else:
            values["share_low"], values["share_high"] = _share_interval(effect, of_gap, settings.confidence)
            if np.isnan(values["share_low"]):
                notes.append("No interval of the share: the gap is too uncertain to bound it.")
    if ";" in gap.most_robust:
        notes.append("Seeds disagree on which kind is the most robust.")
    return values | {"most_robust": gap.most_robust, "note": " ".join(notes)}


def _share_interval(effect: SeedDifferences, gap: SeedDifferences, confidence: float) -> tuple[float, float]:
    """Return Fieller's interval of effect over gap, of the same seeds; NaN where it is not bounded or not known."""
    by_seed = np.stack([effect.by_seed, gap.by_seed])
    variance = estimate_variance(by_seed, np.stack([effect.by_draw, gap.by_draw]))
    if variance is None:
        return np.nan, np.nan
    numerator, denominator = (float(value) for value in by_seed.mean(axis=1))
    quantile = variance.quantile(np.array([1.0, -numerator / denominator]), confidence)
    return fieller_interval(numerator, denominator, variance.own + variance.shared, quantile)
