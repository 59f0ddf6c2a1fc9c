"""Finding near-duplicates: training images that repeat a test image, and repeats within a test set.

A shared image inflates accuracy on exactly those test sets whose sources overlap with the training source, which would
be taken for robustness. Two images count as one when their fingerprints (`whyrobust.data.fingerprints`) correlate at or
above a threshold; docs/decontamination.md says how the threshold was chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whyrobust.data.fingerprints import FINGERPRINT_SIZE, Fingerprints, exact_hashes, flatten_fingerprints

if TYPE_CHECKING:
    import pandas as pd

Indices = npt.NDArray[np.int64]

#: Training images that are compared with the test images at a time: some 1 GB.
TRAINING_IMAGES_PER_CHUNK = 50_000

#: Pairs of each band of similarity that are kept as examples.
PAIRS_PER_BAND = 20

#: Why a training image is removed, strongest reason first.
REASONS = ("same_group", "exact", "near_duplicate")

REMOVED_COLUMNS = ("uid", "reason", "test_set", "test_uid", "similarity", "mirrored")


@dataclass(frozen=True)
class ComparedImages:
    """Images that are compared with others.

    Attributes:
        uids: n identifiers, each once; a sequence that is sliced, so that it may lie on the disk.
        groups: the group of each: style variants of one drawing share it.
        fingerprints: float32 ``[n, 16, 16]``, see `whyrobust.data.fingerprints`.
    """

    uids: Sequence[str]
    groups: Sequence[str]
    fingerprints: Fingerprints

    def __len__(self) -> int:
        return len(self.uids)

    def read(self, rows: slice) -> ComparedImages:
        """Return some of the images, held in memory."""
        return ComparedImages(list(self.uids[rows]), list(self.groups[rows]), np.asarray(self.fingerprints[rows]))

    def in_order_of_uids(self, name: str) -> ComparedImages:
        """Return the images in the order of their uids, so that results do not depend on the order they came in.

        Args:
            name: what they are, for messages.

        Raises:
            ValueError: counts disagree, or a uid comes twice.
        """
        _check_counts(self.uids, self.groups, self.fingerprints, name)
        order = np.argsort(np.asarray(self.uids, dtype=object), kind="stable")
        return ComparedImages(
            [self.uids[row] for row in order], [self.groups[row] for row in order], self.fingerprints[order]
        )


@dataclass(frozen=True)
class Decontamination:
    """What has to be removed from the training images, and why.

    Attributes:
        removed: one row per training image and test set that it repeats an image of, with the strongest reason only:
            `REMOVED_COLUMNS`. Its distinct uids are the images to remove.
        counts: rows of ``removed`` by ``test_set, reason``, zeros included, column ``images``.
        matches: the most similar image of each test set to each training image, whatever the similarity:
            ``uid, test_set, test_uid, similarity, mirrored``.
    """

    removed: pd.DataFrame
    counts: pd.DataFrame
    matches: pd.DataFrame


@dataclass(frozen=True)
class DecontaminationSummary:
    """What is kept of a `Decontamination` of training images that are too many for all their matches.

    Attributes:
        removed: as in `Decontamination`.
        counts: as in `Decontamination`.
        pairs: examples by band of similarity, of `borderline_pairs`.
    """

    removed: pd.DataFrame
    counts: pd.DataFrame
    pairs: pd.DataFrame


def _blocks(rows: int, columns: int, megabytes: int) -> Iterator[slice]:
    """Yield slices of ``rows``, each so long that a float32 array [slice, columns] takes so many megabytes."""
    length = max(1, megabytes * 2**20 // (4 * max(1, columns)))
    for start in range(0, rows, length):
        yield slice(start, min(start + length, rows))


def _best_of_rows(products: npt.NDArray[np.float32]) -> tuple[Indices, npt.NDArray[np.float32]]:
    """Return the column of the largest value of each row (the first of equals), and the value."""
    columns = products.argmax(axis=1)
    return columns, np.take_along_axis(products, columns[:, None], axis=1)[:, 0]


def best_matches(
    train_fingerprints: Fingerprints, test_fingerprints: Fingerprints, mirrored: bool = True, block_megabytes: int = 128
) -> tuple[Indices, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Find the most similar test image to every training image.

    Args:
        train_fingerprints: ``[n, 16, 16]``.
        test_fingerprints: ``[m, 16, 16]``, m at least 1.
        mirrored: also compare the left-right mirror image, since training may flip images.
        block_megabytes: size of the block of similarities held at a time.

    Returns:
        Index of the best test image, int64 ``[n]`` (the first of equals); its similarity (correlation), float32
        ``[n]``, -1..1; and whether only the mirror image is that similar, bool ``[n]``.

    Raises:
        ValueError: there is no test image, or fingerprints have another shape or are not finite.
    """
    train = flatten_fingerprints(train_fingerprints, "training images")
    test = flatten_fingerprints(test_fingerprints, "test images")
    if not len(test):
        raise ValueError("there is no test image to compare with; give at least one")
    index = np.zeros(len(train), dtype=np.int64)
    similarity = np.zeros(len(train), dtype=np.float32)
    flipped = np.zeros(len(train), dtype=np.bool_)
    for rows in _blocks(len(train), len(test), block_megabytes):
        block = train[rows]
        products = block @ test.T
        index[rows], similarity[rows] = _best_of_rows(products)
        if mirrored:
            mirror = block.reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE)[:, :, ::-1].reshape(len(block), -1)
            np.matmul(mirror, test.T, out=products)
            best, value = _best_of_rows(products)
            # A symmetric drawing equals its mirror image up to rounding: that is no mirrored match.
            better = value > similarity[rows] + 1e-6
            index[rows] = np.where(better, best, index[rows])
            similarity[rows] = np.where(better, value, similarity[rows])
            flipped[rows] = better
    return index, np.clip(similarity, -1.0, 1.0), flipped


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}; give a correlation above 0 and up to 1, e.g. 0.97")


