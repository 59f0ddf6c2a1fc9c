"""Concept frequency: accuracy on a class against the number of its training images, and a log-linear fit for each run.

Sources: Udandarao et al. 2024, "No 'Zero-Shot' Without Exponential Data" (arXiv 2404.04125), for accuracy as a linear
function of the logarithm of frequency; MacKinnon and White 1985 for the variance (HC3, the jackknife in one step).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.intervals import check_confidence, student_half_width

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

FREQUENCY_COLUMNS = (
    "run", "source", "objective", "seed", "test_set", "class", "train_images", "images", "accuracy",
)  # fmt: skip
FIT_COLUMNS = ("run", "source", "objective", "test_set", "classes", "classes_without_images", "slope", "low", "high")

_STEPS = 50
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class FrequencyFit:
    """Log-odds of a right answer as a linear function of the logarithm of the number of training images of a class.

    Attributes:
        slope: log-odds per factor of ten; NaN where counts cannot tell.
        low: lower end of its interval.
        high: upper end.
        classes: fitted.
        classes_without_images: left out, as the logarithm of 0 is not finite.
    """

    slope: float
    low: float
    high: float
    classes: int
    classes_without_images: int


def count_concepts(
    class_accuracy: pd.DataFrame,
    runs: pd.DataFrame,
    labels: Mapping[str, Sequence[str | None]],
    separator: str,
) -> pd.DataFrame:
    """Return how many training images each class has in each run, beside the accuracy on it.

    Args:
        class_accuracy: ``run, test_set, label, images, correct``, by the main head of each run.
        runs: ``runs.csv``; runs that ``labels`` does not name are left out, as published models are.
        labels: label of each training image of a run, by the name of the run; None where an image has none. They are
            the annotated ones, whatever the run learns from.
        separator: between the classes of a label that names several, any of which is right: their images are added up.

    Returns:
        ``concept_frequency.csv``: `FREQUENCY_COLUMNS`, a row for each run, test set and label.
    """
    import pandas as pd

    counts = [_count_labels(labels[str(run)]).assign(run=run) for run in runs["run"] if run in labels]
    trained = pd.concat(counts) if counts else pd.DataFrame({"run": [], "class": [], "train_images": []})
    rows = class_accuracy[class_accuracy["run"].isin(labels)].reset_index(names="row")
    members = rows.assign(member=rows["label"].str.split(separator)).explode("member")
    found = members.merge(trained, how="left", left_on=["run", "member"], right_on=["run", "class"])
    train_images = found.groupby("row")["train_images"].sum()
    table = rows.drop(columns="row").assign(train_images=train_images.to_numpy().astype(int))
    table = table.rename(columns={"label": "class"}).assign(accuracy=table["correct"] / table["images"])
    named = runs[["run", "source", "objective", "seed"]]
    return table.merge(named, on="run", how="left", validate="many_to_one")[list(FREQUENCY_COLUMNS)]


def _count_labels(labels: Sequence[str | None]) -> pd.DataFrame:
    import pandas as pd

    counts = pd.Series(list(labels), dtype=object).value_counts()
    return pd.DataFrame({"class": counts.index, "train_images": counts.to_numpy()})


def fit_concepts(frequency: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Fit `fit_frequency` to every run and test set of ``concept_frequency.csv``.

    Returns:
        ``concept_frequency_fits.csv``: `FIT_COLUMNS`.
    """
    import pandas as pd

    rows = []
    for key, classes in frequency.groupby(["run", "source", "objective", "test_set"], sort=False):
        images = classes["images"].to_numpy(dtype=float)
        correct = np.rint(classes["accuracy"].to_numpy(dtype=float) * images)
        fit = fit_frequency(classes["train_images"].to_numpy(dtype=float), images, correct, confidence)
        rows.append((*key, fit.classes, fit.classes_without_images, fit.slope, fit.low, fit.high))
    return pd.DataFrame(rows, columns=list(FIT_COLUMNS))


def fit_frequency(
    train_images: FloatArray, images: FloatArray, correct: FloatArray, confidence: float = 0.95
) -> FrequencyFit:
    """Fit a logistic regression of right answers on the logarithm of training images, by maximum likelihood.

    Images of a class share what makes it easy or hard, so classes are the units of the interval: the covariance is
    the sandwich (X'WX)^-1 (sum x x' r^2 / (1 - h)^2) (X'WX)^-1, with r the residual count of a class and h its leverage
    (HC3), and the quantile that of Student's t with two degrees of freedom less than classes.

    Args:
        train_images: of each class, [classes].
        images: test images, [classes].
        correct: of them, [classes].
        confidence: coverage of the interval.

    Raises:
        ValueError: where counts are not in 0..images.
    """
    from scipy.special import expit

    check_confidence(confidence)
    if np.any((correct < 0) | (correct > images)):
        raise ValueError("a class has more right answers than images, or fewer than 0: give counts from 0 to images")
    used = (train_images > 0) & (images > 0)
    without = int(((train_images <= 0) & (images > 0)).sum())
    x = np.column_stack([np.ones(int(used.sum())), np.log10(train_images[used])])
    n, k = images[used], correct[used]
    none = FrequencyFit(np.nan, np.nan, np.nan, len(n), without)
    if len(n) < 4 or np.ptp(x[:, 1]) == 0 or k.sum() in (0, n.sum()):
        return none
    beta = np.array([np.log(k.sum() / (n - k).sum()), 0.0])
    for _ in range(_STEPS):
        p = expit(x @ beta)
        weights = n * p * (1.0 - p)
        information = (x * weights[:, None]).T @ x
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return none  # the classes that are right are separated by frequency from those that are wrong
        step = np.linalg.solve(information, x.T @ (k - n * p))
        beta = beta + step
        if np.abs(step).max() < _TOLERANCE:
            break
    else:
        return none
    inverse = np.linalg.inv(information)
    leverage = weights * np.einsum("ci,ij,cj->c", x, inverse, x)
    scores = x * ((k - n * p) / (1.0 - leverage))[:, None]
    variance = (inverse @ scores.T @ scores @ inverse)[1, 1]
    half = student_half_width(float(np.sqrt(variance)), len(n) - 2, confidence)
    return FrequencyFit(float(beta[1]), float(beta[1] - half), float(beta[1] + half), len(n), without)
