"""Seeded subsets of a training source.

Stands alone because matched sizes are what every comparison rests on: which records are drawn must depend on
their uids and the seed alone, not on file order, file layout or what else the source holds.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Iterable, Mapping


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


def matched_size(asked: int, available: Mapping[str, int], allowed_shortfall_share: float) -> int:
    """Return the size that subsets of several sources share: what was asked for, or what the smallest source has.

    Sources lose images on the way (dead links, copies of test images), so that a size taken from a list can often not
    be had. All sources then get the same smaller subset.

    Args:
        asked: size in the config.
        available: images obtained, by source.
        allowed_shortfall_share: largest share of ``asked`` that may be missing.

    Raises:
        SubsetError: more is missing.
    """
    smallest = min(available, key=lambda name: (available[name], name))
    size = min(asked, available[smallest])
    if asked - size > allowed_shortfall_share * asked:
        raise SubsetError(
            f"{asked} images asked for, but '{smallest}' has {available[smallest]}, {1 - size / asked:.1%} fewer; "
            f"allowed are {allowed_shortfall_share:.1%}: ask for {available[smallest]} at most, get more, or allow "
            "more in data.match_sizes"
        )
    return size


def _next_class(shares: dict[str, float], drawn: dict[str, int]) -> str:
    """Return the class that is furthest behind its share (Webster's divisor rule); of equals the first by name.

    The rule gives seats one at a time, so the first n seats are those of any longer list: subsets are nested.
    """
    return max(sorted(shares), key=lambda name: shares[name] / (2 * drawn[name] + 1))


def _smallest_by_class(records: Iterable[tuple[str, str | None]], size: int, seed: int) -> dict[str, list[str]]:
    """Return, for each class, its ``size`` uids with the smallest keys, in key order; memory grows with size."""
    heaps: dict[str, list[tuple[int, str]]] = {}
    for uid, label in records:
        if label is None:
            continue
        heap = heaps.setdefault(label, [])
        # A min-heap of negated keys keeps the smallest keys: its head is the largest of them.
        entry = (-int.from_bytes(draw_key(uid, seed), "big"), uid)
        if len(heap) < size:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            heapq.heapreplace(heap, entry)
    ordered = {label: [uid for _, uid in sorted(heap, reverse=True)] for label, heap in heaps.items()}
    for label, uids in ordered.items():
        if len(set(uids)) < len(uids):
            raise SubsetError(f"class '{label}' has a uid twice: uids must be unique")
    return ordered


def draw_class_balanced(records: Iterable[tuple[str, str | None]], size: int, seed: int) -> list[str]:
    """Return ``size`` uids with as many of every class as there are, round by round.

    Within a round, classes come in an order that depends on the seed, so that counts differ by one at most until a
    class is used up; from then on the others go on. Nested in size; independent of the order of ``records``.

    Args:
        records: (uid, label); records without a label (None) are passed over.
        size: images wanted.
        seed: decides the order of records and classes.

    Raises:
        SubsetError: fewer labelled records than asked for, or a uid given twice.
    """
    if size < 1:
        raise SubsetError(f"subset size is {size}: ask for at least 1")
    by_class = _smallest_by_class(records, size, seed)
    held = sum(len(uids) for uids in by_class.values())
    if held < size:
        raise SubsetError(f"{size} images asked for, the source holds {held} with a label: ask for {held} at most")
    classes = sorted(by_class, key=lambda label: draw_key(label, seed))
    rounds = max(len(uids) for uids in by_class.values())
    in_order = (by_class[label][n] for n in range(rounds) for label in classes if n < len(by_class[label]))
    return list(itertools.islice(in_order, size))


def draw_matching_classes(
    records: Iterable[tuple[str, str | None]], reference_counts: Mapping[str, int], size: int, seed: int
) -> list[str]:
    """Return ``size`` uids whose classes come in the proportions of another source.

    Classes get their images one at a time by Webster's divisor rule, so that each count is within about one of its
    share and subsets are nested in size. Independent of the order of ``records``.

    Args:
        records: (uid, label); records without a label (None) are passed over.
        reference_counts: images of each class in the other source; classes with 0 get none.
        size: images wanted.
        seed: decides which images of a class are drawn.

    Raises:
        SubsetError: a class has too few images, or a uid is given twice; the message names the largest size possible.
    """
    if size < 1:
        raise SubsetError(f"subset size is {size}: ask for at least 1")
    total = sum(reference_counts.values())
    shares = {label: count / total for label, count in reference_counts.items() if count > 0}
    if not shares:
        raise SubsetError("the source whose classes are to be matched has no labelled images: choose another")
    by_class = _smallest_by_class(records, size, seed)
    taken = dict.fromkeys(shares, 0)
    drawn: list[str] = []
    while len(drawn) < size:
        label = _next_class(shares, taken)
        held = by_class.get(label, [])
        if taken[label] == len(held):
            raise SubsetError(
                f"{size} images asked for, but class '{label}' has only {len(held)}: at these class proportions "
                f"ask for {len(drawn)} at most"
            )
        drawn.append(held[taken[label]])
        taken[label] += 1
    return drawn


def draw_mixture(
    components: Mapping[str, Iterable[str]], shares: Mapping[str, float], size: int, seed: int
) -> list[tuple[str, str]]:
    """Return ``size`` (component, uid) pairs with the components at given shares.

    Components get their images one at a time by Webster's divisor rule: nested in size, and the images of one
    component are a subset as `draw_subset` draws it.

    Args:
        components: uids of each component.
        shares: share of each component, above 0, adding up to 1.
        size: images wanted.
        seed: decides which images of a component are drawn.

    Raises:
        SubsetError: a component has too few images (the message names the largest size possible), or shares are wrong.
    """
    if size < 1:
        raise SubsetError(f"subset size is {size}: ask for at least 1")
    if set(shares) != set(components) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise SubsetError(
            f"shares are {dict(shares)} for {', '.join(sorted(components))}: give each a share above 0 that add up to 1"
        )
    taken = dict.fromkeys(shares, 0)
    order: list[str] = []
    for _ in range(size):
        name = _next_class(dict(shares), taken)
        order.append(name)
        taken[name] += 1
    held: dict[str, list[str]] = {}
    for name, uids in components.items():
        listed = list(uids)
        held[name] = draw_subset(listed, min(max(1, taken[name]), max(1, len(listed))), seed) if listed else []
    used = dict.fromkeys(shares, 0)
    drawn: list[tuple[str, str]] = []
    for name in order:
        if used[name] == len(held[name]):
            raise SubsetError(
                f"{size} images asked for, but '{name}' has only {len(held[name])}: at these shares ask for "
                f"{len(drawn)} at most"
            )
        drawn.append((name, held[name][used[name]]))
        used[name] += 1
    return drawn
