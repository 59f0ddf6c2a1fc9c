"""A description of single runs: training curves, accuracy per class, confusions, and answers to the pictures shown.

`describe_runs` makes the tables of the stage ``describe_runs`` from the predictions that the accuracies are counted
from. Each run is described by its main head, on the whole test sets, not on their restricted views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.files import read_csv
from whyrobust.study.plan import HEAD_FIELDS

#: Points of a training curve, and confusions listed of each test set.
CURVE_BINS = 60
CONFUSIONS = 20

SAMPLE_PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("test_set", pa.string(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("prediction", pa.string(), nullable=False),
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)
"""The prediction of each run for each picture of a test set that is shown."""


class RunDetailError(ValueError):
    """Predictions that are not what the accuracies say."""


@dataclass(frozen=True)
class RunDetails:
    """Tables about single runs: as `count_by_class`, `count_confusions` and `pick_samples`, with a column ``run``."""

    class_accuracy: pd.DataFrame
    confusions: pd.DataFrame
    sample_predictions: pd.DataFrame


def average_curves(progress: Mapping[str, Path | str]) -> pd.DataFrame:
    """Return the training curves of runs, averaged within bins (see `smooth_curve`).

    Args:
        progress: ``progress.csv`` of each trained run.

    Returns:
        ``run, samples, loss, learning_rate``.
    """
    columns = ["run", "samples", "loss", "learning_rate"]
    curves = [smooth_curve(read_csv(path), CURVE_BINS).assign(run=run) for run, path in progress.items()]
    return (pd.concat(curves) if curves else pd.DataFrame(columns=columns))[columns]


def describe_runs(
    accuracy: pd.DataFrame, predictions: PredictionFile, samples: pd.DataFrame, test_sets: Sequence[str]
) -> RunDetails:
    """Describe every run by its main head on the test sets.

    Args:
        accuracy: ``accuracy.csv``.
        predictions: of all runs.
        samples: ``test_set, uid`` of the pictures that are shown.
        test_sets: their names.
    """
    by_class, confusions, of_samples = [], [], []
    for run, head in main_heads(accuracy).items():
        answers = predictions.read(run, head, test_sets)
        by_class.append(count_by_class(answers, test_sets).assign(run=run))
        confusions.append(count_confusions(answers, test_sets, CONFUSIONS).assign(run=run, **head))
        of_samples.append(pick_samples(answers, samples).assign(run=run))
    confusion_columns = ["run", *HEAD_FIELDS, "test_set", "label", "prediction", "images", "class_images"]
    return RunDetails(
        pd.concat(by_class)[["run", "test_set", "label", "images", "correct"]],
        pd.concat(confusions)[confusion_columns],
        pd.concat(of_samples),
    )


def smooth_curve(progress: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Average a training curve within bins of equally many steps (one more in the first where they do not divide).

    Args:
        progress: ``samples, loss, learning_rate``, one row per step in the order of training.
        bins: at most so many; fewer steps stay as they are.

    Returns:
        The same columns, one row per bin: the samples seen at the bin's last step, and the means over its steps. Every
        step is in one bin, and the last row is at the last step.
    """
    parts = np.array_split(np.arange(len(progress)), min(bins, len(progress)) or 1)
    return pd.DataFrame(
        {
            "samples": [int(progress["samples"].iloc[rows[-1]]) for rows in parts if len(rows)],
            **{
                name: [float(progress[name].iloc[rows].mean()) for rows in parts if len(rows)]
                for name in ("loss", "learning_rate")
            },
        }
    )


