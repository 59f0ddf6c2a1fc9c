"""What a source adds on test images that it comes nearer to than another source, and on those equally near to both.

If models of one source do better on a shift only where their source has the more similar training images, it is those
images that help (Mayilvahanan et al. 2024, arXiv 2310.09562, who prune them). Test images are put into bands by the
difference of the similarity of the nearest training image (`whyrobust.data.nearest_images`); in each band accuracies of
paired runs are compared, which needs no baseline.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.accuracies import KEYS, Key, Outcomes, read_outcomes, read_test_set
from whyrobust.analysis.bootstrap import Seed, resample_accuracies, seed_of
from whyrobust.analysis.intervals import check_confidence
from whyrobust.study.comparisons import Comparison, match_pairs

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

#: A difference of similarities below this is none: the images are equally near to both sources.
EQUALLY_NEAR = 0.03

#: Ends of the bands of the difference, "to" minus "from"; correlations differ by 2 at most.
BAND_EDGES = (-2.0, -0.10, -EQUALLY_NEAR, EQUALLY_NEAR, 0.10, 2.0)

BAND_COLUMNS = (
    "comparison", "from", "to", "objective", "test_set", "band_low", "band_high", "images", "units", "pairs",
    "accuracy_from", "accuracy_to", "difference_points", "low_points", "high_points",
)  # fmt: skip

NEAREST_COLUMNS = ("test_set", "source", "images", "median_similarity", "nearest_share")


@dataclass(frozen=True)
class BandSettings:
    """Settings of the intervals.

    Attributes:
        confidence: coverage of the intervals.
        resamples: bootstrap draws.
        seed: of the study.
    """

    confidence: float
    resamples: int
    seed: int


def difference_by_band(
    outcomes: Outcomes, pairs: int, gaps: FloatArray, settings: BandSettings, seed: Seed
) -> list[dict[str, float]]:
    """Return, for each band that has images, how much more accurate the second run of each pair is.

    The variance of the mean difference is that between pairs, divided by their number, plus that of the images, which
    all pairs share, by a bootstrap of units with drawings inside. Degrees of freedom follow Satterthwaite; of one pair
    only the images vary. An interval is NaN where nothing varies.

    Args:
        outcomes: of the first run of each pair, then of the second of each.
        pairs: number of pairs.
        gaps: similarity of the nearest training image of the second run's source minus that of the first's, [images].
        settings: of the intervals.
        seed: of the draws.
    """
    from scipy.stats import t as student

    check_confidence(settings.confidence)
    band_of = np.searchsorted(BAND_EDGES[1:-1], gaps, side="right")
    rows = []
    for band, (low, high) in enumerate(itertools.pairwise(BAND_EDGES)):
        inside = band_of == band
        if not inside.any():
            continue
        correct, units = outcomes.correct[:, inside], outcomes.units[inside]
        draws = resample_accuracies(correct, outcomes.groups[inside], units, settings.resamples, seed)
        accuracies = correct.mean(axis=1)
        differences = accuracies[pairs:] - accuracies[:pairs]
        of_images = float(np.var((draws[:, pairs:] - draws[:, :pairs]).mean(axis=1), ddof=1))
        of_pairs = float(np.var(differences, ddof=1)) / pairs if pairs > 1 else 0.0
        degrees = (of_images + of_pairs) ** 2 * (pairs - 1) / of_pairs**2 if of_pairs > 0 else np.inf
        # Where all answers are wrong, or all are right, nothing varies: that is no interval of width 0.
        spread = np.sqrt(of_images + of_pairs) or np.nan
        half = float(student.ppf((1 + settings.confidence) / 2, degrees)) * spread
        mean = float(differences.mean())
        rows.append(
            {
                "band_low": low,
                "band_high": high,
                "images": int(inside.sum()),
                "units": len(set(units)),
                "pairs": pairs,
                "accuracy_from": float(accuracies[:pairs].mean()),
                "accuracy_to": float(accuracies[pairs:].mean()),
                "difference_points": 100 * mean,
                "low_points": 100 * (mean - half),
                "high_points": 100 * (mean + half),
            }
        )
    return rows


def similarity_gaps(similarity: pd.DataFrame, test_set: str, start: str, end: str, uids: Sequence[str]) -> FloatArray:
    """Return how much nearer one source comes to test images than another, [images].

    Args:
        similarity: ``similarity.parquet``.
        test_set: whose images these are.
        start: the source to compare with.
        end: the source whose similarity counts as positive.
        uids: of the images, in the order wanted.
    """
    wide = similarity[similarity["test_set"] == test_set].pivot(index="uid", columns="source", values="similarity")
    gaps: FloatArray = (wide[end] - wide[start]).loc[list(uids)].to_numpy(dtype=float)
    return gaps


def summarise_nearest(similarity: pd.DataFrame) -> pd.DataFrame:
    """Return how near each source comes to each test set.

    Returns:
        `NEAREST_COLUMNS`, a row for each test set and source; ``nearest_share`` is the share of its images to which the
        source comes nearer than every other one, by `EQUALLY_NEAR` or more.
    """
    import pandas as pd

    rows = []
    for test_set, images in similarity.groupby("test_set", sort=False, observed=True):
        wide = images.pivot(index="uid", columns="source", values="similarity")
        for source in images["source"].unique():
            others = wide.drop(columns=source)
            nearer = wide[source] - others.max(axis=1) >= EQUALLY_NEAR if len(others.columns) else None
            share = float(nearer.mean()) if nearer is not None else np.nan
            rows.append((test_set, source, len(wide), float(wide[source].median()), share))
    return pd.DataFrame(rows, columns=list(NEAREST_COLUMNS))


def styles_seen(nearest: pd.DataFrame, shifts: Sequence[str]) -> list[tuple[str, str, float]]:
    """Return the shifts more than half of whose images are nearest to one source, with that source and the share."""
    found = nearest[nearest["test_set"].isin(shifts) & (nearest["nearest_share"] > 0.5)]
    return [(row["test_set"], row["source"], float(row["nearest_share"])) for row in found.to_dict("records")]


def read_uids(predictions: Path | str, test_set: str, key: Key) -> list[str]:
    """Return the uids of the images of a test set, in the order of `read_outcomes`.

    Args:
        predictions: ``predictions.parquet``.
        test_set: name of the test set.
        key: of one evaluated run: the values of `KEYS`.
    """
    import pyarrow.compute as pc

    table = read_test_set(predictions, test_set, [key[0]], [*KEYS, "uid"])
    for name, value in zip(KEYS, key, strict=True):
        table = table.filter(pc.field(name) == value)
    uids: list[str] = table["uid"].to_pylist()
    return uids


def _key_of(row: Mapping[str, Any]) -> Key:
    return (str(row["run"]), str(row["head"]), str(row["prompts"]), str(row["fitted_on"]))


def compare_in_bands(
    similarity: pd.DataFrame,
    predictions: Path | str,
    rows: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Comparison],
    settings: BandSettings,
) -> pd.DataFrame:
    """Compare the runs of two sources in each band of every test set, by objective.

    Args:
        similarity: ``similarity.parquet``.
        predictions: path of ``predictions.parquet``.
        rows: evaluated runs, as `match_pairs` takes them.
        comparisons: of one source instead of another.
        settings: of the intervals.

    Returns:
        ``similarity_bands.csv``: `BAND_COLUMNS`.
    """
    import pandas as pd

    found = []
    for comparison in comparisons:
        start, end = str(comparison.start["source"]), str(comparison.end["source"])
        pairs: dict[str, list[tuple[int, int]]] = {}
        for pair in match_pairs(comparison, rows):
            pairs.setdefault(str(rows[pair.end]["objective"]), []).append((pair.starts[0], pair.end))
        for objective, of_objective in pairs.items():
            keys = [_key_of(rows[row]) for side in zip(*of_objective, strict=True) for row in side]
            named = {"comparison": comparison.name, "from": start, "to": end, "objective": objective}
            for test_set in similarity["test_set"].unique():
                outcomes = read_outcomes(predictions, test_set, keys)
                gaps = similarity_gaps(similarity, test_set, start, end, read_uids(predictions, test_set, keys[0]))
                seed = seed_of(settings.seed, "similarity bands", test_set)
                bands = difference_by_band(outcomes, len(of_objective), gaps, settings, seed)
                found += [named | {"test_set": test_set} | band for band in bands]
    return pd.DataFrame(found, columns=list(BAND_COLUMNS))
