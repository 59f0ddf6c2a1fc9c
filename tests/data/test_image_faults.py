"""Pictures of strangers are decoded rightly, or left out with a reason and counted: no crash, no hang, no program."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.test_photo_store import ODD, encoded, picture
from tests.data.test_svg import HOUSE, svg
from whyrobust.data.archives import LocationError, list_folder, write_locations
from whyrobust.data.dataset_checks import check_failure_share
from whyrobust.data.decoding import PhotographError, decode, read_picture
from whyrobust.data.fingerprints import fingerprint_photograph
from whyrobust.data.photo_checks import check_photographs
from whyrobust.data.preprocessing import Preprocessing, preprocess, training_crop
from whyrobust.data.svg import draw_svg

SAMPLES = [make(picture()) for make in ODD.values()] + [
    encoded(picture(), kind, **options)
    for kind, options in [
        ("JPEG", {"progressive": True}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
        ("BMP", {}), ("PPM", {}), ("AVIF", {}), ("JPEG2000", {}), ("DDS", {}), ("ICO", {}),
    ]
] + [HOUSE.encode()]  # fmt: skip


@st.composite
def damaged(draw):
    """A picture's bytes with some changed, cut, added or made very large numbers."""
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(len(content), draw(st.sampled_from([40, 400, 10**6])))))
        kind = draw(st.sampled_from(["change", "cut", "add", "large"]))
        if kind == "change":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del content[at:]
        elif kind == "add":
            content[at:at] = draw(st.binary(max_size=4))
        else:
            content[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
            )
    return bytes(content)


@settings(max_examples=400, deadline=None)
@given(damaged(), st.sampled_from([0, 2]), st.sampled_from([None, 64]))
def test_damaged_bytes_are_a_picture_or_a_reason(content, border, at_least):
    try:
        image = decode(content, border, at_least)
    except PhotographError as error:
        assert str(error) and "\n" not in str(error) and " at 0x" not in str(error)
    else:
        assert image.mode == "RGB"
        assert preprocess(image, Preprocessing(16)).shape == (16, 16, 3)
        assert np.isfinite(fingerprint_photograph(image)).all()


