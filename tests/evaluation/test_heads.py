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


def alone(images):
    """Return a drawing of its own for each image."""
    return [str(number) for number in range(images)]


def blobs(images=120, dim=5, classes=4, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes, dim))
    labels = generator.integers(0, classes, images)
    features = centres[labels] + noise * generator.normal(size=(images, dim))
    return features.astype(np.float32), labels.astype(np.int64)


def test_the_probe_is_the_optimum_that_scipy_finds():
    features, labels = blobs()
    penalty = 0.03
    probe = fit_linear_probe(features, labels, 4, alone(len(labels)), seed=0, penalties=[penalty])
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
    first, second = (fit_linear_probe(features, labels, 4, alone(300), seed=1) for _ in range(2))
    accuracies = {penalty: accuracy for penalty, accuracy, _ in first.candidates}
    assert accuracies[first.penalty] == max(accuracies.values())
    assert first.penalty > min(accuracies)
    assert (first.weight == second.weight).all() and (first.bias == second.bias).all()


def test_separable_data_are_learnt_and_shifted_or_scaled_features_change_nothing():
    features, labels = blobs(noise=0.01)
    for changed in (features, features * 1000 + 5, np.hstack([features, np.ones((len(features), 1), np.float32)])):
        probe = fit_linear_probe(changed.astype(np.float32), labels, 4, alone(len(labels)), seed=0)
        assert (predict(score_classifier(changed.astype(np.float32), probe.weight, probe.bias)) == labels).all()


def test_classes_without_images_are_never_predicted():
    features, labels = blobs(classes=3)
    labels = labels + 2
    probe = fit_linear_probe(features, labels, 7, alone(len(labels)), seed=0)
    means = fit_nearest_mean(features, labels, 7)
    everywhere = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32) * 100
    for scores in (score_classifier(everywhere, probe.weight, probe.bias), score_nearest_mean(everywhere, means)):
        assert set(predict(scores)) <= {2, 3, 4}
        assert set(predict(scores, [[0], [3]])) == {1}


def test_one_class_is_always_predicted():
    features, _ = blobs()
    labels = np.full(len(features), 2)
    probe = fit_linear_probe(features, labels, 4, alone(len(labels)), seed=0)
    assert set(predict(score_classifier(features, probe.weight, probe.bias))) == {2}


def test_equal_features_give_finite_weights_and_the_commonest_class():
    features = np.ones((10, 3), dtype=np.float32)
    labels = np.array([0] * 3 + [1] * 7)
    probe = fit_linear_probe(features, labels, 2, alone(10), seed=0)
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


def test_whole_drawings_are_held_out_and_a_class_keeps_one():
    drawings = np.repeat(np.arange(30), np.arange(1, 31))
    groups = np.repeat([f"drawing {number}" for number in range(len(drawings))], 3)
    labels = np.repeat(drawings, 3)
    chosen = held_out_rows(labels, groups.tolist(), 0.2, seed=3)
    assert set(labels[~chosen]) == set(range(30))
    assert chosen.mean() == pytest.approx(0.2, abs=0.03)
    assert not set(groups[chosen]) & set(groups[~chosen])
    for label in range(30):
        held = len(set(groups[chosen & (labels == label)]))
        assert held == round(0.2 * (label + 1)), "a share of the drawings of each class"
    assert (held_out_rows(labels, groups.tolist(), 0.2, seed=3) == chosen).all()
    assert not (held_out_rows(labels, groups.tolist(), 0.2, seed=4) == chosen).all()
    back = held_out_rows(labels[::-1], groups[::-1].tolist(), 0.2, seed=3)
    assert (back[::-1] == chosen).all(), "names decide, not positions"


