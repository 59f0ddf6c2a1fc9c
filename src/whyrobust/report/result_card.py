"""The result card of a study, ``card.json``: config, versions and numbers in one small file that others can collect.

results/README.md describes its layout, whose version is `LAYOUT`. Another key leaves the version as it is; a key that
goes, or means something else, raises it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from whyrobust.files import checksum
from whyrobust.report.page_parts import table_rows
from whyrobust.report.tables import StudyTables
from whyrobust.study.code_version import package_version
from whyrobust.study.table_cells import is_missing

LAYOUT: Final = 1
FILE_NAME: Final = "card.json"

EFFECT_COLUMNS: Final = (
    "cause", "comparison", "main", "holds_fixed", "shift", "role", "pairs", "seeds", "effect_points", "low_points",
    "high_points", "detectable_points", "p", "p_adjusted", "family", "verdict", "equivalence_low_points",
    "equivalence_high_points", "p_equivalence", "equivalence_power", "raw_id_points", "raw_id_low_points",
    "raw_id_high_points", "raw_shift_points", "raw_shift_low_points", "raw_shift_high_points", "extrapolated_pairs",
    "left_out_pairs", "kept_share",
)  # fmt: skip
"""Columns of ``causes.csv`` that the card has."""

MODEL_COLUMNS: Final = (
    "run", "source", "train_images", "seed", "objective", "supervision", "caption", "labels", "pretrained_by", "model",
    "samples_seen", "standard", "published",
)  # fmt: skip
"""Columns of ``runs.csv`` that the card has."""


def make_card(provenance: Mapping[str, Any], study: StudyTables) -> dict[str, Any]:
    """Return the card of a finished study, as JSON can hold it: what is missing in a table is None.

    Args:
        provenance: see `whyrobust.report.provenance.record_study`.
        study: its results.
    """
    return {
        "layout": LAYOUT,
        "study": provenance["study"],
        "versions": {
            "whyrobust": package_version("whyrobust"),
            "commit": provenance["commit"],
            "python": provenance["machine"]["python"],
            "packages": provenance["packages"],
            "downloads": provenance["downloads"],
        },
        "config": provenance["config"],
        "effects": _rows(study.causes, EFFECT_COLUMNS),
        "test_sets": _rows(study.shifts, [str(name) for name in study.shifts]),
        "models": _models(study),
        "tables_sha256": provenance["checksums_sha256"],
    }


def _rows(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: None if is_missing(row[name]) else row[name] for name in columns} for row in table_rows(table)]


def _models(study: StudyTables) -> list[dict[str, Any]]:
    """Return each run with its main head's accuracies by test set and effective robustness in points by shift."""
    accuracy = _by_run(study.accuracy, "test_set", "accuracy")
    robustness = _by_run(study.effective, "shift", "effective_robustness_points")
    rows = _rows(study.runs, MODEL_COLUMNS)
    numbers = {"accuracy": accuracy, "effective_robustness_points": robustness}
    return [row | {name: of_run.get(row["run"], {}) for name, of_run in numbers.items()} for row in rows]


def _by_run(table: pd.DataFrame, key: str, column: str) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for row in _rows(table[table["main"].astype(bool)], ("run", key, column)):
        found.setdefault(row["run"], {})[row[key]] = row[column]
    return found


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a finished study.

    Args:
        folder: of its results.

    Raises:
        FileNotFoundError: it has none.
        ValueError: it is no card, or one of another layout.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} has no {FILE_NAME}: give the results folder of a finished study; one that an earlier version "
            "made gets its card when it is run again, which trains nothing if nothing else has changed"
        )
    try:
        card: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): remove it and run the study again") from error
    layout = card.get("layout") if isinstance(card, dict) else None
    if layout != LAYOUT:
        raise ValueError(
            f"{path} has layout {layout!r}, this version reads layout {LAYOUT}: run the study again with this version, "
            "or read the card with the version that made it"
        )
    return card  # type: ignore[no-any-return]


def check_tables(folder: Path, card: Mapping[str, Any]) -> None:
    """Check that the tables beside a card are those that it was made of.

    A study that is run again after a change writes its tables before its card, so that one that was stopped in between
    has tables of one state and a card of another. Cards of earlier versions have no checksums, and pass.

    Args:
        folder: of the study's results.
        card: what `read_card` returns of it.

    Raises:
        ValueError: a table has changed since.
    """
    made_of: Mapping[str, str] = card.get("tables_sha256", {})
    there = [name for name in made_of if (folder / name).exists()]
    changed = [name for name in there if checksum(folder / name) != made_of[name]]
    if changed:
        raise ValueError(
            f"{folder} was changed after its page and {FILE_NAME} were written ({', '.join(changed)}): run the study "
            "to its end, which writes both again"
        )