def _check_counts(uids: Sequence[str], groups: Sequence[str], fingerprints: Fingerprints, name: str) -> None:
    if not len(uids) == len(groups) == len(fingerprints):
        raise ValueError(
            f"{name}: {len(uids)} uids, {len(groups)} groups, {len(fingerprints)} fingerprints; counts must agree"
        )
    if len(set(uids)) != len(uids):
        raise ValueError(f"{name}: some uids come more than once; keep one of each")


class _TestSet:
    """A test set, with what training images are looked up by in it."""

    def __init__(self, name: str, images: ComparedImages) -> None:
        self.name, self.images = name, images.in_order_of_uids(name)
        self.uids = frozenset(self.images.uids)
        # Blank images repeat none: their fingerprints are all zeros.
        shows_something = np.abs(self.images.fingerprints).max(axis=(1, 2), initial=0.0) > 0
        self.row_of_hash: dict[str, int] = {}
        for row, exact_hash in enumerate(exact_hashes(self.images.fingerprints)):
            if shows_something[row]:
                self.row_of_hash.setdefault(exact_hash, row)
        self.rows_of_group: dict[str, list[int]] = {}
        for row, group in enumerate(self.images.groups):
            self.rows_of_group.setdefault(group, []).append(row)

    def best_among(self, fingerprint: Fingerprints, rows: Sequence[int], mirrored: bool) -> tuple[int, float, bool]:
        """Return which of some rows is most similar to a training image, its similarity, and whether mirrored."""
        index, similarity, flipped = best_matches(fingerprint[None], self.images.fingerprints[list(rows)], mirrored)
        return rows[int(index[0])], float(similarity[0]), bool(flipped[0])


_Removed = tuple[str, str, str, str, float, bool]


