"""Pictures and captions that both sides of a training row learn from: seeded, drawn here, no download needed.

Stands alone because every training row needs some; how long learning takes does not depend on what they show.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

WORDS = Path(__file__).parent.parent / "resources" / "icons" / "classes.csv"


def draw_icons(count: int, side: int, seed: int) -> NDArray[np.uint8]:
    """Return drawings on white of a few coloured shapes each, uint8 ``[count, side, side, 3]``."""
    generator = np.random.default_rng(seed)
    pixels = np.empty((count, side, side, 3), dtype=np.uint8)
    for number in range(count):
        # Drawn at four times the size, so that edges are smooth as those of icons are.
        page = Image.new("RGB", (4 * side, 4 * side), "white")
        pen = ImageDraw.Draw(page)
        for _ in range(generator.integers(2, 6)):
            left, top = generator.integers(0, 3 * side, 2)
            width, height = generator.integers(side // 2, 2 * side, 2)
            colour = tuple(int(c) for c in generator.integers(0, 200, 3))
            draw = (pen.ellipse, pen.rectangle, pen.arc)[generator.integers(3)]
            extra = (0, 270) if draw == pen.arc else ()
            draw((left, top, left + width, top + height), *extra, fill=colour)
        pixels[number] = np.asarray(page.resize((side, side), Image.Resampling.BOX))
    return pixels


def draw_photograph(width: int, height: int, generator: np.random.Generator) -> Image.Image:
    """Return a picture with smooth areas, edges and grain, so that its JPEG is as large as a photograph's."""
    coarse = Image.fromarray(generator.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8))
    page = coarse.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(page)
    for _ in range(12):
        left, top = int(generator.integers(0, width)), int(generator.integers(0, height))
        size = int(generator.integers(20, 160))
        pen.ellipse((left, top, left + size, top + size), fill=tuple(int(c) for c in generator.integers(0, 256, 3)))
    grain = generator.normal(0, 6, (height, width, 1))
    return Image.fromarray(
        (np.asarray(page.filter(ImageFilter.GaussianBlur(0.7))) + grain).clip(0, 255).astype(np.uint8)
    )


def make_captions(count: int, seed: int, most_words: int = 4) -> list[str]:
    """Return captions of one to ``most_words`` words, as short as the names of icons are."""
    with WORDS.open(encoding="utf-8", newline="") as handle:
        words = [row["class"] for row in csv.DictReader(handle)]
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(words, generator.integers(1, most_words + 1))) for _ in range(count)]
