"""What the page's script shows of single runs: their numbers, classes, confusions and answers to sample images."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from whyrobust.report.page_parts import table_rows
from whyrobust.report.tables import RunTables, StudyTables
from whyrobust.study.display_names import name_test_set, spaced
from whyrobust.study.table_cells import cell_text, is_missing

_ACCURACY: Final = {"accuracy": 6, "low": 5, "high": 5}
_BEYOND: Final = {"baseline_accuracy": 5, "effective_robustness_points": 3, "low_points": 3, "high_points": 3}
"""Columns of the two tables with the decimals that the page gets."""


def run_details(study: StudyTables, points: pd.DataFrame, details: RunTables, samples: pd.DataFrame) -> dict[str, Any]:
    """Return what the page's script shows of a chosen run, by its main head.

    Args:
        study: the results.
        points: effective robustness of every run by its main head (see `describe_points`).
        details: confusions, classes and answers to sample images of each run.
        samples: the sample images, whose order the answers have.

    Returns:
        ``runs``: run to ``label`` and ``results``, see `run_results`; ``test_sets``: names of those with results;
        ``in_distribution``: those that are no shift; ``names``: labels and answers; ``classes``: see `count_classes`;
        ``confusions``: run to test set to ``[label, answer, images, images of the class]`` with indices into ``names``;
        ``answers``: run to test set to ``[answer, right]`` for each sample image, None if there is none.
    """
    results = run_results(study)
    labels = dict(zip(points["run"], points["words"], strict=True))
    names: dict[str, int] = {}  # name -> its index; filled by the functions below
    return {
        "runs": {run: {"label": label, "results": results.get(run, {})} for run, label in labels.items()},
        "test_sets": {name: name_test_set(name) for of_run in results.values() for name in of_run},
        "in_distribution": study.in_distribution,
        "classes": count_classes(details.class_accuracy, list(labels), names),
        "confusions": _confusions_by_run(details.confusions, names),
        "answers": _answers_by_run(details.sample_predictions, samples, names),
        "names": list(names),
    }


def run_results(study: StudyTables) -> dict[str, dict[str, list[float | None]]]:
    """Return the numbers of each run by its main head on whole test sets.

    Returns:
        Run to test set to accuracy, the ends of its interval and, on shifts, the predicted accuracy, effective
        robustness in points and the ends of its interval; None for what was not measured.
    """
    keys = ["run", "test_set"]
    whole = study.accuracy[
        study.accuracy["main"].astype(bool) & study.accuracy["test_set"].isin(study.shifts["test_set"])
    ]
    beyond = study.effective[study.effective["main"].astype(bool)].rename(columns={"shift": "test_set"})
    beyond = beyond[[*keys, *_BEYOND]]
    table = whole[[*keys, *_ACCURACY]].merge(beyond, on=keys, how="left", validate="one_to_one")
    results: dict[str, dict[str, list[float | None]]] = {}
    for row in table_rows(table):
        numbers = [
            None if is_missing(row[name]) else round(float(row[name]), digits)
            for name, digits in (_ACCURACY | _BEYOND).items()
        ]
        results.setdefault(str(row["run"]), {})[str(row["test_set"])] = numbers
    return results


def count_classes(class_accuracy: pd.DataFrame, runs: list[str], names: dict[str, int]) -> dict[str, Any]:
    """Return the images that each run has right in each class, by its main head.

    Args:
        class_accuracy: ``details/class_accuracy.csv``.
        runs: the runs in order.
        names: display names with their indices; new ones are added.

    Returns:
        Test set to a list of ``[label, images, [right of each run]]``, the label as an index into ``names``. A list by
        class, since runs are alike on a class and compress well.
    """
    counted: dict[str, Any] = {}
    for (test_set, label), rows in class_accuracy.groupby(["test_set", "label"], sort=False):
        right = dict(zip(rows["run"], rows["correct"], strict=True))
        of_runs = [int(right[run]) if run in right else None for run in runs]
        counted.setdefault(str(test_set), []).append([_index_of(label, names), int(rows["images"].iloc[0]), of_runs])
    return counted


def _index_of(name: object, names: dict[str, int]) -> int:
    """Return the index of a display name, a new one where it is not known yet."""
    return names.setdefault(spaced(cell_text(name)), len(names))


def _confusions_by_run(confusions: pd.DataFrame, names: dict[str, int]) -> dict[str, dict[str, list[list[int]]]]:
    by_run: dict[str, dict[str, list[list[int]]]] = {}
    for row in table_rows(confusions):
        label, prediction = (_index_of(row[name], names) for name in ("label", "prediction"))
        by_run.setdefault(row["run"], {}).setdefault(row["test_set"], []).append(
            [label, prediction, int(row["images"]), int(row["class_images"])]
        )
    return by_run


def _answers_by_run(
    predictions: pd.DataFrame, samples: pd.DataFrame, names: dict[str, int]
) -> dict[str, dict[str, list[list[int] | None]]]:
    order = {
        (row["dataset"], row["uid"]): number
        for _, rows in samples.groupby("dataset", sort=False)
        for number, row in enumerate(table_rows(rows))
    }
    sizes = samples.groupby("dataset").size()
    by_run: dict[str, dict[str, list[list[int] | None]]] = {}
    for row in table_rows(predictions):
        of_run = by_run.setdefault(row["run"], {})
        answers = of_run.setdefault(row["test_set"], [None] * int(sizes[row["test_set"]]))
        answers[order[row["test_set"], row["uid"]]] = [_index_of(row["prediction"], names), int(bool(row["correct"]))]
    return by_run
