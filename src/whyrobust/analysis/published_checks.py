"""What the committed tables of published models must be like, before anything is computed from them.

Offers `read_rows`, which reads a table of ``resources/reference/`` with a row per model and checks its columns and
names, `check_accuracies`, which checks their units, `check_spellings`, which finds two spellings of one value, and
`check_named_values`, which finds a value that the analysis names and no model has.

People add rows to these tables and correct them by hand. Each error says what was found in which line of the file, the
header being line 1, and what to do. An empty accuracy was not measured, and is no error.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray

# pandas counts rows from 0, below the header; editors count lines from 1.
FIRST_LINE = 2
# In percent, all accuracies of a row are at most this where it holds shares. Of 1,600 rows of the tables in percent,
# networks before their first step among them, none is below 2 everywhere.
LARGEST_SHARE = 1.0
# A model with this accuracy (percent) on ImageNet's images, or on a part of its classes, is nowhere near one percent on
# another part, or on V2: in the tables these accuracies of a row are within a factor of 8 of each other.
CLEARLY_LEARNED = 50.0


def read_rows(
    path: Path, columns: Sequence[str], key: Sequence[str], repeats: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read a table that has a row per model.

    Args:
        path: the CSV file.
        columns: the columns that it must have; it may have more.
        key: the columns that name a model together.
        repeats: column and its value in rows that may share a name as long as their other cells differ.

    Raises:
        ValueError: for a missing column, a row without a name, or a model with two rows.
    """
    import pandas as pd

    table = pd.read_csv(path)
    check_columns(path, table, columns)
    for column in key:
        unnamed = table[column].isna().to_numpy(dtype=bool)
        if unnamed.any():
            line = int(unnamed.argmax()) + FIRST_LINE
            raise ValueError(f"{path}, line {line}: the column {column} is empty: name the model, or take the row out.")
    names = _names(table, key)
    may_repeat = np.zeros(len(table), dtype=bool)
    for column, value in (repeats or {}).items():
        may_repeat |= (table[column] == value).to_numpy(dtype=bool)
    # All rows of a name must be ones that may repeat, not only the second.
    others = set(names[~may_repeat])
    twice = names.duplicated().to_numpy(dtype=bool) & names.isin(others).to_numpy(dtype=bool)
    _check_repeats(path, names, twice | table.duplicated().to_numpy(dtype=bool))
    return table


