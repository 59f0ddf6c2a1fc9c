"""Views of a source: the images that stay of it by sets, teams, colour, drawings, classes and nearness to shifts.

`filter_view` does what is the same for every seed; `draw_view` does the rest and draws the subset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whyrobust.data.fingerprints import FINGERPRINT_SIZE, Fingerprints, flatten_fingerprints
from whyrobust.data.grey_images import mark_grey
from whyrobust.data.near_duplicates import Indices
from whyrobust.data.nearest_images import nearest_training_images
from whyrobust.data.pixel_store import Pixels
from whyrobust.data.subsets import (
    SubsetError,
    draw_class_balanced,
    draw_key,
    draw_matching_classes,
    draw_subset,
    labelled_rows,
    take_drawn,
)

Mask = npt.NDArray[np.bool_]

#: An image has colour where the channels of a pixel differ by more than this, of 255.
COLOUR_LEVELS = 16

#: Draws of sets that are tried until one has enough images.
DRAWS_OF_SETS = 10_000

#: Images that are compared with the shifts at a time.
ROWS_PER_BLOCK = 2_000


@dataclass(frozen=True)
class ComparedSet:
    """Fingerprints of a data set and which of its rows are left after decontamination."""

    fingerprints: Fingerprints
    rows: Indices


def has_colour(pixels: Pixels) -> Mask:
    """Say of each image, uint8 ``[n, size, size, 3]``, whether a pixel of it is not grey."""
    spread = pixels.max(axis=-1).astype(np.int16) - pixels.min(axis=-1)
    coloured: Mask = (spread > COLOUR_LEVELS).any(axis=(1, 2))
    return coloured


def nearer_than(train: Fingerprints, test: Fingerprints, limits: npt.NDArray[np.float32]) -> Mask:
    """Say of each training image whether it is more similar to a test image than a limit of that test image.

    Args:
        train: ``[n, 16, 16]``.
        test: ``[m, 16, 16]``.
        limits: similarity (correlation) of each test image that may be reached, ``[m]``. Mirror images count too.
    """
    flat_test = flatten_fingerprints(test, "test images")
    nearer = np.zeros(len(train), dtype=np.bool_)
    for start in range(0, len(train), ROWS_PER_BLOCK):
        block = flatten_fingerprints(train[start : start + ROWS_PER_BLOCK], "training images")
        mirror = block.reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE)[:, :, ::-1].reshape(len(block), -1)
        # Products of the same pair may be rounded differently in blocks of another shape.
        above = [(side @ flat_test.T > limits + 1e-6).any(axis=1) for side in (block, mirror)]
        nearer[start : start + len(block)] = above[0] | above[1]
    return nearer


def filter_view(
    kept: pa.Table,
    settings: Mapping[str, Any],
    teams: Mapping[str, str],
    read_pixels: Callable[[], Pixels],
    compared: Mapping[str, ComparedSet],
    shifts: Collection[str],
) -> pa.Table:
    """Return the images of a source that a view has whatever the seed: all filters but those of `draw_view`.

    Args:
        kept: what is left of the source, of `whyrobust.data.decontamination.KEPT_SCHEMA`.
        settings: of the view, as in the config.
        teams: the team of each set, for ``without``; empty where no icons are used.
        read_pixels: returns the pixels of ``kept``, in its order; called for ``colour: none``.
        compared: fingerprints by data set, for ``nearest_to_shifts_at_most``: the source, that which it is limited by
            and the shifts.
        shifts: names of the shifts.

    Raises:
        SubsetError: no image is left.
    """
    stays = np.ones(len(kept), dtype=np.bool_)
    collections = kept["collection"].to_pylist()
    if isinstance(settings.get("sets"), list):
        stays &= np.array([name in settings["sets"] for name in collections], dtype=np.bool_)
    if settings.get("without"):
        gone = set(settings["without"])
        stays &= np.array([not gone & {name, teams.get(name)} for name in collections], dtype=np.bool_)
    if settings.get("colour") == "none":
        stays &= ~has_colour(read_pixels())
    limited_by = settings.get("nearest_to_shifts_at_most")
    if limited_by:
        test = np.concatenate([compared[name].fingerprints[compared[name].rows] for name in shifts])
        reference, own = compared[limited_by], compared[settings["of"]]
        _, limits = nearest_training_images(reference.fingerprints, reference.rows, test)
        stays &= ~nearer_than(own.fingerprints[own.rows], test, limits)
    if not stays.any():
        raise SubsetError(f"none of the {len(kept)} images of '{settings['of']}' is left: ask for less in the view")
    return kept.filter(pa.array(stays))


def draw_sets(collections: Iterable[str], number: int, size: int, seed: int) -> set[str]:
    """Return a number of sets that have enough images together, at random.

    Orders of all sets are drawn one after the other, and the first of which the first sets hold enough images counts;
    so small sets come less often the more images are asked for.

    Args:
        collections: the set of each image.
        number: sets wanted.
        size: images that they must hold.
        seed: decides which.

    Raises:
        SubsetError: there are fewer sets, or they hold too few images.
    """
    held = Counter(collections)
    if number > len(held):
        raise SubsetError(f"{number} sets asked for, the source has {len(held)}: ask for {len(held)} at most")
    most = sum(count for _, count in held.most_common(number))
    if most < size:
        raise SubsetError(f"{size} images of {number} sets asked for, the largest hold {most}: ask for {most} at most")
    for draw in range(DRAWS_OF_SETS):
        chosen = sorted(held, key=lambda name: draw_key(name, f"sets {seed} {draw}"))[:number]
        if sum(held[name] for name in chosen) >= size:
            return set(chosen)
    raise SubsetError(
        f"{DRAWS_OF_SETS} random draws of {number} sets had fewer than {size} images: ask for more sets or fewer images"
    )


def first_of_each(kept: pa.Table, column: str, number: int, key: str) -> pa.Table:
    """Return, for each value of a column, a number of images drawn at random; a missing value has none."""
    rows: dict[str, list[tuple[bytes, int]]] = {}
    pairs = zip(kept[column].to_pylist(), kept["uid"].to_pylist(), strict=True)
    for row, (value, uid) in enumerate(pairs):
        if value is not None:
            rows.setdefault(value, []).append((draw_key(uid, key), row))
    return kept.take(pa.array(sorted(row for found in rows.values() for _, row in sorted(found)[:number]), pa.int64()))


def draw_view(
    kept: pa.Table, settings: Mapping[str, Any], size: int, seed: int, reference: Mapping[str, int] | None = None
) -> pa.Table:
    """Return the subset of a view that has filters: a choice of sets, drawings and images of a class, then a draw.

    What the filters leave depends on the seed, not on the size, except for a number of sets, which must hold enough
    images; without it subsets are nested in size.

    Args:
        kept: of `filter_view`.
        settings: of the view, as in the config.
        size: images wanted.
        seed: decides all choices.
        reference: images of each class in the source whose class proportions are matched, if they are.

    Returns:
        Rows of ``kept``, in the order of the draw; of a grey view with a schema that says so.

    Raises:
        SubsetError: too few images are left.
    """
    if isinstance(settings.get("sets"), Mapping):
        collections = kept["collection"].to_pylist()
        chosen = draw_sets(collections, settings["sets"]["number"], size, seed)
        kept = kept.filter(pa.array([name in chosen for name in collections]))
    if settings.get("one_image_per_drawing"):
        kept = first_of_each(kept, "group", 1, f"drawings {seed}")
    if settings.get("at_most_per_class"):
        kept = first_of_each(kept, "label", settings["at_most_per_class"], f"classes {seed}")
    if reference is not None:
        drawn = draw_matching_classes(labelled_rows(kept), reference, size, seed)
    elif settings.get("class_balanced"):
        drawn = draw_class_balanced(labelled_rows(kept), size, seed)
    else:
        every = not settings.get("labelled")
        drawn = draw_subset((uid for uid, label in labelled_rows(kept) if every or label is not None), size, seed)
    subset = take_drawn(kept, drawn)
    return mark_grey(subset) if settings.get("colour") == "grey" else subset
