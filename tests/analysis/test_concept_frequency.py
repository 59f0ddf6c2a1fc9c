"""Concept frequency: counts by hand, and the fit against a plain implementation, image by image."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import t as student

from whyrobust.analysis.concept_frequency import count_concepts, fit_concepts, fit_frequency

RNG = np.random.default_rng(5)
TRAIN = RNG.integers(1, 400, 30).astype(float)
IMAGES = RNG.integers(3, 40, 30).astype(float)
CORRECT = RNG.binomial(IMAGES.astype(int), 1 / (1 + np.exp(1.0 - 0.8 * np.log10(TRAIN)))).astype(float)


def plain_fit(train_images, images, correct):
    """Return intercept and slope: the likelihood of every image by itself, minimised without derivatives."""
    points = [
        (math.log10(trained), answer)
        for trained, n, k in zip(train_images, images, correct, strict=True)
        for answer in [1] * int(k) + [0] * int(n - k)
    ]

    def loss(beta):
        return sum(math.log1p(math.exp(-(2 * answer - 1) * (beta[0] + beta[1] * x))) for x, answer in points)

    found = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000})
    return found.x


def test_the_slope_is_that_of_a_likelihood_image_by_image():
    fit = fit_frequency(TRAIN, IMAGES, CORRECT)
    assert fit.slope == pytest.approx(plain_fit(TRAIN, IMAGES, CORRECT)[1], abs=1e-5)
    assert (fit.classes, fit.classes_without_images) == (30, 0)


def test_the_interval_is_the_jackknife_over_classes_in_one_step():
    """HC3 written out class by class, and close to a jackknife that fits again without each class."""
    fit = fit_frequency(TRAIN, IMAGES, CORRECT, confidence=0.9)
    intercept, slope = plain_fit(TRAIN, IMAGES, CORRECT)
    bread, meat = np.zeros((2, 2)), np.zeros((2, 2))
    rows = []
    for trained, n, k in zip(TRAIN, IMAGES, CORRECT, strict=True):
        x = np.array([1.0, math.log10(trained)])
        p = 1 / (1 + math.exp(-(intercept + slope * x[1])))
        bread += n * p * (1 - p) * np.outer(x, x)
        rows.append((x, n, k, p))
    for x, n, k, p in rows:
        leverage = n * p * (1 - p) * (x @ np.linalg.inv(bread) @ x)
        meat += np.outer(x, x) * ((k - n * p) / (1 - leverage)) ** 2
    error = math.sqrt((np.linalg.inv(bread) @ meat @ np.linalg.inv(bread))[1, 1])
    half = student.ppf(0.95, 28) * error
    assert (fit.low, fit.high) == pytest.approx((fit.slope - half, fit.slope + half), abs=1e-4)

    left_out = [
        plain_fit(np.delete(TRAIN, one), np.delete(IMAGES, one), np.delete(CORRECT, one))[1] for one in range(30)
    ]
    assert error == pytest.approx(math.sqrt(sum((value - slope) ** 2 for value in left_out)), rel=0.1)


def test_the_interval_covers_the_truth_where_classes_are_easier_or_harder_than_their_frequency_says():
    covered = 0
    for _ in range(400):
        train = 10 ** RNG.uniform(0.5, 2.5, 60)
        p = 1 / (1 + np.exp(-(-1.0 + 0.7 * np.log10(train) + RNG.normal(0, 0.3, 60))))
        correct = RNG.binomial(30, p).astype(float)
        fit = fit_frequency(train, np.full(60, 30.0), correct)
        covered += fit.low <= 0.7 <= fit.high
    assert 0.92 <= covered / 400 <= 0.98


def test_classes_without_training_images_are_left_out_and_counted():
    fit = fit_frequency(np.append(TRAIN, 0.0), np.append(IMAGES, 5.0), np.append(CORRECT, 5.0))
    assert fit.slope == fit_frequency(TRAIN, IMAGES, CORRECT).slope and fit.classes_without_images == 1


@pytest.mark.parametrize(
    ("train", "correct"),
    [([5, 5, 5, 5, 5], [1, 2, 3, 1, 2]), ([1, 2, 3, 4, 5], [0] * 5), ([1, 10, 100, 1000, 9], [0, 0, 4, 4, 0])],
)
def test_counts_that_cannot_tell_have_no_slope(train, correct):
    """No variation of frequency, no right answer, and classes that frequency separates."""
    fit = fit_frequency(np.array(train, float), np.full(5, 4.0), np.array(correct, float))
    assert np.isnan([fit.slope, fit.low, fit.high]).all() and fit.classes == 5


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="more right answers"):
        fit_frequency(TRAIN, IMAGES, IMAGES + 1)


def test_training_images_are_counted_by_class_and_added_up_for_a_label_of_several():
    runs = pd.DataFrame(
        {"run": ["a", "b", "p"], "source": ["s", "t", "u"], "objective": ["clip"] * 3, "seed": [0, 1, 0]}
    )
    accuracy = pd.DataFrame(
        [("a", "x", "cup", 4, 1), ("a", "x", "cup;mug", 2, 2), ("b", "x", "cup", 4, 3), ("p", "x", "cup", 4, 4)],
        columns=["run", "test_set", "label", "images", "correct"],
    )
    labels = {"a": ["cup", "mug", "cup", None, "sun"], "b": ["mug"]}
    table = count_concepts(accuracy, runs, labels, ";")
    assert table.to_dict("split")["data"] == [
        ["a", "s", "clip", 0, "x", "cup", 2, 4, 0.25],
        ["a", "s", "clip", 0, "x", "cup;mug", 3, 2, 1.0],
        ["b", "t", "clip", 1, "x", "cup", 0, 4, 0.75],
    ]


def test_every_run_and_test_set_is_fitted():
    one = pd.DataFrame({"class": range(30), "train_images": TRAIN, "images": IMAGES, "accuracy": CORRECT / IMAGES})
    both = [one.assign(run="r", source="s", objective="clip", seed=0, test_set=name) for name in ("x", "y")]
    fits = fit_concepts(pd.concat(both), 0.95)
    expected = fit_frequency(TRAIN, IMAGES, CORRECT)
    assert fits["test_set"].tolist() == ["x", "y"]
    assert fits[["slope", "low", "high"]].to_numpy() == pytest.approx(
        np.tile([expected.slope, expected.low, expected.high], (2, 1))
    )
