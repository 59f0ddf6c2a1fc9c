"""A study of known truth: one of five causes is real, and the pipeline must find that one and clear the others.

Whether each image is right is simulated, and all after that is the package's own: accuracies and their draws
(`resample_accuracies`), the line and effective robustness (`measure_shift`), pairs (`pair_rows`) and intervals
(`measure_effect`). Cut for speed, with no part in an effect: the band of the line has 2 resamples and 2 points, and
pairs are matched once, since the table of runs is the same in all simulations. Draws are 100 rather than 1,000, which
adds a little noise to the variance that test images cause. Each simulation has one real cause, the five in turn: so
each comparison is real in 100 of the 500 and must cover 0 in the other 400.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from whyrobust.analysis.bootstrap import resample_accuracies
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_shift
from whyrobust.analysis.effects import measure_effect
from whyrobust.analysis.scales import from_scale
from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.comparisons import Pair, pair_rows

SEEDS = (0, 1, 2)
IMAGES = 600
RESAMPLES = 100
SIMULATIONS = 500
EFFECT_POINTS = 12.0

# Logits. What a run's accuracies do at random, what runs of one seed and source share (their nested subsets), and
# what runs of one seed share on a cause (some subsets suit it better).
RUN_NOISE, SUBSET_NOISE, CAUSE_NOISE = 0.06, 0.06, 0.08
SLOPE, INTERCEPT = 0.9, -0.6
# Shares of the variance of an image's difficulty: for all rows, and for the rows with a cause, each cause.
COMMON_DIFFICULTY, CAUSE_DIFFICULTY = 0.3, 0.1

# cause: (start, end, where, match). Each changes one property and nothing else, as the questions of the study do.
PROPERTIES = ("source", "train_images", "objective", "supervision", "model", "head")
COMPARISONS = {
    "training_set_size": ({"train_images": 1500}, {"train_images": 6000}, {"model": "usual"}),
    "training_distribution": ({"source": "studio"}, {"source": "web"}, {"model": "usual"}),
    "language_at_training": ({"supervision": "labels"}, {"supervision": "captions"}, {"head": "linear_probe"}),
    "language_at_test": ({"head": "linear_probe"}, {"head": "zero_shot"}, {"objective": "clip"}),
    "contrastive_loss": ({"objective": "cross_entropy"}, {"objective": "supcon"}, {"train_images": 6000}),
}
# What follows from the property that a comparison changes, and so cannot be matched.
FOLLOWS = {"supervision": {"objective"}, "objective": {"head"}}


def make_runs() -> pd.DataFrame:
    """Three seeds of five standard models of several widths, and of each kind of training that a comparison needs."""
    kinds = [("studio", 1500, "cross_entropy", f"width_{width}", "classifier") for width in (1, 2, 4, 5)]
    kinds += [
        (source, size, "cross_entropy", "usual", "classifier") for source in ("studio", "web") for size in (1500, 6000)
    ]
    kinds += [(source, 6000, "supcon", "usual", "linear_probe") for source in ("studio", "web")]
    kinds += [
        (source, 6000, "clip", "usual", head) for source in ("studio", "web") for head in ("zero_shot", "linear_probe")
    ]
    rows = [
        dict(zip(("source", "train_images", "objective", "model", "head"), kind, strict=True)) | {"seed": seed}
        for seed in SEEDS
        for kind in kinds
    ]
    runs = pd.DataFrame(rows)
    runs["supervision"] = np.where(runs["objective"] == "clip", "captions", "labels")
    runs["run"] = runs.drop(columns="head").astype(str).agg("-".join, axis=1)
    runs["prompts"] = ""
    runs["standard"] = (
        (runs["objective"] == "cross_entropy") & (runs["source"] == "studio") & (runs["train_images"] == 1500)
    )
    return runs


RUNS = make_runs()
#: Whether each row has what each cause is about, [rows].
HAS_CAUSE = {
    "training_set_size": (RUNS["train_images"] == 6000).to_numpy(),
    "training_distribution": (RUNS["source"] == "web").to_numpy(),
    "language_at_training": (RUNS["supervision"] == "captions").to_numpy(),
    "language_at_test": (RUNS["head"] == "zero_shot").to_numpy(),
    "contrastive_loss": RUNS["objective"].isin(["clip", "supcon"]).to_numpy(),
}


def pairs_of(cause: str) -> list[Pair]:
    start, end, where = COMPARISONS[cause]
    changed = set(start).union(*(FOLLOWS.get(name, set()) for name in start))
    matched = [name for name in PROPERTIES if name not in changed]
    return pair_rows(RUNS.to_dict("records"), start, end, where, matched)


PAIRS = {cause: pairs_of(cause) for cause in COMPARISONS}
SUBSETS = RUNS.groupby(["seed", "source"]).ngroup().to_numpy()
SEED_NUMBERS = RUNS["seed"].to_numpy()
RUN_NUMBERS = RUNS.groupby("run").ngroup().to_numpy()


def mean_abilities() -> np.ndarray:
    """In-distribution ability of each row in logits: standard models span what the others have."""
    widths = {"width_1": -0.9, "width_2": -0.4, "usual": 0.1, "width_4": 0.7, "width_5": 1.2}
    ability = RUNS["model"].map(widths).to_numpy(dtype=float)
    ability = ability + 0.25 * HAS_CAUSE["training_set_size"] - 0.3 * HAS_CAUSE["training_distribution"]
    return ability - 0.15 * HAS_CAUSE["language_at_training"] - 0.1 * HAS_CAUSE["contrastive_loss"]


def draw_accuracies(real: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True accuracies of the rows of one study, in distribution and under shift, [rows] each.

    The effect is added in percentage points, as effective robustness counts it, so that what is true of the other
    comparisons is 0 wherever on the line their rows lie (the curvature of the logit moves it by less than 0.1 points).
    """

    def noise(level: float, groups: np.ndarray) -> np.ndarray:
        return rng.normal(0, level, groups.max() + 1)[groups]

    ability = mean_abilities() + noise(RUN_NOISE, RUN_NUMBERS) + noise(SUBSET_NOISE, SUBSETS)
    shifted = INTERCEPT + SLOPE * ability
    shifted += noise(RUN_NOISE, RUN_NUMBERS) + noise(SUBSET_NOISE, SUBSETS)
    for has in HAS_CAUSE.values():
        shifted += has * noise(CAUSE_NOISE, SEED_NUMBERS)
    return from_scale(ability, "logit"), from_scale(shifted, "logit") + EFFECT_POINTS / 100 * HAS_CAUSE[real]


