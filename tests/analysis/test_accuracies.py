"""Accuracies with intervals and the outcomes of single images, from made-up predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from whyrobust.analysis.accuracies import (
    EQUAL_CLASSES,
    PER_IMAGE,
    OutcomeError,
    accuracy_table,
    count_correct,
    image_weights,
    merge_axes,
    read_outcomes,
)
from whyrobust.study.plan import HEAD_FIELDS, Head
from whyrobust.study.restricted_names import restricted_name, split_restricted_name

HEADS = [Head("classifier", "", "", main=True)]
RUNS = pd.DataFrame(
    {"run": ["r"], "source": "s", "train_images": 1, "seed": 0, "objective": "o", "supervision": "l"}
    | {"caption": "", "model": "m", "labels": "annotated", "pretrained_by": "", "samples_seen": 1}
)


@pytest.fixture
def predictions():
    """One head of one run on a test set and on its restriction to the classes of a shift."""
    correct = {"id": [True, False, True, False], "shift": [True, True], "id@shift": [True, False, True]}
    groups = {"id": ["ant", "bee", "cat", "ant"], "shift": ["bee", "ant"], "id@shift": ["ant", "bee", "ant"]}
    rows = [
        ("r", "classifier", "", "", name, group, group.upper(), f"a {group}", right)
        for name in correct
        for group, right in zip(groups[name], correct[name], strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", *HEAD_FIELDS, "test_set", "group", "unit", "label", "correct"])


def test_outcomes_are_those_of_the_restricted_view_with_their_groups(tmp_path, predictions):
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.Table.from_pandas(predictions, preserve_index=False), path)
    outcomes = read_outcomes(path, "id@shift", [("r", "classifier", "", "")])
    assert outcomes.correct.tolist() == [[True, False, True]] and list(outcomes.groups) == ["ant", "bee", "ant"]
    assert list(outcomes.units) == ["ANT", "BEE", "ANT"] and list(outcomes.labels) == ["a ant", "a bee", "a ant"]
    with pytest.raises(OutcomeError, match="no predictions"):
        read_outcomes(path, "id", [("other", "classifier", "", "")])


def test_heads_with_other_numbers_of_images_are_refused(tmp_path, predictions):
    path = tmp_path / "predictions.parquet"
    cut = predictions[predictions["test_set"] == "id"].iloc[:3].assign(run="short")
    pq.write_table(pa.Table.from_pandas(pd.concat([predictions, cut]), preserve_index=False), path)
    with pytest.raises(OutcomeError, match="3 images on 'id'"):
        read_outcomes(path, "id", [(run, "classifier", "", "") for run in ("r", "short")])


def test_accuracies_lie_within_their_intervals(predictions):
    table = accuracy_table(RUNS, count_correct(predictions, HEADS, 0.95), 0.95)
    assert table.set_index("test_set").loc["id@shift", "accuracy"] == pytest.approx(2 / 3)
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
    assert table["images"].tolist() == [4, 2, 3] and table["main"].all()


def test_images_of_teams_that_are_alike_count_as_fewer():
    rng = np.random.default_rng(0)
    team = np.repeat(np.arange(12), 40)
    right = {"alike": rng.random(480) < np.linspace(0.1, 0.9, 12)[team], "apart": rng.random(480) < 0.5}
    right |= {"never": np.zeros(480, dtype=bool)}
    frames = [
        pd.DataFrame({"run": run, "head": "classifier", "prompts": "", "fitted_on": "", "test_set": "t",
                      "unit": [f"team {number}" for number in team], "group": [f"d{i // 2}" for i in range(480)],
                      "label": "bell", "correct": of_run})
        for run, of_run in right.items()
    ]  # fmt: skip
    counts = pd.concat([count_correct(frame, HEADS, 0.95) for frame in frames])
    table = accuracy_table(pd.concat([RUNS.assign(run=run) for run in right]), counts, 0.95).set_index("run")
    p = right["alike"].mean()
    of_teams = np.array([right["alike"][team == number].mean() for number in range(12)])
    variance = ((of_teams - p) ** 2).sum() / (12 * 11)
    expected = p * (1 - p) / variance * (t.ppf(0.975, 479) / t.ppf(0.975, 11)) ** 2
    assert table.loc["alike", "effective_images"] == pytest.approx(expected) and expected < 40
    low, high = proportion_confint(p * expected, expected, 0.05, method="beta")
    assert table.loc["alike", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert 250 < table.loc["apart", "effective_images"] <= 480
    # Nothing is known from an accuracy of 0, so the others say how alike the images of a team are.
    assert table.loc["never", "effective_images"] == table["effective_images"].drop("never").median()
    assert table.loc["never", "low"] == 0 and table.loc["never", "high"] > 0.005
    # The tables of a shift take the effective images along.
    models = merge_axes(table.reset_index(), "t", "t")
    assert models["id_images"].tolist() == table["effective_images"].tolist()


def test_of_few_teams_drawings_are_the_units_of_an_interval(predictions):
    rng = np.random.default_rng(1)
    team, drawing = np.repeat(np.arange(5), 60), np.arange(300) // 3
    right = rng.random(300) < np.array([0.1, 0.3, 0.5, 0.7, 0.9])[team]
    frame = pd.DataFrame({"run": "r", "head": "classifier", "prompts": "", "fitted_on": "", "test_set": "t",
                          "unit": team.astype(str), "group": drawing.astype(str), "label": "bell",
                          "correct": right})  # fmt: skip
    found = count_correct(frame, HEADS, 0.95)["effective_images"].iloc[0]
    of_drawings = right.reshape(100, 3).mean(axis=1)
    expected = right.mean() * (1 - right.mean()) / (of_drawings.var(ddof=1) / 100)
    assert found == pytest.approx(expected * (t.ppf(0.975, 299) / t.ppf(0.975, 99)) ** 2)
    assert found > 60


def test_the_name_of_a_restricted_test_set_comes_apart_again():
    assert split_restricted_name(restricted_name("imagenet", "imagenet-r")) == ("imagenet", "imagenet-r")
    assert split_restricted_name("imagenet") == ("imagenet", "")


def test_with_equal_classes_accuracy_is_the_mean_over_classes():
    rng = np.random.default_rng(2)
    label = np.array(["bell"] * 90 + ["sun"] * 8 + ["cup"] * 2)
    right = rng.random(100) < np.where(label == "bell", 0.9, 0.4)
    frame = pd.DataFrame({"run": "r", "head": "classifier", "prompts": "", "fitted_on": "", "test_set": "t",
                          "unit": (np.arange(100) % 10).astype(str), "group": np.arange(100).astype(str),
                          "label": label, "correct": right})  # fmt: skip
    of_classes = np.mean([right[label == name].mean() for name in ("bell", "sun", "cup")])
    found = count_correct(frame, HEADS, 0.95, EQUAL_CLASSES).iloc[0]
    assert found["accuracy"] == pytest.approx(of_classes) and found["correct"] == right.sum()
    assert count_correct(frame, HEADS, 0.95).iloc[0]["accuracy"] == pytest.approx(right.mean())
    weights = image_weights(label, EQUAL_CLASSES)
    assert weights.mean() == pytest.approx(1) and np.average(right, weights=weights) == pytest.approx(of_classes)
    with pytest.raises(ValueError, match="class_weights is 'even'"):
        image_weights(label, "even")


def test_two_heads_that_differ_in_what_they_know_of_proportions_are_equal_with_equal_classes():
    # Both heads are right in two thirds of each class on any test set, but one prefers the frequent class.
    def accuracy(counts: dict[str, int], rates: dict[str, float], weights: str) -> float:
        label = np.repeat(list(counts), list(counts.values()))
        right = np.concatenate([np.arange(count) < rates[name] * count for name, count in counts.items()])
        return float(np.average(right, weights=image_weights(label, weights)))

    skewed, even = {"a": 300, "b": 30}, {"a": 30, "b": 30}
    prior, blind = {"a": 0.9, "b": 0.3}, {"a": 0.6, "b": 0.6}
    drop = {
        (name, weights): accuracy(skewed, rates, weights) - accuracy(even, rates, weights)
        for name, rates in (("prior", prior), ("blind", blind))
        for weights in (PER_IMAGE, EQUAL_CLASSES)
    }
    assert drop["prior", PER_IMAGE] > 0.2 and drop["blind", PER_IMAGE] == pytest.approx(0)
    assert drop["prior", EQUAL_CLASSES] == pytest.approx(0) and drop["blind", EQUAL_CLASSES] == pytest.approx(0)
