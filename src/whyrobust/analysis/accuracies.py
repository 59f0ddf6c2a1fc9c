"""Tables of accuracies: with intervals, merged over the axes of a shift, and drawn from predictions by the bootstrap.

All read what `score_heads` wrote: ``accuracy.csv`` the counts, ``predictions.parquet`` the single images.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whyrobust.analysis.arrays import BoolArray, FloatArray
from whyrobust.analysis.intervals import clopper_pearson, effective_images
from whyrobust.study.plan import HEAD_FIELDS, Head
from whyrobust.study.restricted_names import restricted_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Columns of ``accuracy.csv``.
ACCURACY_COLUMNS = (
    "run", "source", "train_images", "seed", "objective", "supervision", "caption", "labels", "pretrained_by", "model",
    "samples_seen", "head", "prompts", "fitted_on", "main", "test_set", "images", "effective_images", "correct",
    "accuracy", "low", "high",
)  # fmt: skip

#: How images are weighted in an accuracy: all alike, or so that all classes are.
PER_IMAGE, EQUAL_CLASSES = "images", "equal"

#: The other weighting, by that of a study.
OTHER_WEIGHTS = {PER_IMAGE: EQUAL_CLASSES, EQUAL_CLASSES: PER_IMAGE}

#: What identifies an evaluated run: the run and the head that it is evaluated with.
KEYS = ("run", *HEAD_FIELDS)

#: Fewest teams (or classes) whose images say something about other teams: for fewer, drawings are the units of an
#: interval of accuracy, and a shift of fewer teams is a case study.
FEWEST_UNITS = 6

#: One evaluated run: the values of `KEYS`.
Key = tuple[str, str, str, str]


class OutcomeError(ValueError):
    """Predictions that are missing, or that are not of the same images for all heads."""


@dataclass(frozen=True)
class ShiftAccuracies:
    """Accuracies of models on one shift and on one or several in-distribution test sets, with bootstrap draws.

    All are fractions. The models are in the same order everywhere, and one draw holds the same test images for all of
    them.

    Attributes:
        x: in-distribution accuracies, [models, test_sets].
        y: accuracies under shift, [models].
        x_draws: draws of x, [resamples, models, test_sets].
        y_draws: draws of y, [resamples, models].
        standard: which models the baseline is fitted to, [models].

    Raises:
        ValueError: where the shapes do not fit.
    """

    x: FloatArray
    y: FloatArray
    x_draws: FloatArray
    y_draws: FloatArray
    standard: BoolArray

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1] or self.standard.shape != self.x.shape[:1]:
            raise ValueError(
                f"x has shape {self.x.shape}, y {self.y.shape} and the standard mask {self.standard.shape}: give "
                "[models, test_sets], [models] and [models]."
            )
        if self.x_draws.shape[1:] != self.x.shape or self.y_draws.shape != (len(self.x_draws), self.y.size):
            raise ValueError(
                f"Draws have shapes {self.x_draws.shape} and {self.y_draws.shape} for {self.y.size} models and "
                f"{self.x.shape[1]} test sets: give [resamples, models, test_sets] and [resamples, models]."
            )


def image_weights(labels: ArrayLike, class_weights: str) -> FloatArray:
    """Return the weight of each image of a test set in accuracies on it, [images]; their mean is 1.

    Test sets have their classes in other proportions, and heads differ in how well they do on frequent classes: a
    classifier knows the proportions of its training images, a zero-shot head does not. Beyond a baseline of
    classifiers, that looks like robustness. With equal classes, accuracy is the mean over classes of the accuracy in
    each, as on ImageNet's test sets, which have as many images of every class.

    Args:
        labels: of the images.
        class_weights: `PER_IMAGE` or `EQUAL_CLASSES`.

    Raises:
        ValueError: the weighting is not known.
    """
    names = np.asarray(labels)
    if class_weights == PER_IMAGE:
        return np.ones(names.shape)
    if class_weights != EQUAL_CLASSES:
        raise ValueError(f"class_weights is {class_weights!r}: give {PER_IMAGE!r} or {EQUAL_CLASSES!r}")
    _, member, counts = np.unique(names.astype(str), return_inverse=True, return_counts=True)
    weights: FloatArray = names.size / (counts.size * counts[member])
    return weights


def accuracy_table(runs: pd.DataFrame, counts: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return ``accuracy.csv``: the fields of each run, counts, and accuracies with Clopper-Pearson intervals.

    An accuracy of 0 or 1 tells nothing about how alike the images of a unit are: it gets the median of the other runs'
    effective images on the test set.

    Args:
        runs: rows of ``runs.csv``.
        counts: of `count_correct`, for all runs.
        confidence: coverage of the intervals, for example 0.995.
    """
    table = counts.merge(runs, on="run", how="left", validate="many_to_one")
    median = table.groupby("test_set")["effective_images"].transform("median")
    table["effective_images"] = table["effective_images"].fillna(median).fillna(table["images"])
    effective = table["effective_images"].to_numpy(dtype=float)
    table["low"], table["high"] = clopper_pearson(table["accuracy"].to_numpy() * effective, effective, confidence)
    return table[list(ACCURACY_COLUMNS)]