def _compare_with(
    test_set: _TestSet, train: ComparedImages, hashes: tuple[list[str], list[str]], threshold: float, mirrored: bool
) -> tuple[list[_Removed], pd.DataFrame]:
    """Return rows of ``removed`` and of ``matches`` (see `Decontamination`) for one test set that is not empty.

    Args:
        test_set: to compare with.
        train: in the order of their uids.
        hashes: of `train`, and of their mirror images.
        threshold: similarity from which two images count as one.
        mirrored: also find mirrored near-duplicates.
    """
    import pandas as pd

    test_uids = test_set.images.uids
    index, similarity, flipped = best_matches(train.fingerprints, test_set.images.fingerprints, mirrored)
    matches = pd.DataFrame(
        {
            "uid": train.uids,
            "test_set": test_set.name,
            "test_uid": [test_uids[row] for row in index],
            "similarity": similarity.astype(np.float64),
            "mirrored": flipped,
        }
    )
    removed: list[_Removed] = []
    for row, (uid, group, own, mirror) in enumerate(zip(train.uids, train.groups, *hashes, strict=True)):
        fingerprint = train.fingerprints[row]
        same_group = test_set.rows_of_group.get(group, []) if group else []
        if same_group:
            reason = "same_group"
            repeated, value, flip = test_set.best_among(fingerprint, same_group, mirrored)
        elif own in test_set.row_of_hash or mirror in test_set.row_of_hash:
            reason, flip = "exact", own not in test_set.row_of_hash
            repeated = test_set.row_of_hash[mirror if flip else own]
            _, value, _ = test_set.best_among(fingerprint, [repeated], mirrored)
        elif similarity[row] >= np.float32(threshold):
            reason, repeated = "near_duplicate", int(index[row])
            value, flip = float(similarity[row]), bool(flipped[row])
        else:
            continue
        removed.append((uid, reason, test_set.name, test_uids[repeated], value, flip))
    return removed, matches


def _compare(train: ComparedImages, test_sets: Sequence[_TestSet], threshold: float, mirrored: bool) -> Decontamination:
    """Do what `decontaminate` does, with test sets in the order of their names."""
    import pandas as pd

    train = train.in_order_of_uids("training images")
    hashes = exact_hashes(train.fingerprints)
    both_hashes = hashes, exact_hashes(train.fingerprints[:, :, ::-1]) if mirrored else hashes
    removed: list[_Removed] = []
    matches: list[pd.DataFrame] = []
    for test_set in test_sets:
        shared = test_set.uids.intersection(train.uids)
        if shared:
            raise ValueError(
                f"{len(shared)} uid(s) are in training and in test set {test_set.name!r}, e.g. {sorted(shared)[:3]}; "
                "split them before this step"
            )
        if len(test_set.images):
            rows, of_test_set = _compare_with(test_set, train, both_hashes, threshold, mirrored)
            removed += rows
            matches.append(of_test_set)
    table = pd.DataFrame(removed, columns=list(REMOVED_COLUMNS)).sort_values(["uid", "test_set"], ignore_index=True)
    found = table.groupby(["test_set", "reason"]).size()
    counts = pd.DataFrame(
        [(one.name, reason, int(found.get((one.name, reason), 0))) for one in test_sets for reason in REASONS],
        columns=["test_set", "reason", "images"],
    )
    every = pd.concat(matches, ignore_index=True) if matches else table.drop(columns="reason").iloc[:0].copy()
    return Decontamination(removed=table, counts=counts, matches=every)


def _prepare(test_sets: Mapping[str, ComparedImages], threshold: float) -> list[_TestSet]:
    _check_threshold(threshold)
    return [_TestSet(name, test_sets[name]) for name in sorted(test_sets)]


def decontaminate(
    train: ComparedImages, test_sets: Mapping[str, ComparedImages], threshold: float, mirrored: bool = True
) -> Decontamination:
    """Decide which training images repeat a test image.

    Reasons, strongest first: ``same_group`` (the test set has an image of the same group: style variants of one drawing
    stay on one side), ``exact`` (equal `exact_hashes`, mirrored too), ``near_duplicate`` (similarity at the threshold
    or above). The order of the inputs does not matter.

    Args:
        train: training images.
        test_sets: test images by the name of their set.
        threshold: similarity (correlation) from which two images count as one.
        mirrored: also find mirrored near-duplicates.

    Returns:
        The rows to remove, counts and every best match. A row's similarity is to the test image it names: the best
        match, or for ``same_group`` the most similar image of that group.

    Raises:
        ValueError: counts disagree, uids repeat, a uid is in training and in a test set, or the threshold is outside
            (0, 1].
    """
    return _compare(train, _prepare(test_sets, threshold), threshold, mirrored)