def check_columns(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that a table has some columns.

    Raises:
        ValueError: for one that it lacks, with the column that is spelt most like it.
    """
    lacking = [name for name in columns if name not in table.columns]
    if not lacking:
        return
    unknown = [str(name) for name in table.columns if name not in columns]
    like = difflib.get_close_matches(lacking[0], unknown, n=1)
    hint = f"is {like[0]!r} a misspelling of it? " if like else ""
    raise ValueError(
        f"{path} lacks the column {lacking[0]!r}: {hint}Write the header as the README beside the file describes it, "
        "and leave cells empty that were not measured."
    )


def check_accuracies(path: Path, table: pd.DataFrame, key: Sequence[str], columns: Sequence[str], unit: str) -> None:
    """Check that accuracies are numbers in the unit of their table.

    Args:
        path: the file, for messages.
        table: as `read_rows` gives it.
        key: the columns that name a model together.
        columns: the accuracies, of which those that the table lacks are skipped.
        unit: ``percent`` or ``share``.

    Raises:
        ValueError: for a cell that is no number or outside its range, a row of shares in a table of percent, and a
            share in a row of percent, where a model cannot be as poor as it says.
    """
    import pandas as pd

    given = table[[name for name in columns if name in table.columns]]
    values = given.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    missing = np.isnan(values)
    names = _names(table, key)

    def refuse(bad: BoolArray, wrong: str) -> None:
        rows = np.flatnonzero(bad.any(axis=1))
        if len(rows):
            row, column = int(rows[0]), int(np.flatnonzero(bad[rows[0]])[0])
            more = f" (and so on in {len(rows) - 1:,} more rows)" if len(rows) > 1 else ""
            raise ValueError(
                f"{path}, line {row + FIRST_LINE}: {given.columns[column]} of {names.iloc[row]!r} is "
                f"{given.iloc[row, column]!s}{more}, {wrong}"
            )

    percent = unit == "percent"
    allowed = "percent" if percent else "shares from 0 to 1"
    refuse(missing & given.notna().to_numpy(dtype=bool), f"which is no number: write {allowed}, or leave it empty.")
    if percent:
        low = values <= LARGEST_SHARE
        refuse(
            low & (low | missing).all(axis=1, keepdims=True),
            f"and no accuracy of the row is above {LARGEST_SHARE:g}, but the table is in percent: multiply the row by "
            "100. A model that is right in one of a hundred images at most only guesses: take it out.",
        )
        near = np.array([_near_validation(name) for name in given.columns], dtype=bool)
        learned = (values[:, near] >= CLEARLY_LEARNED).any(axis=1, keepdims=True)
        refuse(
            low & near & learned,
            f"but the table is in percent, and the row has {CLEARLY_LEARNED:g} or more on other images like these: "
            "multiply the cell by 100.",
        )
    advice = "correct the cell." if percent else "divide what is in percent by 100."
    refuse((values < 0) | (values > (100 if percent else 1)), f"but the table has {allowed}: {advice}")


def check_spellings(path: Path, table: pd.DataFrame, groups: Sequence[Sequence[str]]) -> None:
    """Check that values of some columns, parts between commas each, are spelt in one way.

    Args:
        path: the file, for messages.
        table: as it was read, without missing cells.
        groups: columns whose values are compared with each other.

    Raises:
        ValueError: where two values differ in case, blanks, hyphens and underscores only.
    """
    for columns in groups:
        lines: dict[str, dict[str, list[int]]] = {}
        for column in columns:
            for number, cell in enumerate(table[column], start=FIRST_LINE):
                for part in str(cell).split(", "):
                    lines.setdefault(_folded(part), {}).setdefault(part, []).append(number)
        for spellings in lines.values():
            if len(spellings) > 1:
                # The rarer one is more likely the wrong one.
                wrong, right = sorted(spellings, key=lambda part: len(spellings[part]))[:2]
                raise ValueError(
                    f"{path} spells one value of {' or '.join(columns)} in two ways, {wrong!r} in "
                    f"{_told(spellings[wrong])} and {right!r} in {_told(spellings[right])}: write it in one way."
                )


def check_named_values(
    path: Path, models: pd.DataFrame, names: Mapping[str, Sequence[str]], where: Mapping[str, str]
) -> None:
    """Check that every value that the analysis names is that of a model.

    Args:
        path: the table of pretraining, for messages.
        models: as `whyrobust.analysis.pretraining.describe_models` gives them.
        names: field -> values.
        where: field -> columns of the table that the field is made of.

    Raises:
        ValueError: for one that no model has, with the value that is spelt most like it.
    """
    for field, values in names.items():
        present = {str(value) for value in models[field]} - {""}
        lacking = [value for value in values if value not in present]
        if lacking:
            like = difflib.get_close_matches(lacking[0], sorted(present - set(values)), n=1)
            hint = f", but some have {like[0]!r}" if like else ""
            raise ValueError(
                f"{path}: no model has the {field} {lacking[0]!r} any longer{hint}. Comparisons name it: write it so "
                f"in {where.get(field, field)}. If its models were taken out on purpose, take the name out of "
                "analysis/natural_experiments.py, analysis/published_study.py and report/published_findings.py, too."
            )


def _names(table: pd.DataFrame, key: Sequence[str]) -> pd.Series[str]:
    """Return the names of the models, without blanks around them, which nobody sees."""
    names = table[key[0]].astype(str).str.strip()
    for column in key[1:]:
        names = names + " " + table[column].astype(str).str.strip()
    return names


def _check_repeats(path: Path, names: pd.Series[str], twice: BoolArray) -> None:
    if twice.any():
        second = int(twice.argmax())
        first = int((names == names.iloc[second]).to_numpy().argmax())
        raise ValueError(
            f"{path} has the model {names.iloc[second]!r} twice, in lines {first + FIRST_LINE} and "
            f"{second + FIRST_LINE}: it would count twice, keep one of the rows."
        )


def _near_validation(column: str) -> bool:
    """Say whether a column is ImageNet's validation set, its classes in a shift, or V2, which was drawn like it."""
    return column in ("imagenet", "imagenet_v2") or column.startswith("imagenet_on_")


def _folded(value: str) -> str:
    return "".join(value.casefold().split()).replace("-", "").replace("_", "")


def _told(lines: Sequence[int]) -> str:
    """Return ``line 5``, or ``lines 2, 3, 4 and 130 more``."""
    unique = sorted(set(lines))
    shown = ", ".join(str(line) for line in unique[:3])
    more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return f"line{'s' if len(unique) > 1 else ''} {shown}{more}"
