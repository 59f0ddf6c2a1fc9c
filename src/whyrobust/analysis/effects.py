"""From effective robustness to causes: paired comparisons of runs that differ in one thing.

This module stands alone because it answers the study's question: it says which runs are compared, takes the
mean of their differences, and gives an interval that covers both another draw of seeds and another draw of
test images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.display_names import KIND_FIELDS as FIELDS_OF_KIND
from whyrobust.study.plan import Comparison

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

PAIR_COLUMNS = ("start", "end", "seed")
CAUSE_COLUMNS = (
    "cause",
    "comparison",
    "shift",
    "pairs",
    "seeds",
    "effect_points",
    "low_points",
    "high_points",
    "holds_fixed",
)


@dataclass(frozen=True)
class Effect:
    """The effect of one comparison on one shift, in percentage points, with its interval.

    ``pairs`` were compared, of ``seeds`` different seeds. What cannot be known is NaN: everything without
    pairs, the interval with a single seed.
    """

    effect_points: float
    low_points: float
    high_points: float
    pairs: int
    seeds: int


def match_pairs(
    runs: pd.DataFrame,
    start: Mapping[str, Any],
    end: Mapping[str, Any],
    where: Mapping[str, Any],
    match: Sequence[str],
) -> pd.DataFrame:
    """Pair the evaluated runs of two sides that agree in everything that must be held fixed.

    Args:
        runs: one row for each evaluated run (a run with a head and a prompt set), with a column ``seed`` and
            all columns that are named in the other arguments.
        start: column -> value, or list of allowed values, of the side to start from.
        end: the same for the other side.
        where: the same for both sides.
        match: columns that must be equal within a pair. The seed is matched as well, named or not.

    Returns:
        One row a pair, with ``start`` and ``end`` (row positions in ``runs``, from 0) and ``seed``, ordered
        by position. An empty table where nothing pairs. Missing values and empty text count as equal.

    Raises:
        ValueError: for unknown columns, or where a side has two candidates, or a row would pair with itself.
    """
    import pandas as pd

    keys = list(dict.fromkeys([*match, "seed"]))
    unknown = sorted({*start, *end, *where, *keys} - set(runs.columns))
    if unknown:
        raise ValueError(
            f"The comparison names the columns {unknown}, which the table of runs lacks: it has {list(runs.columns)}."
        )
    common = _selected(runs, where)
    sides = [_rows_by_key(runs, np.flatnonzero(common & _selected(runs, side)), keys) for side in (start, end)]
    pairs = []
    for key, first in sides[0].items():
        second = sides[1].get(key, [])
        if not second:
            continue
        for name, rows in (("start", first), ("end", second)):
            if len(rows) > 1:
                raise ValueError(
                    f"The {name} side of a comparison has {len(rows)} candidates for "
                    f"{dict(zip(keys, key, strict=True))}: {_describe(runs, rows)}. "
                    "Name another column in `where` or `match` so that one is left."
                )
        if first == second:
            raise ValueError(
                f"Both sides of a comparison select the same row: {_describe(runs, first)}. "
                "Make `start` and `end` differ."
            )
        pairs.append((first[0], second[0], runs["seed"].iloc[first[0]]))
    pairs.sort(key=lambda pair: pair[:2])
    return pd.DataFrame(pairs, columns=list(PAIR_COLUMNS))


def measure_effect(
    pairs: pd.DataFrame,
    effective_robustness: FloatArray,
    draws: FloatArray,
    confidence: float = 0.95,
) -> Effect:
    """Return the mean paired difference of effective robustness, and its interval over seeds and test images.

    The difference of each pair is averaged within its seed, then over seeds: seeds are the independent units,
    since the subsets of one seed are nested and its runs share much of their training data.

    The interval. Let d_s be the mean difference of seed s of n. Every seed is measured on the same test
    images and against the same baseline, so that

        d_s = effect + a_s + e_s + c,

    with a_s what the seed itself does (training subset, start weights), e_s the part of the sampling noise of
    test images and standard models that is the seed's own, and c the part that all seeds share. The mean of
    d_s has the variance (var a + var e) / n + var c. The variance S^2 of d_s between seeds estimates var a +
    var e and holds nothing of c, which moves all seeds alike. Within the bootstrap draws the seeds' own
    effects stay fixed, so the draws of d_s and d_t of two seeds covary by var c and by nothing else. Hence

        variance = S^2 / n + max(0, C),    C = mean over s != t of cov(d_s, d_t) over draws.

    Adding the whole variance of the mean over draws instead of C would count var e / n twice. This is the
    estimator of Obuchowski and Rockette (1995) for several readers of the same cases, with seeds for readers
    and test images for cases. The half width is a quantile of Student's t with the degrees of freedom of
    Welch and Satterthwaite, (A + B)^2 / (A^2 / (n - 1) + B^2 / (draws - 1)) for A = S^2 / n and B = max(0,
    C); Hillis (2007) recommends it with the second term left out, which is its limit for many draws.

    A percentile bootstrap of seeds within the draws of test images is no substitute. By simulation (2,000
    repeats each, claimed coverage 95 %): where only seeds vary it covers the truth 75 % of the time with 3
    seeds and 83 % with 5 (this interval: 96 % and 95 %); where only test images vary it counts their noise
    twice and covers 99 % with either (this interval: 94 % and 95 %). tests/test_attribution.py repeats this
    on images of known difficulty, with an effect and without.

    Args:
        pairs: from `match_pairs`.
        effective_robustness: the measured values in percentage points, [models], in the order of the runs'
            rows.
        draws: bootstrap draws of the same, [resamples, models], the same draw of images for all models of a
            row.
        confidence: coverage of the interval.

    Returns:
        The effect. Without pairs it is NaN; with a single seed, or fewer than two usable draws, it is given
        and the interval is NaN. Where a pair has no effective robustness the effect is NaN too.

    Raises:
        ValueError: where the shapes do not fit the pairs.
    """
    from scipy.stats import t as student

    if not 0 < confidence < 1:
        raise ValueError(f"A confidence of {confidence} is not between 0 and 1: give 0.95 for 95 %.")
    measured, sampled = np.asarray(effective_robustness, dtype=float), np.asarray(draws, dtype=float)
    if measured.ndim != 1 or sampled.ndim != 2 or sampled.shape[1] != measured.size:
        raise ValueError(
            f"Effective robustness has shape {measured.shape} and its draws {sampled.shape}: "
            "give [models] and [resamples, models]."
        )
    if len(pairs) == 0:
        return Effect(np.nan, np.nan, np.nan, 0, 0)
    start, end = pairs["start"].to_numpy(dtype=np.int64), pairs["end"].to_numpy(dtype=np.int64)
    if min(start.min(), end.min()) < 0 or max(start.max(), end.max()) >= measured.size:
        raise ValueError(
            f"A pair names a row outside 0..{measured.size - 1}: give effective robustness in the order of the runs."
        )
    _, member = np.unique(pairs["seed"].to_numpy(), return_inverse=True)
    sizes = np.bincount(member)
    seeds = sizes.size
    # averaging[p, s]: the weight of pair p in the mean of seed s.
    averaging = (member[:, None] == np.arange(seeds)) / sizes
    by_seed = (measured[end] - measured[start]) @ averaging
    effect = float(by_seed.mean())
    by_draw = (sampled[:, end] - sampled[:, start]) @ averaging
    by_draw = by_draw[np.isfinite(by_draw).all(axis=1)]
    if seeds < 2 or len(by_draw) < 2 or not np.isfinite(effect):
        return Effect(effect, np.nan, np.nan, len(pairs), seeds)

    covariance = np.cov(by_draw, rowvar=False)
    shared = max(0.0, float((covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))))
    own = float(by_seed.var(ddof=1)) / seeds
    variance = own + shared
    if variance == 0:
        return Effect(effect, effect, effect, len(pairs), seeds)
    # Shares of the variance rather than variances, so that tiny ones do not underflow when squared.
    freedom = 1.0 / ((own / variance) ** 2 / (seeds - 1) + (shared / variance) ** 2 / (len(by_draw) - 1))
    half = float(student.ppf((1.0 + confidence) / 2.0, freedom)) * variance**0.5
    return Effect(effect, effect - half, effect + half, len(pairs), seeds)


def attribute_causes(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measurements: Mapping[str, tuple[FloatArray, FloatArray]],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Measure every comparison on every shift.

    Args:
        comparisons: the controlled comparisons.
        runs: one row for each evaluated run, as for `match_pairs`.
        measurements: shift -> (effective robustness [models], its draws [resamples, models]), in the order of
            the rows of ``runs``.
        confidence: coverage of the intervals.

    Returns:
        The rows of ``causes.csv``, comparison by comparison. A comparison that finds no pairs has its rows too,
        with 0 pairs and NaN for what is not known.

    Raises:
        ValueError: as `match_pairs` and `measure_effect`, naming the comparison; where draws do not fit the
            runs.
    """
    import pandas as pd

    for shift, (points, _) in measurements.items():
        if len(points) != len(runs):
            raise ValueError(
                f"The shift {shift} has {len(points)} values of effective robustness for {len(runs)} rows "
                "of runs: give one a row, in the same order."
            )
    rows = []
    for comparison in comparisons:
        try:
            pairs = match_pairs(runs, comparison.start, comparison.end, comparison.condition, comparison.matched)
        except ValueError as error:
            raise ValueError(f"Comparison {comparison.name!r} of {comparison.cause!r}: {error}") from error
        for shift, (points, draws) in measurements.items():
            effect = measure_effect(pairs, points, draws, confidence)
            rows.append(
                {
                    "cause": comparison.cause,
                    "comparison": comparison.name,
                    "shift": shift,
                    "pairs": effect.pairs,
                    "seeds": effect.seeds,
                    "effect_points": effect.effect_points,
                    "low_points": effect.low_points,
                    "high_points": effect.high_points,
                    "holds_fixed": comparison.holds_fixed,
                }
            )
    return pd.DataFrame(rows, columns=list(CAUSE_COLUMNS))


