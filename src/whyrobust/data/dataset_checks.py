"""Check that a data set is whole: images that are missing, test sets that are too small, data sets that are empty."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.files import write_json

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("whyrobust")

#: Images left out that are also logged; the table of failures has all of them.
FAILURES_LOGGED = 1000


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
                f"data set '{dataset}' lacks {missing:,} of {total:,} pictures ({reasons}), {missing / total:.1%} "
                f"where {allowed_share:.1%} are allowed, the first '{image}': {reason}; put them in place, correct "
                "the table, or allow a larger share in data.allowed_failure_share"
            )


def write_presence(path: Path | str, presence: Presence) -> None:
    """Write how many images are there as JSON, whole or not at all."""
    write_json(path, asdict(presence))


def read_presence(path: Path | str) -> Presence:
    """Read what `write_presence` wrote."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    return Presence(given["found"], given["missing"], tuple(given["first_missing"]))


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
            f"{examples}. Repair or leave out these drawings, or allow a larger share."
        )


def log_failures(failures: pd.DataFrame) -> None:
    """Log the first `FAILURES_LOGGED` images that could not be obtained: the log stays where the job stops.

    Args:
        failures: ``uid, reason``.
    """
    for uid, reason in failures.head(FAILURES_LOGGED).itertuples(index=False):
        logger.info("left out %s: %s", uid, reason)