def count_correct(
    predictions: pd.DataFrame, heads: Sequence[Head], confidence: float, class_weights: str = PER_IMAGE
) -> pd.DataFrame:
    """Return the number of images, of effective ones and of correct ones, and the accuracy, per head and test set.

    Args:
        predictions: of a run, as ``predictions.parquet``; every head has the images of a test set in the same order.
        heads: of the run.
        confidence: coverage of the intervals that are to be made of the counts.
        class_weights: see `image_weights`.

    Returns:
        ``run, head, prompts, fitted_on, test_set, images, effective_images, correct, accuracy, main``; see
        `effective_images`, and `image_weights` for accuracies that are not correct images by images.
    """
    import pandas as pd

    keys = ["run", *HEAD_FIELDS, "test_set"]
    named, correct, images, right = [], [], [], []
    clusters, weights = dict[str, NDArray[np.int64]](), dict[str, FloatArray]()
    for key, part in predictions.groupby(keys, sort=False):
        test_set = str(key[-1])
        if test_set not in clusters:
            clusters[test_set] = _clusters(part)
            weights[test_set] = image_weights(part["label"], class_weights)
        named.append(key)
        of_head = part["correct"].to_numpy()
        right.append(int(of_head.sum()))
        images.append(np.bincount(clusters[test_set], weights=weights[test_set]))
        correct.append(np.bincount(clusters[test_set], weights=weights[test_set] * of_head))
    rows = np.repeat(np.arange(len(named)), [len(counts) for counts in images])
    accuracy, effective = effective_images(np.concatenate(correct), np.concatenate(images), rows, confidence)
    counts = pd.DataFrame(named, columns=keys).assign(
        images=[len(clusters[str(key[-1])]) for key in named],
        effective_images=effective,
        correct=right,
        accuracy=accuracy,
    )
    return counts.merge(pd.DataFrame([asdict(head) for head in heads]), on=list(HEAD_FIELDS))


