"""Fingerprints of images: 16x16 pixels, mean taken off and length 1, by which near-duplicates are found.

The dot product of two fingerprints is the correlation of the two reduced images. A drawing on white is cropped to its
foreground first; a photograph fills its frame and is taken whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from whyrobust.files import atomic_path

if TYPE_CHECKING:
    from whyrobust.data.pixel_store import Pixels

#: One fingerprint ``[16, 16]``, or those of n images ``[n, 16, 16]``, float32.
Fingerprints = npt.NDArray[np.float32]

FINGERPRINT_SIZE = 16

#: A blank border in pixels: without it a full square would have no contrast left once its mean is taken off.
FINGERPRINT_MARGIN = 1

#: Pixels fainter than this share of the darkest one are background: they are the soft edge of a line.
FOREGROUND_CUTOFF = 0.15

#: Levels between 0 and the strongest value of a fingerprint that an exact hash tells apart.
HASH_LEVELS = 16

#: A photograph may be decoded at a reduced size for its fingerprint, as long as its sides keep this many pixels.
FINGERPRINT_DECODE_PIXELS = 64


def fingerprint_drawings(pixels: Pixels) -> Fingerprints:
    """Return fingerprints of drawings on white that do not depend on position, size, line strength or colour.

    The darkness of a pixel is the distance of its colour from white, so that yellow is not lost as it would be in
    luminance. The drawing is cropped to its foreground, scaled (aspect kept) into 14x14 and centred on 16x16; then the
    mean is taken off, without which all heavy filled shapes would be alike, and the length set to 1.

    Args:
        pixels: uint8 ``[n, size, size, 3]``, RGB drawings on white. Of posed images give the plain drawings: a
            background is no part of a drawing.

    Returns:
        float32 ``[n, 16, 16]``; all zeros for a blank image.

    Raises:
        ValueError: the pixels have another type or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"pixels must be uint8 [n, size, size, 3]; got {pixels.dtype} {list(pixels.shape)}")
    result = np.zeros((len(pixels), FINGERPRINT_SIZE, FINGERPRINT_SIZE), dtype=np.float32)
    for start in range(0, len(pixels), 4096):
        _fit_foreground(pixels[start : start + 4096], result[start : start + 4096])
    flat = result.reshape(len(result), FINGERPRINT_SIZE * FINGERPRINT_SIZE)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    np.divide(flat, lengths, out=flat, where=lengths > 0)
    return result


def _fit_foreground(pixels: Pixels, result: Fingerprints) -> None:
    """Write the darkness of each drawing, cropped to its foreground and scaled to 14x14, into ``result``."""
    inner = FINGERPRINT_SIZE - 2 * FINGERPRINT_MARGIN
    from_white = 255.0 - pixels.astype(np.float32)
    darkness = np.sqrt(np.square(from_white).mean(axis=3))
    darkest = darkness.max(axis=(1, 2))
    foreground = darkness > FOREGROUND_CUTOFF * darkest[:, None, None]
    rows, columns = foreground.any(axis=2), foreground.any(axis=1)
    size_y, size_x = rows.shape[1], columns.shape[1]
    top, bottom = rows.argmax(axis=1), size_y - rows[:, ::-1].argmax(axis=1)
    left, right = columns.argmax(axis=1), size_x - columns[:, ::-1].argmax(axis=1)
    for index in np.flatnonzero(darkest > 0):
        # Crop first: a filter that reached beyond the box would meet the image's edge if there is one.
        crop = darkness[index, top[index] : bottom[index], left[index] : right[index]]
        height, width = crop.shape
        scale = inner / max(width, height)
        # Even sides, so that the centred drawing and its mirror image cover the same pixels.
        to_width, to_height = (2 * max(1, round(side * scale / 2)) for side in (width, height))
        small = Image.fromarray(crop).resize((to_width, to_height), Image.Resampling.BILINEAR)
        y, x = (FINGERPRINT_SIZE - to_height) // 2, (FINGERPRINT_SIZE - to_width) // 2
        result[index, y : y + to_height, x : x + to_width] = np.asarray(small)


def fingerprint_photograph(image: Image.Image) -> Fingerprints:
    """Return the fingerprint of a photograph, float32 ``[16, 16]``: grey, squashed to a square, mean off, length 1.

    Nothing is cropped, since a photograph fills its frame. An image of one colour is all zeros.
    """
    small = image.convert("L").resize((FINGERPRINT_SIZE, FINGERPRINT_SIZE), Image.Resampling.BOX, reducing_gap=3.0)
    values = np.asarray(small, dtype=np.float32)
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return np.asarray(values / length if length > 0 else values, dtype=np.float32)


def flatten_fingerprints(fingerprints: Fingerprints, name: str) -> Fingerprints:
    """Return fingerprints ``[n, 16, 16]`` as contiguous float32 ``[n, 256]``.

    Args:
        fingerprints: of n images.
        name: what they are of, for messages.

    Raises:
        ValueError: they have another shape, or hold values that are not finite.
    """
    if fingerprints.ndim != 3 or fingerprints.shape[1:] != (FINGERPRINT_SIZE, FINGERPRINT_SIZE):
        raise ValueError(
            f"{name}: fingerprints must be [n, {FINGERPRINT_SIZE}, {FINGERPRINT_SIZE}]; got {list(fingerprints.shape)}"
        )
    if not np.isfinite(fingerprints).all():
        raise ValueError(f"{name}: fingerprints hold values that are not finite; make them again")
    flat = np.ascontiguousarray(fingerprints, dtype=np.float32)
    return flat.reshape(len(fingerprints), FINGERPRINT_SIZE * FINGERPRINT_SIZE)


def exact_hashes(fingerprints: Fingerprints) -> list[str]:
    """Return a hash per image, equal for images whose quantised fingerprints are equal.

    Values are quantised to 16 levels of the fingerprint's own strongest one, so that copies that differ by a rounding
    still get one hash, unless a value lies on the edge of a level.

    Args:
        fingerprints: ``[n, 16, 16]``.

    Returns:
        The first 32 hexadecimal digits of each sha256.
    """
    flat = flatten_fingerprints(fingerprints, "images to hash")
    peaks = np.maximum(np.abs(flat).max(axis=1, keepdims=True, initial=0.0), np.float32(1e-12))
    levels = np.rint(flat / peaks * HASH_LEVELS).astype(np.int8)
    return [hashlib.sha256(row.tobytes()).hexdigest()[:32] for row in levels]


@contextmanager
def write_fingerprints(path: Path | str) -> Iterator[Callable[[Sequence[Fingerprints] | Fingerprints], None]]:
    """Yield a function that appends fingerprints to a NumPy file, so that they need not be held in memory.

    The file appears when the block ends without an error, a float32 array ``[n, 16, 16]``.
    """
    count = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def write_header() -> int:
            # NumPy leaves room for the first axis to grow, so that the header keeps its length.
            shape = (count, FINGERPRINT_SIZE, FINGERPRINT_SIZE)
            header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            return file.tell()

        start = write_header()

        def append(fingerprints: Sequence[Fingerprints] | Fingerprints) -> None:
            nonlocal count
            for fingerprint in fingerprints:
                file.write(np.ascontiguousarray(fingerprint, dtype=np.float32).tobytes())
            count += len(fingerprints)

        yield append
        file.seek(0)
        if write_header() != start:
            raise ValueError(f"{path}: the header of {count} fingerprints does not fit the room that was left for it")