def decontaminate_in_chunks(
    train: ComparedImages,
    test_sets: Mapping[str, ComparedImages],
    threshold: float,
    mirrored: bool = True,
    chunk: int = TRAINING_IMAGES_PER_CHUNK,
) -> DecontaminationSummary:
    """Do what `decontaminate` and `borderline_pairs` do, with memory for one chunk of the training images.

    Args:
        train: training images.
        test_sets: test images by the name of their set.
        threshold: as in `decontaminate`.
        mirrored: as in `decontaminate`.
        chunk: training images that are compared at a time.

    Raises:
        ValueError: as `decontaminate`.
    """
    prepared = _prepare(test_sets, threshold)
    merged: list[DecontaminationSummary] = []
    for start in range(0, max(1, len(train)), chunk):
        found = _compare(train.read(slice(start, start + chunk)), prepared, threshold, mirrored)
        compared = DecontaminationSummary(found.removed, found.counts, borderline_pairs(found.matches))
        merged = [merge_summaries([*merged, compared])]
    return merged[0]


def merge_summaries(summaries: Sequence[DecontaminationSummary]) -> DecontaminationSummary:
    """Return what `decontaminate_in_chunks` finds of all training images from what it finds of their chunks."""
    import pandas as pd

    removed = [one.removed for one in summaries]
    table = pd.concat([found for found in removed if len(found)] or removed[:1])
    return DecontaminationSummary(
        removed=table.sort_values(["uid", "test_set"], ignore_index=True),
        counts=summaries[0].counts.assign(images=sum(one.counts["images"] for one in summaries)),
        pairs=merge_pairs([one.pairs for one in summaries]),
    )


def merge_pairs(samples: Sequence[pd.DataFrame], per_band: int = PAIRS_PER_BAND, seed: int = 0) -> pd.DataFrame:
    """Return the sample that `borderline_pairs` would draw of all matches from its samples of their chunks."""
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
    """Sample pairs by band of similarity, so that people can judge them around the threshold.

    Args:
        matches: ``Decontamination.matches``.
        bands: (low, high) of each band; low is inside, high is not, except that 1.0 is.
        per_band: at most so many pairs per band.
        seed: another seed gives other pairs; the order of ``matches`` does not matter.

    Returns:
        ``low, high, in_band, uid, test_set, test_uid, similarity, mirrored``; ``in_band`` is how many pairs the band
        holds in all, so that shares of the sample can be weighted.
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


def _first_equal_row(flat: Fingerprints) -> Indices:
    """Return, for each row ``[n]``, the first one that equals it; a blank image (all zeros) equals only itself."""
    first: dict[bytes, int] = {}
    rows = [first.setdefault(values.tobytes(), row) for row, values in enumerate(flat)]
    return np.where(flat.any(axis=1), rows, np.arange(len(flat))).astype(np.int64)


def duplicates_within(
    uids: Sequence[str], fingerprints: Fingerprints, threshold: float, block_megabytes: int = 128
) -> pd.DataFrame:
    """Find images of one set that repeat an earlier one, so that one image does not count twice.

    Images are taken in the order of their uids; one is dropped when it is as similar as the threshold to one that was
    kept. Mirror images count as different: an arrow to the left is not an arrow to the right. Equal fingerprints always
    count, however their product is rounded; at a threshold of 1 nothing else does.

    Args:
        uids: n identifiers, each once.
        fingerprints: ``[n, 16, 16]``.
        threshold: similarity (correlation) from which two images count as one.
        block_megabytes: size of the block of similarities held at a time.

    Returns:
        One row per image to drop: ``uid, kept_uid, similarity``, sorted by uid.

    Raises:
        ValueError: counts disagree, uids repeat, or the threshold is outside (0, 1].
    """
    import pandas as pd

    _check_threshold(threshold)
    images = ComparedImages(uids, uids, fingerprints).in_order_of_uids("the set")
    flat = flatten_fingerprints(images.fingerprints, "the set")
    equal = _first_equal_row(flat)
    dropped: list[tuple[str, str, float]] = []
    kept = np.ones(len(flat), dtype=np.bool_)
    for rows in _blocks(len(flat), len(flat), block_megabytes):
        products = flat[rows] @ flat[: rows.stop].T
        near = equal[rows, None] == equal[None, : rows.stop]
        if threshold < 1.0:
            near |= products >= np.float32(threshold)
        for offset in np.flatnonzero(near.sum(axis=1) > 1):
            row = rows.start + int(offset)
            earlier = np.flatnonzero(near[offset, :row] & kept[:row])
            if len(earlier):
                kept[row] = False
                first = int(earlier[0])
                value = min(1.0, float(products[offset, first]))
                dropped.append((images.uids[row], images.uids[first], value))
    return pd.DataFrame(dropped, columns=["uid", "kept_uid", "similarity"])
