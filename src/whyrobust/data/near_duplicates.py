"""Finding near-duplicates: training images that repeat a test image, and repeats within a test set.

A shared image inflates accuracy on exactly those test sets whose sources overlap with the training source, which would
be taken for robustness. Two images count as one when their fingerprints (`whyrobust.data.fingerprints`) correlate at or
above a threshold; docs/decontamination.md says how the threshold was chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from whyrobust.data.fingerprints import FINGERPRINT_SIZE, Fingerprints, exact_hashes, flatten_fingerprints

if TYPE_CHECKING:
    import pandas as pd

Indices = npt.NDArray[np.int64]

#: ``removed`` and ``counts`` of `Decontamination`, and the pairs of `borderline_pairs`.
Comparison: TypeAlias = "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]"

# Training images that are compared with the test images at a time: some 1 GB.
TRAINING_IMAGES_PER_CHUNK = 50_000

PAIRS_PER_BAND = 20

REASONS = ("same_group", "exact", "near_duplicate")


@dataclass(frozen=True)
class Decontamination:
    """What has to leave the training images, and why.

    Attributes:
        removed: one row a training image and test set it collides with, strongest reason only: ``uid, reason,
            test_set, test_uid, similarity, mirrored``. Its distinct uids are the images to remove.
        counts: rows of ``removed`` by ``test_set, reason``, every pair of the two present, column ``images``.
        matches: the best match of every training image in every test set, whatever its similarity:
            ``uid, test_set, test_uid, similarity, mirrored``.
    """

    removed: pd.DataFrame
    counts: pd.DataFrame
    matches: pd.DataFrame

    @property
    def removed_uids(self) -> list[str]:
        """Distinct uids to remove from training, sorted."""
        return sorted(set(self.removed["uid"]))


def best_matches(
    train_fingerprints: Fingerprints, test_fingerprints: Fingerprints, mirrored: bool = True, block_megabytes: int = 128
) -> tuple[Indices, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Find the most similar test image of every training image.

    Args:
        train_fingerprints: ``[n, 16, 16]`` from ``fingerprint_drawings``.
        test_fingerprints: ``[m, 16, 16]``, m at least 1.
        mirrored: also compare the left-right mirror image, since training may flip images.
        block_megabytes: size of the block of similarities held at a time.

    Returns:
        Index of the best test image, int64 ``[n]`` (the first of equals); its similarity, float32 ``[n]``,
        -1..1; and whether it was met by the mirror image only, bool ``[n]``.
    """
    train, test = flatten_fingerprints(train_fingerprints, "training"), flatten_fingerprints(test_fingerprints, "test")
    if not len(test):
        raise ValueError("there is no test image to compare with; give at least one")
    index = np.zeros(len(train), dtype=np.int64)
    similarity = np.zeros(len(train), dtype=np.float32)
    flipped = np.zeros(len(train), dtype=np.bool_)
    rows = max(1, block_megabytes * 2**20 // (4 * len(test)))
    for start in range(0, len(train), rows):
        block = train[start : start + rows]
        span = slice(start, start + len(block))
        products = block @ test.T
        index[span] = products.argmax(axis=1)
        similarity[span] = np.take_along_axis(products, index[span, None], axis=1)[:, 0]
        if mirrored:
            mirror = block.reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE)[:, :, ::-1].reshape(len(block), -1)
            np.matmul(mirror, test.T, out=products)
            best = products.argmax(axis=1)
            value = np.take_along_axis(products, best[:, None], axis=1)[:, 0]
            # A symmetric drawing equals its mirror image up to rounding: that is no mirrored match.
            better = value > similarity[span] + 1e-6
            index[span] = np.where(better, best, index[span])
            similarity[span] = np.where(better, value, similarity[span])
            flipped[span] = better
    return index, np.clip(similarity, -1.0, 1.0), flipped


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}; give a correlation above 0 and up to 1, e.g. 0.97")


def _check_lengths(uids: Sequence[str], groups: Sequence[str], ink: Fingerprints, what: str) -> None:
    if not len(uids) == len(groups) == len(ink):
        raise ValueError(f"{what}: {len(uids)} uids, {len(groups)} groups, {len(ink)} inks; counts must agree")
    if len(set(uids)) != len(uids):
        raise ValueError(f"{what}: some uids come more than once; keep one of each")


