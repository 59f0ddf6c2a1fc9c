"""Scores, predictions and the bookkeeping around them, against plain loops."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whyrobust.evaluation.embed import EvaluationError
from whyrobust.evaluation.heads import score_classifier
from whyrobust.evaluation.restricted_axes import add_restricted_views
from whyrobust.evaluation.scoring import (
    ScoredSet,
    predict,
    score_run,
)
from whyrobust.study.class_table import ClassTableError, read_class_names, read_covered_classes
from whyrobust.study.plan import Head


def test_classifier_scores_and_restricted_prediction():
    weight, bias = np.eye(3, dtype=np.float32), np.array([0, 0, 5], dtype=np.float32)
    scores = score_classifier(np.array([[2, 1, 0], [0, 1, 0]], dtype=np.float32), weight, bias)
    assert predict(scores).tolist() == [2, 2]
    assert predict(scores, [[0], [1]]).tolist() == [0, 1]
    with pytest.raises(EvaluationError, match="not a number"):
        predict(np.array([[np.nan, 1.0]], dtype=np.float32))
    with pytest.raises(EvaluationError, match="no class"):
        predict(scores, [])


def test_the_covered_classes_are_those_of_the_table_however_few_images_there_are(tmp_path, root):
    table = root / "resources" / "imagenet" / "classes.csv"
    classes = read_class_names(table)
    for kind in ("imagenet_r", "imagenet_a"):
        covered = read_covered_classes(table, kind)
        assert len(covered) == 200 and covered == sorted(covered)
        kept = write_kept(tmp_path / f"{kind}.parquet", covered[50:53])
        short = ScoredSet.read(kind, kept, classes, True, covered)
        assert len(short.answers) == 200 and list(short.answer_names(classes)) == covered
        assert short.labels.tolist() == [50, 51, 52]
        outside = next(name for name in classes if name not in covered)
        with pytest.raises(EvaluationError, match=f"'{outside}', which is none of the 200"):
            ScoredSet.read(kind, write_kept(tmp_path / "x.parquet", [covered[0], outside]), classes, True, covered)
    (tmp_path / "own.csv").write_text("class,imagenet_r\ncat,false\n")
    with pytest.raises(ClassTableError, match="no class with true in a column 'imagenet_r'"):
        read_covered_classes(tmp_path / "own.csv", "imagenet_r")


def write_kept(path, labels):
    table = {"uid": [f"{path.stem}{i}" for i in range(len(labels))], "label": labels, "group": labels}
    pq.write_table(pa.table(table), path)
    return path


def test_a_shift_with_few_classes_restricts_both_axes(tmp_path):
    classes = ["ant", "bee", "cat"]
    inside = ScoredSet.read("id", write_kept(tmp_path / "id.parquet", ["ant", "bee", "cat", "ant"]), classes, False)
    shift = ScoredSet.read("shift", write_kept(tmp_path / "shift.parquet", ["bee", "ant"]), classes, True)
    views = add_restricted_views([inside, shift], ["id"])
    assert [view.name for view in views] == ["id", "shift", "id@shift"]
    assert views[2].answers == ((0,), (1,)) and views[2].rows.tolist() == [0, 1, 3]
    embeddings = {
        "images.id": np.eye(3, dtype=np.float32)[[0, 2, 2, 2]],
        "images.shift": np.eye(3, dtype=np.float32)[[1, 2]],
        "classifier.weight": np.eye(3, dtype=np.float32),
        "classifier.bias": np.array([0.2, 0.1, 0], dtype=np.float32),
    }
    predictions = score_run("r", [Head("classifier", "", "", main=True)], embeddings, views, classes)
    right = predictions.groupby("test_set", sort=False)["correct"].agg(list).to_dict()
    assert right == {"id": [True, False, True, False], "shift": [True, True], "id@shift": [True, False, True]}


def test_each_prediction_has_the_unit_that_is_resampled(tmp_path):
    classes = ["ant", "bee"]
    table = {"uid": list("abc"), "label": ["ant", "bee", "bee"], "group": ["g1", "g2", "g2"],
             "collection": ["lucid", "lucid", "plain"]}  # fmt: skip
    kept = tmp_path / "kept.parquet"
    pq.write_table(pa.table(table), kept)
    teams = {"lucid": "Lu", "plain": "Pia", "other": "Lu"}
    read = {unit: ScoredSet.read("t", kept, classes, False, None, unit, teams) for unit in ("team", "class", "drawing")}
    assert {unit: list(test_set.units) for unit, test_set in read.items()} == {
        "team": ["Lu", "Lu", "Pia"], "class": ["ant", "bee", "bee"], "drawing": ["g1", "g2", "g2"],
    }  # fmt: skip
    arrays = {"images.t": np.eye(2, dtype=np.float32)[[0, 1, 1]], "classifier.weight": np.eye(2, dtype=np.float32),
              "classifier.bias": np.zeros(2, dtype=np.float32)}  # fmt: skip
    bees = read["team"].restricted_to("t@s", ((1,),))
    predictions = score_run("r", [Head("classifier", "", "", main=True)], arrays, [read["team"], bees], classes)
    assert predictions["unit"].tolist() == ["Lu", "Lu", "Pia", "Lu", "Pia"]
    with pytest.raises(EvaluationError, match="images of 'plain', which the table of icon sets does not list"):
        ScoredSet.read("t", kept, classes, False, None, "team", {"lucid": "Lu"})


def test_a_label_of_several_classes_counts_a_hit_on_any_and_collapses_by_maximum(tmp_path):
    """ObjectNet's rule (Taori et al. 2020), by a hand-made table: "chair" is two ImageNet ids, "mug" is one."""
    classes = ["armchair", "dog", "folding chair", "mug"]
    chair = "armchair;folding chair"
    kept = write_kept(tmp_path / "objectnet.parquet", [chair, chair, "mug", "mug", chair])
    shift = ScoredSet.read("objectnet", kept, classes, True)
    assert shift.answers == ((0, 2), (3,))
    scores = np.array(
        [
            [9, 0, 0, 1],  # the first id of chair: right
            [0, 0, 9, 1],  # the second id: right
            [0, 9, 1, 2],  # dog is best but may not be predicted: mug, right
            [4, 0, 4, 7],  # two ids of chair do not add up: mug, right
            [1, 9, 2, 3],  # mug: wrong
        ],
        dtype=np.float32,
    )
    assert (shift.predict(scores) == shift.labels).tolist() == [True, True, True, True, False]
    assert shift.answer_names(classes).tolist() == [chair, "mug"]

    whole = ScoredSet.read("val", write_kept(tmp_path / "val.parquet", classes), classes, False)
    view = add_restricted_views([whole, shift], ["val"])[-1]
    assert view.name == "val@objectnet" and view.rows.tolist() == [0, 2, 3]  # dog is no class of ObjectNet
    assert view.answer_names(classes)[view.labels].tolist() == [chair, chair, "mug"]
    assert (view.predict(np.eye(4, dtype=np.float32)) == view.labels).all()
    with pytest.raises(EvaluationError, match="to own"):
        ScoredSet.read("objectnet", kept, classes, False)
    with pytest.raises(EvaluationError, match="share the class 'mug'"):
        ScoredSet.read("x", write_kept(tmp_path / "x.parquet", ["mug", "dog;mug"]), classes, True)
