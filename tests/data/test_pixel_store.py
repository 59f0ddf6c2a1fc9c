"""Drawing, posing and storing images."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from whyrobust.data.dataset_checks import check_failure_share
from whyrobust.data.icon_drawing import draw_icons
from whyrobust.data.icon_poses import pose_on_background
from whyrobust.data.pixel_store import MissingImageError, PixelStore, write_pixels
from whyrobust.data.svg import DrawingError, draw_svg

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body: str, view: str = "0 0 20 20") -> str:
    return f'{HEAD} viewBox="{view}">{body}</svg>'


HOUSE = svg('<path d="M2 10 L10 2 L18 10 V18 H2 Z" fill="currentColor"/>')
COIN = svg('<circle cx="10" cy="10" r="8" fill="#ff0"/>')


def test_current_colour_is_black_on_white():
    pixels = draw_svg(svg('<rect x="5" y="5" width="10" height="10" fill="currentColor"/>'), 20)
    expected = np.full((20, 20, 3), 255, np.uint8)
    expected[5:15, 5:15] = 0
    np.testing.assert_array_equal(pixels, expected)


def test_colours_and_half_transparency_are_kept():
    pixels = draw_svg(svg('<rect width="20" height="20" fill="#f00" fill-opacity="0.5"/>'), 8)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[4, 4].astype(int) - [255, 127, 127]).max() <= 1


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


def test_a_pose_follows_from_seed_and_uid_alone():
    first = pose_on_background(COIN, 32, "a:b", 0)
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, pose_on_background(COIN, 32, "a:b", 0))
    assert (first != pose_on_background(COIN, 32, "a:c", 0)).any()
    assert (first != pose_on_background(COIN, 32, "a:b", 1)).any()


def test_a_posed_object_stays_whole_and_visible():
    # A pure blue square on backgrounds of other colours: its pixels can be counted.
    square = svg('<rect x="4" y="4" width="12" height="12" fill="#00f"/>')
    angles = set()
    for number in range(60):
        pixels = pose_on_background(square, 64, f"s:{number}", 5).astype(int)
        blue = (pixels[:, :, 2] > 245) & (pixels[:, :, 0] < 10) & (pixels[:, :, 1] < 10)
        side = np.sqrt(blue.sum()) / 64
        assert 0.50 < side < 0.92
        around = pixels[~blue].mean(axis=0)
        assert np.abs(around - [0, 0, 255]).mean() / 255 > 0.2
        angles.add(int(blue.any(axis=0).sum()) - round(side * 64) > 4)
    assert angles == {True, False}  # some turned visibly, some hardly


def test_a_pose_takes_pixels_with_transparency():
    rgba = np.zeros((10, 10, 4), np.uint8)
    with pytest.raises(DrawingError, match="transparent"):
        pose_on_background(rgba, 16, "u", 0)
    rgba[2:8, 2:8] = (255, 0, 0, 255)
    assert pose_on_background(rgba, 16, "u", 0).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="RGBA"):
        pose_on_background(rgba[:, :, :3], 16, "u", 0)


def drawings() -> pd.DataFrame:
    rows = [(f"s:{i}", svg(f'<circle cx="10" cy="10" r="{1 + i % 9}"/>')) for i in range(600)]
    rows[7] = ("s:blank", svg(""))
    rows[300] = ("s:broken", "<svg")
    return pd.DataFrame(rows, columns=["uid", "svg"])


@pytest.mark.parametrize("pose", ["plain", "posed"])
def test_the_number_of_workers_does_not_change_the_images(pose):
    table = drawings().head(600 if pose == "plain" else 310)
    one = draw_icons(table, 8, pose, seed=3, workers=1)
    two = draw_icons(table, 8, pose, seed=3, workers=2)
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])
    pd.testing.assert_frame_equal(one[2], two[2])
    assert list(one[2]["uid"]) == ["s:blank", "s:broken"]
    assert one[0] == [uid for uid in table["uid"] if uid not in ("s:blank", "s:broken")]
    draw = draw_svg if pose == "plain" else lambda document, size: pose_on_background(document, size, "s:9", 3)
    np.testing.assert_array_equal(one[1][one[0].index("s:9")], draw(table["svg"][9], 8))


def test_a_table_that_is_not_right_is_refused():
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        draw_icons(pd.DataFrame({"uid": ["a", "a"], "svg": [HOUSE, COIN]}), 8)
    with pytest.raises(ValueError, match="svg"):
        draw_icons(pd.DataFrame({"uid": ["a"]}), 8)
    with pytest.raises(ValueError, match="workers"):
        draw_icons(drawings(), 8, workers=0)
    with pytest.raises(ValueError, match="pose"):
        draw_icons(drawings(), 8, pose="turned")
    with pytest.raises(ValueError, match="0 pixels"):
        draw_icons(drawings(), 0)


def test_no_drawings_give_no_images():
    uids, pixels, failures = draw_icons(drawings().head(0), 8)
    assert uids == []
    assert pixels.shape == (0, 8, 8, 3)
    assert list(failures.columns) == ["uid", "reason"]


def test_failures_above_the_allowed_share_stop_the_study():
    failures = pd.DataFrame({"uid": ["a", "b"], "reason": ["blank", "blank"]})
    check_failure_share(failures, 200)
    with pytest.raises(ValueError, match="blank"):
        check_failure_share(failures, 199)
    check_failure_share(failures, 4, allowed_share=0.5)
    with pytest.raises(ValueError, match="no image"):
        check_failure_share(failures.head(0), 0)


def some_pixels(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@given(st.lists(st.text(max_size=5), unique=True, max_size=6), st.integers(1, 5), st.randoms())
@settings(max_examples=25, deadline=None)
def test_a_store_gives_back_what_was_written(tmp_path_factory, uids, size, random):
    uids = [uid.encode("utf-8", "ignore").decode() + str(i) for i, uid in enumerate(uids)]
    path = tmp_path_factory.mktemp("store") / "images.arrow"
    pixels = some_pixels(len(uids), size)
    write_pixels(path, uids, pixels)
    store = PixelStore.open(path)
    assert (store.uids, store.size, len(store)) == (uids, size, len(uids))
    np.testing.assert_array_equal(store.array, pixels)
    wanted = random.choices(range(len(uids)), k=8) if uids else []
    np.testing.assert_array_equal(store.pixels([uids[i] for i in wanted]), pixels[wanted])


def test_a_store_is_a_view_of_the_file_in_the_agreed_format(tmp_path):
    path = tmp_path / "images.arrow"
    pixels = some_pixels(3, 4)
    write_pixels(path, ["a", "b", "c"], pixels)
    table = pa.ipc.open_file(str(path)).read_all()
    assert table.schema.field("pixels").type == pa.binary(48)
    assert table.schema.metadata == {b"height": b"4", b"width": b"4"}
    assert table["pixels"][1].as_py() == pixels[1].tobytes()
    store = PixelStore.open(path)
    assert not store.array.flags.owndata
    assert not store.array.flags.writeable
    assert store.pixels(["a"]).flags.writeable


def test_a_store_of_several_batches_is_read_whole(tmp_path):
    pixels = some_pixels(4, 2)
    schema = pa.schema([("uid", pa.string()), ("pixels", pa.binary(12))], metadata={"height": "2", "width": "2"})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), schema) as writer:
        for start in (0, 3):
            rows = [image.tobytes() for image in pixels[start : start + 3]]
            uids = [str(i) for i in range(start, start + len(rows))]
            writer.write_batch(pa.record_batch([pa.array(uids), pa.array(rows, pa.binary(12))], schema=schema))
    np.testing.assert_array_equal(PixelStore.open(tmp_path / "x.arrow").array, pixels)


def test_missing_images_are_named(tmp_path):
    write_pixels(tmp_path / "x.arrow", ["a"], some_pixels(1, 2))
    store = PixelStore.open(tmp_path / "x.arrow")
    assert store.rows_of(["b", "a"]).tolist() == [-1, 0]
    with pytest.raises(MissingImageError, match=r"2 of 3.*'b', 'c'"):
        store.pixels(["a", "b", "c"])


def test_a_failed_write_leaves_the_old_store(tmp_path):
    path = tmp_path / "x.arrow"
    write_pixels(path, ["a"], some_pixels(1, 2))
    for uids, pixels in (
        (["a", "a"], some_pixels(2, 2)),
        (["a"], some_pixels(2, 2)),
        (["a"], some_pixels(1, 2).astype(np.float32)),
        (["a"], some_pixels(1, 4)[:, :2]),
    ):
        with pytest.raises(ValueError):
            write_pixels(path, uids, pixels)

    class Uids(list):
        def __iter__(self) -> Iterator[str]:
            raise OSError("disk full")

    with pytest.raises(OSError):
        write_pixels(path, Uids(["b"]), some_pixels(1, 2))
    assert PixelStore.open(path).uids == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.arrow"]


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "x.arrow").write_bytes(b"not arrow at all")
    with pytest.raises(ValueError, match="Arrow"):
        PixelStore.open(tmp_path / "x.arrow")
    table = pa.table({"uid": ["a"]})
    with pa.ipc.new_file(str(tmp_path / "y.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="not an image store"):
        PixelStore.open(tmp_path / "y.arrow")
