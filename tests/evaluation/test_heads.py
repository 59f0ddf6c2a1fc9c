"""Heads fitted on frozen embeddings, against the same objective minimised by SciPy and plain means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from whyrobust.evaluation.heads import (
    HeadError,
    fit_heads,
    fit_linear_probe,
    fit_nearest_mean,
    held_out_rows,
    score_classifier,
    score_nearest_mean,
)
from whyrobust.evaluation.scoring import predict


def blobs(images=120, dim=5, classes=4, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes, dim))
    labels = generator.integers(0, classes, images)
    features = centres[labels] + noise * generator.normal(size=(images, dim))
    return features.astype(np.float32), labels.astype(np.int64)


def test_the_probe_is_the_optimum_that_scipy_finds():
    features, labels = blobs()
    penalty = 0.03
    probe = fit_linear_probe(features, labels, 4, seed=0, penalties=[penalty])
    x = (features - features.mean(0)) / features.std(0)

    def loss(flat):
        layer = flat.reshape(6, 4)
        scores = x @ layer[:-1] + layer[-1]
        log_rate = log_softmax(scores, axis=1)
        return -log_rate[np.arange(len(x)), labels].mean() + 0.5 * penalty * (layer[:-1] ** 2).sum()

    expected = minimize(loss, np.zeros(24), method="BFGS", options={"gtol": 1e-7}).x.reshape(6, 4)
    found = log_softmax(score_classifier(features, probe.weight, probe.bias), axis=1)
    assert found == pytest.approx(log_softmax(x @ expected[:-1] + expected[-1], axis=1), abs=1e-2)
    assert probe.penalty == penalty


def test_the_penalty_is_chosen_on_held_out_training_images_and_the_fit_repeats():
    features, labels = blobs(images=300, dim=40, noise=3.0)
    first, second = (fit_linear_probe(features, labels, 4, seed=1) for _ in range(2))
    best = max(accuracy for _, accuracy in first.candidates)
    assert dict(first.candidates)[first.penalty] == best
    assert first.penalty > min(penalty for penalty, _ in first.candidates)
    assert (first.weight == second.weight).all() and (first.bias == second.bias).all()


def test_separable_data_are_learnt_and_shifted_or_scaled_features_change_nothing():
    features, labels = blobs(noise=0.01)
    for changed in (features, features * 1000 + 5, np.hstack([features, np.ones((len(features), 1), np.float32)])):
        probe = fit_linear_probe(changed.astype(np.float32), labels, 4, seed=0)
        assert (predict(score_classifier(changed.astype(np.float32), probe.weight, probe.bias)) == labels).all()


def test_classes_without_images_are_never_predicted():
    features, labels = blobs(classes=3)
    labels = labels + 2
    probe = fit_linear_probe(features, labels, 7, seed=0)
    means = fit_nearest_mean(features, labels, 7)
    everywhere = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32) * 100
    for scores in (score_classifier(everywhere, probe.weight, probe.bias), score_nearest_mean(everywhere, means)):
        assert set(predict(scores)) <= {2, 3, 4}
        assert set(predict(scores, [[0], [3]])) == {1}


def test_one_class_is_always_predicted():
    features, _ = blobs()
    labels = np.full(len(features), 2)
    probe = fit_linear_probe(features, labels, 4, seed=0)
    assert set(predict(score_classifier(features, probe.weight, probe.bias))) == {2}


def test_equal_features_give_finite_weights_and_the_commonest_class():
    features = np.ones((10, 3), dtype=np.float32)
    labels = np.array([0] * 3 + [1] * 7)
    probe = fit_linear_probe(features, labels, 2, seed=0)
    assert np.isfinite(probe.weight).all()
    assert set(predict(score_classifier(features, probe.weight, probe.bias))) == {1}


def test_nearest_mean_against_a_plain_loop():
    features, labels = blobs()
    found = fit_nearest_mean(features, labels, 4)
    for label in range(4):
        total = np.zeros(5)
        for vector in features[labels == label]:
            total += vector / np.sqrt((vector**2).sum())
        assert found[label] == pytest.approx(total / np.sqrt((total**2).sum()), abs=1e-5)
    cosines = score_nearest_mean(features, found)
    assert cosines[3, 1] == pytest.approx(features[3] @ found[1] / np.linalg.norm(features[3]), abs=1e-5)


def test_held_out_rows_keep_an_image_of_every_class():
    labels = np.repeat(np.arange(30), np.arange(1, 31))
    chosen = held_out_rows(labels, 0.2, seed=3)
    assert set(labels[~chosen]) == set(range(30))
    assert chosen.mean() == pytest.approx(0.2, abs=0.03)
    assert (held_out_rows(labels, 0.2, seed=3) == chosen).all()
    assert not (held_out_rows(labels, 0.2, seed=4) == chosen).all()


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (np.ones((3, 2)), np.array([0, 1]), r"\[3, 2\]"),
        (np.ones((0, 2)), np.zeros(0, dtype=int), "no labelled image"),
        (np.full((2, 2), np.nan), np.array([0, 1]), "2 of 2"),
        (np.ones((2, 2)), np.array([0, 9]), "0 to 9"),
    ],
)
def test_what_cannot_be_fitted_is_said(features, labels, words):
    for fit in (lambda *a: fit_nearest_mean(*a), lambda *a: fit_linear_probe(*a, seed=0)):
        with pytest.raises(HeadError, match=words):
            fit(features.astype(np.float32), labels, 3)
    with pytest.raises(HeadError, match="penalties"):
        fit_linear_probe(np.ones((2, 2), np.float32), np.array([0, 1]), 2, seed=0, penalties=[0.0])


def test_heads_of_a_run_are_fitted_on_the_labelled_images_of_their_source():
    features, labels = blobs()
    names = ["ant", "bee", "cat", "dog"]
    given = [names[label] if row % 5 else None for row, label in enumerate(labels)]
    heads = [{"head": kind, "fitted_on": "own"} for kind in ("nearest_mean", "linear_probe")]
    weights, penalties = fit_heads(heads, {"fitting.own": features}, {"own": given}, names, seed=0)
    rows = np.arange(len(labels)) % 5 > 0
    assert (weights["nearest_mean.own"] == fit_nearest_mean(features[rows], labels[rows], 4)).all()
    probe = fit_linear_probe(features[rows], labels[rows], 4, seed=0)
    assert (weights["linear_probe.own.weight"] == probe.weight).all()
    assert penalties.loc[penalties["chosen"], "penalty"].tolist() == [probe.penalty]
    _, none = fit_heads(heads[:1], {"fitting.own": features}, {"own": given}, names, seed=0)
    assert none.empty and list(none) == ["penalty", "held_out_accuracy", "fitted_on", "chosen"]
