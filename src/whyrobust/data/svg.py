"""Drawing untrusted SVG documents as pixels, without reading anything else from the disk or the network.

Light: processes that draw start without numpy.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.parsers import expat

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngImageFile

if TYPE_CHECKING:
    from whyrobust.data.pixel_store import Pixels


#: A drawing all of whose pixels are closer than this to the page (of 255 levels) shows nothing.
MINIMUM_VISIBLE_LEVELS = 16

#: What drawings are on where nobody says.
WHITE = "white"

#: Deeply nested groups overflow the drawing library's stack (seen at 400 levels); real icons stay below 20.
MAXIMUM_NESTING = 64


class DrawingError(ValueError):
    """A drawing that cannot be turned into an image; the message gives the reason."""


def _check_drawing(svg: str) -> None:
    """Raise DrawingError for a document that is broken, nested too deeply, or points outside itself.

    The drawing library opens files that an ``<image>`` or ``<feImage>`` names, and has no option against it, so every
    reference must point inside the document (``#id``). A DOCTYPE with declarations could define entities that hide one;
    one that only names the standard, as older programs write, is harmless: nothing is fetched for it. Text is refused
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

    def doctype(_name: str, _system: str | None, _public: str | None, has_declarations: bool) -> None:
        if has_declarations:
            raise DrawingError("holds a DOCTYPE with declarations, which could define entities")

    # The parser ignores namespaces on purpose: "image" and "href" are found with any prefix. It reads UTF-8 whatever
    # encoding the document claims, as the drawing library does.
    parser = expat.ParserCreate("utf-8")
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
    image = PngImageFile(io.BytesIO(png))  # RGBA, whatever was drawn
    if image.size == (size, size):
        return image
    square = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def put_on_page(drawing: Image.Image, page: str) -> Image.Image:
    """Composite an RGBA image on a page.

    Args:
        drawing: RGBA.
        page: colour, a name or ``#rrggbb``.

    Returns:
        An RGB image.

    Raises:
        DrawingError: nothing can be seen on the page.
    """
    behind = Image.new("RGBA", drawing.size, page)
    image = Image.alpha_composite(behind, drawing)
    contrast = ImageChops.difference(image, behind).getextrema()
    if max(largest for _, largest in contrast) < MINIMUM_VISIBLE_LEVELS:  # type: ignore[misc]
        raise DrawingError(f"nothing can be seen on {page}: it is blank or {page}")
    return image.convert("RGB")


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
    import numpy as np

    check_size(size)
    return np.array(put_on_page(draw_rgba(svg, size), WHITE))


def check_size(size: int) -> None:
    """Raise a ValueError unless an image side is 1 pixel or more."""
    if size < 1:
        raise ValueError(f"an image side of {size} pixels was asked for; give 1 or more")
