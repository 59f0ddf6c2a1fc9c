"""Drawing untrusted SVG documents as pixels, without reading anything else from the disk or the network."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from whyrobust.data.pixel_store import Pixels


#: A drawing whose darkest pixel is closer than this to white (of 255 levels) shows nothing.
MINIMUM_VISIBLE_LEVELS = 16

#: Deeply nested groups overflow the drawing library's stack (seen at 400 levels); real icons stay below 20.
MAXIMUM_NESTING = 64


class DrawingError(ValueError):
    """A drawing that cannot be turned into an image; the message gives the reason."""


def _check_drawing(svg: str) -> None:
    """Raise DrawingError for a document that is broken, nested too deeply, or points outside itself.

    The drawing library opens files that an ``<image>`` or ``<feImage>`` names, and has no option against it, so every
    reference must point inside the document (``#id``). A DOCTYPE could define entities that hide one. Text is refused
    too: it would depend on the fonts of the machine.
    """
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAXIMUM_NESTING:
            raise DrawingError(f"elements nested more than {MAXIMUM_NESTING} deep")
        local = name.rpartition(":")[2]
        if local in {"text", "foreignObject", "image", "feImage"}:
            raise DrawingError(f"holds a <{local}> element; only shapes are drawn")
        for key, value in attributes.items():
            if key.rpartition(":")[2] == "href" and not value.startswith("#"):
                raise DrawingError(f"<{local}> refers to something outside the drawing: {value[:60]!r}")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_arguments: object) -> None:
        raise DrawingError("holds a DOCTYPE, which could define entities")

    # The parser ignores namespaces on purpose: "image" and "href" are found with any prefix.
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(svg.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise DrawingError(f"not well-formed XML: {error}") from error
    except UnicodeEncodeError as error:
        raise DrawingError(f"not valid Unicode text: {error.reason}") from error


def _settle_animations(svg: str) -> str:
    """Return a drawing with each animated attribute set to the end value of its animation.

    Some sets animate their lines one after the other, from an almost empty image. Only animations that keep their end
    value (``fill="freeze"``) count; endless ones leave the drawing as written.
    """
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in parent:
            local = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
            if local not in {"animate", "set"} or child.get("fill") != "freeze":
                continue
            name = child.get("attributeName")
            last = child.get("to") or child.get("values", "").rstrip(" ;").rpartition(";")[2].strip()
            if name and last:
                parent.set(name, last)
    return ElementTree.tostring(root, encoding="unicode")


def draw_rgba(svg: str, size: int) -> Image.Image:
    """Draw an SVG document on a transparent square, centred and as large as fits.

    Args:
        svg: a whole SVG document.
        size: side of the image in pixels.

    Returns:
        An RGBA image.

    Raises:
        DrawingError: the document is empty or broken, refers to something outside itself, or holds text or bitmaps.
    """
    import resvg_py

    if not svg.strip():
        raise DrawingError("the drawing is empty")
    _check_drawing(svg)
    if "<animate" in svg or "<set" in svg:
        svg = _settle_animations(svg)
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in the library derives from BaseException
        raise DrawingError(f"cannot be drawn: {error}") from error
    image = Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGBA")
    if image.size == (size, size):
        return image
    square = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def _on_white(drawing: Image.Image) -> Pixels:
    """Composite an RGBA drawing on white; raise DrawingError when nothing can be seen on it."""
    white = Image.new("RGBA", drawing.size, (255, 255, 255, 255))
    pixels = np.array(Image.alpha_composite(white, drawing).convert("RGB"))
    if 255 - int(pixels.min()) < MINIMUM_VISIBLE_LEVELS:
        raise DrawingError("nothing can be seen on white: the drawing is blank or white")
    return pixels


def draw_svg(svg: str, size: int) -> Pixels:
    """Draw an SVG document on white.

    Args:
        svg: a whole SVG document. ``currentColor`` is black. Nothing is read from disk or network for it.
        size: side of the image in pixels.

    Returns:
        uint8 ``[size, size, 3]``, RGB. A drawing that is not square is centred on its longer side.

    Raises:
        DrawingError: the document is broken, refers to something outside itself, holds text or bitmaps, or
            shows nothing on white.
    """
    check_size(size)
    return _on_white(draw_rgba(svg, size))


def check_size(size: int) -> None:
    """Raise a ValueError unless an image side is 1 pixel or more."""
    if size < 1:
        raise ValueError(f"an image side of {size} pixels was asked for; give 1 or more")
