"""Checks of views: that the sets, teams and sources that they speak of are there."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from whyrobust.study.dataset_settings import Source
from whyrobust.study.kind_settings import ICON_FILTERS, Icons, View
from whyrobust.study.setting_checks import ConfigError


def check_views(sources: Mapping[str, Source], table: Path | None) -> None:
    """Check the filters of views; that their sources are there has been checked.

    Args:
        sources: settings of the sources by name.
        table: the table of icon sets; None where the study has none.

    Raises:
        ConfigError: the first problem, as one line.
    """
    for name, view in sources.items():
        if not isinstance(view, View):
            continue
        key, of = f"config key sources.{name}", sources[view.of]
        if not isinstance(of, Icons):
            for setting in ICON_FILTERS:
                if getattr(view, setting) is not None:
                    raise ConfigError(f"{key}.{setting} is given, but '{view.of}' has no icons: leave it out")
        elif table is not None and (view.sets is not None or view.without is not None):
            _check_sets(key, view, _teams_of_part(table, of.part), table)
        limit = view.nearest_to_shifts_at_most
        if limit is not None and (limit == view.of or sources[limit].row.photographs != of.row.photographs):
            raise ConfigError(
                f"{key}.nearest_to_shifts_at_most is '{limit}': allowed is another source of the kind of '{view.of}', "
                "icons or photographs"
            )
        for source in (view.of, limit) if limit is not None else ():
            if sources[source].slice_count > 1:
                raise ConfigError(
                    f"{key}.nearest_to_shifts_at_most is '{limit}': allowed are sources of one slice, '{source}' has "
                    f"{sources[source].slice_count}"
                )


def _teams_of_part(table: Path, part: str) -> dict[str, str]:
    """Return the team of each icon set of a part."""
    with table.open(encoding="utf-8-sig", newline="") as handle:
        return {row["set"]: row["team"] for row in csv.DictReader(handle) if row["part"] == part}


def _check_sets(key: str, view: View, teams: Mapping[str, str], table: Path) -> None:
    """Check that a view speaks of sets and teams of its source."""
    listed = f"of '{view.of}' in {table.name}"
    if isinstance(view.sets, tuple):
        unknown = [name for name in view.sets if name not in teams]
        if unknown:
            raise ConfigError(f"{key}.sets has '{unknown[0]}': allowed are sets {listed}")
    elif view.sets is not None and view.sets.number > len(teams):
        raise ConfigError(f"{key}.sets.number is {view.sets.number}: allowed is {len(teams)} at most, sets {listed}")
    unknown = [name for name in view.without or () if name not in {*teams, *teams.values()}]
    if unknown:
        raise ConfigError(f"{key}.without has '{unknown[0]}': allowed are sets and teams {listed}")
