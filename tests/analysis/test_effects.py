"""Effects of comparisons: whether the interval covers the truth as often as it claims, and the table of causes."""

from __future__ import annotations

import statistics
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from tests.study.test_comparisons import make_rows
from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.bootstrap import resample_accuracies
from whyrobust.analysis.effective_robustness import measure_effective_robustness
from whyrobust.analysis.effects import (
    Effect,
    contrast_pairs,
    estimate_variance,
    match_comparisons,
    measure_effects,
    overlap_of,
    satterthwaite,
)
from whyrobust.analysis.intervals import moderate_variances
from whyrobust.study.comparisons import Comparison, Pair


def make_runs() -> pd.DataFrame:
    return pd.DataFrame(make_rows()).sample(frac=1, random_state=0)


def make_pairs(start, end, seeds) -> list[Pair]:
    return [Pair((int(first),), int(second), seed) for first, second, seed in zip(start, end, seeds, strict=True)]


def effect_of(pairs, values, draws=None, shared_freedom=np.inf) -> Effect:
    """The effect of one comparison alone, whose variance is not moderated."""
    contrasts = contrast_pairs(pairs, np.zeros(len(values)))
    return measure_effects([contrasts], values, draws, shared_freedom)[0]


# --- Contrasts ----------------------------------------------------------------------------------------------


def test_a_pair_is_a_difference_of_two_models():
    contrasts = contrast_pairs(make_pairs([0, 2], [1, 3], ["a", "b"]), np.array([0.1, np.nan, np.inf, 0.0]))
    assert contrasts.weights.tolist() == [[-1, 1, 0, 0], [0, 0, -1, 1]]
    assert (contrasts.seeds, contrasts.left_out) == (("a", "b"), 0)
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        contrast_pairs(make_pairs([0], [3], [1]), np.zeros(3))


def test_runs_stopped_early_are_interpolated_at_the_accuracy_of_the_end():
    # Rows 0 to 3 are one run, stopped four times, in any order; 4 lies between two of its stops, 5 and 6 outside.
    accuracies = np.array([0.0, 2.0, -1.0, np.nan, 0.5, 2.1, -1.1])
    pairs = [Pair((0, 1, 2, 3), end, seed) for seed, end in enumerate((4, 5, 6))]
    contrasts = contrast_pairs(pairs, accuracies)
    assert contrasts.left_out == 2 and contrasts.seeds == (0,)
    np.testing.assert_allclose(contrasts.weights, [[-0.75, -0.25, 0, 0, 1, 0, 0]])
    # Where the value follows accuracy, there is no difference at equal accuracy; and numpy interpolates the same.
    np.testing.assert_allclose(contrasts.weights @ np.nan_to_num(3 * accuracies - 7 * np.isfinite(accuracies)), [0])
    values = np.random.default_rng(0).normal(size=7)
    start = np.interp(0.5, accuracies[[2, 0, 1]], values[[2, 0, 1]])
    np.testing.assert_allclose(contrasts.weights @ values, [values[4] - start])
    ends = contrast_pairs([Pair((0, 1, 2), 3, 0)], np.array([0.0, 2.0, -1.0, 2.0]))
    np.testing.assert_allclose(ends.weights, [[0, -1, 0, 1]])


def test_an_effect_at_matched_accuracy_may_have_no_pair_left():
    contrasts = contrast_pairs([Pair((0, 1), 2, 0)], np.array([0.0, 1.0, 2.0]))
    (effect,) = measure_effects([contrasts], np.zeros(3))
    assert np.isnan(effect.effect) and effect.pairs == 0 and contrasts.left_out == 1


# --- One effect ---------------------------------------------------------------------------------------------


def test_the_effect_is_a_mean_over_seeds_of_means_over_pairs():
    pairs = make_pairs([0, 0, 2], [1, 3, 3], ["a", "a", "b"])
    points = np.array([0.0, 1.0, 2.0, 9.0])
    effect = effect_of(pairs, points, np.tile(points, (10, 1)))
    assert effect.effect == pytest.approx(((1 + 9) / 2 + 7) / 2)
    assert (effect.pairs, effect.seeds) == (3, 2)


def test_without_image_noise_the_interval_is_the_paired_t_interval():
    rng = np.random.default_rng(0)
    points = rng.normal(size=10)
    pairs = make_pairs(range(5), range(5, 10), range(5))
    difference = points[5:] - points[:5]
    expected = student.interval(0.9, 4, difference.mean(), difference.std(ddof=1) / 5**0.5)
    assert effect_of(pairs, points, np.tile(points, (50, 1))).interval(0.9) == pytest.approx(expected)
    assert effect_of(pairs, points).interval(0.9) == pytest.approx(expected)