def _best_match(one: Fingerprints, test_fingerprints: Fingerprints, mirrored: bool) -> tuple[int, float, bool]:
    index, similarity, flipped = best_matches(one[None], test_fingerprints, mirrored)
    return int(index[0]), float(similarity[0]), bool(flipped[0])


def _first_by_hash(ink: Fingerprints) -> dict[str, int]:
    """Return the first position of each exact hash; drawings without ink are in no one's way."""
    first: dict[str, int] = {}
    has_ink = np.abs(ink).max(axis=(1, 2), initial=0.0) > 0
    for position, value in enumerate(exact_hashes(ink)):
        if has_ink[position]:
            first.setdefault(value, position)
    return first


def decontaminate(
    train_uids: Sequence[str],
    train_groups: Sequence[str],
    train_fingerprints: Fingerprints,
    test_sets: Mapping[str, tuple[Sequence[str], Sequence[str], Fingerprints]],
    threshold: float,
    mirrored: bool = True,
) -> Decontamination:
    """Decide which training images share a drawing with a test image.

    Reasons, strongest first: ``same_group`` (the record's group has a record in the test set: style
    variants of one drawing stay on one side), ``exact`` (equal ``exact_hashes``, mirrored too),
    ``near_duplicate`` (similarity at the threshold or above). The order of the inputs does not matter.

    Args:
        train_uids: n identifiers, each once.
        train_groups: the group of each.
        train_fingerprints: ``[n, 16, 16]`` from ``fingerprint_drawings``.
        test_sets: name to (uids, groups, ink) of each test set.
        threshold: similarity from which two images count as one drawing.
        mirrored: also find mirrored twins.

    Returns:
        The rows to remove, counts and every best match. A row's similarity is to the test image it names:
        the best match, or for ``same_group`` the most similar record of that group.

    Raises:
        ValueError: counts disagree, uids repeat, a uid is in training and in a test set, or the threshold is
            outside (0, 1].
    """
    import pandas as pd

    _check_threshold(threshold)
    _check_lengths(train_uids, train_groups, train_fingerprints, "training")
    order = np.argsort(np.asarray(train_uids, dtype=object), kind="stable")
    uids = [train_uids[i] for i in order]
    groups = [train_groups[i] for i in order]
    ink = train_fingerprints[order]
    hashes = exact_hashes(ink)
    mirror_hashes = exact_hashes(ink[:, :, ::-1]) if mirrored else hashes

    removed: list[tuple[str, str, str, str, float, bool]] = []
    matches: list[pd.DataFrame] = []
    for name in sorted(test_sets):
        raw_uids, raw_groups, raw_ink = test_sets[name]
        _check_lengths(raw_uids, raw_groups, raw_ink, name)
        shared = set(uids) & set(raw_uids)
        if shared:
            raise ValueError(
                f"{len(shared)} uid(s) are in training and in test set {name!r}, e.g. {sorted(shared)[:3]}; "
                "split them before this step"
            )
        if not len(raw_uids):
            continue
        test_order = np.argsort(np.asarray(raw_uids, dtype=object), kind="stable")
        test_uids = [raw_uids[i] for i in test_order]
        test_fingerprints = raw_ink[test_order]
        index, similarity, flipped = best_matches(ink, test_fingerprints, mirrored)
        matches.append(
            pd.DataFrame(
                {
                    "uid": uids,
                    "test_set": name,
                    "test_uid": [test_uids[i] for i in index],
                    "similarity": similarity.astype(np.float64),
                    "mirrored": flipped,
                }
            )
        )
        by_hash = _first_by_hash(test_fingerprints)
        by_group: dict[str, list[int]] = {}
        for position, original in enumerate(test_order):
            by_group.setdefault(raw_groups[original], []).append(position)

        for row, uid in enumerate(uids):
            reason, place = "", int(index[row])
            value, flip = float(similarity[row]), bool(flipped[row])
            members = by_group.get(groups[row], []) if groups[row] else []
            if members:
                reason = "same_group"
                nearest, value, flip = _best_match(ink[row], test_fingerprints[members], mirrored)
                place = members[nearest]
            elif hashes[row] in by_hash or mirror_hashes[row] in by_hash:
                reason = "exact"
                place = by_hash.get(hashes[row], by_hash.get(mirror_hashes[row], place))
                _, value, _ = _best_match(ink[row], test_fingerprints[[place]], mirrored)
                flip = hashes[row] not in by_hash
            elif similarity[row] >= np.float32(threshold):
                reason = "near_duplicate"
            if reason:
                removed.append((uid, reason, name, test_uids[place], value, flip))
    columns = ["uid", "reason", "test_set", "test_uid", "similarity", "mirrored"]
    table = pd.DataFrame(removed, columns=columns).sort_values(["uid", "test_set"], ignore_index=True)
    found = table.groupby(["test_set", "reason"]).size()
    counts = pd.DataFrame(
        [(name, reason, int(found.get((name, reason), 0))) for name in sorted(test_sets) for reason in REASONS],
        columns=["test_set", "reason", "images"],
    )
    every = pd.concat(matches, ignore_index=True) if matches else table[["uid", *columns[2:]]].iloc[:0].copy()
    return Decontamination(removed=table, counts=counts, matches=every)


