"""Accuracies with intervals and the outcomes of single images, from made-up predictions."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whyrobust.analysis.accuracies import OutcomeError, accuracy_table, outcome_matrix
from whyrobust.study.plan import HEAD_FIELDS
from whyrobust.study.restricted_names import restricted_name, split_restricted_name


@pytest.fixture
def predictions():
    """One head of one run on a test set and on its restriction to the classes of a shift."""
    correct = {"id": [True, False, True, False], "shift": [True, True], "id@shift": [True, False, True]}
    groups = {"id": ["ant", "bee", "cat", "ant"], "shift": ["bee", "ant"], "id@shift": ["ant", "bee", "ant"]}
    rows = [
        ("r", "classifier", "", "", name, group, right)
        for name in correct
        for group, right in zip(groups[name], correct[name], strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", *HEAD_FIELDS, "test_set", "group", "correct"])


def test_outcomes_are_those_of_the_restricted_view_with_their_groups(tmp_path, predictions):
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.Table.from_pandas(predictions, preserve_index=False), path)
    correct, groups = outcome_matrix(path, "id@shift", [("r", "classifier", "", "")])
    assert correct.tolist() == [[True, False, True]] and list(groups) == ["ant", "bee", "ant"]
    with pytest.raises(OutcomeError, match="no predictions"):
        outcome_matrix(path, "id", [("other", "classifier", "", "")])


def test_heads_with_other_numbers_of_images_are_refused(tmp_path, predictions):
    path = tmp_path / "predictions.parquet"
    cut = predictions[predictions["test_set"] == "id"].iloc[:3].assign(run="short")
    pq.write_table(pa.Table.from_pandas(pd.concat([predictions, cut]), preserve_index=False), path)
    with pytest.raises(OutcomeError, match="3 images on 'id'"):
        outcome_matrix(path, "id", [(run, "classifier", "", "") for run in ("r", "short")])


def test_accuracies_lie_within_their_intervals(predictions):
    runs = pd.DataFrame(
        {"run": ["r"], "source": "s", "train_images": 1, "seed": 0, "objective": "o", "supervision": "l"}
        | {"caption": "", "model": "m", "labels": "annotated", "pretrained_by": "", "samples_seen": 1}
    )
    counts = predictions.assign(main=True).groupby(["run", *HEAD_FIELDS, "main", "test_set"], sort=False)["correct"]
    table = accuracy_table(runs, counts.agg(images="size", correct="sum").reset_index(), 0.95)
    assert table.set_index("test_set").loc["id@shift", "accuracy"] == pytest.approx(2 / 3)
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()


def test_the_name_of_a_restricted_test_set_comes_apart_again():
    assert split_restricted_name(restricted_name("imagenet", "imagenet-r")) == ("imagenet", "imagenet-r")
    assert split_restricted_name("imagenet") == ("imagenet", "")
