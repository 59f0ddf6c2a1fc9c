"""Habits of the paper that a study takes over by choice: settings, and whether they can be had in it.

They change nothing in a study whose config does not name them, and no verdict in one that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whyrobust.study.dataset_settings import TestSet
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import Name, Settings


@dataclass(frozen=True, kw_only=True)
class PaperMeasurement(Settings):
    """Habits of Fang et al. 2022 beside the study's own; none by default."""

    average_over: tuple[Name, ...] = ()
    """Shifts whose accuracies are averaged first and then measured as one more shift, average, with a line of its own.
    It is in no verdict; the mean over shifts, which is, is of effects."""


def check_paper_measurement(settings: PaperMeasurement, test_sets: Mapping[str, TestSet]) -> None:
    """Check that the shifts that are averaged are there.

    Raises:
        ConfigError: the first problem.
    """
    shifts = [name for name, test_set in test_sets.items() if test_set.role == "shift"]
    key = "config key paper_measurement.average_over"
    for name in settings.average_over:
        if name not in shifts:
            raise ConfigError(f"{key} has '{name}': allowed is one of {', '.join(shifts)}")
    if len(set(settings.average_over)) < len(settings.average_over) or len(settings.average_over) == 1:
        named = ", ".join(settings.average_over)
        raise ConfigError(f"{key} is [{named}]: allowed are two or more shifts, each once")
