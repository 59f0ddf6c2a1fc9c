"""Controlled comparisons: which evaluated runs form the pairs that a cause is judged by.

Planning counts the pairs of planned runs with `match_pairs`, the analysis matches measured runs with the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from whyrobust.study.plan import HEAD_FIELDS, PlanError, as_list
from whyrobust.study.table_cells import is_empty

#: What both runs of a pair must share, unless the comparison itself changes it.
MATCHED_FIELDS = (
    "source",
    "train_images",
    "seed",
    "objective",
    "supervision",
    "caption",
    "labels",
    "pretrained_by",
    "model",
    "samples_seen",
)


@dataclass(frozen=True)
class Comparison:
    """One controlled comparison of a cause: pairs of runs that differ as said and are equal in all else.

    Where the comparison names a head, every head of a run takes part; where it names none, only its main head.

    Attributes:
        cause: that is judged.
        name: the comparison in words.
        start: field -> value or list of values of the side to start from (``from`` in the config).
        end: the same of the other side (``to`` in the config).
        where: the same for both sides.
        holds_fixed: what it holds fixed, in words.
        matched_accuracy: whether ``start`` chooses several runs for each run of ``end``, between which the value to
            start from is interpolated at the in-distribution accuracy of the latter.
    """

    cause: str
    name: str
    start: Mapping[str, Any]
    end: Mapping[str, Any]
    where: Mapping[str, Any]
    holds_fixed: str
    matched_accuracy: bool = False

    @property
    def changed(self) -> frozenset[str]:
        """Fields in which the two sides may differ; supervision follows from the objective."""
        changed = set(self.start) | set(self.end)
        return frozenset(changed | ({"supervision"} if "objective" in changed else set()))

    @property
    def names_heads(self) -> bool:
        """Whether the comparison is between heads, or through a head other than the main one."""
        return bool({*self.start, *self.end, *self.where} & set(HEAD_FIELDS))

    @property
    def condition(self) -> Mapping[str, Any]:
        """What both sides must be, the main head among it where no head is named."""
        return self.where if self.names_heads else {"main": True} | dict(self.where)

    @property
    def matched(self) -> tuple[str, ...]:
        """Fields in which the two sides of a pair are equal."""
        fields_of_row = (*MATCHED_FIELDS, *HEAD_FIELDS) if self.names_heads else MATCHED_FIELDS
        return tuple(name for name in fields_of_row if name not in self.changed)


class Pair(NamedTuple):
    """Evaluated runs that are compared, as positions in the list of rows, and the seed that they share.

    Attributes:
        starts: the run to start from; two or more where it is interpolated between them.
        end: the run that it is compared with.
        seed: of all of them.
    """

    starts: tuple[int, ...]
    end: int
    seed: Any


def compare_sources(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return, of the comparisons whose sides differ in the source alone, the first of each two sources."""
    found: dict[tuple[str, str], Comparison] = {}
    for comparison in comparisons:
        sides = (comparison.start, comparison.end)
        first, second = (side.get("source") for side in sides)
        if all(set(side) == {"source"} for side in sides) and isinstance(first, str) and isinstance(second, str):
            found.setdefault((first, second), comparison)
    return list(found.values())


def match_pairs(comparison: Comparison, rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Return the pairs of a comparison, as `pair_rows`."""
    return pair_rows(
        rows,
        comparison.start,
        comparison.end,
        comparison.condition,
        comparison.matched,
        several_starts=comparison.matched_accuracy,
    )


def pair_rows(
    rows: Sequence[Mapping[str, Any]],
    start: Mapping[str, Any],
    end: Mapping[str, Any],
    where: Mapping[str, Any],
    matched: Sequence[str],
    *,
    several_starts: bool = False,
) -> list[Pair]:
    """Pair the evaluated runs of two sides that agree in everything that must be held fixed.

    Args:
        rows: one for each evaluated run (a run with a head and a prompt set), planned or measured, with the fields
            that the other arguments name and ``seed``. Missing values and empty text count as equal.
        start: field -> value, or list of allowed values, of the side to start from.
        end: the same for the other side.
        where: the same for both sides.
        matched: fields that must be equal within a pair. The seed always is, named or not.
        several_starts: whether two or more runs of ``start`` belong into each pair, instead of one.

    Returns:
        The pairs, in the order of their starts.

    Raises:
        PlanError: the rows lack a field, a side has more or fewer candidates for one pair than it should, or a row
            would pair with itself.
    """
    keys = tuple(dict.fromkeys([*matched, "seed"]))
    unknown = sorted({*start, *end, *where, *keys} - rows[0].keys()) if rows else []
    if unknown:
        raise PlanError(f"the comparison names the fields {unknown}, which runs lack: they have {sorted(rows[0])}")
    common = _select(rows, range(len(rows)), where)
    sides = [_group(rows, _select(rows, common, side), keys) for side in (start, end)]
    pairs = []
    for key, starts in sides[0].items():
        if key not in sides[1]:
            continue
        for name, found, several in (("from", starts, several_starts), ("to", sides[1][key], False)):
            if len(found) > 1 and not several:
                raise PlanError(
                    f"'{name}' fits {len(found)} runs that could stand in one pair, for example "
                    f"{' and '.join(_describe(rows[position]) for position in found[:2])}: "
                    f"name another field in '{name}' or 'where'"
                )
        (second,) = sides[1][key]
        if second in starts:
            raise PlanError(f"'from' and 'to' both choose {_describe(rows[second])}: make them differ")
        if several_starts and len(starts) < 2:
            raise PlanError(
                f"'from' fits only {_describe(rows[starts[0]])} to compare with {_describe(rows[second])} at matched "
                "accuracy: let it choose two or more, for example with several samples_seen, or leave "
                "matched_accuracy out"
            )
        pairs.append(Pair(tuple(starts), second, rows[second]["seed"]))
    return pairs


def _select(rows: Sequence[Mapping[str, Any]], positions: Sequence[int], condition: Mapping[str, Any]) -> Sequence[int]:
    """Return the positions of rows that have an allowed value in each field of a condition."""
    for field, allowed in condition.items():
        accepted = {_normal(value) for value in as_list(allowed)}
        positions = [position for position in positions if _normal(rows[position][field]) in accepted]
    return positions


def _group(
    rows: Sequence[Mapping[str, Any]], positions: Sequence[int], keys: Sequence[str]
) -> dict[tuple[Any, ...], list[int]]:
    """Group positions of rows by the values of the key fields."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position in positions:
        row = rows[position]
        groups.setdefault(tuple(_normal(row[key]) for key in keys), []).append(position)
    return groups


def _normal(value: Any) -> Any:  # noqa: ANN401 - a cell of a table
    """Return a cell so that cells that mean the same are equal: missing values and empty text are all None."""
    return None if is_empty(value) else value


def _describe(row: Mapping[str, Any]) -> str:
    """Name an evaluated run: the run, and its head as far as it is given."""
    return " ".join(str(row[field]) for field in ("run", *HEAD_FIELDS) if not is_empty(row.get(field)))
