"""Seeded subsets of a training source, nested in size.

Which records are chosen depends on their uids and the seed alone, not on file order, file layout or what else the
source contains. Subsets of one seed are nested: the smaller is part of the larger.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.records import arrow_rows, require_rows_of_uids
from whyrobust.files import read_parquet


class SubsetError(ValueError):
    """A subset that cannot be drawn."""


def draw_key(uid: str, seed: int | str) -> bytes:
    """Return the sort key of a record: the SHA-256 of seed and uid, so that the order is random and repeatable.

    Subsets for training have a number as seed; another draw has a name, so that it shares its keys with none of them.
    """
    return hashlib.sha256(f"{seed}\x00{uid}".encode()).digest()


def draw_subset(uids: Iterable[str], size: int, seed: int | str) -> list[str]:
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


def draw_from_files(
    paths: Sequence[Path | str], size: int, seed: int, only_labelled: bool = False, processes: int = 1
) -> pa.Table:
    """Return the rows of Parquet tables whose uids `draw_subset` draws, in the order in which it draws them.

    Files are read a row group at a time, so memory grows with ``size`` and a row group, not with the source.

    Args:
        paths: tables with a column ``uid``, as one.
        size: rows wanted.
        seed: decides which.
        only_labelled: pass over rows without a ``label``.
        processes: share the row groups.

    Raises:
        SubsetError: as `draw_subset`.
    """
    if size < 1:
        raise SubsetError(f"subset size is {size}: ask for at least 1")
    groups = [(path, group) for path in paths for group in range(pq.read_metadata(path).num_row_groups)]
    held = sum(pq.read_metadata(path).num_rows for path in paths)
    if only_labelled:
        held -= sum(read_parquet(path, ["label"])["label"].null_count for path in paths)
    if held < size:
        raise SubsetError(f"{size} images asked for, the source holds {held}: ask for {held} at most")
    # Keys are uniform numbers: below this share of their range are, all but surely, a few more than enough.
    share = size / held
    share += 6 * (share / held) ** 0.5
    limit = int(share * 2**64).to_bytes(8, "big") if share < 1 else None
    keys = _smallest_keys(groups, seed, limit, only_labelled, processes)
    if len(keys) < size:
        keys = _smallest_keys(groups, seed, None, only_labelled, processes)
    drawn = keys[:size]
    rows: dict[int, list[int]] = {}
    positions: dict[int, list[int]] = {}
    for position, (_, group, row) in enumerate(drawn):
        rows.setdefault(group, []).append(row)
        positions.setdefault(group, []).append(position)
    taken = pa.concat_tables(
        pq.ParquetFile(groups[group][0]).read_row_group(groups[group][1]).take(arrow_rows(np.array(rows[group])))
        for group in rows
    )
    order = np.argsort(np.fromiter(itertools.chain.from_iterable(positions.values()), np.int64, len(drawn)))
    table = taken.take(arrow_rows(order))
    for position, ((key, *_), (next_key, *_)) in enumerate(itertools.pairwise(drawn)):
        if key == next_key:
            raise SubsetError(f"uid '{table['uid'][position]}' is in the source twice: uids must be unique")
    return table


_ABOVE_ALL_KEYS = b"\xff" * 33

#: A record that may be drawn: its key, the number of its row group and its row in it.
Keyed = tuple[bytes, int, int]


def _smallest_keys(
    groups: Sequence[tuple[Path | str, int]], seed: int, limit: bytes | None, only_labelled: bool, processes: int
) -> list[Keyed]:
    """Return the records whose key is below a limit, in the order of their keys."""
    tasks = [(path, group, number, seed, limit, only_labelled) for number, (path, group) in enumerate(groups)]
    if processes == 1 or len(tasks) == 1:
        return sorted(itertools.chain.from_iterable(map(_keys_below, tasks)))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        return sorted(itertools.chain.from_iterable(executor.map(_keys_below, tasks)))


def _keys_below(task: tuple[Path | str, int, int, int, bytes | None, bool]) -> list[Keyed]:
    """Return the records of a row group whose key is below a limit; see `draw_key`."""
    path, group, number, seed, limit, only_labelled = task
    table = pq.ParquetFile(path).read_row_group(group, columns=["uid", *(["label"] if only_labelled else [])])
    # Not `to_numpy`, which would import pandas: a fifth of a second in each of these jobs.
    uids = table["uid"].cast(pa.large_binary()).to_pylist()
    wanted = table["label"].is_valid().to_pylist() if only_labelled else None
    # Every key begins with the seed: copying a hash that has read it is quicker than starting another.
    seeded, bound = hashlib.sha256(f"{seed}\x00".encode()), limit or _ABOVE_ALL_KEYS
    below = []
    for row, uid in enumerate(uids):
        hashed = seeded.copy()
        hashed.update(uid)
        key = hashed.digest()
        if key < bound:
            below.append((key, number, row))
    return below if wanted is None else [keyed for keyed in below if wanted[keyed[2]]]


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


def _seats(shares: Mapping[str, float]) -> Iterator[str]:
    """Yield without end which class gets the next seat: the one furthest behind its share (Webster's divisor rule).

    Of equals it is the first by name. The first n seats are those of any longer list: subsets are nested.
    """
    waiting = [(-share, name, 0) for name, share in shares.items()]
    heapq.heapify(waiting)
    while True:
        _, name, given = waiting[0]
        yield name
        heapq.heapreplace(waiting, (-shares[name] / (2 * given + 3), name, given + 1))


def _smallest_by_class(
    records: Iterable[tuple[str, str | None]], most: Callable[[str], int], seed: int
) -> dict[str, list[str]]:
    """Return, for each class, the uids with the smallest keys, in key order and at most as many as ``most`` says.

    Memory grows with what is returned, not with the records.
    """
    heaps: dict[str, list[tuple[int, str]]] = {}
    for uid, label in records:
        size = 0 if label is None else most(label)
        if label is None or not size:
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
    by_class = _smallest_by_class(records, lambda label: size, seed)
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
    seats = list(itertools.islice(_seats(shares), size))
    by_class = _smallest_by_class(records, Counter(seats).__getitem__, seed)
    waiting = {label: iter(by_class.get(label, [])) for label in shares}
    drawn: list[str] = []
    for label in seats:
        uid = next(waiting[label], None)
        if uid is None:
            raise SubsetError(
                f"{size} images asked for, but class '{label}' has only {len(by_class.get(label, []))}: at these class "
                f"proportions ask for {len(drawn)} at most"
            )
        drawn.append(uid)
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
    order = list(itertools.islice(_seats(shares), size))
    taken = Counter(order)
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


def read_kept(paths: Sequence[Path | str]) -> pa.Table:
    """Return the images of several Parquet tables, as one table."""
    return pa.concat_tables(read_parquet(path) for path in paths)


def count_labels(path: Path | str) -> Counter[str]:
    """Return the number of images of each class in a Parquet table."""
    return Counter(label for label in read_parquet(path, ["label"])["label"].to_pylist() if label is not None)


def take_drawn(kept: pa.Table, drawn: Sequence[str]) -> pa.Table:
    """Return the rows of the drawn uids, in the order of the draw."""
    return kept.take(arrow_rows(require_rows_of_uids(kept["uid"], drawn, "the images that are kept")))


def draw_class_balanced_from_files(paths: Sequence[Path | str], size: int, seed: int) -> pa.Table:
    """Return the rows of Parquet tables (``uid, label``) that `draw_class_balanced` draws, in its order."""
    kept = read_kept(paths)
    return take_drawn(kept, draw_class_balanced(labelled_rows(kept), size, seed))


def draw_matching_classes_from_files(
    paths: Sequence[Path | str], reference: Path | str, size: int, seed: int
) -> pa.Table:
    """Return the rows of Parquet tables that `draw_matching_classes` draws, in its order.

    Args:
        paths: tables of the source, ``uid, label``, read as one.
        reference: table of the source whose class proportions are matched.
        size: rows wanted.
        seed: decides which.

    Raises:
        SubsetError: as `draw_matching_classes`.
    """
    kept = read_kept(paths)
    return take_drawn(kept, draw_matching_classes(labelled_rows(kept), count_labels(reference), size, seed))


def draw_mixture_from_files(
    components: Mapping[str, Path | str], shares: Mapping[str, float], size: int, seed: int
) -> pa.Table:
    """Return the rows of Parquet tables that `draw_mixture` draws, in its order.

    Args:
        components: the table of each component, ``uid, label``.
        shares: share of each component, above 0, adding up to 1.
        size: rows wanted.
        seed: decides which.

    Raises:
        SubsetError: as `draw_mixture`.
    """
    tables = {name: read_parquet(path) for name, path in components.items()}
    uids = {name: table["uid"].to_pylist() for name, table in tables.items()}
    drawn = [uid for _, uid in draw_mixture(uids, shares, size, seed)]
    return take_drawn(pa.concat_tables(tables.values()), drawn)


def labelled_rows(kept: pa.Table) -> Iterator[tuple[str, str | None]]:
    """Yield uid and label of each image of a table."""
    yield from zip(kept["uid"].to_pylist(), kept["label"].to_pylist(), strict=True)
