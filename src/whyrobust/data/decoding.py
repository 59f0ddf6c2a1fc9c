"""Decoding untrusted photographs to RGB."""

from __future__ import annotations

import io
import warnings
from functools import cache

import numpy as np
from PIL import Image

from whyrobust.data.archives import read_bytes
from whyrobust.study.picture_formats import PICTURE_FORMATS

#: Images of more pixels are refused: a small file may otherwise decode to any amount of memory.
MAXIMUM_PIXELS = 120_000_000


class PhotographError(ValueError):
    """A picture that cannot be decoded; the message gives the reason."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in PICTURE_FORMATS if name in Image.OPEN)


def decode(content: bytes, border: int = 0, at_least: int | None = None) -> Image.Image:
    """Decode an image to RGB; of an animation the first frame.

    The orientation in EXIF is left alone, as torchvision's and open_clip's loaders do: the published accuracies were
    measured so.

    Args:
        content: the file's bytes, in one of the formats of `whyrobust.study.picture_formats`; its name does not matter.
        border: pixels to cut off each side first (ObjectNet has a red border of 2).
        at_least: sides of this many pixels are enough: a JPEG may then be decoded smaller, which is much faster.

    Raises:
        PhotographError: it does not decode, or is too large.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken metadata and of large images; what matters is checked below.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_formats())
            if image.width * image.height > MAXIMUM_PIXELS:
                raise PhotographError(
                    f"it has {image.width}x{image.height} pixels, more than {MAXIMUM_PIXELS:,} in all"
                )
            if at_least is not None and not border:
                image.draft(None, (at_least, at_least))
            rgb = _to_rgb(image)
    except PhotographError:
        raise
    except (
        Exception
    ) as error:  # decoders raise nearly anything on damaged bytes, RuntimeError and struct.error among it
        # Pillow's messages may hold addresses of objects, which would make equal reasons differ.
        reason = str(error).split("<", 1)[0].strip() or type(error).__name__
        raise PhotographError(f"it does not decode: {reason}") from error
    if border:
        if min(rgb.size) <= 2 * border:
            raise PhotographError(f"it is {rgb.width}x{rgb.height}, not larger than its border of {border}")
        rgb = rgb.crop((border, border, rgb.width - border, rgb.height - border))
    return rgb


def read_picture(file: str, offset: int, length: int, border: int) -> Image.Image:
    """Read and decode an image from where it lies, see `whyrobust.data.archives`.

    Raises:
        PhotographError: it can no longer be decoded; the message names it.
        LocationError: its file has gone or was changed.
    """
    try:
        return decode(read_bytes(file, offset, length), border)
    except PhotographError as error:
        where = file if length < 0 else f"{file}, {length} bytes at {offset}"
        raise PhotographError(
            f"the image in {where} decoded when it was indexed and was changed since: {error}"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Of 16 bits, Pillow would clip everything above 255. Of 32 bits, the values tell how many are meant.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0.0) > 255 else 255.0
        image = Image.fromarray(np.clip(values / top * 255.0, 0, 255).astype(np.uint8))
    return image.convert("RGB")
