"""The config key ``unfinished``: what a study lacks that still runs, as `whyrobust.study.unfinished` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from whyrobust.study.setting_types import Allowed, Count, Settings, Text


@dataclass(frozen=True, kw_only=True)
class UnfinishedComparison(Settings):
    """A comparison that lacks pairs of runs."""

    cause: Text
    """Its cause."""
    comparison: Text
    """Its name."""
    pairs: Annotated[int, Allowed(ge=0)]
    """Pairs that are shown."""
    planned: Count
    """Pairs that it will have."""


@dataclass(frozen=True, kw_only=True)
class Unfinished(Settings):
    """What a study lacks that still runs."""

    planned: Count
    """Runs that it will have."""
    runs: tuple[Text, ...] = ()
    """Runs that are not finished, in words."""
    comparisons: tuple[UnfinishedComparison, ...] = ()
    """Comparisons that lack pairs."""
    groups: dict[Text, tuple[Text, ...]] = field(default_factory=dict)
    """All scored runs by the group that one job embeds: with fewer runs, groups would be others."""