def png_of(width, height, rows=b""):
    """A PNG that says it has a size, whatever it holds."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 1), (1, 2**31 - 1), (0, 5)])
def test_a_bomb_is_refused_before_memory_is_taken(size):
    tracemalloc.start()
    with pytest.raises(PhotographError):
        decode(png_of(*size))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (3, 4000)])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_a_line_is_preprocessed_in_little_memory(size, mode):
    image = Image.new("RGB", size, (10, 200, 30))
    how = Preprocessing(224, resize_mode=mode)
    # Pillow's memory is not Python's: what is checked is that the whole is never brought to the side asked for.
    largest = []
    resize = Image.Image.resize

    def watched(self, to, *arguments, **options):
        largest.append(to[0] * to[1])
        return resize(self, to, *arguments, **options)

    Image.Image.resize = watched
    try:
        pixels = preprocess(image, how)
        crop = training_crop(image, how, 0.35, True, np.random.default_rng(0))
    finally:
        Image.Image.resize = resize
    assert max(largest) <= 20 * 224 * 224
    assert pixels.shape == crop.shape == (224, 224, 3) and (pixels == (10, 200, 30)).all()


def test_the_middle_of_a_long_picture_is_what_is_seen():
    values = np.zeros((10, 400, 3), dtype=np.uint8)
    values[:, 195:205] = 255
    assert (preprocess(Image.fromarray(values), Preprocessing(10)) == 255).all()


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PCX", "DDS", "ICNS"])
def test_formats_that_start_programs_or_that_nobody_uses_are_refused(kind):
    with pytest.raises(PhotographError, match="does not decode"):
        decode(encoded(picture(), kind))


def test_sixteen_bits_are_read_as_such_however_dark_the_picture_is():
    dark = Image.fromarray(np.full((20, 20), 200, dtype=np.uint16))
    assert np.asarray(decode(encoded(dark, "PNG"))).max() <= 1
    floats = np.full((20, 20), np.nan, dtype=np.float32)
    floats[:10] = 100.0
    assert np.asarray(decode(encoded(Image.fromarray(floats), "TIFF")))[0, 0].tolist() == [100, 100, 100]


def test_transparency_shows_the_colours_beneath_as_usual():
    image = picture().convert("RGBA")
    image.putalpha(0)
    assert (np.asarray(decode(encoded(image, "PNG"))) == np.asarray(image.convert("RGB"))).all()


SHAPE = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
SHAPE.paste((200, 40, 10, 255), (10, 10, 20, 20))
CUT_OUT = SHAPE.convert("RGB").quantize(2)


@pytest.mark.parametrize("content", [
    encoded(SHAPE, "PNG"), encoded(SHAPE, "WEBP", lossless=True), encoded(SHAPE, "TIFF"), encoded(SHAPE, "GIF"),
    encoded(CUT_OUT, "PNG", transparency=CUT_OUT.getpixel((0, 0))),
    encoded(SHAPE.convert("RGB"), "PNG", transparency=(0, 0, 0)),
])  # fmt: skip
def test_what_is_transparent_shows_the_page_where_one_is_set(content):
    for page, colour in {"white": (255, 255, 255), "#0a6414": (10, 100, 20)}.items():
        seen = decode(content, page=page)
        assert seen.mode == "RGB" and seen.getpixel((0, 0)) == colour and seen.getpixel((15, 15)) == (200, 40, 10)
    assert (np.asarray(decode(content)) == np.asarray(decode(content, page="black"))).all()


def test_half_transparency_is_mixed_and_what_the_page_hides_is_no_picture():
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert np.abs(np.asarray(decode(encoded(half, "PNG"), page="white"))[0, 0].astype(int) - [255, 127, 127]).max() <= 1
    white = SHAPE.copy()
    white.paste((255, 255, 255, 255), (10, 10, 20, 20))
    assert decode(encoded(white, "PNG"), page="black").getpixel((15, 15)) == (255, 255, 255)
    with pytest.raises(PhotographError, match="nothing can be seen on white"):
        decode(encoded(white, "PNG"), page="white")
    # What has no transparency is a picture, of one colour too.
    assert decode(encoded(Image.new("RGBA", (8, 8), "white"), "PNG"), page="white").size == (8, 8)
    assert decode(encoded(Image.new("RGB", (8, 8), "white"), "PNG"), page="white").size == (8, 8)


def test_a_drawing_is_drawn_as_an_icon_is_and_refused_for_the_same_reasons():
    for head in (b"", b"\xef\xbb\xbf", b'<?xml version="1.0"?>\n<!-- made by hand -->\n'):
        assert (np.asarray(decode(head + HOUSE.encode(), at_least=64)) == draw_svg(HOUSE, 512)).all()
    page = decode(HOUSE.encode(), page="#0a6414")
    assert page.getpixel((0, 0)) == (10, 100, 20) and page.getpixel((256, 300)) == (0, 0, 0)
    for document, reason in {
        svg('<image href="/etc/passwd"/>').encode(): "SVG drawing: holds a <image> element",
        svg("").encode(): "SVG drawing: nothing can be seen on white",
        svg("<desc>caf\xe9</desc>").encode("latin-1"): "no UTF-8",
        b"<svg": "SVG drawing: not well-formed XML",
        b"<!DOCTYPE html><html><svg></html>": "SVG drawing: not well-formed XML",
    }.items():
        with pytest.raises(PhotographError, match=reason):
            decode(document)


def test_a_folder_of_every_kind_is_counted_picture_by_picture(tmp_path):
    good = {f"good {name}.jpg": make(picture()) for name, make in ODD.items()}
    whole = encoded(picture(300, 200))
    bad = {
        "empty.jpg": b"",
        "truncated.jpg": whole[: len(whole) // 2],
        "page.jpg": b"<html>not found</html>",
        "bomb.png": png_of(30_000, 30_000),
        "program.jpg": encoded(picture(), "EPS"),
        "half.png": encoded(picture(), "PNG")[:-40],
    }
    for name, content in (good | bad).items():
        (tmp_path / name).write_bytes(content)
    write_locations(tmp_path / "l.parquet", [(member.name, member) for member in list_folder(tmp_path)])
    locations = pq.read_table(tmp_path / "l.parquet").filter(
        [name.endswith((".jpg", ".png")) for name in pq.read_table(tmp_path / "l.parquet")["uid"].to_pylist()]
    )
    decoded, failures = check_photographs(locations, 0, 1, tmp_path / "fingerprints.npy")
    assert set(failures["uid"]) == set(bad) and (failures["reason"].str.len() > 10).all()
    assert len(decoded) == len(np.load(tmp_path / "fingerprints.npy")) == len(good)
    with pytest.raises(
        ValueError, match=r"6 of 15 images failed \(40\.0%, allowed 1\.0%\): .*e\.g\..*data\.allowed_failure_share"
    ):
        check_failure_share(failures, len(locations), 0.01)
    check_failure_share(failures, len(locations), 0.4)


def test_a_picture_that_changed_after_it_was_checked_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(PhotographError, match=r"a\.jpg decoded when it was indexed and was changed since"):
        read_picture(str(tmp_path / "a.jpg"), 0, -1, 0, "")
    with pytest.raises(LocationError, match=r"gone\.jpg cannot be read"):
        read_picture(str(tmp_path / "gone.jpg"), 0, -1, 0, "")