def answer(accuracy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each row gets each image right, [rows, images].

    A row is right where the difficulty of the image, a standard normal number, lies below a threshold, so that its
    mean accuracy is the true one whatever the difficulties share. They share a part between all rows
    and a part between all rows with a cause: noise that no number of seeds averages away.
    """
    threshold = ndtri(accuracy)[:, None]
    parts = [COMMON_DIFFICULTY * np.ones(len(RUNS)), *(CAUSE_DIFFICULTY * has for has in HAS_CAUSE.values())]
    own = 1.0 - np.sum(parts, axis=0)
    difficulty = np.sqrt(own)[:, None] * rng.standard_normal((len(RUNS), IMAGES))
    difficulty += np.sqrt(parts).T @ rng.standard_normal((len(parts), IMAGES))
    return difficulty < threshold


def simulate(real: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One study, from images to effective robustness [rows] and its draws [resamples, rows]."""
    right, right_shifted = (answer(accuracy, rng) for accuracy in draw_accuracies(real, rng))
    models = RUNS.assign(
        id_accuracy=right.mean(axis=1),
        id_images=IMAGES,
        shift_accuracy=right_shifted.mean(axis=1),
        shift_images=IMAGES,
    )
    first, second, third = (int(seed) for seed in rng.integers(0, 2**31, 3))
    result = measure_shift(
        models,
        "sketch",
        "studio_test",
        resample_accuracies(right, np.arange(IMAGES), np.arange(IMAGES), RESAMPLES, first),
        resample_accuracies(right_shifted, np.arange(IMAGES), np.arange(IMAGES), RESAMPLES, second),
        MeasurementSettings(resamples=2, band_points=2, seed=third),
    )
    return result.measurement.points, result.measurement.draws


def sides(pairs: list[Pair]) -> tuple[list[int], list[int]]:
    """The rows of both sides of pairs."""
    return [pair.starts[0] for pair in pairs], [pair.end for pair in pairs]


def interval_of_draws_alone(pairs: list[Pair], draws: np.ndarray) -> np.ndarray:
    """The broken interval: percentiles over draws of the mean over pairs, as if other seeds did the same."""
    start, end = sides(pairs)
    difference = draws[:, end] - draws[:, start]
    return np.nanquantile(difference.mean(axis=1), [0.025, 0.975])


@cache
def run_simulations() -> pd.DataFrame:
    """One row a simulation and comparison: whether it was real, and what its intervals say."""
    rows = []
    for number in range(SIMULATIONS):
        real = list(COMPARISONS)[number % len(COMPARISONS)]
        points, draws = simulate(real, np.random.default_rng([2022, number]))
        for cause, pairs in PAIRS.items():
            truth = EFFECT_POINTS if cause == real else 0.0
            effect = measure_effect(pairs, points, draws)
            low, high = effect.interval()
            broken_low, broken_high = interval_of_draws_alone(pairs, draws)
            rows.append(
                {
                    "cause": cause,
                    "is_real": cause == real,
                    "error": effect.effect - truth,
                    "covered": low <= truth <= high,
                    "found": judge_effect(effect.effect, low, high) == "raises",
                    "covered_by_broken": broken_low <= truth <= broken_high,
                }
            )
    return pd.DataFrame(rows)


def test_the_contrasts_change_what_they_say_and_match_the_rest():
    assert {cause: len(pairs) for cause, pairs in PAIRS.items()} == {
        "training_set_size": 6,
        "training_distribution": 15,
        "language_at_training": 6,
        "language_at_test": 6,
        "contrastive_loss": 6,
    }
    for cause, pairs in PAIRS.items():
        for other, has in HAS_CAUSE.items():
            start, end = sides(pairs)
            differs = has[end].astype(int) - has[start]
            assert (differs == (cause == other)).all(), (cause, other)


def test_the_real_cause_is_found_and_the_true_effect_covered():
    real = run_simulations().query("is_real")
    assert len(real) == SIMULATIONS
    assert 0.90 <= real["covered"].mean() <= 0.99
    assert abs(real["error"].mean()) < 0.3
    # Power: how often three seeds of 600 images are enough to see 12 points.
    assert (real.groupby("cause")["found"].mean() > 0.80).all()


@pytest.mark.parametrize("cause", COMPARISONS)
def test_a_cause_that_is_not_real_is_cleared(cause):
    null = run_simulations().query("cause == @cause and not is_real")
    assert len(null) == SIMULATIONS * 4 // 5
    assert 0.90 <= null["covered"].mean() <= 0.99
    assert abs(null["error"].mean()) < 0.5


def test_the_bounds_catch_an_interval_that_leaves_the_seeds_out():
    covered = run_simulations().groupby(["is_real", "cause"])["covered_by_broken"].mean()
    assert (covered < 0.90).all()