def _selected(runs: pd.DataFrame, conditions: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows have an allowed value in each of the columns, [rows]."""
    chosen = np.ones(len(runs), dtype=bool)
    for column, allowed in conditions.items():
        values = allowed if isinstance(allowed, list | tuple | set | frozenset) else [allowed]
        accepted = {_plain(value) for value in values}
        chosen &= np.fromiter((_plain(value) in accepted for value in runs[column]), dtype=bool, count=len(runs))
    return chosen


def _rows_by_key(
    runs: pd.DataFrame, positions: np.ndarray[Any, np.dtype[np.int64]], keys: Sequence[str]
) -> dict[tuple[Any, ...], list[int]]:
    """Group row positions by the values of the key columns."""
    columns = [[_plain(value) for value in runs[key]] for key in keys]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position in positions:
        groups.setdefault(tuple(column[position] for column in columns), []).append(int(position))
    return groups


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of a table
    """Return a cell so that cells that mean the same are equal: nothing, NaN and empty text are all None."""
    import pandas as pd

    return None if pd.isna(value) or value == "" else value


def _describe(runs: pd.DataFrame, rows: Sequence[int]) -> str:
    """Name rows for a reader: position, and what identifies an evaluated run."""
    known = [column for column in ("run", "head", "prompts") if column in runs.columns]
    return "; ".join(
        f"row {row} ({', '.join(f'{column}={runs[column].iloc[row]}' for column in known)})" for row in rows
    )


def summarise_causes(causes: pd.DataFrame) -> str:
    """Return a short plain-text table of the causes, for the terminal: effects in percentage points with intervals."""
    lines = ["Effect on effective robustness, percentage points (interval)"]
    for (cause, comparison), rows in causes.groupby(["cause", "comparison"], sort=False):
        lines.append(f"\n{str(cause).replace('_', ' ')}: {comparison}")
        for row in rows.to_dict("records"):
            low, high = row["low_points"], row["high_points"]
            interval = "no interval" if np.isnan(low) or np.isnan(high) else f"{low:+.1f} to {high:+.1f}"
            found = "" if np.isnan(row["effect_points"]) else f"{row['effect_points']:+6.1f} ({interval})"
            judged = judge_effect(row["effect_points"], low, high)
            lines.append(f"  {row['shift']:<14} {found}  {judged}, {row['pairs']} pairs")
    return "\n".join(lines) + "\n"


# --- How much of the gap a cause closes ---------------------------------------------------------------------

#: What makes a kind of training, where the table of runs has these columns; a kind is read off by its main head.
KIND_FIELDS = (*FIELDS_OF_KIND, "model")
SHARE_COLUMNS = (
    "cause",
    "comparison",
    "shift",
    "effect_points",
    "gap_points",
    "gap_low_points",
    "gap_high_points",
    "most_robust",
    "share",
    "share_low",
    "share_high",
    "note",
)


@dataclass(frozen=True)
class Gap:
    """The distance between the most robust kind of training and the standard models on one shift.

    ``by_seed`` [seeds] and ``by_draw`` [resamples, seeds] are in percentage points, for the ``seeds`` in this
    order. ``most_robust`` names the kind, or the kinds where different seeds choose differently.
    """

    seeds: tuple[Any, ...]
    by_seed: FloatArray
    by_draw: FloatArray
    most_robust: str


def pair_comparison(comparison: Comparison, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of a planned comparison, as `match_pairs`."""
    return match_pairs(runs, comparison.start, comparison.end, comparison.condition, comparison.matched)


def measure_gaps(runs: pd.DataFrame, measurements: Mapping[str, tuple[FloatArray, FloatArray]]) -> dict[str, Gap]:
    """Measure on every shift how far the most robust kind of training lies above the standard models.

    A kind is what `KIND_FIELDS` say, at its largest training set, read off by its main head. The gap of a seed is
    the mean effective robustness of the chosen kind's runs of that seed, minus the mean of all standard models
    (about 0, since the line is fitted to them).

    Which kind is the most robust is chosen on data other than what it is measured on, since the largest of
    several noisy means is too large: for each seed, by the mean over all shifts and over the kind's other seeds.
    So the noise of the seed that is measured has no part in the choice. What is left is the noise of test images:
    those of one shift weigh as one of all shifts in the choice, those of the in-distribution test set in full.
    With one seed the choice uses that seed. Kinds with standard models among them are not candidates.

    Args:
        runs: one row for each evaluated run, with ``seed``, ``train_images``, ``standard``, ``main`` (the main head
            of its run) and those of `KIND_FIELDS` that apply.
        measurements: shift -> (effective robustness [models], its draws [resamples, models]), in the order of
            the rows of ``runs``.

    Returns:
        shift -> gap. Empty where there is no kind that is measured on all shifts, or no standard model.

    Raises:
        ValueError: for missing columns.
    """
    missing = [column for column in ("seed", "train_images", "standard", "main") if column not in runs.columns]
    if missing:
        raise ValueError(f"The table of runs lacks the columns {missing}, which a gap needs: it has {list(runs)}.")
    main = runs["main"].to_numpy(dtype=bool)
    standard = runs["standard"].to_numpy(dtype=bool) & main
    fields = [name for name in KIND_FIELDS if name in runs.columns]
    groups = _rows_by_key(runs, np.flatnonzero(main), fields)
    sizes, seeds = runs["train_images"].to_numpy(), runs["seed"].tolist()
    over_shifts = np.mean([points for points, _ in measurements.values()], axis=0) if measurements else np.empty(0)
    if not standard.any() or not measurements:
        return {}
    # kinds[kind][seed]: the rows of one kind and seed at the kind's largest size.
    kinds: dict[tuple[Any, ...], dict[Any, list[int]]] = {}
    for key, rows in groups.items():
        largest = [row for row in rows if sizes[row] == max(sizes[row] for row in rows)]
        if standard[rows].any() or not np.isfinite(over_shifts[largest]).all():
            continue
        for row in largest:
            kinds.setdefault(key, {}).setdefault(seeds[row], []).append(row)
    chosen: dict[Any, tuple[Any, ...]] = {}
    for seed in sorted({seed for by_seed in kinds.values() for seed in by_seed}):
        judged_on = {kind: [s for s in rows if s != seed] for kind, rows in kinds.items() if seed in rows}
        if any(judged_on.values()):
            # A kind that was trained with this seed alone cannot be judged on others, as the rest are.
            judged_on = {kind: others for kind, others in judged_on.items() if others}
        else:
            judged_on = {kind: [seed] for kind in judged_on}
        means = {kind: np.mean([over_shifts[kinds[kind][s]].mean() for s in judged_on[kind]]) for kind in judged_on}
        chosen[seed] = max(means, key=lambda kind: float(means[kind]))
    if not chosen:
        return {}
    names = [", ".join(str(value) for value in dict.fromkeys(kind) if value is not None) for kind in chosen.values()]
    most_robust = "; ".join(dict.fromkeys(names))
    gaps = {}
    for shift, (points, draws) in measurements.items():
        picked = [kinds[kind][seed] for seed, kind in chosen.items()]
        by_seed = np.array([points[rows].mean() - np.nanmean(points[standard]) for rows in picked])
        by_draw = np.column_stack(
            [draws[:, rows].mean(axis=1) - np.nanmean(draws[:, standard], axis=1) for rows in picked]
        )
        gaps[shift] = Gap(tuple(chosen), by_seed, by_draw, most_robust)
    return gaps


def gap_shares(
    causes: pd.DataFrame,
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measurements: Mapping[str, tuple[FloatArray, FloatArray]],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Say which share of the gap between the most robust and the standard models each effect closes.

    share = effect / gap, with the gap of `measure_gaps`. Its interval is that of Fieller (1954) for a ratio of two
    estimates: all shares r for which effect - r * gap is not told apart from 0. Effect and gap are measured on
    the same seeds and test images, so their variances and covariance are estimated together, as in
    `measure_effect`: between seeds, plus what all seeds share, with the degrees of freedom of effect - share *
    gap. Shares of different causes need not add up to 1: comparisons overlap and causes may interact. A share
    above 1 or below 0 is possible.

    Args:
        causes: the table of `attribute_causes`.
        comparisons: the comparisons that it was made of.
        runs: as for `measure_gaps` and `match_pairs`.
        measurements: as for `attribute_causes`.
        confidence: coverage of the intervals of gap and share.

    Returns:
        One row for each row of ``causes``. A share is left empty where the effect is not measured or the interval
        of the gap reaches 0 or below, for then there is no gap to have a share of; ``note`` says so.

    Raises:
        ValueError: as `measure_gaps` and `match_pairs`; where ``causes`` has a comparison that is not among
            ``comparisons`` or a shift that is not measured.
    """
    import pandas as pd

    gaps = measure_gaps(runs, measurements)
    planned = {(comparison.cause, comparison.name): comparison for comparison in comparisons}
    pairs_of: dict[tuple[str, str], pd.DataFrame] = {}
    rows = []
    for found in causes.to_dict("records"):
        name, shift = (str(found["cause"]), str(found["comparison"])), str(found["shift"])
        if name not in planned or shift not in measurements:
            raise ValueError(
                f"The table of causes has the comparison {name[1]!r} of {name[0]!r} on {shift!r}, which is not among "
                "the comparisons or shifts given: give those that the table was made of."
            )
        if name not in pairs_of:
            pairs_of[name] = pair_comparison(planned[name], runs)
        row = {key: found[key] for key in ("cause", "comparison", "shift", "effect_points")}
        rows.append(row | _share_of_gap(pairs_of[name], *measurements[shift], gaps.get(shift), confidence))
    return pd.DataFrame(rows, columns=list(SHARE_COLUMNS))


def _share_of_gap(
    pairs: pd.DataFrame, points: FloatArray, draws: FloatArray, gap: Gap | None, confidence: float
) -> dict[str, Any]:
    """Return the columns of `gap_shares` for one effect, without those that name it."""
    values: dict[str, Any] = dict.fromkeys(SHARE_COLUMNS[4:-1], np.nan)
    if gap is None:
        return values | {"most_robust": "", "note": "No share: no other kind of training is measured on all shifts."}
    middle, half = float(gap.by_seed.mean()), np.nan
    gap_variance = _seed_and_image_variance(gap.by_seed[:, None], gap.by_draw[:, :, None])
    if gap_variance is not None:
        half = gap_variance.half_width(np.ones(1), confidence)
    values |= {"gap_points": middle, "gap_low_points": middle - half, "gap_high_points": middle + half}
    seeds, by_seed, by_draw = _average_by_seed(pairs, points, draws)
    notes = []
    if by_seed.size == 0 or not np.isfinite(by_seed).all():
        notes.append("No share: the effect is not measured.")
    elif np.isnan(half):
        notes.append("No share: the gap has no interval, for which it takes two seeds.")
    elif middle - half <= 0:
        notes.append("No share: the interval of the gap reaches 0 or below.")
    else:
        values["share"] = float(by_seed.mean()) / middle
        if set(seeds) != set(gap.seeds):
            notes.append("No interval of the share: effect and gap are measured with different seeds.")
        else:
            order = [seeds.index(seed) for seed in gap.seeds]
            both_seeds = np.stack([by_seed[order], gap.by_seed], axis=-1)
            both_draws = np.stack([by_draw[:, order], gap.by_draw], axis=-1)
            values["share_low"], values["share_high"] = _ratio_interval(both_seeds, both_draws, confidence)
            if np.isnan(values["share_low"]):
                notes.append("No interval of the share: the gap is too uncertain to bound it.")
    if ";" in gap.most_robust:
        notes.append("Seeds disagree on which kind is the most robust.")
    return values | {"most_robust": gap.most_robust, "note": " ".join(notes)}


def _average_by_seed(
    pairs: pd.DataFrame, points: FloatArray, draws: FloatArray
) -> tuple[list[Any], FloatArray, FloatArray]:
    """Return the seeds of pairs, their mean differences [seeds], and the draws of these [resamples, seeds]."""
    start, end = pairs["start"].to_numpy(dtype=np.int64), pairs["end"].to_numpy(dtype=np.int64)
    difference, difference_draws = points[end] - points[start], draws[:, end] - draws[:, start]
    of_pair = pairs["seed"].tolist()
    seeds = list(dict.fromkeys(of_pair))
    averaging = np.array([[float(own == seed) for seed in seeds] for own in of_pair]).reshape(len(of_pair), len(seeds))
    averaging /= averaging.sum(axis=0, keepdims=True)
    return seeds, difference @ averaging, difference_draws @ averaging


@dataclass(frozen=True)
class _Variance:
    """The covariance of means over seeds of several quantities, in the two parts of `measure_effect`.

    ``own`` is what seeds do each for itself, ``shared`` what test images and line do to all, both [quantities,
    quantities]. ``seeds`` and ``draws`` are their numbers.
    """

    own: FloatArray
    shared: FloatArray
    seeds: int
    draws: int

    def variance(self, weights: FloatArray) -> float:
        """Return the variance of a weighted sum of the quantities."""
        return float(weights @ (self.own + self.shared) @ weights)

    def quantile(self, weights: FloatArray, confidence: float) -> float:
        """Return the quantile of Student's t for a weighted sum of the quantities (Welch and Satterthwaite)."""
        from scipy.stats import t as student

        total = self.variance(weights)
        if total <= 0:
            return 0.0
        own, shared = float(weights @ self.own @ weights) / total, float(weights @ self.shared @ weights) / total
        freedom = 1.0 / (own**2 / (self.seeds - 1) + shared**2 / (self.draws - 1))
        return float(student.ppf((1.0 + confidence) / 2.0, freedom))

    def half_width(self, weights: FloatArray, confidence: float) -> float:
        """Return the half width of the interval of a weighted sum of the quantities."""
        return self.quantile(weights, confidence) * float(np.sqrt(self.variance(weights)))


def _seed_and_image_variance(by_seed: FloatArray, by_draw: FloatArray) -> _Variance | None:
    """Estimate the covariance of means over seeds, as `measure_effect` does for one quantity.

    Args:
        by_seed: [seeds, quantities].
        by_draw: [resamples, seeds, quantities].

    Returns:
        The variance, or None with fewer than two seeds or two usable draws.
    """
    seeds, quantities = by_seed.shape
    by_draw = by_draw[np.isfinite(by_draw).all(axis=(1, 2))]
    if seeds < 2 or len(by_draw) < 2 or not np.isfinite(by_seed).all():
        return None
    centred = by_draw - by_draw.mean(axis=0)
    # Covariances between different seeds: all pairs of seeds less those of a seed with itself.
    total = centred.sum(axis=1)
    crossed = total.T @ total - np.einsum("rsa,rsb->ab", centred, centred)
    shared = crossed / ((len(by_draw) - 1) * seeds * (seeds - 1))
    # As max(0, C) for one quantity: directions with negative estimates hold no shared noise.
    values, vectors = np.linalg.eigh((shared + shared.T) / 2)
    shared = (vectors * np.maximum(values, 0.0)) @ vectors.T
    own = np.cov(by_seed, rowvar=False).reshape(quantities, quantities) / seeds
    return _Variance(own, shared, seeds, len(by_draw))


def _ratio_interval(by_seed: FloatArray, by_draw: FloatArray, confidence: float) -> tuple[float, float]:
    """Return Fieller's interval of the ratio of two means over seeds, the first over the second.

    It is where (a - r b)^2 <= t^2 var(a - r b), a quadratic in r; NaN where that set is not bounded.
    Shapes as in `_seed_and_image_variance`, with two quantities.
    """
    estimated = _seed_and_image_variance(by_seed, by_draw)
    if estimated is None:
        return np.nan, np.nan
    top, bottom = (float(value) for value in by_seed.mean(axis=0))
    t = estimated.quantile(np.array([1.0, -top / bottom]), confidence)
    covariance = t**2 * (estimated.own + estimated.shared)
    square, mixed, constant = bottom**2 - covariance[1, 1], top * bottom - covariance[0, 1], top**2 - covariance[0, 0]
    # The measured ratio always lies in the set, so the roots are real but for rounding.
    root = max(0.0, mixed**2 - square * constant) ** 0.5
    if square <= 0:
        return np.nan, np.nan
    return float((mixed - root) / square), float((mixed + root) / square)