def test_copies_of_a_drawing_do_not_make_the_weakest_penalty_the_best():
    """Labels that say nothing: a probe that learns drawings by heart is right on copies, and on no other drawing."""
    rng = np.random.default_rng(0)
    drawings = rng.normal(size=(60, 80)).astype(np.float32)
    labels = np.repeat(rng.integers(0, 2, 60), 4)
    features = np.repeat(drawings, 4, axis=0) + 0.01 * rng.normal(size=(240, 80)).astype(np.float32)
    by_row = fit_linear_probe(features, labels, 2, alone(240), seed=0)
    by_drawing = fit_linear_probe(features, labels, 2, [str(row // 4) for row in range(240)], seed=0)
    assert max(accuracy for _, accuracy, _ in by_row.candidates) > 0.95
    assert max(accuracy for _, accuracy, _ in by_drawing.candidates) < 0.8


def test_the_edge_of_the_grid_and_a_fit_that_has_not_converged_are_said(caplog, monkeypatch):
    features, labels = blobs(images=300, dim=40, noise=3.0)
    names, groups = ["ant", "bee", "cat", "dog"], {"own": alone(300)}
    given = {"own": [names[label] for label in labels]}
    head = [{"head": "linear_probe", "fitted_on": "own"}]

    def said(penalties, steps):
        caplog.clear()
        monkeypatch.setattr("whyrobust.evaluation.heads.MAX_STEPS", steps)
        probe = fit_linear_probe(features, labels, 4, alone(300), seed=0, penalties=penalties)
        monkeypatch.setattr("whyrobust.evaluation.heads.fit_linear_probe", lambda *_, **__: probe)
        _, table = fit_heads(head, {"fitting.own": features}, given, groups, names, seed=0)
        monkeypatch.setattr("whyrobust.evaluation.heads.fit_linear_probe", fit_linear_probe)
        return probe, table, caplog.text

    whole, table, text = said((1e-3, 1e-2, 1e-1, 1.0), 200)
    assert not whole.at_edge and whole.converged and table["converged"].all() and text == ""
    edge, _, text = said((whole.penalty, 2e3), 200)
    assert edge.at_edge
    assert f"the best penalty, {whole.penalty:g}, is at the edge of the grid ({whole.penalty:g} to 2000)" in text
    early, table, text = said((1e-3, 1e-2, 1e-1), 2)
    assert not early.converged and not table["converged"].any()
    assert "linear_probe.own: the fit with penalty 0.001 has not converged in 2 steps" in text
    assert f"the last fit, on all images with penalty {early.penalty:g}, has not converged" in text


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
    for fit in (lambda *a: fit_nearest_mean(*a), lambda *a: fit_linear_probe(*a, alone(2), seed=0)):
        with pytest.raises(HeadError, match=words):
            fit(features.astype(np.float32), labels, 3)
    with pytest.raises(HeadError, match="penalties"):
        fit_linear_probe(np.ones((2, 2), np.float32), np.array([0, 1]), 2, alone(2), seed=0, penalties=[0.0])


def test_heads_of_a_run_are_fitted_on_the_labelled_images_of_their_source():
    features, labels = blobs()
    names = ["ant", "bee", "cat", "dog"]
    given = [names[label] if row % 5 else None for row, label in enumerate(labels)]
    heads = [{"head": kind, "fitted_on": "own"} for kind in ("nearest_mean", "linear_probe")]
    groups = alone(len(labels))
    weights, penalties = fit_heads(heads, {"fitting.own": features}, {"own": given}, {"own": groups}, names, seed=0)
    rows = np.arange(len(labels)) % 5 > 0
    assert (weights["nearest_mean.own"] == fit_nearest_mean(features[rows], labels[rows], 4)).all()
    probe = fit_linear_probe(features[rows], labels[rows], 4, list(np.array(groups)[rows]), seed=0)
    assert (weights["linear_probe.own.weight"] == probe.weight).all()
    assert penalties.loc[penalties["chosen"], "penalty"].tolist() == [probe.penalty]
    _, none = fit_heads(heads[:1], {"fitting.own": features}, {"own": given}, {"own": groups}, names, seed=0)
    assert none.empty and list(none) == ["penalty", "held_out_accuracy", "converged", "fitted_on", "chosen"]
