"""SVG documents are drawn as they should be, and what cannot or must not be drawn is an error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from whyrobust.data.svg import DrawingError, draw_svg

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body: str, view: str = "0 0 20 20") -> str:
    return f'{HEAD} viewBox="{view}">{body}</svg>'


HOUSE = svg('<path d="M2 10 L10 2 L18 10 V18 H2 Z" fill="currentColor"/>')


def test_current_colour_is_black_on_white():
    pixels = draw_svg(svg('<rect x="5" y="5" width="10" height="10" fill="currentColor"/>'), 20)
    expected = np.full((20, 20, 3), 255, np.uint8)
    expected[5:15, 5:15] = 0
    np.testing.assert_array_equal(pixels, expected)


def test_colours_and_half_transparency_are_kept():
    pixels = draw_svg(svg('<rect width="20" height="20" fill="#f00" fill-opacity="0.5"/>'), 8)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[4, 4].astype(int) - [255, 127, 127]).max() <= 1


def test_a_drawing_as_older_programs_write_it_is_drawn_and_no_encoding_hides_anything():
    standard = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    np.testing.assert_array_equal(draw_svg(f'<?xml version="1.0"?>{standard}{HOUSE}', 20), draw_svg(HOUSE, 20))
    hidden = HOUSE.replace("</svg>", '<image href="/etc/passwd"/></svg>')
    with pytest.raises(DrawingError, match="<image>"):
        draw_svg(f'<?xml version="1.0" encoding="utf-16"?>{hidden}', 20)


@pytest.mark.parametrize(("view", "filled"), [("0 0 20 10", (slice(5, 15), slice(0, 20))),
                                              ("0 0 10 20", (slice(0, 20), slice(5, 15)))])  # fmt: skip
def test_a_drawing_that_is_not_square_is_centred(view, filled):
    pixels = draw_svg(svg('<rect width="20" height="20"/>', view), 20)
    expected = np.full((20, 20, 3), 255, np.uint8)
    expected[filled] = 0
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "empty"),
        ("<svg", "well-formed"),
        ("no drawing", "well-formed"),
        ("\ud800", "Unicode"),
        (svg(""), "blank"),
        (svg('<rect width="20" height="20" fill="#fff"/>'), "white"),
        (svg('<rect width="20" height="20" fill="none"/>'), "blank"),
        (svg('<text y="10">word</text>'), "text"),
        (f'<!DOCTYPE svg [<!ENTITY a "b">]>{HOUSE}', "DOCTYPE"),
        (f'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd" [<!ENTITY a "b">]>{HOUSE}', "DOCTYPE"),
        (svg("<g>" * 500 + '<rect width="9" height="9"/>' + "</g>" * 500), "nested"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_with_its_reason(document, reason):
    with pytest.raises(DrawingError, match=reason):
        draw_svg(document, 16)


@pytest.mark.parametrize(
    "body",
    [
        '<image width="20" height="20" href="{path}"/>',
        '<image width="20" height="20" xlink:href="{path}"/>',
        '<image width="20" height="20" href="file://{path}"/>',
        '<filter id="f"><feImage href="{path}"/></filter><rect width="20" height="20" filter="url(#f)"/>',
        '<use href="{path}#a"/>',
        '<i:image xmlns:i="http://www.w3.org/2000/svg" width="20" height="20" i:href="{path}"/>',
    ],
)
def test_nothing_is_read_from_disk(tmp_path, body):
    path = tmp_path / "secret.png"
    Image.new("RGB", (4, 4), "blue").save(path)
    # The square can be seen in any case, so only the reference can be what is refused.
    square = '<rect x="5" y="5" width="5" height="5"/>'
    with pytest.raises(DrawingError, match=r"refers to something outside|only shapes are drawn"):
        draw_svg(svg(square + body.format(path=path)), 16)


@pytest.mark.parametrize("kind", ["image", "foreignObject", "text"])
def test_only_shapes_are_drawn(kind):
    with pytest.raises(DrawingError, match=rf"<{kind}>"):
        draw_svg(svg(f'<rect width="5" height="5"/><{kind} width="9" height="9"/>'), 16)


def test_a_reference_inside_the_drawing_is_followed():
    body = '<defs><rect id="r" width="10" height="20"/></defs><use xlink:href="#r" x="10"/>'
    pixels = draw_svg(svg(body), 20)
    assert pixels[:, :10].min() == 255
    assert pixels[:, 10:].max() == 0


def test_an_animated_drawing_is_shown_finished():
    line = '<path d="M0 10H20" stroke="#000" stroke-width="4" stroke-dasharray="20" stroke-dashoffset="20">'
    frozen = '<animate fill="freeze" attributeName="stroke-dashoffset" dur="1s" {}/></path>'
    still = draw_svg(svg('<path d="M0 10H20" stroke="#000" stroke-width="4"/>'), 20)
    for ending in ('to="0"', 'values="20;0"', 'values="20; 0;"'):
        np.testing.assert_array_equal(draw_svg(svg(line + frozen.format(ending)), 20), still)
    with pytest.raises(DrawingError, match="blank"):  # the same without an end state that stays
        draw_svg(svg(line + '<animate attributeName="stroke-dashoffset" dur="1s" to="0"/></path>'), 20)


@given(st.one_of(st.text(max_size=40), st.text(max_size=40).map(svg)))
@settings(max_examples=80, deadline=None)
def test_wild_text_gives_an_image_or_a_drawing_error(document):
    try:
        pixels = draw_svg(document, 8)
    except DrawingError:
        return
    assert pixels.shape == (8, 8, 3)
