"""Habits of the paper that a study takes over by choice: settings, and whether they can be had in it.

They change nothing in a study whose config does not name them. In one that does, they change verdicts only where its
main measurement is the paper's, that is with one in-distribution test set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from whyrobust.study.class_table import read_class_names, read_class_table, read_covered_classes
from whyrobust.study.dataset_settings import TestSet
from whyrobust.study.display_names import name_test_set
from whyrobust.study.published_shifts import CLASSES_OF_IMAGENET, OWN_CLASSES, PUBLISHED_SHIFTS
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import InnerShare, Name, Settings

#: Whose standard models fit the line of the paper's measurement beside, or in place of, the study's own.
NONE: Final = "none"
BESIDES: Final = "besides"


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
    testbed: Literal["none", "besides", "instead"] = "none"
    """Whether the line over ImageNet's validation images, the first in-distribution test set, is fitted to the standard
    models of the ImageNet testbed (resources/reference) besides the study's own, or instead of them. All shifts must
    be published ones, with their classes. Published accuracies are over images: the main comparisons with classes
    weighted the other way are beyond the study's own standard models."""


def tables_of_testbed(settings: PaperMeasurement, folder: str) -> list[str]:
    """Return the tables of published models that the study's measurement reads; ``folder`` is that of all of them."""
    return [] if settings.testbed == NONE else [f"{folder}/imagenet_testbed_top1.csv"]


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


def check_testbed(test_sets: Mapping[str, TestSet], class_weights: str, classes: Path, root: Path) -> None:
    """Check that the accuracies of the testbed's models mean what those of a study mean.

    Args:
        test_sets: of the config.
        class_weights: what an accuracy is.
        classes: the table of classes.
        root: folder that relative paths in the config start from.

    Raises:
        ConfigError: the first difference: the in-distribution test set, a shift or its images, the classes that may be
            predicted, or the weighting of classes.
    """
    key = "config key paper_measurement.testbed names published models, whose accuracies"
    if class_weights != "images":
        raise ConfigError(f"{key} are over images, but class_weights is '{class_weights}': allowed is images")
    names = read_class_names(classes)
    if len(names) != CLASSES_OF_IMAGENET:
        raise ConfigError(
            f"{key} are among {CLASSES_OF_IMAGENET:,} classes, but data.classes has {len(names):,}: allowed are "
            "ImageNet's (resources/imagenet/classes.csv)"
        )
    first, *_ = (name for name, test_set in test_sets.items() if test_set.role == "in_distribution")
    if test_sets[first].kind != "imagenet" or getattr(test_sets[first], "split", "") != "validation":
        raise ConfigError(
            f"{key} are on ImageNet's validation images, but the first in-distribution test set is '{first}': allowed "
            "is one of kind imagenet with split validation"
        )
    for name, test_set in test_sets.items():
        if test_set.role == "shift":
            _check_published_shift(name, test_set, classes, root, key)


def _check_published_shift(name: str, test_set: TestSet, classes: Path, root: Path, key: str) -> None:
    """Check that a shift is a published one, whole, among the classes that published models choose from."""
    kind = test_set.kind
    if kind not in PUBLISHED_SHIFTS:
        raise ConfigError(
            f"{key} are not known on test_sets.{name} of kind '{kind}': allowed are {', '.join(PUBLISHED_SHIFTS)}"
        )
    expected = "own" if kind in OWN_CLASSES else "all"
    if test_set.classes != expected:
        raise ConfigError(
            f"{key} on {name_test_set(kind)} are among {OWN_CLASSES.get(kind, CLASSES_OF_IMAGENET):,} classes, but "
            f"test_sets.{name}.classes is '{test_set.classes}': allowed is {expected}"
        )
    if kind in OWN_CLASSES:
        if test_set.row.covered_classes_column:
            table, covered = "data.classes", len(read_covered_classes(classes, kind))
        else:
            given = root / getattr(test_set, "class_table")  # noqa: B009 - of this kind alone
            table, covered = f"test_sets.{name}.class_table", len(read_class_table(given)[1])
        if covered != OWN_CLASSES[kind]:
            raise ConfigError(
                f"{key} on {name_test_set(kind)} are among {OWN_CLASSES[kind]} classes, but {table} has {covered} of "
                "it: allowed are those of the tables in resources/imagenet"
            )


def describe_paper_line(settings: PaperMeasurement, first: str) -> list[str]:
    """Say in sentences how the line of the paper's measurement differs from one line of the study's standard models.

    Args:
        settings: of the study.
        first: the first in-distribution test set, which the line is over.
    """
    fitted = {
        BESIDES: "besides the study's own",
        "instead": "instead of the study's own, which are marked as standard models all the same",
    }
    told = []
    if settings.testbed != NONE:
        told.append(
            f"The line over {name_test_set(first)} is fitted to the standard models of the ImageNet testbed, published "
            f"models of Taori et al. 2020 (MIT licence), {fitted[settings.testbed]}; every other fit is to the study's "
            "own."
        )
    return told + [
        f"On {name_test_set(shift)} the line over {name_test_set(first)} is two: one through the standard models that "
        f"have less than {100 * pivot:g} % there, on the classes of {name_test_set(shift)} where it covers only some, "
        "and one through those that have more."
        for shift, pivot in settings.two_lines.items()
    ]
