"""Regular expressions for the wildcards of rules: each matches the names that a study has and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.study.plan import name_pattern

if TYPE_CHECKING:
    from whyrobust.study.study import Study

#: Matches no name: what a wildcard is held to where a study has nothing of its kind.
NO_NAME = "none"


def trained_pattern(study: Study) -> str:
    """Return a regular expression for the names of the runs that are trained here."""
    return name_pattern(study.trained)


def wildcard_patterns(study: Study) -> dict[str, str]:
    """Return a regular expression for each wildcard of the rules."""
    files = [Path(path).relative_to(study.config.downloads).as_posix() for path in study.downloads]
    return {
        "run": name_pattern(study.runs),
        "group": name_pattern(study.groups),
        "published": name_pattern(set(study.runs) - set(study.trained)) or NO_NAME,
        "downloaded": _alternatives(files),
        "source": _alternatives(study.sources),
        "view": _alternatives(study.filtered_views),
        "icon_dataset": _alternatives(study.datasets.icons),
        "photo_dataset": _alternatives(study.datasets.photographs),
        "photo_slice": _alternatives(study.datasets.photo_slices),
        "text_slice": _alternatives(study.datasets.text_slices),
        "caption": _alternatives(variant for _, variant in study.captions),
        "train_images": r"\d+",
        "seed": r"\d+",
    }


def _alternatives(values: Iterable[str]) -> str:
    return "|".join(re.escape(value) for value in sorted(set(values))) or NO_NAME
