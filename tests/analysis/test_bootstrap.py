"""Bootstrap draws against slow plain loops and known variances; seeds that no two draws share."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from whyrobust.analysis.bootstrap import resample_accuracies, resample_counts, seed_of


def test_draws_of_groups_equal_a_plain_loop_over_the_same_groups():
    rng = np.random.default_rng(0)
    correct = rng.random((3, 12)) < 0.5
    groups = np.array(list("aabbbcddeeff"))
    draws = resample_accuracies(correct, groups, groups, 500, seed=5)
    # Every draw must be one of the accuracies that some choice of six groups with replacement can give ...
    names = np.unique(groups)
    possible = {}
    for chosen in np.ndindex(*[6] * 6):
        if list(chosen) == sorted(chosen):
            images = np.concatenate([np.flatnonzero(groups == names[number]) for number in chosen])
            possible[tuple(np.round(correct[:, images].mean(axis=1), 9))] = True
    assert {tuple(row) for row in np.round(draws, 9)} <= possible.keys()
    # ... and repeatable, and as wide as a loop that concatenates the images of drawn groups.
    np.testing.assert_array_equal(draws, resample_accuracies(correct, groups, groups, 500, seed=5))
    many = resample_accuracies(correct, groups, groups, 20_000, seed=6)
    loop = np.array(
        [
            correct[:, np.concatenate([np.flatnonzero(groups == name) for name in rng.choice(names, 6)])].mean(axis=1)
            for _ in range(4000)
        ]
    )
    np.testing.assert_allclose(many.mean(axis=0), loop.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(np.cov(many.T), np.cov(loop.T), atol=0.004)


def test_draws_have_the_binomial_variance_and_are_paired_between_models():
    rng = np.random.default_rng(0)
    correct = rng.random((2, 1000)) < 0.3
    correct = np.vstack([correct, correct[:1], ~correct[:1]])
    images = np.arange(1000)
    draws = resample_accuracies(correct, images, images, 4000, seed=0)
    p = correct.mean(axis=1)
    np.testing.assert_allclose(draws.var(axis=0), p * (1 - p) / 1000, rtol=0.1)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 2])
    np.testing.assert_allclose(draws[:, 0], 1 - draws[:, 3])


def test_whole_groups_are_drawn():
    correct = np.repeat(np.random.default_rng(0).random((1, 100)) < 0.5, 10, axis=1)
    groups, one = np.repeat(np.arange(100), 10), np.zeros(1000, dtype=int)
    grouped = resample_accuracies(correct, groups, groups, 4000, seed=0)
    assert grouped.std() == pytest.approx((correct.mean() * (1 - correct.mean()) / 100) ** 0.5, rel=0.1)
    same = resample_accuracies(correct, one, one, 10, seed=0)
    np.testing.assert_allclose(same, correct.mean())
    # In one unit it is groups that are drawn.
    within = resample_accuracies(correct, groups, one, 4000, seed=1)
    assert within.std() == pytest.approx(grouped.std(), rel=0.05)


def draw_two_levels(correct, groups, units, resamples, rng):
    """Draw units, and in each copy of a unit its groups, image by image: the slow plain bootstrap."""
    names = sorted(set(units))
    inside = {unit: sorted({g for g, u in zip(groups, units, strict=True) if u == unit}) for unit in names}
    result = []
    for _ in range(resamples):
        images = []
        for unit in rng.choice(names, len(names)):
            for group in rng.choice(inside[unit], len(inside[unit])):
                images += [i for i in range(len(groups)) if groups[i] == group and units[i] == unit]
        result.append(correct[:, images].mean(axis=1))
    return np.array(result)


def test_draws_of_two_levels_equal_a_plain_loop():
    rng = np.random.default_rng(2)
    # Units of 1 to 4 groups of 1 to 3 images; group b has images in two units.
    units = list("XXXXXXXXYYYYYZZW")
    groups = list("aabbccdd" + "bbbef" + "gg" + "h")
    correct = rng.random((3, 16)) < np.array([0.7] * 8 + [0.2] * 5 + [0.5] * 3)
    fast = resample_accuracies(correct, np.array(groups), np.array(units), 40_000, seed=3)
    slow = draw_two_levels(correct, groups, units, 4000, rng)
    np.testing.assert_allclose(fast.mean(axis=0), slow.mean(axis=0), atol=0.012)
    np.testing.assert_allclose(np.cov(fast.T), np.cov(slow.T), atol=0.006)
    for share in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(np.quantile(fast, share, axis=0), np.quantile(slow, share, axis=0), atol=0.04)
    # Order and names of groups and units make no difference to the distribution.
    order = rng.permutation(16)
    again = resample_accuracies(correct[:, order], np.array(groups)[order], np.array(units)[order], 40_000, seed=4)
    np.testing.assert_allclose(np.cov(again.T), np.cov(fast.T), atol=0.002)


def test_draws_of_two_levels_have_the_variance_of_a_balanced_random_effects_design():
    rng = np.random.default_rng(4)
    a, b, between, within = 12, 8, 0.15, 0.3
    ratios = []
    for number in range(60):
        cells = rng.normal(0.5, between, (a, 1)) + rng.normal(0, within, (a, b))
        units, groups = np.repeat(np.arange(a), b), np.arange(a * b)
        draws = resample_accuracies(cells.reshape(1, -1), groups, units, 1000, seed=number)
        # The exact variance of the draws, given the cells.
        squares = (
            ((cells.mean(axis=1) - cells.mean()) ** 2).sum(),
            ((cells - cells.mean(axis=1, keepdims=True)) ** 2).sum(),
        )
        exact = squares[0] / a**2 + squares[1] / (a * b) ** 2
        assert draws.var() == pytest.approx(exact, rel=0.25)
        ratios.append(draws.var())
    true = between**2 / a + within**2 / (a * b)
    expected = (a - 1) / a * true + (b - 1) / b * within**2 / (a * b)
    assert np.mean(ratios) == pytest.approx(expected, rel=0.12)


def test_draws_are_fast_enough_for_a_study():
    correct = np.random.default_rng(0).random((50, 10_000)) < 0.5
    start = time.perf_counter()
    images = np.arange(10_000)
    resample_accuracies(correct, images, images // 100, 1000, seed=0)
    assert time.perf_counter() - start < 8


def test_draws_refuse_an_empty_test_set_and_misfit_groups():
    with pytest.raises(ValueError, match="no images"):
        resample_accuracies(np.zeros((2, 0), dtype=bool), [], [], 10, 0)
    with pytest.raises(ValueError, match="groups"):
        resample_accuracies(np.zeros((2, 3), dtype=bool), [1, 2], [1, 2, 3], 10, 0)
    with pytest.raises(ValueError, match="units"):
        resample_accuracies(np.zeros((2, 3), dtype=bool), [1, 2, 3], [1, 2], 10, 0)
    assert resample_accuracies(np.zeros((0, 3), dtype=bool), [1, 2, 3], [1, 1, 3], 10, 0).shape == (10, 0)


def test_draws_of_counts_are_binomial_and_independent():
    draws = resample_counts([100, 300, 0], [1000, 1000, 50], 5000, seed=0)
    assert draws.shape == (5000, 3) and not draws[:, 2].any()
    np.testing.assert_allclose(draws[:, :2].std(axis=0), [0.0095, 0.0145], rtol=0.05)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.05
    with pytest.raises(ValueError):
        resample_counts([3], 2, 10, 0)


def test_names_give_each_draw_its_own_seed_whatever_else_is_drawn():
    names = ["v2", "sketch", "v2@sketch", "v2sketch", ""]
    labels = [(), *itertools.product(names), *itertools.product(names, names), ("v2", "sketch", "")]
    firsts = {tuple(np.random.default_rng(seed_of(seed, *label)).integers(0, 2**62, 3).tolist())
              for label in labels for seed in (0, 1)}  # fmt: skip
    assert len(firsts) == 2 * len(set(labels))
    again = np.random.default_rng(seed_of(1, "images", "v2")).integers(0, 2**62)
    assert again == np.random.default_rng(seed_of(1, "images", "v2")).integers(0, 2**62)
    # Fixed for all time and on every machine: a study gives the same numbers tomorrow.
    assert np.random.default_rng(seed_of(0, "images", "sketch")).integers(0, 1000, 4).tolist() == [867, 658, 897, 570]


def test_weighted_images_count_as_copies_of_themselves():
    rng = np.random.default_rng(5)
    correct = rng.random((3, 60)) < 0.6
    groups, units = np.arange(60) // 2, np.arange(60) // 10
    copies = rng.integers(1, 5, 60)
    weighted = resample_accuracies(correct, groups, units, 200, seed=7, weights=copies)
    repeated = [np.repeat(values, copies, axis=-1) for values in (correct, groups, units)]
    np.testing.assert_allclose(weighted, resample_accuracies(*repeated, 200, seed=7))