def test_noise_shared_by_all_seeds_is_added_and_a_seeds_own_is_not_counted_twice():
    rng = np.random.default_rng(1)
    points = np.array([0.0, 0, 0, 1, 2, 3])
    pairs = make_pairs([0, 1, 2], [3, 4, 5], [1, 2, 3])
    shared, own = rng.normal(0, 2.0, (20_000, 1)), rng.normal(0, 1.5, (20_000, 3))
    draws = np.hstack([np.zeros((20_000, 3)), points[3:] + shared + own])
    between, common = 1.0 / 3, 2.0**2
    # The share of the variance between seeds is raised by 1 / (its degrees of freedom).
    raised = between * 1.5
    for units_less_one in (np.inf, 5.0):
        effect = effect_of(pairs, points, draws, units_less_one)
        freedom = (raised + common) ** 2 / (raised**2 / 2 + common**2 / units_less_one)
        half = student.ppf(0.975, freedom) * (between + common) ** 0.5
        assert effect.interval()[1] - effect.effect == pytest.approx(half, rel=0.03)


def test_a_single_seed_gives_an_effect_without_an_interval():
    pairs = make_pairs([0, 1], [2, 3], [7, 7])
    effect = effect_of(pairs, np.array([0.0, 0, 2, 4]), np.random.default_rng(0).normal(size=(20, 4)))
    assert effect.effect == 3 and np.isnan(effect.interval()).all()


def test_missing_values_stay_missing_and_bad_draws_are_left_out():
    pairs = make_pairs([0, 1], [2, 3], [1, 2])
    draws = np.random.default_rng(0).normal(size=(50, 4))
    broken = np.vstack([draws, np.full((5, 4), np.nan)])
    points = np.array([0.0, 0, 2, 4])
    effects = [effect_of(pairs, points, some) for some in (broken, draws)]
    assert effects[0].effect == effects[1].effect and effects[0].interval() == effects[1].interval()
    missing = effect_of(pairs, np.array([np.nan, 0, 2, 4]), draws)
    assert np.isnan([missing.effect, *missing.interval()]).all() and missing.pairs == 2
    # A model that is in no pair may lack what it likes.
    beside = effect_of(pairs, np.append(points, np.nan), np.hstack([draws, np.full((50, 1), np.nan)]))
    assert beside == effects[1]
    with pytest.raises(ValueError, match="4 models"):
        measure_effects([contrast_pairs(pairs, np.zeros(4))], points[:3], draws[:, :3])


def test_equal_differences_have_no_error():
    effect = effect_of(make_pairs([0, 1], [2, 3], [1, 2]), np.array([0.0, 0, 2, 2]))
    assert effect.interval() == (2.0, 2.0)


def test_welch_and_satterthwaite():
    # Two samples of equal size and variance: n1 + n2 - 2.
    assert satterthwaite(0.3, 7, 0.3, 7) == pytest.approx(14)
    assert satterthwaite(0.3, 7, 0.0, 1) == pytest.approx(7)
    assert satterthwaite(0.0, 1, 0.3, np.inf) == np.inf
    assert satterthwaite(1e-200, 4, 1e-200, np.inf) == pytest.approx(16)


# --- Several effects together -------------------------------------------------------------------------------


def plain_moderation(variances: list[float], degrees: float) -> tuple[list[float], float]:
    """Moderated variances of comparisons that share nothing, with equal degrees of freedom, step by step in numbers.

    The prior's degrees of freedom are found by bisection on the trigamma function, not by Newton's method.
    """
    count = len(variances)
    logs = [np.log(value) - digamma(degrees / 2) + np.log(degrees / 2) for value in variances]
    mean = sum(logs) / count
    excess = sum((value - mean) ** 2 for value in logs) / (count - 1) - polygamma(1, degrees / 2)
    pooled, pooled_degrees = sum(variances) / count, count * degrees
    if excess <= 0:
        return [pooled] * count, pooled_degrees
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if polygamma(1, middle) > excess else (low, middle)
    prior_degrees = 2 * low
    prior = np.exp(mean + digamma(prior_degrees / 2) - np.log(prior_degrees / 2))
    if pooled > prior:
        weight = min(1.0, 2.0 / pooled_degrees**0.5)
        prior = weight * pooled + (1 - weight) * prior
    moderated = [(prior_degrees * prior + degrees * value) / (prior_degrees + degrees) for value in variances]
    return moderated, min(degrees + prior_degrees, pooled_degrees)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_effects_of_a_shift_are_as_computed_step_by_step(spread):
    rng = np.random.default_rng(3)
    comparisons, seeds = 6, 4
    rows = np.arange(2 * comparisons * seeds).reshape(2, comparisons, seeds)
    deviation = np.exp(spread * rng.normal(size=comparisons))
    values = rng.normal(size=rows.size) * np.tile(np.repeat(deviation, seeds), 2)
    draws = values + 0.5 * rng.normal(size=(300, 1)) * rng.uniform(size=rows.size) + rng.normal(size=(300, rows.size))
    pairs = [make_pairs(rows[0, number], rows[1, number], range(seeds)) for number in range(comparisons)]
    found = measure_effects([contrast_pairs(some, np.zeros(rows.size)) for some in pairs], values, draws, 9.0)

    differences = [[values[pair.end] - values[pair.starts[0]] for pair in some] for some in pairs]
    variances = [statistics.variance(some) for some in differences]
    moderated, freedom = plain_moderation(variances, seeds - 1)
    for number, some in enumerate(pairs):
        drawn = [draws[:, pair.end] - draws[:, pair.starts[0]] for pair in some]
        covariances = [np.cov(drawn[a], drawn[b])[0, 1] for a in range(seeds) for b in range(seeds) if a != b]
        shared = max(0.0, statistics.mean(covariances))
        own = moderated[number] / seeds
        raised = max(own, statistics.mean(variances) / seeds) * (1 + 1 / freedom)
        expected = Effect(
            effect=statistics.mean(differences[number]),
            error=(own + shared) ** 0.5,
            freedom=(raised + shared) ** 2 / (raised**2 / freedom + shared**2 / 9.0),
            pairs=seeds,
            seeds=seeds,
        )
        assert vars(found[number]) == pytest.approx(vars(expected), rel=1e-6)


