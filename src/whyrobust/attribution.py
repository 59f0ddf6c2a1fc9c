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

from whyrobust.plan import Contrast

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.robustness import FloatArray

PAIR_COLUMNS = ("start", "end", "seed")
CAUSE_COLUMNS = (
    "cause",
    "contrast",
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
    """The effect of one contrast on one shift, in percentage points, with its interval.

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
            f"The contrast names the columns {unknown}, which the table of runs lacks: it has {list(runs.columns)}."
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
                    f"The {name} side of a contrast has {len(rows)} candidates for "
                    f"{dict(zip(keys, key, strict=True))}: {_describe(runs, rows)}. "
                    "Name another column in `where` or `match` so that one is left."
                )
        if first == second:
            raise ValueError(
                f"Both sides of a contrast select the same row: {_describe(runs, first)}. "
                "Make `start` and `end` differ."
            )
        pairs.append((first[0], second[0], runs["seed"].iloc[first[0]]))
    pairs.sort(key=lambda pair: pair[:2])
    return pd.DataFrame(pairs, columns=list(PAIR_COLUMNS))


def contrast_effect(
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
    contrasts: Sequence[Contrast],
    runs: pd.DataFrame,
    measurements: Mapping[str, tuple[FloatArray, FloatArray]],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Measure every contrast on every shift.

    Args:
        contrasts: the controlled comparisons.
        runs: one row for each evaluated run, as for `match_pairs`.
        measurements: shift -> (effective robustness [models], its draws [resamples, models]), in the order of
            the rows of ``runs``.
        confidence: coverage of the intervals.

    Returns:
        The rows of ``causes.csv``, contrast by contrast. A contrast that finds no pairs has its rows too,
        with 0 pairs and NaN for what is not known.

    Raises:
        ValueError: as `match_pairs` and `contrast_effect`, naming the contrast; where draws do not fit the
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
    for contrast in contrasts:
        try:
            pairs = match_pairs(runs, contrast.start, contrast.end, contrast.where, contrast.matched)
        except ValueError as error:
            raise ValueError(f"Contrast {contrast.contrast!r} of {contrast.cause!r}: {error}") from error
        for shift, (points, draws) in measurements.items():
            effect = contrast_effect(pairs, points, draws, confidence)
            rows.append(
                {
                    "cause": contrast.cause,
                    "contrast": contrast.contrast,
                    "shift": shift,
                    "pairs": effect.pairs,
                    "seeds": effect.seeds,
                    "effect_points": effect.effect_points,
                    "low_points": effect.low_points,
                    "high_points": effect.high_points,
                    "holds_fixed": contrast.holds_fixed,
                }
            )
    return pd.DataFrame(rows, columns=list(CAUSE_COLUMNS))


def verdict(low: float, high: float) -> str:
    """Say what an interval of an effect on effective robustness shows.

    Returns:
        ``raises`` where the whole interval is above 0, ``lowers`` where it is below, ``no effect shown``
        where it holds 0, ``not measured`` where there is no interval.

    Raises:
        ValueError: where low is above high.
    """
    if np.isnan(low) or np.isnan(high):
        return "not measured"
    if low > high:
        raise ValueError(f"The interval runs from {low} to {high}: give its lower end first.")
    if low > 0:
        return "raises"
    if high < 0:
        return "lowers"
    return "no effect shown"


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
    for (cause, contrast), rows in causes.groupby(["cause", "contrast"], sort=False):
        lines.append(f"\n{str(cause).replace('_', ' ')}: {contrast}")
        for row in rows.to_dict("records"):
            found = (
                "not measured"
                if np.isnan(row["effect_points"])
                else f"{row['effect_points']:+6.1f} ({row['low_points']:+.1f} to {row['high_points']:+.1f})"
            )
            judged = verdict(row["low_points"], row["high_points"])
            lines.append(f"  {row['shift']:<14} {found}  {judged}, {row['pairs']} pairs")
    return "\n".join(lines) + "\n"
