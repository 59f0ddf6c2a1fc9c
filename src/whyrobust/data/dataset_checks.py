"""Check that a data set is whole: images that are missing, test sets that are too small, data sets that are empty."""

from __future__ import annotations

import difflib
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.files import write_json

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("whyrobust")

#: Images left out that are also logged; the table of failures has all of them.
FAILURES_LOGGED = 1000

#: Why files of class folders are left out that are no pictures.
NO_PICTURE = "not a picture by its name"
TEXT_BESIDE = "a text file beside a picture, which is not read (of .txt files, titles_beside makes titles)"


class DatasetError(ValueError):
    """A data set that is not laid out as it should be; the message names the file, what was found and what to do."""


@dataclass(frozen=True)
class Presence:
    """How many of the images that a data set lists are there.

    Attributes:
        found: images that are there.
        missing: reason -> how many are not.
        first_missing: the first of those, and the reason.
    """

    found: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    first_missing: tuple[str, str] = ("", "")

    def __add__(self, other: Presence) -> Presence:
        """Return the counts of both, ``other`` after this one."""
        first = self.first_missing if self.missing else other.first_missing
        return Presence(self.found + other.found, Counter(self.missing) + Counter(other.missing), first)

    def check(self, dataset: str, allowed_share: float) -> None:
        """Check that no more than ``allowed_share`` (0..1) of all images are missing.

        Raises:
            DatasetError: more are.
        """
        missing = sum(self.missing.values())
        total = missing + self.found
        if missing > allowed_share * total:
            image, reason = self.first_missing
            reasons = ", ".join(f"{count:,} x {what}" for what, count in Counter(self.missing).most_common())
            raise DatasetError(
                f"data set '{dataset}' lacks {missing:,} of {total:,} pictures ({reasons}), {missing / total:.2%} "
                f"where {allowed_share:.2%} are allowed, the first '{image}': {reason}; put them in place, correct "
                "the table, or allow a larger share in data.allowed_failure_share"
            )


@dataclass(frozen=True)
class LabelCounts:
    """How many of the labels that a data set gives are classes of the study; nothing where it gives no labels.

    Attributes:
        known: labels that are.
        unknown: labels that are not.
        empty: images without a label.
        first_unknown: image, label and the class that is spelt most like it ("" where none is), of the first unknown.
    """

    known: int = 0
    unknown: int = 0
    empty: int = 0
    first_unknown: tuple[str, str, str] = ("", "", "")

    def __add__(self, other: LabelCounts) -> LabelCounts:
        """Return the counts of both, ``other`` after this one."""
        first = self.first_unknown if self.unknown else other.first_unknown
        sums = (self.known + other.known, self.unknown + other.unknown, self.empty + other.empty)
        return LabelCounts(*sums, first)

    def reasons(self) -> dict[str, int]:
        """Return why images have no class, with their number."""
        counts = {
            "its label is no class of the study (kept without one)": self.unknown,
            "its label is empty (kept without one)": self.empty,
        }
        return {reason: count for reason, count in counts.items() if count}

    def check(self, dataset: str, allowed_share: float) -> None:
        """Check that the labels are those of the study: not all empty, and few enough that are no class.

        Args:
            dataset: its name.
            allowed_share: of the labels that are not empty, those that may be no class (0..1).

        Raises:
            DatasetError: more are, or every label is empty; the message has the first and the nearest class.
        """
        given = self.known + self.unknown
        if self.empty and not given:
            raise DatasetError(
                f"data set '{dataset}' has no label in any of {self.empty:,} images: correct its key label, or leave "
                "the key out"
            )
        if self.unknown > allowed_share * given:
            image, label, nearest = self.first_unknown
            raise DatasetError(
                f"data set '{dataset}' has {self.unknown:,} of {given:,} labels that are no class of the study, "
                f"{self.unknown / given:.1%} where {allowed_share:.1%} are allowed, the first '{label}' of '{image}'"
                f"{f' (nearest class: {nearest!r})' if nearest else ''}: write labels as data.classes does, correct "
                "the key label, or allow a larger share in data.allowed_unknown_label_share"
            )


