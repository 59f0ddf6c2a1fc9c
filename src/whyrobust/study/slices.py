"""Slices of a data set, which jobs work on in parallel, and names of its tar shards.

Light, since planning needs it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class ShardError(ValueError):
    """Shards that cannot be distinguished; the message names two of them."""


@dataclass(frozen=True)
class Slice:
    """One of the jobs that a data set is prepared by.

    Attributes:
        dataset: the data set.
        number: which job, from 1.
        count: how many there are.
    """

    dataset: str
    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """What its files are called: as the data set where it is the only one.

        The docs name such files (``records/<source>.parquet``), so ``1-of-1`` is left out.
        """
        return self.dataset if self.count == 1 else f"{self.dataset}/{self.number}-of-{self.count}"

    def share_of(self, items: Sequence[T]) -> Sequence[T]:
        """Return its part of ``items``: as many as every other slice or one more, in their order, side by side."""
        rows = self.rows_of(len(items))
        return items[rows.start : rows.stop]

    def rows_of(self, count: int) -> range:
        """Return which of so many rows are its part."""
        return range(count * (self.number - 1) // self.count, count * self.number // self.count)


def slices_of(dataset: str, count: int) -> list[Slice]:
    """Return the slices of a data set, in order."""
    return [Slice(dataset, number, count) for number in range(1, count + 1)]


def shard_names(shards: Sequence[Path | str]) -> list[str]:
    """Return a name for each shard, unlike those of all others: its path below the folder that all have in common.

    Shards of one folder are called by their file names, without the ending.

    Raises:
        ShardError: two shards have one name.
    """
    if not shards:
        return []
    folders = [Path(shard).absolute().parent for shard in shards]
    common = os.path.commonpath(folders)
    names = [
        (folder.relative_to(common) / Path(shard).stem).as_posix()
        for folder, shard in zip(folders, shards, strict=True)
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        listed = [str(shard) for shard, name in zip(shards, names, strict=True) if name == twice[0]]
        raise ShardError(f"shards {listed[0]} and {listed[1]} have one name, '{twice[0]}': give each once")
    return names