def decontaminate_in_chunks(
    train_uids: Sequence[str],
    train_groups: Sequence[str],
    train_fingerprints: Fingerprints,
    test_sets: Mapping[str, tuple[Sequence[str], Sequence[str], Fingerprints]],
    threshold: float,
    mirrored: bool = True,
    chunk: int = TRAINING_IMAGES_PER_CHUNK,
) -> Comparison:
    """Do what `decontaminate` and `borderline_pairs` do, with memory for one chunk of the training images.

    Args:
        train_uids: as `decontaminate`; sequences that are sliced, so that they may lie on the disk.
        train_groups: as `decontaminate`.
        train_fingerprints: as `decontaminate`.
        test_sets: as `decontaminate`.
        threshold: as `decontaminate`.
        mirrored: as `decontaminate`.
        chunk: training images that are compared at a time.

    Returns:
        ``removed`` and ``counts`` of `Decontamination`, and the pairs of `borderline_pairs`.
    """
    merged: list[Comparison] = []
    for start in range(0, max(1, len(train_uids)), chunk):
        span = slice(start, start + chunk)
        found = decontaminate(
            list(train_uids[span]),
            list(train_groups[span]),
            np.asarray(train_fingerprints[span]),
            test_sets,
            threshold,
            mirrored,
        )
        merged = [merge_comparisons([*merged, (found.removed, found.counts, borderline_pairs(found.matches))])]
    return merged[0]


def merge_comparisons(parts: Sequence[Comparison]) -> Comparison:
    """Return what `decontaminate_in_chunks` finds of all training images from what it finds of their parts."""
    import pandas as pd

    removed = [found for found, _, _ in parts]
    table = pd.concat([found for found in removed if len(found)] or removed[:1])
    total = parts[0][1].assign(images=sum(counts["images"] for _, counts, _ in parts))
    return (
        table.sort_values(["uid", "test_set"], ignore_index=True),
        total,
        merge_pairs([pairs for _, _, pairs in parts]),
    )


def merge_pairs(samples: Sequence[pd.DataFrame], per_band: int = PAIRS_PER_BAND, seed: int = 0) -> pd.DataFrame:
    """Return the sample that `borderline_pairs` would draw of all matches from its samples of their parts."""
    import pandas as pd

    if len(samples) == 1:
        return samples[0]
    held = pd.concat([sample.drop_duplicates("low") for sample in samples]).groupby("low")["in_band"].sum()
    every = pd.concat([sample for sample in samples if len(sample)] or samples[:1], ignore_index=True)
    every["in_band"] = every["low"].map(held).astype(np.int64)
    keys = pd.Series(_pair_keys(every, seed), index=every.index, dtype=object)
    order = every.assign(key=keys).sort_values(["low", "key"])
    return order.groupby("low").head(per_band).drop(columns="key").reset_index(drop=True)


def _pair_keys(pairs: pd.DataFrame, seed: int) -> list[str]:
    return [
        hashlib.sha256(f"{seed}:{uid}:{test_uid}:{test_set}".encode()).hexdigest()
        for uid, test_uid, test_set in zip(pairs["uid"], pairs["test_uid"], pairs["test_set"], strict=True)
    ]


