"""What part each test set takes in the answer: ``shifts.csv``.

A shift takes part in verdicts unless it is a case study (declared, or of too few teams to say something about other
teams) or not informative: accuracy on it does not follow in-distribution accuracy, or standard models are at chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.accuracies import FEWEST_UNITS, KEYS, read_outcomes
from whyrobust.analysis.average_shift import describe_average
from whyrobust.analysis.measured import CASE_STUDY, IN_DISTRIBUTION, NOT_INFORMATIVE, PAPER, SHIFT
from whyrobust.analysis.study_tables import PLANE, RobustnessTables
from whyrobust.study.class_table import read_class_names, read_covered_classes
from whyrobust.study.display_names import AVERAGE, name_test_set

if TYPE_CHECKING:
    import pandas as pd

#: Median accuracy from which on a shift that the baseline does not explain is said to be too easy, and in which words.
NEARLY_ALL, TOO_EASY = 0.97, "it is too easy to tell models apart"

#: Smallest share of the variance over standard models that the baseline explains on a shift with a verdict.
SMALLEST_R_SQUARED = 0.5


def describe_test_sets(
    test_sets: Mapping[str, Mapping[str, Any]],
    answers: Mapping[str, int | None],
    accuracy: pd.DataFrame,
    predictions: Path | str,
    tables: RobustnessTables,
    average_over: Sequence[str] = (),
) -> pd.DataFrame:
    """Return ``shifts.csv``: a row for each test set, and for the average over some shifts where that was measured.

    Args:
        test_sets: of each ``role, source, case_study, seen_in, unit``, as the config has them (None for none).
        answers: how many classes may be predicted on each; None for as many as its images have.
        accuracy: ``accuracy.csv``, empty text read as such.
        predictions: path of ``predictions.parquet``.
        tables: the measured study.
        average_over: the shifts that were averaged.

    Returns:
        ``test_set, role, reason, source, seen_in, images, drawings, classes, unit, units, chance, median_accuracy,
        r_squared, r_squared_line``. The median is over standard models; the coefficients of determination are of the
        main baseline and of the paper's line.
    """
    import pandas as pd

    measured = tables.effective_robustness
    standard = measured[measured["standard"]][list(KEYS)].drop_duplicates()
    first = tuple(measured[list(KEYS)].iloc[0])
    main, line = _r_squared(tables)
    rows = []
    for name, settings in test_sets.items():
        outcomes = read_outcomes(predictions, name, [first])
        classes = len(set(outcomes.labels))
        on_test_set = accuracy[accuracy["test_set"] == name].merge(standard, on=list(KEYS))
        row = {
            "test_set": name,
            "role": IN_DISTRIBUTION,
            "reason": "",
            "source": settings["source"] or "",
            "seen_in": " ".join(settings["seen_in"] or ()),
            "images": len(outcomes.labels),
            "drawings": len(set(outcomes.groups)),
            "classes": classes,
            "unit": settings["unit"],
            "units": len(set(outcomes.units)),
            "chance": 1.0 / (answers[name] or classes),
            "median_accuracy": on_test_set["accuracy"].median(),
            "r_squared": main.get(name),
            "r_squared_line": line.get(name),
        }
        if settings["role"] != IN_DISTRIBUTION:
            row["role"], row["reason"] = role_of_shift(row, settings["case_study"] or "")
        rows.append(row)
    if average_over:
        median = measured.loc[measured["standard"] & (measured["shift"] == AVERAGE), "shift_accuracy"].median()
        members = [row for row in rows if row["test_set"] in average_over]
        rows.append(describe_average(members, median, main.get(AVERAGE, np.nan), line.get(AVERAGE, np.nan)))
    return pd.DataFrame(rows)


def count_answers(classes: Path | str, coverage: Mapping[str, Mapping[str, str]]) -> dict[str, int | None]:
    """Return how many classes may be predicted on each test set; None for those that its images have.

    Args:
        classes: path of the table of classes.
        coverage: ``classes`` (all or own) and ``covered`` of each test set, see `UsedDatasets.class_coverage`.
    """
    answers: dict[str, int | None] = {}
    for name, settings in coverage.items():
        answers[name] = len(read_class_names(classes)) if settings["classes"] == "all" else None
        if settings["covered"]:
            answers[name] = len(read_covered_classes(classes, settings["covered"]))
    return answers


def role_of_shift(row: Mapping[str, Any], declared: str) -> tuple[str, str]:
    """Return the role of a shift and the reason for it, empty for one that takes part in verdicts.

    Args:
        row: of ``shifts.csv``, with ``unit, units, chance, median_accuracy, r_squared``.
        declared: why the config calls it a case study; "" where it does not.
    """
    if declared:
        return CASE_STUDY, declared
    if row["unit"] == "team" and row["units"] < FEWEST_UNITS:
        teams = "1 team" if row["units"] == 1 else f"{row['units']} teams"
        return CASE_STUDY, f"{teams}: fewer than {FEWEST_UNITS} say nothing about other teams"
    # Comparisons with NaN, where nothing could be fitted, are false.
    if not row["r_squared"] >= SMALLEST_R_SQUARED:
        if row["median_accuracy"] >= NEARLY_ALL:
            return NOT_INFORMATIVE, (
                f"half of the standard models have {100 * row['median_accuracy']:.1f} % or more right: {TOO_EASY}"
            )
        found = "no baseline"
        if row["r_squared"] == row["r_squared"]:
            found = f"R\u00b2 {row['r_squared']:.2f}, less than {SMALLEST_R_SQUARED:g}"
        return NOT_INFORMATIVE, f"{found}: accuracy on it does not follow in-distribution accuracy"
    if not row["median_accuracy"] > row["chance"]:
        return NOT_INFORMATIVE, (
            f"half of the standard models have {100 * row['median_accuracy']:.1f} % or less, chance is "
            f"{100 * row['chance']:.1f} %"
        )
    return SHIFT, ""


def explain_no_answer(shifts: Iterable[tuple[str, str, str]]) -> str:
    """Say why a study has no answer, and what to do, where no mean over shifts was tested.

    Args:
        shifts: name, role and reason of each test set, as `describe_test_sets` has them.
    """
    apart = [one for one in shifts if one[1] in (CASE_STUDY, NOT_INFORMATIVE)]
    told = [name_apart(*one) for one in apart]
    uninformative = any(role == NOT_INFORMATIVE for _, role, _ in apart)
    too_easy = any(reason.endswith(TOO_EASY) for *_, reason in apart)
    advice = "Train longer, on more images, or give another shift." if uninformative else "Give another shift."
    if too_easy:
        advice = "Give a harder shift."
    why = f": {'; '.join(told)}" if told else ""
    return f"No answer: no shift takes part in verdicts{why}. {advice}"


def name_apart(name: str, role: str, reason: str) -> str:
    """Say which part a test set takes that is in no verdict, and why."""
    verb = "is a" if role == CASE_STUDY else "is"
    return f"{name_test_set(name)} {verb} {role}{f' ({reason})' if reason else ''}"


def _r_squared(tables: RobustnessTables) -> tuple[dict[str, float], dict[str, float]]:
    """Return by shift how much of the standard models' variance the main baseline and the paper's line explain."""
    baselines = tables.baselines
    lines = tables.single_lines[tables.single_lines["measurement"] == PAPER][["shift", "x_test_set"]].drop_duplicates()
    of_line = baselines[baselines["line"] != PLANE].merge(lines, on=["shift", "x_test_set"])
    # Of two lines that meet at a pivot, the one that fits worse; one without models has none.
    line = {str(shift): float(value) for shift, value in of_line.groupby("shift")["r_squared"].min().items()}
    of_plane = baselines[baselines["line"] == PLANE]
    return line | dict(zip(of_plane["shift"], of_plane["r_squared"], strict=True)), line
