"""Two studies beside each other: the effects that both have, which verdicts they share, and where their configs differ.

Nothing is tested here: two studies may share images, seeds or models, so their difference has no interval.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from whyrobust.report.page_parts import table_rows
from whyrobust.study.display_names import LOWERS, RAISES, UNDECIDED

Row = dict[str, Any]

#: What an effect is told by; studies name their comparisons, so another name is another comparison.
EFFECT_KEY: Final = ("cause", "comparison", "shift")


def match_effects(first: pd.DataFrame, second: pd.DataFrame) -> list[tuple[Row | None, Row | None]]:
    """Return the effects of two tables of causes beside each other, None where a study lacks one.

    Args:
        first: ``causes.csv`` of a study, or ``effects`` of its card.
        second: the same of the other.

    Returns:
        The effects in the order of the first, then those that only the second has.
    """
    tables = [{tuple(row[name] for name in EFFECT_KEY): row for row in table_rows(one)} for one in (first, second)]
    return [(tables[0].get(key), tables[1].get(key)) for key in dict.fromkeys([*tables[0], *tables[1]])]


@dataclass(frozen=True)
class Repetition:
    """Which verdicts of a study another one gives too, on the effects that both have.

    Attributes:
        primary: the effects that are in the primary family of both, each of the first and of the second study.
        found: those that are findings of the secondary family of the first.
        again: those of them that have the same verdict in the second.
        lost: the others of them.
        new: those that are findings of the second and not of the first.
    """

    primary: Sequence[tuple[Row, Row]]
    found: Sequence[tuple[Row, Row]]
    again: Sequence[tuple[Row, Row]]
    lost: Sequence[tuple[Row, Row]]
    new: Sequence[tuple[Row, Row]]

    @property
    def kept(self) -> list[tuple[Row, Row]]:
        """The effects of the primary family whose verdicts are the same."""
        return [(one, other) for one, other in self.primary if one["verdict"] == other["verdict"]]

    def describe_undecided(self) -> str:
        """Say how many of the same verdicts are those of two studies that decide nothing; "" where there are none."""
        undecided = sum(one["verdict"] == UNDECIDED for one, _ in self.kept)
        if not undecided:
            return ""
        some = f"{undecided} of them {'is' if undecided == 1 else 'are'}"
        which = some if undecided < len(self.kept) else "all are" if undecided > 1 else "it is"
        return f", but {which} undecided in both, which confirms nothing"

    @property
    def changed(self) -> list[tuple[Row, Row]]:
        """The effects of the primary family whose verdicts differ."""
        return [(one, other) for one, other in self.primary if one["verdict"] != other["verdict"]]


def compare_verdicts(first: pd.DataFrame, second: pd.DataFrame) -> Repetition:
    """Return which verdicts of the first table of causes the second gives too."""
    both = [(one, other) for one, other in match_effects(first, second) if one is not None and other is not None]
    found = [pair for pair in both if _is_finding(pair[0])]
    return Repetition(
        primary=[pair for pair in both if all(row["family"] == "primary" for row in pair)],
        found=found,
        again=[(one, other) for one, other in found if _is_finding(other) and one["verdict"] == other["verdict"]],
        lost=[(one, other) for one, other in found if not _is_finding(other) or one["verdict"] != other["verdict"]],
        new=[(one, other) for one, other in both if _is_finding(other) and not _is_finding(one)],
    )


def _is_finding(row: Row) -> bool:
    return row["family"] == "secondary" and str(row["verdict"]) in (RAISES, LOWERS)


@dataclass(frozen=True)
class Difference:
    """A key whose values differ: both as text, "" where a config lacks the key."""

    key: str
    first: str
    second: str


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return where two configs, or two records of versions, differ, in the order of the first.

    Lists of mappings, such as grids of runs, are compared entry by entry where they are of one length; else the entries
    that the other lacks are shown.
    """
    return [Difference(key, _text(one), _text(other)) for key, one, other in _differing("", first, second)]


_ABSENT: Final = object()


def _differing(key: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - values of a config
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys([*one, *other]):
            below = f"{key}.{name}" if key else str(name)
            yield from _differing(below, one.get(name, _ABSENT), other.get(name, _ABSENT))
    elif not (_holds_mappings(one) and _holds_mappings(other)):
        if _text(one) != _text(other):  # as texts, since True is 1 in Python
            yield key, one, other
    elif len(one) == len(other):
        for number, entries in enumerate(zip(one, other, strict=True)):
            yield from _differing(f"{key}[{number}]", *entries)
    else:
        own, others = ([_text(entry) for entry in entries] for entries in (one, other))
        only = [text for text in own if text not in others], [text for text in others if text not in own]
        yield key, "; ".join(only[0]), "; ".join(only[1])


def _holds_mappings(value: Any) -> bool:  # noqa: ANN401 - a value of a config
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _text(value: Any) -> str:  # noqa: ANN401 - a value of a config
    if value is _ABSENT:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
