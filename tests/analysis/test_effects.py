"""Effects of comparisons: whether the interval covers the truth as often as it claims, and the table of causes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from tests.study.test_comparisons import make_rows
from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.bootstrap import resample_accuracies
from whyrobust.analysis.effective_robustness import measure_effective_robustness
from whyrobust.analysis.effects import attribute_causes, estimate_variance, match_comparisons, measure_effect
from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.comparisons import Comparison, Pair


def make_runs() -> pd.DataFrame:
    return pd.DataFrame(make_rows()).sample(frac=1, random_state=0)


def make_pairs(start, end, seeds) -> list[Pair]:
    return [Pair((int(first),), int(second), seed) for first, second, seed in zip(start, end, seeds, strict=True)]


# --- measure_effect ----------------------------------------------------------------------------------------


def test_the_effect_is_a_mean_over_seeds_of_means_over_pairs():
    pairs = make_pairs([0, 0, 2], [1, 3, 3], ["a", "a", "b"])
    points = np.array([0.0, 1.0, 2.0, 9.0])
    effect = measure_effect(pairs, points, np.tile(points, (10, 1)))
    assert effect.effect == pytest.approx(((1 + 9) / 2 + 7) / 2)
    assert (effect.pairs, effect.seeds) == (3, 2)


def test_without_image_noise_the_interval_is_the_paired_t_interval():
    rng = np.random.default_rng(0)
    points = rng.normal(size=10)
    pairs = make_pairs(range(5), range(5, 10), range(5))
    effect = measure_effect(pairs, points, np.tile(points, (50, 1)))
    difference = points[5:] - points[:5]
    low, high = student.interval(0.9, 4, difference.mean(), difference.std(ddof=1) / 5**0.5)
    assert effect.interval(0.9) == pytest.approx((low, high))


def test_noise_shared_by_all_seeds_is_added_and_a_seeds_own_is_not_counted_twice():
    rng = np.random.default_rng(1)
    points = np.array([0.0, 0, 0, 1, 2, 3])
    pairs = make_pairs([0, 1, 2], [3, 4, 5], [1, 2, 3])
    shared, own = rng.normal(0, 2.0, (20_000, 1)), rng.normal(0, 1.5, (20_000, 3))
    draws = np.hstack([np.zeros((20_000, 3)), points[3:] + shared + own])
    effect = measure_effect(pairs, points, draws)
    between, common = 1.0 / 3, 2.0**2
    freedom = (between + common) ** 2 / (between**2 / 2)
    half = student.ppf(0.975, freedom) * (between + common) ** 0.5
    assert effect.interval()[1] - effect.effect == pytest.approx(half, rel=0.03)


def test_a_single_seed_gives_an_effect_without_an_interval():
    pairs = make_pairs([0, 1], [2, 3], [7, 7])
    effect = measure_effect(pairs, np.array([0.0, 0, 2, 4]), np.random.default_rng(0).normal(size=(20, 4)))
    assert effect.effect == 3 and np.isnan(effect.interval()).all()


def test_missing_effective_robustness_stays_missing_and_bad_draws_are_left_out():
    pairs = make_pairs([0, 1], [2, 3], [1, 2])
    draws = np.random.default_rng(0).normal(size=(50, 4))
    broken = np.vstack([draws, np.full((5, 4), np.nan)])
    points = np.array([0.0, 0, 2, 4])
    effects = [measure_effect(pairs, points, some) for some in (broken, draws)]
    assert effects[0].effect == effects[1].effect and effects[0].interval() == effects[1].interval()
    missing = measure_effect(pairs, np.array([np.nan, 0, 2, 4]), draws)
    assert np.isnan([missing.effect, *missing.interval()]).all() and missing.pairs == 2
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        measure_effect(pairs, points[:3], draws[:, :3])


def test_variances_of_two_quantities_are_those_of_any_weighted_sum_of_them():
    # What holds of an effect alone holds of effect - share * gap.
    rng = np.random.default_rng(2)
    by_seed, shared = rng.normal(size=(2, 4)), rng.normal(size=(2, 500, 1))
    by_draw = by_seed[:, None] + shared + 0.1 * rng.normal(size=(2, 500, 4))
    both, weights = estimate_variance(by_seed, by_draw), np.array([1.0, -0.7])
    alone = estimate_variance((weights @ by_seed)[None], np.tensordot(weights, by_draw, 1)[None])
    assert both.half_width(weights, 0.95) == pytest.approx(alone.half_width(np.ones(1), 0.95))


# --- Coverage -----------------------------------------------------------------------------------------------

STANDARD_MODELS = 8
IMAGES = 200
DRAWS = 120


def simulate(seeds: int, effect: float, seed_noise: float, rng: np.random.Generator):
    """One study with a known effect (a fraction), from images to draws, by the package's own functions.

    Accuracy under shift is a straight line of in-distribution accuracy for standard models, plus scatter. The
    end side lies ``effect`` above the line. Each image has a difficulty for all models, and one for the end
    side alone: this makes noise that seeds share, which more seeds cannot average away.
    """
    ability = np.concatenate([np.linspace(0.35, 0.75, STANDARD_MODELS), np.full(seeds, 0.55), np.full(seeds, 0.50)])
    is_end = np.arange(ability.size) >= STANDARD_MODELS + seeds
    ability[STANDARD_MODELS:] += rng.normal(0, seed_noise, 2 * seeds)
    shift_ability = 0.8 * ability - 0.02 + effect * is_end
    shift_ability[:STANDARD_MODELS] += rng.normal(0, 0.01, STANDARD_MODELS)
    shift_ability[STANDARD_MODELS:] += rng.normal(0, seed_noise, 2 * seeds)
    correct = []
    for mean in (ability, shift_ability):
        difficulty = rng.uniform(-0.1, 0.1, IMAGES) + is_end[:, None] * rng.uniform(-0.15, 0.15, IMAGES)
        correct.append(rng.random((mean.size, IMAGES)) < mean[:, None] + difficulty)
    id_correct, shift_correct = correct
    standard = np.arange(ability.size) < STANDARD_MODELS
    x, y = id_correct.mean(axis=1), shift_correct.mean(axis=1)
    first, second, third = rng.integers(0, 2**31, 3)
    accuracies = ShiftAccuracies(
        x[:, None],
        y,
        resample_accuracies(id_correct, np.arange(IMAGES), np.arange(IMAGES), DRAWS, first)[:, :, None],
        resample_accuracies(shift_correct, np.arange(IMAGES), np.arange(IMAGES), DRAWS, second),
        standard,
    )
    measured = measure_effective_robustness(accuracies, scale="linear", seed=third)
    start = STANDARD_MODELS + np.arange(seeds)
    pairs = make_pairs(start, start + seeds, range(seeds))
    return pairs, measured.points, measured.draws


def percentile_over_seeds(pairs, points, draws, rng):
    """The usual alternative: resample the seeds in each draw of the images, take percentiles."""
    start, end = ([pair.starts[0] for pair in pairs], [pair.end for pair in pairs])
    difference = draws[:, end] - draws[:, start]
    chosen = rng.integers(0, len(pairs), (len(difference), len(pairs)))
    return np.quantile(np.take_along_axis(difference, chosen, axis=1).mean(axis=1), [0.025, 0.975])


@cache
def coverage(seeds: int, effect: float, seed_noise: float, repeats: int) -> tuple[float, float]:
    rng = np.random.default_rng([seeds, round(1000 * effect), round(1000 * seed_noise)])
    ours, percentile = 0, 0
    for _ in range(repeats):
        pairs, points, draws = simulate(seeds, effect, seed_noise, rng)
        low, high = measure_effect(pairs, points, draws).interval()
        ours += low <= 100 * effect <= high
        low, high = percentile_over_seeds(pairs, points, draws, rng)
        percentile += low <= 100 * effect <= high
    return ours / repeats, percentile / repeats


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("effect", [0.0, 0.08])
def test_the_interval_covers_the_truth_as_often_as_it_claims(seeds, effect):
    covered, _ = coverage(seeds, effect, 0.04, 500)
    assert 0.90 <= covered <= 0.99


def test_a_percentile_bootstrap_of_three_seeds_covers_too_seldom():
    # Test images without noise: all that varies is the seed. This is the claim of the docstring.
    rng = np.random.default_rng(4)
    pairs = make_pairs([0, 0, 0], [1, 2, 3], [1, 2, 3])
    ours, percentile = 0, 0
    for _ in range(400):
        points = np.append(0.0, rng.normal(0, 1, 3))
        draws = np.tile(points, (300, 1))
        low, high = measure_effect(pairs, points, draws).interval()
        ours += low <= 0 <= high
        low, high = percentile_over_seeds(pairs, points, draws, rng)
        percentile += low <= 0 <= high
    assert percentile / 400 < 0.85
    assert 0.92 <= ours / 400 <= 0.98


# --- The table ----------------------------------------------------------------------------------------------


def make_comparison(name: str, end: str) -> Comparison:
    return Comparison(
        cause="training_distribution",
        name=name,
        start={"source": "studio"},
        end={"source": end},
        where={"head": "classifier"},
        holds_fixed="size, objective, head",
    )


def test_every_contrast_has_a_row_for_every_shift_even_without_pairs():
    runs = make_runs()
    rng = np.random.default_rng(0)
    web = 5.0 * (runs["source"] == "web").to_numpy()
    measurements = {
        shift: (web + offset, web + offset + rng.normal(0, 0.1, (100, len(runs))))
        for shift, offset in (("v2", 0.0), ("sketch", 3.0))
    }
    table = attribute_causes(
        [make_comparison("web - studio", "web"), make_comparison("moon - studio", "moon")], runs, measurements
    )
    assert table[["comparison", "shift"]].to_numpy().tolist() == [
        ["web - studio", "v2"],
        ["web - studio", "sketch"],
        ["moon - studio", "v2"],
        ["moon - studio", "sketch"],
    ]
    assert table["effect_points"][:2].tolist() == [5.0, 5.0]
    assert table["pairs"].tolist() == [6, 6, 0, 0] and table["seeds"].tolist() == [3, 3, 0, 0]
    assert table.loc[2:, ["effect_points", "low_points", "high_points"]].isna().all(axis=None)
    first = table.iloc[0]
    assert judge_effect(first["effect_points"], first["low_points"], first["high_points"]) == "raises"
    with pytest.raises(ValueError, match="v2"):
        attribute_causes([], runs.iloc[1:], measurements)
    with pytest.raises(ValueError, match="web - studio"):
        attribute_causes([make_comparison("web - studio", "web")], runs.drop(columns="source"), measurements)


def test_pairs_do_not_depend_on_the_index_of_the_table():
    runs, comparisons = make_runs(), [make_comparison("web - studio", "web")]
    pairs = match_comparisons(comparisons, runs)
    assert pairs == match_comparisons(comparisons, runs.reset_index(drop=True)) and len(pairs[0]) == 6
    assert runs["source"].iloc[[pair.end for pair in pairs[0]]].eq("web").all()
