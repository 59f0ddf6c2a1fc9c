"""The names of the classes, from the study's table of classes.

Stands alone because nearly every stage needs them and nothing else of what trains or evaluates: a change there must not
read photographs or train models again.
"""

from __future__ import annotations

import csv
from pathlib import Path


def read_class_names(path: Path | str) -> list[str]:
    """Return the names of the classes; a class's id is its position in the table."""
    with Path(path).open(encoding="utf-8", newline="") as handle:
        return [row["class"] for row in csv.DictReader(handle)]


def read_prompt_names(path: Path | str) -> list[str]:
    """Return what each class is called in prompts and captions: column ``name`` where there is one, else the class."""
    with Path(path).open(encoding="utf-8", newline="") as handle:
        return [row.get("name") or row["class"] for row in csv.DictReader(handle)]
