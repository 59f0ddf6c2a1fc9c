"""Habits of the paper that a study takes over by choice: settings, and whether they can be had in it.

They change nothing in a study whose config does not name them, and no verdict in one that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whyrobust.study.dataset_settings import TestSet
from whyrobust.study.display_names import name_test_set
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import InnerShare, Name, Settings


@dataclass(frozen=True, kw_only=True)
class PaperMeasurement(Settings):
    """Habits of Fang et al. 2022 beside the study's own; none by default."""

    average_over: tuple[Name, ...] = ()
    """Shifts whose accuracies are averaged first and then measured as one more shift, average, with a line of its own.
    It is in no verdict; the mean over shifts, which is, is of effects."""
    two_lines: dict[Name, InnerShare] = field(default_factory=dict)
    """For a shift, the accuracy in distribution at which the line of the paper's measurement breaks in two: standard
    models below it fit one line, those above it another. Made for ImageNet-A, whose images ResNet-50 gets wrong: give
    its accuracy on the x axis of the shift, .9186 on the validation images of ImageNet-A's classes."""


def check_paper_measurement(settings: PaperMeasurement, test_sets: Mapping[str, TestSet]) -> None:
    """Check that the shifts that are averaged, or have two lines, are there.

    Raises:
        ConfigError: the first problem.
    """
    shifts = [name for name, test_set in test_sets.items() if test_set.role == "shift"]
    for key, names in (("average_over", settings.average_over), ("two_lines", settings.two_lines)):
        for name in names:
            if name not in shifts:
                raise ConfigError(
                    f"config key paper_measurement.{key} has '{name}': allowed is one of {', '.join(shifts)}"
                )
    if len(set(settings.average_over)) < len(settings.average_over) or len(settings.average_over) == 1:
        named = ", ".join(settings.average_over)
        raise ConfigError(
            f"config key paper_measurement.average_over is [{named}]: allowed are two or more shifts, each once"
        )


def describe_paper_line(settings: PaperMeasurement, first: str) -> list[str]:
    """Say in sentences how the line of the paper's measurement differs from one line of the study's standard models.

    Args:
        settings: of the study.
        first: the first in-distribution test set, which the line is over.
    """
    return [
        f"On {name_test_set(shift)} the line over {name_test_set(first)} is two: one through the standard models that "
        f"have less than {100 * pivot:g} % there, on the classes of {name_test_set(shift)} where it covers only some, "
        "and one through those that have more."
        for shift, pivot in settings.two_lines.items()
    ]