def main_heads(accuracy: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the main head of each run: run -> ``head, prompts, fitted_on``, in the order of ``accuracy.csv``.

    Raises:
        RunDetailError: a run has more than one.
    """
    heads = accuracy.loc[accuracy["main"], ["run", *HEAD_FIELDS]].drop_duplicates()
    twice = heads["run"][heads["run"].duplicated()]
    if len(twice):
        raise RunDetailError(f"the run '{twice.iloc[0]}' has several main heads: score the heads again")
    return {row["run"]: {name: row[name] for name in HEAD_FIELDS} for row in heads.to_dict("records")}


class PredictionFile:
    """The predictions of a study, read one run and head at a time.

    The file is written run by run, so the statistics of its row groups show which few of them contain a run: memory
    grows with the predictions of one run, not with the file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._file = pq.ParquetFile(self._path)
        column = self._file.schema_arrow.get_field_index("run")
        groups = (self._file.metadata.row_group(number) for number in range(self._file.num_row_groups))
        # Arrow's own filters do not use the statistics of columns that are dictionaries.
        self._statistics = [group.column(column).statistics for group in groups]

    def read(self, run: str, head: Mapping[str, str], test_sets: Sequence[str]) -> pd.DataFrame:
        """Return ``test_set, uid, label, prediction, correct`` of one head of a run on some test sets.

        Raises:
            RunDetailError: there are none on one of the test sets.
        """
        chosen = (pc.field("run") == run) & pc.field("test_set").isin(list(test_sets))
        for name in HEAD_FIELDS:
            chosen &= pc.field(name) == head[name]
        groups = [
            number
            for number, known in enumerate(self._statistics)
            if known is None or not known.has_min_max or known.min <= run <= known.max
        ]
        columns = ["test_set", "uid", "label", "prediction", "correct"]
        table = self._file.read_row_groups(groups, columns=["run", *HEAD_FIELDS, *columns]).filter(chosen)
        found: pd.DataFrame = table.select(columns).to_pandas()
        for name in ("test_set", "label", "prediction"):
            found[name] = found[name].astype(object)
        absent = [name for name in test_sets if name not in set(found["test_set"])]
        if absent:
            raise RunDetailError(
                f"{self._path} has no predictions of the run '{run}' ({dict(head)}) on '{absent[0]}': score again"
            )
        return found


def count_by_class(predictions: pd.DataFrame, test_sets: Sequence[str]) -> pd.DataFrame:
    """Return ``test_set, label, images, correct``, in the order of ``test_sets``, then of the labels.

    Args:
        predictions: of one head of one run, with ``test_set, label, correct``.
        test_sets: their names.
    """
    table = predictions.groupby(["test_set", "label"])["correct"].agg(images="size", correct="sum").reset_index()
    return _in_order(table, test_sets, ["label"])


def count_confusions(predictions: pd.DataFrame, test_sets: Sequence[str], most: int) -> pd.DataFrame:
    """Return the most frequent confusions of each test set.

    A confusion is a label and a wrong answer. An answer that counts as right, as any of the classes of an ObjectNet
    label does, is none.

    Args:
        predictions: of one head of one run, with ``test_set, label, prediction, correct``.
        test_sets: their names.
        most: at most so many per test set; of equally frequent ones the first by label and prediction.

    Returns:
        ``test_set, label, prediction, images, class_images``: images of the label with this answer, and all images
        of the label.
    """
    wrong = predictions[~predictions["correct"].to_numpy(dtype=bool)]
    table = wrong.groupby(["test_set", "label", "prediction"]).size().rename("images").reset_index()
    of_class = predictions.groupby(["test_set", "label"]).size().rename("class_images").reset_index()
    table = table.merge(of_class, on=["test_set", "label"], validate="many_to_one")
    ordered = _in_order(table.assign(_rare=-table["images"]), test_sets, ["_rare", "label", "prediction"])
    return ordered.groupby("test_set", sort=False).head(most).drop(columns="_rare").reset_index(drop=True)


def _in_order(table: pd.DataFrame, test_sets: Sequence[str], columns: list[str]) -> pd.DataFrame:
    position = {name: number for number, name in enumerate(test_sets)}
    ordered = table.assign(_position=table["test_set"].map(position)).sort_values(["_position", *columns])
    return ordered.drop(columns="_position").reset_index(drop=True)


def pick_samples(predictions: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions of the pictures that are shown, in their order.

    Args:
        predictions: of one head of one run, ``test_set, uid, label, prediction, correct``.
        samples: ``test_set, uid``.

    Raises:
        RunDetailError: a picture that is shown has no prediction.
    """
    found = samples[["test_set", "uid"]].merge(predictions, on=["test_set", "uid"], how="left", validate="one_to_one")
    missing = found["uid"][found["prediction"].isna()]
    if len(missing):
        raise RunDetailError(
            f"{len(missing)} of {len(found)} pictures that are shown have no prediction, for example "
            f"'{missing.iloc[0]}': score again"
        )
    return found[["test_set", "uid", "label", "prediction", "correct"]]
