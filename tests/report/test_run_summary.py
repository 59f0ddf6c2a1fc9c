"""What single runs did, against plain loops over the same predictions."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.evaluation.scoring import PREDICTION_SCHEMA
from whyrobust.report.run_summary import (
    PredictionFile,
    RunDetailError,
    count_by_class,
    count_confusions,
    main_heads,
    pick_samples,
    smooth_curve,
)

TEST_SETS = ["val", "objects"]
LABELS = ["a", "b", "c;d"]
MAIN = {"head": "zero_shot", "prompts": "ensemble", "fitted_on": ""}

answers = st.lists(
    st.tuples(st.sampled_from(TEST_SETS), st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60
)


def predictions(rows):
    table = pd.DataFrame(rows, columns=["test_set", "label", "prediction"])
    table["uid"] = [f"u{n}" for n in range(len(table))]
    return table.assign(correct=table["label"] == table["prediction"])


# --- Curves ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=90), st.integers(1, 20))
def test_curves_are_means_of_equal_bins_up_to_the_last_step(losses, bins):
    steps = len(losses)
    rates = [0.1 * step for step in range(steps)]
    samples = [32 * (step + 1) for step in range(steps)]
    curve = smooth_curve(pd.DataFrame({"samples": samples, "loss": losses, "learning_rate": rates}), bins)
    assert len(curve) == min(bins, steps)
    ends = [seen // 32 for seen in curve["samples"]]
    starts = [0, *ends[:-1]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    assert ends[-1] == steps and max(lengths) - min(lengths) <= 1 and min(lengths) > 0
    for start, end, loss, rate in zip(starts, ends, curve["loss"], curve["learning_rate"], strict=True):
        assert loss == pytest.approx(sum(losses[start:end]) / (end - start))
        assert rate == pytest.approx(sum(rates[start:end]) / (end - start))


def test_a_curve_without_steps_is_empty():
    assert smooth_curve(pd.DataFrame({"samples": [], "loss": [], "learning_rate": []}), 60).empty


# --- Classes and confusions ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(answers)
def test_classes_are_counted_as_a_plain_loop_does(rows):
    found = count_by_class(predictions(rows), TEST_SETS)
    expected = [
        (name, label, sum(row[:2] == (name, label) for row in rows), rows.count((name, label, label)))
        for name in TEST_SETS
        for label in LABELS
        if any(row[:2] == (name, label) for row in rows)
    ]
    assert list(found[["test_set", "label", "images", "correct"]].itertuples(index=False, name=None)) == expected


@settings(deadline=None)
@given(answers, st.integers(1, 4))
def test_confusions_are_the_most_frequent_wrong_answers(rows, most):
    found = count_confusions(predictions(rows), TEST_SETS, most)
    expected = []
    for name in TEST_SETS:
        wrong = Counter(row[1:] for row in rows if row[0] == name and row[1] != row[2])
        of_class = Counter(row[1] for row in rows if row[0] == name)
        ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:most]
        expected += [(name, *names, count, of_class[names[0]]) for names, count in ordered]
    columns = ["test_set", "label", "prediction", "images", "class_images"]
    assert list(found[columns].itertuples(index=False, name=None)) == expected


def test_an_answer_that_counts_as_right_is_no_confusion():
    table = predictions([("val", "c;d", "c"), ("val", "c;d", "a")]).assign(correct=[True, False])
    assert count_confusions(table, TEST_SETS, 5)["prediction"].tolist() == ["a"]
    assert count_by_class(table, TEST_SETS)["correct"].tolist() == [1]


# --- Reading predictions ---------------------------------------------------------------------------------------------


def written(path, runs, rows_of, row_group_size=None):
    """Write predictions as `score_heads` does: a run after the other, each with several heads and views."""
    with pq.ParquetWriter(path, PREDICTION_SCHEMA) as writer:
        for run in runs:
            parts = [
                predictions(rows_of[run] if view in TEST_SETS else [("x", "a", "b")])
                .assign(run=run, group="g", unit="u", **head)
                .loc[lambda table, view=view: table["test_set"].eq(view) | (view not in TEST_SETS)]
                .assign(test_set=view)
                for head in (
                    MAIN,
                    MAIN | {"prompts": "name"},
                    {"head": "linear_probe", "prompts": "", "fitted_on": "own"},
                )
                for view in (*TEST_SETS, "val@objects")
            ]
            table = pa.Table.from_pandas(pd.concat(parts), PREDICTION_SCHEMA, preserve_index=False)
            writer.write_table(table, row_group_size)


@pytest.mark.parametrize("row_group_size", [None, 3])
def test_one_head_of_one_run_is_read_on_the_test_sets_alone(tmp_path, row_group_size):
    rows_of = {
        run: [("val", "a", run[-1]), ("val", "b", "b"), ("objects", "c;d", run[-1])] for run in ("run-a", "run-b")
    }
    written(tmp_path / "predictions.parquet", rows_of, rows_of, row_group_size)
    file = PredictionFile(tmp_path / "predictions.parquet")
    for run, rows in rows_of.items():
        found = file.read(run, MAIN, TEST_SETS)
        assert list(found[["test_set", "label", "prediction"]].itertuples(index=False, name=None)) == rows
        assert found["uid"].tolist() == ["u0", "u1", "u2"]
        assert found["correct"].dtype == bool
    with pytest.raises(RunDetailError, match="on 'sketch'"):
        file.read("run-a", MAIN, [*TEST_SETS, "sketch"])
    with pytest.raises(RunDetailError, match="'run-c'"):
        file.read("run-c", MAIN, TEST_SETS)


def test_only_the_row_groups_of_a_run_are_read(tmp_path):
    """So that memory and time do not grow with the runs of a study."""
    runs = [f"run-{number:03d}" for number in range(30)]
    rows_of = {run: [("val", "a", "a"), ("objects", "b", "a")] for run in runs}
    path = tmp_path / "predictions.parquet"
    written(path, runs, rows_of)
    whole = path.read_bytes()
    groups = pq.read_metadata(path)
    assert groups.num_row_groups == 30
    # Every page but those of one run is overwritten: reading any of them would fail.
    columns = [groups.row_group(7).column(number) for number in range(groups.num_columns)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    end = starts[-1] + columns[-1].total_compressed_size
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    damaged = bytearray(b"\xff" * len(whole))
    damaged[:4], damaged[-footer:] = whole[:4], whole[-footer:]
    damaged[min(starts) : end] = whole[min(starts) : end]
    path.write_bytes(bytes(damaged))
    assert len(PredictionFile(path).read("run-007", MAIN, TEST_SETS)) == 2
    with pytest.raises(OSError):
        PredictionFile(path).read("run-008", MAIN, TEST_SETS)


# --- Heads and samples -----------------------------------------------------------------------------------------------


def test_the_main_head_of_each_run():
    table = pd.DataFrame(
        [("r", "zero_shot", "a", "", True), ("r", "zero_shot", "a", "", True), ("r", "zero_shot", "b", "", False),
         ("q", "classifier", "", "", True)],
        columns=["run", "head", "prompts", "fitted_on", "main"],
    )  # fmt: skip
    assert main_heads(table) == {
        "r": {"head": "zero_shot", "prompts": "a", "fitted_on": ""},
        "q": {"head": "classifier", "prompts": "", "fitted_on": ""},
    }
    with pytest.raises(RunDetailError, match="'r'"):
        main_heads(table.assign(main=True))


def test_samples_are_looked_up_by_test_set_and_uid():
    table = predictions([("val", "a", "b"), ("objects", "b", "b"), ("val", "b", "a")])
    table["uid"] = ["x", "x", "y"]
    shown = pd.DataFrame({"test_set": ["objects", "val"], "uid": ["x", "x"]})
    found = pick_samples(table, shown)
    assert list(found.itertuples(index=False, name=None)) == [
        ("objects", "x", "b", "b", True),
        ("val", "x", "a", "b", False),
    ]
    with pytest.raises(RunDetailError, match="'z'"):
        pick_samples(table, pd.DataFrame({"test_set": ["val"], "uid": ["z"]}))
