"""Unrelated drawings, and the same drawing at another size and place."""

import numpy as np
from PIL import Image


def blobs(count: int, seed: int, size: int = 24) -> np.ndarray:
    """Return unrelated black drawings on white: smooth random shapes, drawn at ``size``."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        noise = Image.fromarray(generator.random((5, 5)).astype(np.float32))
        shape = np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC)) > 0.55
        images.append(np.where(shape[:, :, None], 0, 255).astype(np.uint8).repeat(3, axis=2))
    return np.stack(images)


def on_canvas(image: np.ndarray, side: int, x: int, y: int, canvas: int = 48) -> np.ndarray:
    """Scale a drawing to ``side`` and put it at (x, y) on a white canvas."""
    result = np.full((canvas, canvas, 3), 255, np.uint8)
    scaled = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    result[y : y + side, x : x + side] = np.asarray(scaled)
    return result


def canvas_of(images: np.ndarray) -> np.ndarray:
    return np.stack([on_canvas(image, 24, 12, 12) for image in images])
