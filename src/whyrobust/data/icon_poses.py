"""Posed copies of drawings: turned, scaled and shifted at random, on random backgrounds.

They give the icons study a test set that differs from training as ObjectNet does (Barbu et al. 2019): objects turned,
on backgrounds that say nothing about them.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from whyrobust.data.svg import MINIMUM_VISIBLE_LEVELS, DrawingError, check_size, draw_rgba

if TYPE_CHECKING:
    from whyrobust.data.pixel_store import Pixels

#: A posed icon is drawn at this multiple of the final size, then reduced, so that turning does not blur it.
POSE_OVERSAMPLING = 2

#: Largest turn to either side. ObjectNet turns objects freely; icons of many classes (arrows, flags, check marks)
#: change their meaning when they are turned far, so the turn stays within what people still recognise.
MAXIMUM_TURN_DEGREES = 30.0

POSE_SCALE_RANGE = (0.62, 0.88)

POSE_SHIFT_SHARE = 0.08

#: Smallest mean absolute difference (over RGB, 0..1) between a background colour and the mean colour of the object.
MINIMUM_BACKGROUND_CONTRAST = 0.30


def _uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(generator.random())


def _pose_generator(uid: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{uid}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _background_colour(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return one pale RGB colour (0..1) of any hue.

    Pale, because all training images are on white: on stronger backgrounds every model is near chance, and a shift on
    which all models fail alike says nothing. Chosen with the standard models alone (docs/method.md).
    """
    hue = float(generator.random())
    saturation = _uniform(generator, 0.0, 0.15)
    value = _uniform(generator, 0.9, 1.0)
    turn = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return np.asarray(value - value * saturation * np.clip(np.minimum(turn, 4.0 - turn), 0.0, 1.0))


def _background_weights(generator: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """Return the share of the second colour in each pixel, ``[size, size]``, 0..1.

    One of: a plain colour, a gradient, stripes, a chequerboard, dots, or smooth noise.
    """
    kind = int(generator.random() * 6)
    angle = _uniform(generator, 0.0, 2.0 * math.pi)
    period = _uniform(generator, 0.12, 0.35)
    steps = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(steps, steps)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    if kind == 0:
        return np.zeros((size, size))
    if kind == 1:
        return np.asarray((along - along.min()) / max(float(np.ptp(along)), 1e-9))
    if kind == 2:
        return np.asarray((along / period % 1.0 < 0.5).astype(np.float64))
    if kind == 3:
        return np.asarray(((along / period % 1.0 < 0.5) ^ (across / period % 1.0 < 0.5)).astype(np.float64))
    if kind == 4:
        radius = np.hypot(along / period % 1.0 - 0.5, across / period % 1.0 - 0.5)
        return np.asarray((radius < 0.3).astype(np.float64))
    noise = np.zeros((size, size))
    for cells, weight in ((3, 0.5), (6, 0.3), (16, 0.2)):
        coarse = Image.fromarray(generator.random((cells, cells)).astype(np.float32))
        noise += weight * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    return np.clip(noise, 0.0, 1.0)


def _background(
    generator: np.random.Generator, size: int, object_colour: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return an RGB background ``[size, size, 3]``, 0..1, whose colours differ from the object's own."""
    colours = []
    for _ in range(2):
        candidates = [_background_colour(generator) for _ in range(12)]
        distances = [float(np.abs(candidate - object_colour).mean()) for candidate in candidates]
        enough = [i for i, distance in enumerate(distances) if distance >= MINIMUM_BACKGROUND_CONTRAST]
        colours.append(candidates[enough[0] if enough else int(np.argmax(distances))])
    # The second colour stays near the first, so that the pattern is weaker than the object.
    second = colours[0] + _uniform(generator, 0.35, 0.8) * (colours[1] - colours[0])
    weights = _background_weights(generator, size)[:, :, None]
    return np.asarray(colours[0] * (1.0 - weights) + second * weights)


def pose_on_background(
    drawing: str | Pixels,
    size: int,
    uid: str,
    seed: int,
    maximum_turn_degrees: float = MAXIMUM_TURN_DEGREES,
) -> Pixels:
    """Turn, scale and shift a drawing at random and put it on a random background.

    Everything random follows from the sha256 of seed and uid.

    Args:
        drawing: a whole SVG document, or uint8 RGBA pixels ``[side, side, 4]``.
        size: side of the result in pixels.
        uid: identifier of the drawing; another uid gives another pose and background.
        seed: another seed gives other poses for all uids.
        maximum_turn_degrees: largest turn to either side.

    Returns:
        uint8 ``[size, size, 3]``, RGB.

    Raises:
        DrawingError: the SVG cannot be drawn, or the drawing is transparent everywhere.
    """
    check_size(size)
    work = size * POSE_OVERSAMPLING
    if isinstance(drawing, str):
        image = draw_rgba(drawing, work)
    else:
        if drawing.ndim != 3 or drawing.shape[0] != drawing.shape[1] or drawing.shape[2] != 4:
            raise ValueError(f"{uid}: RGBA pixels of shape [side, side, 4] are needed, got {drawing.shape}")
        image = Image.fromarray(drawing).resize((work, work), Image.Resampling.BICUBIC)
    box = image.getchannel("A").getbbox()
    if box is None or image.getchannel("A").getextrema()[1] < MINIMUM_VISIBLE_LEVELS:  # type: ignore[operator]
        raise DrawingError("nothing can be seen: the drawing is transparent everywhere")

    generator = _pose_generator(uid, seed)
    angle = math.radians(_uniform(generator, -maximum_turn_degrees, maximum_turn_degrees))
    extent = max(box[2] - box[0], box[3] - box[1])
    scale = _uniform(generator, *POSE_SCALE_RANGE) * work / extent
    shift_x = _uniform(generator, -POSE_SHIFT_SHARE, POSE_SHIFT_SHARE) * work
    shift_y = _uniform(generator, -POSE_SHIFT_SHARE, POSE_SHIFT_SHARE) * work

    # Pillow takes the inverse map: from each output pixel to the drawing.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    from_x, from_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    to_x, to_y = work / 2 + shift_x, work / 2 + shift_y
    inverse = (cos, sin, from_x - cos * to_x - sin * to_y, -sin, cos, from_y + sin * to_x - cos * to_y)
    turned = image.transform((work, work), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    layer = np.asarray(turned.reduce(POSE_OVERSAMPLING), dtype=np.float64) / 255.0
    alpha = layer[:, :, 3:]
    if float(alpha.sum()) <= 0.0:
        raise DrawingError("nothing is left of the drawing at this size")
    object_colour = (layer[:, :, :3] * alpha).sum(axis=(0, 1)) / alpha.sum()
    background = _background(generator, size, object_colour)
    return np.asarray(np.rint((layer[:, :, :3] * alpha + background * (1.0 - alpha)) * 255.0), dtype=np.uint8)
