"""Decoding untrusted pictures, photographs and drawings, to RGB."""

from __future__ import annotations

import codecs
import io
import warnings
from functools import cache

import numpy as np
from PIL import Image

from whyrobust.data.archives import content_hash, read_bytes
from whyrobust.data.svg import WHITE, DrawingError, draw_rgba, put_on_page
from whyrobust.study.picture_formats import PICTURE_FORMATS

#: Images of more pixels are refused: a small file may otherwise decode to any amount of memory.
MAXIMUM_PIXELS = 120_000_000

#: Side of drawings (SVG), which have no size of their own: that of the largest images that models see.
DRAWING_PIXELS = 512

#: Bytes at the start of a document in which its first element is looked for: comments and declarations come before.
DOCUMENT_HEAD_BYTES = 2**16


class PhotographError(ValueError):
    """A picture that cannot be decoded; the message gives the reason."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in PICTURE_FORMATS if name in Image.OPEN)


def decode(content: bytes, border: int = 0, at_least: int | None = None, page: str = "") -> Image.Image:
    """Decode an image to RGB; of an animation the first frame, of a drawing a square of `DRAWING_PIXELS`.

    The orientation in EXIF is left alone, as torchvision's and open_clip's loaders do: the published accuracies were
    measured so.

    Args:
        content: the file's bytes, in one of the formats of `whyrobust.study.picture_formats`; its name does not matter.
        border: pixels to cut off each side first (ObjectNet has a red border of 2).
        at_least: sides of this many pixels are enough: a JPEG may then be decoded smaller, which is much faster.
        page: colour behind what is transparent. Without one transparency is dropped, as torchvision's and open_clip's
            loaders do, and drawings are on white.

    Raises:
        PhotographError: it does not decode, is too large, or shows nothing on its page.
    """
    rgb = _draw(content, page or WHITE) if _is_drawing(content) else _decode_pixels(content, border, at_least, page)
    if border:
        if min(rgb.size) <= 2 * border:
            raise PhotographError(f"it is {rgb.width}x{rgb.height}, not larger than its border of {border}")
        rgb = rgb.crop((border, border, rgb.width - border, rgb.height - border))
    return rgb


def _is_drawing(content: bytes) -> bool:
    head = content[:DOCUMENT_HEAD_BYTES].removeprefix(codecs.BOM_UTF8).lstrip()
    return head.startswith(b"<") and (b"<svg" in head or b":svg" in head)


def _draw(content: bytes, page: str) -> Image.Image:
    """Draw an SVG document, at one size for every purpose: what was drawn once without harm can be drawn again."""
    try:
        return put_on_page(draw_rgba(content.decode("utf-8-sig"), DRAWING_PIXELS), page)
    except UnicodeDecodeError as error:
        raise PhotographError(f"it is an SVG drawing that is no UTF-8: {error.reason}") from error
    except DrawingError as error:
        raise PhotographError(f"it is an SVG drawing: {' '.join(str(error).split())}") from error


def _decode_pixels(content: bytes, border: int, at_least: int | None, page: str) -> Image.Image:
    """Return what `decode` does, of any format but SVG and without cutting off the border."""
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
            return _to_rgb(image, page)
    except PhotographError:
        raise
    except DrawingError as error:
        raise PhotographError(str(error)) from error
    except (
        Exception
    ) as error:  # decoders raise nearly anything on damaged bytes, RuntimeError and struct.error among it
        # Pillow's messages may hold addresses of objects, which would make equal reasons differ.
        reason = str(error).split("<", 1)[0].strip() or type(error).__name__
        raise PhotographError(f"it does not decode: {reason}") from error


def read_picture(
    file: str,
    offset: int,
    length: int,
    border: int,
    page: str,
    content: int | None = None,
    at_least: int | None = None,
) -> Image.Image:
    """Read and decode an image from where it lies, see `whyrobust.data.archives` and `decode`.

    Args:
        file: that it lies in.
        offset: of its first byte there.
        length: of its bytes; -1: the whole file.
        border: pixels to cut off each side.
        page: colour behind what is transparent.
        content: hash of its bytes when it was indexed; None: they are not compared. Another picture under the old name
            would be trained on although it was compared with no test image, and its results kept as the old one's.
        at_least: sides of this many pixels are enough.

    Raises:
        PhotographError: its bytes are others by now, or it can no longer be decoded; the message names it.
        LocationError: its file has gone or was changed.
    """
    read = read_bytes(file, offset, length)
    if content is not None and content_hash(read) != content:
        raise _changed(file, offset, length, f"its {len(read):,} bytes have another checksum")
    try:
        return decode(read, border, at_least, page)
    except PhotographError as error:
        raise _changed(file, offset, length, str(error)) from error


def _changed(file: str, offset: int, length: int, found: str) -> PhotographError:
    where = file if length < 0 else f"{file}, {length} bytes at {offset}"
    return PhotographError(
        f"the image in {where} decoded when it was indexed and was changed since: {found}; put the old one back, or "
        "start the study again with a new date on the file (touch), which indexes it anew"
    )


def _to_rgb(image: Image.Image, page: str) -> Image.Image:
    if page and image.has_transparency_data:
        layers = image.convert("RGBA")
        opaque = layers.getchannel("A").getextrema() == (255, 255)
        return layers.convert("RGB") if opaque else put_on_page(layers, page)
    if image.mode.startswith("I") or image.mode == "F":
        # Of 16 bits, Pillow would clip everything above 255. Of 32 bits, the values tell how many are meant.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        largest = values.max(initial=0.0)
        # Programs that write fractions write them from 0 to 1.
        usual = 1.0 if image.mode == "F" and largest <= 1.0 else 255.0
        top = 65535.0 if image.mode.startswith("I;16") or largest > 255 else usual
        image = Image.fromarray(np.clip(values / top * 255.0, 0, 255).astype(np.uint8))
    return image.convert("RGB")
