"""What a row of the benchmark table is: two measurements in the same unit, their ratio and what it should be.

Stands alone because the driver, the table and every row share these definitions; it imports nothing heavy.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


class CannotMeasureError(RuntimeError):
    """Something that a measurement needs is not there; the message says what, and how to get it."""


@dataclass(frozen=True)
class Setting:
    """Where and how large a measurement runs.

    Attributes:
        folder: scratch space of the row, shared by its two sides and all rounds; empty before `Row.prepare`. Those of
            other rows are beside it.
        device: 'cpu' or 'cuda'.
        cores: processor cores that either side may use.
        tiny: run through at a size that shows only that the row works.
    """

    folder: Path
    device: str = "cpu"
    cores: int = 2
    tiny: bool = False

    def size(self, full: int, tiny: int) -> int:
        """Return ``full``, or ``tiny`` where only a trial is wanted."""
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Measured:
    """What one measurement found.

    Attributes:
        value: in the row's unit.
        notes: further figures by name, for example ``peak_mb``; an aim can be set on each.
    """

    value: float
    notes: Mapping[str, float] = field(default_factory=dict)


Measure = Callable[[Setting], Measured]


@dataclass(frozen=True)
class Aim:
    """A figure of a row that should be at least, or at most, some number.

    Attributes:
        least: lower bound, or None.
        most: upper bound, or None.
        figure: ``ratio``, ``ours``, or the name of a note of ours.
    """

    least: float | None = None
    most: float | None = None
    figure: str = "ratio"

    def met(self, value: float) -> bool:
        """Whether a figure keeps within the bounds."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        bounds = [f"{sign} {bound:,g}" for sign, bound in (("≥", self.least), ("≤", self.most)) if bound is not None]
        name = "" if self.figure == "ratio" else f"{self.figure} "
        return name + " and ".join(bounds)


@dataclass(frozen=True)
class Row:
    """One comparison. Its functions are called in fresh processes, so they must be importable by name.

    Attributes:
        name: what `--rows` picks it by.
        what: what is measured, for the table.
        unit: of both sides, for example ``images/s`` or ``s``.
        ours: measures this project.
        peer: what the other side is, for the table; empty where there is none.
        measure_peer: measures the other side; None where there is none.
        aims: by device, what the figures should be; a device without aims is only reported.
        better: whether a higher or a lower value is better. The ratio is above 1 where ours is better.
        limit: what bounds ours in the end, in words.
        prepare: writes what both sides read, once, before the first round.
        rounds: measurements of each side, in turn.
        devices: where the row can run.
    """

    name: str
    what: str
    unit: str
    ours: Measure
    peer: str = ""
    measure_peer: Measure | None = None
    aims: Mapping[str, Sequence[Aim]] = field(default_factory=dict)
    better: Literal["higher", "lower"] = "higher"
    limit: str = ""
    prepare: Callable[[Setting], None] | None = None
    rounds: int = 3
    devices: Sequence[str] = ("cpu", "cuda")


def spread(values: Sequence[float]) -> float:
    """Return the range of values as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values)


def summarise(row: Row, device: str, ours: Sequence[Measured], peer: Sequence[Measured]) -> dict[str, Any]:
    """Return a row's figures as the JSON file and the table have them.

    Args:
        row: what was measured.
        device: where.
        ours: one entry a round.
        peer: the same; empty without a peer.
    """
    figures: dict[str, float] = {"ours": statistics.median(m.value for m in ours)}
    spreads = {"ours": spread([m.value for m in ours])}
    if peer:
        figures["peer"] = statistics.median(m.value for m in peer)
        spreads["peer"] = spread([m.value for m in peer])
        quotient = figures["ours"] / figures["peer"]
        figures["ratio"] = quotient if row.better == "higher" else 1 / quotient
    for name in ours[0].notes:
        figures[name] = statistics.median(m.notes[name] for m in ours)
    aims = [
        {
            "aim": str(aim),
            "value": figures.get(aim.figure),
            "met": aim.figure in figures and aim.met(figures[aim.figure]),
        }
        for aim in row.aims.get(device, ())
    ]
    return {
        "figures": figures,
        "spread": spreads,
        "aims": aims,
        "raw": {
            side: [{"value": m.value, "notes": dict(m.notes)} for m in measured]
            for side, measured in (("ours", ours), ("peer", peer))
        },
    }