def nearest_class(name: str, classes: Collection[str]) -> str:
    """Return the class that is spelt most like a name, see `folded_name`; "" where none is alike."""
    by_folded = {folded_name(each): each for each in classes}
    found = difflib.get_close_matches(folded_name(name), list(by_folded), n=1)
    return by_folded[found[0]] if found else ""


def folded_name(name: str) -> str:
    """Return a name without what people write in two ways: case, Unicode form, blanks, hyphens and underscores."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split()).replace("_", "").replace("-", "")


def write_dataset_counts(
    path: Path | str, presence: Presence, labels: LabelCounts, unknown_labels: Mapping[str, int]
) -> None:
    """Write what is known of a data set, or a slice of it, as JSON, whole or not at all.

    Args:
        path: of the file.
        presence: how many images are there.
        labels: how many labels are classes.
        unknown_labels: labels that are no class, with the images of each.
    """
    given = {"presence": asdict(presence), "labels": asdict(labels), "unknown_labels": dict(unknown_labels)}
    write_json(path, given)


def read_dataset_counts(path: Path | str) -> tuple[Presence, LabelCounts, Counter[str]]:
    """Read what `write_dataset_counts` wrote."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    presence, labels = given["presence"], given["labels"]
    return (
        Presence(**presence | {"first_missing": tuple(presence["first_missing"])}),
        LabelCounts(**labels | {"first_unknown": tuple(labels["first_unknown"])}),
        Counter(given["unknown_labels"]),
    )


def check_not_empty(kept: int, left_out: Mapping[str, int], dataset: str) -> None:
    """Check that a data set has images.

    Args:
        kept: number of its records.
        left_out: reason -> how many were left out.
        dataset: its name.

    Raises:
        DatasetError: it has none; the message has the reasons.
    """
    if not kept:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(left_out).most_common())
        raise DatasetError(f"data set '{dataset}' has no image that can be used: {reasons or 'it is empty'}")


def check_count(dataset: str, found: int, expected: int | None, allow_short: bool) -> None:
    """Check that a test set has the expected number of images.

    Args:
        dataset: its name.
        found: images that it has.
        expected: images that it should have, by the config or as published; None where neither says.
        allow_short: whether it may have fewer.

    Raises:
        DatasetError: images are missing, or there are too many.
    """
    if expected is None or found == expected or (found < expected and allow_short):
        return
    if found < expected:
        raise DatasetError(
            f"test set '{dataset}' has {found:,} of {expected:,} images, {expected - found:,} are missing: get the "
            f"whole data set, or set test_sets.{dataset}.allow_short to true"
        )
    raise DatasetError(
        f"test set '{dataset}' has {found:,} images, {found - expected:,} more than the {expected:,} that are "
        f"published: give one copy of it, or set test_sets.{dataset}.expected_images"
    )


def check_failure_share(failures: pd.DataFrame, total: int, allowed_share: float = 0.01) -> None:
    """Raise ValueError when more than ``allowed_share`` (0..1) of ``total`` images could not be obtained."""
    if total <= 0:
        raise ValueError("no image was asked for, so no share of failures exists; check the table before this step")
    share = len(failures) / total
    if share > allowed_share:
        reasons = failures["reason"].value_counts().head(3)
        examples = "; ".join(
            f"{count} x {reason} (e.g. {failures.loc[failures['reason'] == reason, 'uid'].iloc[0]})"
            for reason, count in reasons.items()
        )
        raise ValueError(
            f"{len(failures)} of {total} images failed ({share:.1%}, allowed {allowed_share:.1%}): "
            f"{examples}; replace or remove these pictures, or allow a larger share in data.allowed_failure_share"
        )


def log_failures(failures: pd.DataFrame) -> None:
    """Log the first `FAILURES_LOGGED` images that could not be obtained: the log stays where the job stops.

    Args:
        failures: ``uid, reason``.
    """
    for uid, reason in failures.head(FAILURES_LOGGED).itertuples(index=False):
        logger.info("left out %s: %s", uid, reason)
