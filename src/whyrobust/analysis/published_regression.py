"""A second opinion on the natural experiments: one regression over all documented models.

Offers `regress_models`, `table_of_terms` and `contrast_terms`. The residual of every model from a line, in logits, is
regressed on what it learned from, how it predicts, what it was fine-tuned on in between, its images and its input
resolution, with an effect for every architecture. So it uses models that no pair has, and compares treatments without a
common architecture through the ones that they share with others; in return it assumes that effects add. Standard errors
are clustered by architecture (Liang & Zeger 1986, Biometrika 73), with the small-sample factor and t with clusters - 1
degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.intervals import student_half_width
from whyrobust.analysis.pretraining import documented
from whyrobust.analysis.published_lines import MAIN_SHIFTS
from whyrobust.analysis.published_tables import FULL_VALIDATION

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray, FloatArray

REFERENCE = {"learned_from": "labels of ImageNet-1k", "prediction": "classifier", "intermediate": "none"}
LEARNED_FROM = "learned_from: "
NEEDS = ("data", "supervision", "teacher", "objective", "fine_tuned_on", "predicts", "supervision_level", "image_size")
# A level with fewer models says more about one model than about what it learned from.
FEWEST_MODELS = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Regression:
    """Estimates of one line and shift: ``terms``, their ``values`` and ``covariance``, and what they rest on."""

    line: str
    shift: str
    terms: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    clusters: int
    models: int
    r_squared: float


def regress_models(models: pd.DataFrame, measured: pd.DataFrame) -> list[Regression]:
    """Regress residuals on the fields of pretraining, for every line and main shift.

    Args:
        models: as `whyrobust.analysis.pretraining.describe_models` gives them.
        measured: as `whyrobust.analysis.published_lines.measure_models` gives it. Full validation is the x axis, which
            all tables have.

    Returns:
        One regression per line and shift. Only models enter whose architecture has two or more of them, of two or more
        kinds: the others say nothing about differences within an architecture.
    """
    import pandas as pd

    table = models[documented(models, NEEDS)].copy()
    captions = table["supervision"] == "captions"
    table["learned_from"] = table["supervision_level"].where(~captions, "captions of " + table["data"])
    teacher = captions & (table["teacher"] != "none")
    table = table[~teacher]
    for name in REFERENCE:
        counts = table[name].map(table[name].value_counts())
        table = table[counts >= FEWEST_MODELS]
    # The same data at two sizes: only captions have them.
    captions = table["supervision"] == "captions"
    mean = np.log10(table["images"]).where(captions).groupby(table["data"]).transform("mean")
    table["log10 images of one data set of captions"] = (np.log10(table["images"]) - mean).where(captions, 0.0)
    table = table.dropna(subset=["log10 images of one data set of captions"])
    table["doublings of the input resolution"] = np.log2(table["image_size"].astype(float))
    results = []
    own = measured[(measured["x_test_set"] == FULL_VALIDATION) & measured["shift"].isin(MAIN_SHIFTS)]
    columns = ["model", "collection", "line", "shift", "residual_logits"]
    joined = table.merge(own[columns], on=["model", "collection"])
    for (line, shift), group in joined.groupby(["line", "shift"], sort=False):
        kinds = group.groupby("architecture_class")["learned_from"].transform("nunique")
        ways = group.groupby("architecture_class")["prediction"].transform("nunique")
        results.append(_regress(pd.DataFrame(group[(kinds > 1) | (ways > 1)]), str(line), str(shift)))
    return results


def table_of_terms(regressions: Sequence[Regression]) -> pd.DataFrame:
    """Return the estimates with their intervals, in logits: one row per line, shift and term."""
    import pandas as pd

    rows = []
    for one in regressions:
        for number, term in enumerate(one.terms):
            weights = np.zeros(len(one.terms))
            weights[number] = 1.0
            rows.append({"line": one.line, "shift": one.shift, "term": term} | _interval(one, weights))
    return pd.DataFrame(rows)


def contrast_terms(regressions: Sequence[Regression]) -> pd.DataFrame:
    """Return every difference of two things that models learned from (second less first), per line and shift."""
    import itertools

    import pandas as pd

    rows = []
    for one in regressions:
        learned = [term for term in one.terms if term.startswith(LEARNED_FROM)]
        for first, second in itertools.combinations(learned, 2):
            weights = np.zeros(len(one.terms))
            weights[one.terms.index(second)], weights[one.terms.index(first)] = 1.0, -1.0
            named = {"first": first.removeprefix(LEARNED_FROM), "second": second.removeprefix(LEARNED_FROM)}
            rows.append({"line": one.line, "shift": one.shift} | named | _interval(one, weights))
    return pd.DataFrame(rows)


def _interval(one: Regression, weights: FloatArray) -> dict[str, float]:
    value, error = float(weights @ one.values), float(np.sqrt(weights @ one.covariance @ weights))
    half = student_half_width(error, one.clusters - 1, CONFIDENCE)
    return {
        "effect_logits": value,
        "low_logits": value - half,
        "high_logits": value + half,
        "architectures": one.clusters,
        "models": one.models,
        "r_squared_within": one.r_squared,
    }


def _regress(table: pd.DataFrame, line: str, shift: str) -> Regression:
    """Fit one regression within architectures."""
    columns: dict[str, FloatArray] = {}
    for name, reference in REFERENCE.items():
        for level in sorted(set(table[name]) - {reference}):
            columns[f"{name}: {level}"] = (table[name] == level).to_numpy(dtype=float)
    for name in ("log10 images of one data set of captions", "doublings of the input resolution"):
        columns[name] = table[name].to_numpy(dtype=float)
    architectures = table["architecture_class"].to_numpy()
    y = _within(table["residual_logits"].to_numpy(dtype=float)[:, None], architectures)[:, 0]
    design = _within(np.stack(list(columns.values()), axis=1), architectures)
    found = _identifiable(design)
    names = tuple(name for name, there in zip(columns, found, strict=True) if there)
    design = design[:, found]
    bread = np.linalg.inv(design.T @ design)
    values = bread @ (design.T @ y)
    residuals = y - design @ values
    clusters = np.unique(architectures)
    scores = np.stack([design[architectures == one].T @ residuals[architectures == one] for one in clusters])
    count, degrees = len(clusters), len(y) - len(clusters) - design.shape[1]
    factor = count / (count - 1) * (len(y) - 1) / max(degrees, 1)
    return Regression(
        line=line,
        shift=shift,
        terms=names,
        values=values,
        covariance=factor * bread @ (scores.T @ scores) @ bread,
        clusters=count,
        models=len(y),
        r_squared=float(1 - residuals @ residuals / (y @ y)),
    )


def _within(values: FloatArray, groups: FloatArray) -> FloatArray:
    """Take the mean of its group from each row."""
    _, codes = np.unique(groups, return_inverse=True)
    sums = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    centred: FloatArray = values - (sums / np.bincount(codes)[:, None])[codes]
    return centred


def _identifiable(design: FloatArray) -> BoolArray:
    """Return which columns are kept: those that are no combination of the columns before them."""
    triangle = np.linalg.qr(design, mode="r")
    own = np.abs(np.diagonal(triangle))
    result: BoolArray = own > 1e-8 * np.linalg.norm(design, axis=0).clip(min=1.0)
    return result