def test_moderated_variances_of_many_comparisons_are_nearly_smyths():
    # With 2,000 comparisons his prior is found again, and the mends for few change little.
    rng = np.random.default_rng(4)
    true = 6.0 * 2.0 / rng.chisquare(6, 2000)
    own = true * rng.chisquare(3, 2000) / 3
    moderated, degrees = moderate_variances(own, np.full(2000, 3.0))
    assert degrees == pytest.approx(np.full(2000, 9.0), rel=0.15)
    np.testing.assert_allclose(moderated, (6 * 2.0 + 3 * own) / 9, rtol=0.1)
    assert np.mean((np.log(moderated) - np.log(true)) ** 2) < np.mean((np.log(own) - np.log(true)) ** 2) / 2


def test_few_variances_never_have_more_degrees_of_freedom_than_all_together():
    # They scatter hardly more than chance: Smyth's prior would have more than 100 degrees of freedom.
    variances = np.exp([-0.8124, 0.0, 0.8124])
    moderated, degrees = moderate_variances(variances, np.full(3, 4.0))
    assert degrees.tolist() == [12.0] * 3 and np.ptp(moderated) > 0
    assert [found.tolist() for found in moderate_variances(variances[:2], np.full(2, 4.0))] == [
        variances[:2].tolist(),
        [4.0, 4.0],
    ]


def test_comparisons_that_share_runs_have_fewer_degrees_of_freedom_together():
    accuracies = np.zeros(9)
    apart = [contrast_pairs(make_pairs([3 * number], [3 * number + 1], [0]), accuracies) for number in range(3)]
    np.testing.assert_allclose(overlap_of(apart), np.eye(3))
    together = [contrast_pairs(make_pairs([0], [end], [0]), accuracies) for end in (1, 2, 3)]
    np.testing.assert_allclose(overlap_of(together), np.full((3, 3), 0.25) + 0.75 * np.eye(3))
    degrees = np.full(3, 2.0)
    pooled = [moderate_variances(np.ones(3), degrees, overlap_of(some))[1] for some in (apart, together)]
    np.testing.assert_allclose(pooled, [np.full(3, 6.0), np.full(3, 36 / (2 * 4.5))])
    # What the degrees of freedom mean: how much the mean of such variances varies.
    rng = np.random.default_rng(5)
    models = rng.normal(size=(20_000, 3, 4))
    variances = (models[:, :, 1:] - models[:, :, :1]).var(axis=1, ddof=1).mean(axis=1)
    assert 2 * variances.mean() ** 2 / variances.var() == pytest.approx(4.0, rel=0.05)


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
        low, high = effect_of(pairs, points, draws).interval()
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
        low, high = effect_of(pairs, points, draws).interval()
        ours += low <= 0 <= high
        low, high = percentile_over_seeds(pairs, points, draws, rng)
        percentile += low <= 0 <= high
    assert percentile / 400 < 0.85
    assert 0.92 <= ours / 400 <= 0.98


# --- Pairs of a table of runs --------------------------------------------------------------------------------


def make_comparison(name: str, end: str) -> Comparison:
    return Comparison(
        cause="training_distribution",
        name=name,
        start={"source": "studio"},
        end={"source": end},
        where={"head": "classifier"},
        holds_fixed="size, objective, head",
    )


def test_pairs_do_not_depend_on_the_index_of_the_table():
    runs, comparisons = make_runs(), [make_comparison("web - studio", "web")]
    pairs = match_comparisons(comparisons, runs)
    assert pairs == match_comparisons(comparisons, runs.reset_index(drop=True)) and len(pairs[0]) == 6
    assert runs["source"].iloc[[pair.end for pair in pairs[0]]].eq("web").all()