def _clusters(predictions: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of the unit of each image of a test set; of its drawing where there are too few units."""
    import pandas as pd

    units, names = pd.factorize(predictions["unit"])
    if len(names) >= FEWEST_UNITS:
        return units.astype(np.int64)
    groups, names = pd.factorize(predictions["group"])
    return pd.factorize(units * len(names) + groups)[0].astype(np.int64)


def axis_of_shift(test_set: str, shift: str, measured: Collection[str]) -> str:
    """Return the in-distribution test set of a shift: restricted to the shift's classes where that was measured."""
    restricted = restricted_name(test_set, shift)
    return restricted if restricted in measured else test_set


def merge_axes(accuracy: pd.DataFrame, x_test_set: str, shift: str) -> pd.DataFrame:
    """Return the evaluated runs that have an accuracy on both axes of a shift.

    Args:
        accuracy: ``accuracy.csv``.
        x_test_set: in-distribution test set, the x axis.
        shift: shifted test set, the y axis.

    Returns:
        One row for each, in the order of ``accuracy``: `KEYS`, ``main``, ``id_accuracy, id_images, shift_accuracy,
        shift_images``. The images are effective ones.
    """
    on_x = accuracy[accuracy["test_set"] == x_test_set][[*KEYS, "main", "accuracy", "effective_images"]]
    on_shift = accuracy[accuracy["test_set"] == shift][[*KEYS, "accuracy", "effective_images"]]
    return on_x.rename(columns={"accuracy": "id_accuracy", "effective_images": "id_images"}).merge(
        on_shift.rename(columns={"accuracy": "shift_accuracy", "effective_images": "shift_images"}),
        on=list(KEYS),
        validate="one_to_one",
    )


def standard_models(keys: Sequence[Key], standard_runs: Collection[str]) -> BoolArray:
    """Return which evaluated runs the baseline is fitted to, [keys]: standard runs with their own classifier."""
    return np.array([run in standard_runs and head == "classifier" for run, head, _, _ in keys], dtype=bool)


@dataclass(frozen=True)
class Outcomes:
    """Which heads predicted which images of a test set correctly.

    Attributes:
        correct: [heads, images].
        groups: the drawing of each image, [images].
        units: the unit of each image, such as the team that drew it, [images].
        labels: the label of each image, [images].
    """

    correct: BoolArray
    groups: NDArray[np.object_]
    units: NDArray[np.object_]
    labels: NDArray[np.object_]


def read_outcomes(path: Path | str, test_set: str, rows: Sequence[Key]) -> Outcomes:
    """Read which heads predicted which images of a test set correctly.

    Args:
        path: predictions of the study, as `score_heads` writes them.
        test_set: name of the test set or restricted view.
        rows: (run, head, prompts, fitted_on) of each head, in the order wanted.

    Raises:
        OutcomeError: a head has no predictions, or another number of images than the first.
    """
    of_images = ["group", "unit", "label"]
    table = read_test_set(path, test_set, [row[0] for row in rows], [*KEYS, *of_images, "correct"])
    by_row = table.select(list(KEYS)).to_pandas().groupby(list(KEYS), observed=True, sort=False).indices
    missing = [row for row in rows if row not in by_row]
    if missing:
        raise OutcomeError(
            f"{len(missing)} heads have no predictions on '{test_set}' in {path}, for example {missing[0]}: "
            "run score_heads again"
        )
    first = table.select(of_images).take(by_row[rows[0]]).to_pandas()
    uneven = [row for row in rows if len(by_row[row]) != len(first)]
    if uneven:
        raise OutcomeError(
            f"{path}: {uneven[0]} has {len(by_row[uneven[0]])} images on '{test_set}', {rows[0]} {len(first)}: "
            "run score_heads again"
        )
    return Outcomes(
        correct=table["correct"].to_numpy()[np.stack([by_row[row] for row in rows])],
        groups=first["group"].to_numpy(dtype=object),
        units=first["unit"].to_numpy(dtype=object),
        labels=first["label"].to_numpy(dtype=object),
    )


def read_test_set(path: Path | str, test_set: str, runs: Collection[str], columns: Sequence[str]) -> pa.Table:
    """Read columns of the predictions of some runs on a test set, with all heads of the runs, in the file's order.

    The file has a row group for each run and test set. Arrow's own filters do not use the statistics of columns that
    are dictionaries, which show which row groups these are.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    wanted: dict[str, Collection[str]] = {"test_set": {test_set}, "run": set(runs)}
    groups = list(range(file.num_row_groups))
    for name, values in wanted.items():
        column = file.schema_arrow.get_field_index(name)
        known = {number: file.metadata.row_group(number).column(column).statistics for number in groups}
        groups = [
            number
            for number, span in known.items()
            if span is None or not span.has_min_max or any(span.min <= value <= span.max for value in values)
        ]
    table = file.read_row_groups(groups, columns=[*columns, "test_set"])
    return table.filter((pc.field("test_set") == test_set) & pc.field("run").isin(pa.array(sorted(runs))))
