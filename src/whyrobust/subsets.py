"""Seeded subsets of a training source.

Stands alone because matched sizes are what every comparison rests on: which records are drawn must depend on
their uids and the seed alone, not on file order, file layout or what else the source holds.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Iterable


class SubsetError(ValueError):
    """A subset that cannot be drawn."""


def draw_key(uid: str, seed: int) -> bytes:
    """Return the sort key of a record: the SHA-256 of seed and uid, so that the order is random and repeatable."""
    return hashlib.sha256(f"{seed}\x00{uid}".encode()).digest()


def draw_subset(uids: Iterable[str], size: int, seed: int) -> list[str]:
    """Return the ``size`` uids with the smallest keys, in key order.

    A smaller subset of the same seed is a prefix of a larger one (nested), and the order of ``uids`` does not
    matter. Uids are read as a stream: memory grows with ``size``, not with the source.

    Raises:
        SubsetError: fewer uids than asked for, or a uid given twice.
    """
    if size < 1:
        raise SubsetError(f"subset size is {size}: ask for at least 1")
    seen = 0

    def keyed() -> Iterable[tuple[bytes, str]]:
        nonlocal seen
        for uid in uids:
            seen += 1
            yield draw_key(uid, seed), uid

    drawn = heapq.nsmallest(size, keyed())
    if seen < size:
        raise SubsetError(f"{size} images asked for, the source holds {seen}: ask for {seen} at most")
    for (key, uid), (next_key, _) in itertools.pairwise(drawn):
        if key == next_key:
            raise SubsetError(f"uid '{uid}' is in the source twice: uids must be unique")
    return [uid for _, uid in drawn]