def borderline_pairs(
    matches: pd.DataFrame,
    bands: Sequence[tuple[float, float]] = (
        (0.90, 0.92),
        (0.92, 0.94),
        (0.94, 0.96),
        (0.96, 0.98),
        (0.98, 0.99),
        (0.99, 1.0),
    ),
    per_band: int = PAIRS_PER_BAND,
    seed: int = 0,
) -> pd.DataFrame:
    """Sample pairs by band of similarity, for people to look at around the threshold.

    Args:
        matches: ``Decontamination.matches``.
        bands: (low, high) of each band; low is inside, high is not, except that 1.0 is.
        per_band: at most so many pairs a band.
        seed: another seed gives other pairs; the order of ``matches`` does not matter.

    Returns:
        ``low, high, in_band, uid, test_set, test_uid, similarity, mirrored``; ``in_band`` is how many pairs
        the band holds in all, so that shares seen in the sample can be weighted.
    """
    import pandas as pd

    parts = []
    for low, high in bands:
        values = matches["similarity"]
        inside = matches[(values >= low) & (values < (high if high < 1.0 else np.inf))]
        chosen = inside.assign(key=_pair_keys(inside, seed)).sort_values("key").head(per_band).drop(columns="key")
        chosen.insert(0, "low", low)
        chosen.insert(1, "high", high)
        chosen.insert(2, "in_band", len(inside))
        parts.append(chosen[["low", "high", "in_band", "uid", "test_set", "test_uid", "similarity", "mirrored"]])
    return pd.concat(parts, ignore_index=True)


def _numbers_of_equal_rows(flat: Fingerprints) -> Indices:
    """Return a number for each row of ink, the same where they are equal; drawings without ink are equal to none."""
    first: dict[bytes, int] = {}
    numbers = [first.setdefault(row.tobytes(), position) for position, row in enumerate(flat)]
    return np.where(flat.any(axis=1), numbers, np.arange(len(flat))).astype(np.int64)


def duplicates_within(
    uids: Sequence[str], ink: Fingerprints, threshold: float, block_megabytes: int = 128
) -> pd.DataFrame:
    """Find images of one set that repeat an earlier one, so that one drawing does not count twice.

    Images are taken in the order of their uids; one is dropped when it is as similar as the threshold to
    one that was kept. Mirror images count as different: an arrow to the left is not an arrow to the right.
    Equal inks always count, whatever the rounding of their product; at a threshold of 1 nothing else does.

    Args:
        uids: n identifiers, each once.
        ink: ``[n, 16, 16]`` from ``fingerprint_drawings``.
        threshold: similarity from which two images count as one drawing.
        block_megabytes: size of the block of similarities held at a time.

    Returns:
        One row an image to drop: ``uid, kept_uid, similarity``, sorted by uid.
    """
    import pandas as pd

    _check_threshold(threshold)
    _check_lengths(uids, uids, ink, "the set")
    order = np.argsort(np.asarray(uids, dtype=object), kind="stable")
    ordered = [uids[i] for i in order]
    flat = flatten_fingerprints(ink[order], "the set's")
    copies = _numbers_of_equal_rows(flat)
    rows = max(1, block_megabytes * 2**20 // (4 * max(1, len(flat))))
    dropped: list[tuple[str, str, float]] = []
    kept = np.ones(len(flat), dtype=np.bool_)
    for start in range(0, len(flat), rows):
        stop = min(start + rows, len(flat))
        products = flat[start:stop] @ flat[:stop].T
        near = copies[start:stop, None] == copies[None, :stop]
        if threshold < 1.0:
            near |= products >= np.float32(threshold)
        for offset in np.flatnonzero(near.sum(axis=1) > 1):
            row = start + int(offset)
            earlier = np.flatnonzero(near[offset, :row] & kept[:row])
            if len(earlier):
                kept[row] = False
                first = int(earlier[0])
                value = min(1.0, float(products[offset, first]))
                dropped.append((ordered[row], ordered[first], value))
    return pd.DataFrame(dropped, columns=["uid", "kept_uid", "similarity"])
