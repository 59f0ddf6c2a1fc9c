"""Reading the Iconify collection: boxes, turns and flips, descriptions, and archives that are damaged."""

import re

import pytest

from tests.icon_archives import MATCHER, SQUARE, make_archive, make_set
from whyrobust.data.icon_parts import (
    icon_records,
)
from whyrobust.data.iconify import (
    Icon,
    describe_icon,
    read_collections,
    read_icon_sets,
    read_icons,
    svg_document,
)


def test_an_icon_takes_its_box_from_itself_then_its_set_then_the_default():
    icon_set = make_set("s", {"a": {"body": SQUARE, "width": 10, "left": -1}, "b": SQUARE}, height=20, top=3)
    assert [(i.left, i.top, i.width, i.height) for i in read_icons(icon_set)] == [(-1, 3, 10, 20), (0, 3, 24, 20)]
    del icon_set["width"], icon_set["height"], icon_set["top"]
    assert [(i.left, i.top, i.width, i.height) for i in read_icons(icon_set)] == [(-1, 0, 10, 16), (0, 0, 16, 16)]
    assert 'viewBox="-1 0 10 16"' in svg_document(next(read_icons(icon_set)))


def test_hidden_icons_and_aliases_are_no_icons():
    icon_set = make_set("s", {"a": SQUARE, "b": {"body": SQUARE, "hidden": True}}, aliases={"c": {"parent": "a"}})
    assert [icon.name for icon in read_icons(icon_set)] == ["a"]


def test_a_drawing_is_black_where_it_has_the_current_colour():
    svg = svg_document(Icon("a", SQUARE + '<path stroke="CURRENTCOLOR"/>', 0, 0, 24, 24, 0, False, False))
    assert "currentcolor" not in svg.lower()
    assert svg.count('"black"') == 2


def transformed(icon, x, y):
    """Apply the transform of the icon's document to a point, by the definition of SVG's transform list."""
    svg = svg_document(icon)
    found = re.search(r'<g transform="([^"]*)"', svg)
    steps = re.findall(r"(\w+)\(([^)]*)\)", found.group(1)) if found else []
    for name, arguments in reversed(steps):
        values = [float(v) for v in arguments.split()]
        if name == "translate":
            x, y = x + values[0], y + values[1]
        elif name == "scale":
            x, y = x * values[0], y * values[1]
        else:
            angle, cx, cy = values
            cos, sin = {90: (0, 1), 180: (-1, 0), -90: (0, -1)}[angle]
            x, y = cx + cos * (x - cx) - sin * (y - cy), cy + sin * (x - cx) + cos * (y - cy)
    left, top, width, height = (float(v) for v in re.search(r'viewBox="([^"]*)"', svg).group(1).split())
    return (x - left) / width, (y - top) / height


@pytest.mark.parametrize("rotate", [0, 1, 2, 3, 5, -1])
@pytest.mark.parametrize("h_flip", [False, True])
@pytest.mark.parametrize("v_flip", [False, True])
def test_turns_and_flips_move_every_point_where_they_should(rotate, h_flip, v_flip):
    left, top, width, height = 2, -3, 20, 10
    icon = Icon("a", SQUARE, left, top, width, height, rotate, h_flip, v_flip)
    for u, v in [(0, 0), (1, 0), (0.25, 0.75)]:
        expected = (1 - u if h_flip else u), (1 - v if v_flip else v)
        for _ in range(rotate % 4):
            expected = 1 - expected[1], expected[0]  # a quarter turn clockwise, y pointing down
        found = transformed(icon, left + u * width, top + v * height)
        assert found == pytest.approx(expected)


def test_title_description_and_tags_say_different_things():
    icon_set = make_set(
        "tiny",
        {"kitten-filled": SQUARE, "bell": SQUARE},
        categories={"Pets": ["kitten-filled"], "Alerts": ["bell"]},
        aliases={
            "small-cat": {"parent": "kitten-filled"},
            "tiny-cat": {"parent": "small-cat"},
            "tac": {"parent": "kitten-filled", "hFlip": True},
            "tac-again": {"parent": "tac"},
            "lost": {"parent": "gone"},
            "loop": {"parent": "pool"},
            "pool": {"parent": "loop"},
        },
        suffixes={"": "Basic", "filled": "Filled"},
    )
    records, drawings, drawable = icon_records(icon_set, "tiny", MATCHER)
    kitten, bell = records.to_dict("records")
    assert kitten == {
        "uid": "tiny:kitten-filled",
        "title": "kitten filled",
        "description": "Tiny by tiny team, MIT. Interface icon, in one colour, 24 pixels, style filled",
        "tags": ["Pets", "small cat", "tiny cat"],
        "label": "cat",
        "group": "tiny:kitten",
        "collection": "tiny",
    }
    assert (bell["tags"], bell["label"]) == (["Alerts"], "bell")
    assert bell["description"].endswith("style basic")
    assert drawings["uid"].tolist() == records["uid"].tolist()
    assert drawable == 2


def test_a_description_needs_no_more_than_a_title():
    icon_set = {"prefix": "s", "info": {"name": "S", "palette": True, "category": "Emoji"}, "icons": {}}
    assert describe_icon("a", icon_set) == "S by an unnamed author, licence not given. Emoji, in colour"


def test_only_the_sets_wanted_are_read(tmp_path):
    archive = make_archive(
        tmp_path / "a.tgz",
        [make_set("one", {"cat": SQUARE}), make_set("two", {"dog": SQUARE})],
        extra=[("package/json/broken.json", "{")],
    )
    assert [s["prefix"] for s in read_icon_sets(archive, ["two"])] == ["two"]
    assert sorted(read_collections(archive)) == ["one", "two"]
    with pytest.raises(ValueError, match="three"):
        list(read_icon_sets(archive, ["one", "three"]))
    with pytest.raises(ValueError, match="broken"):
        list(read_icon_sets(archive, ["broken"]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_a_member_that_is_no_icon_set_is_named(tmp_path):
    archive = make_archive(tmp_path / "a.tgz", [], extra=[("package/json/odd.json", "[1]")])
    with pytest.raises(ValueError, match="odd"):
        list(read_icon_sets(archive, ["odd"]))


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no archive", lambda data: b""])
def test_a_damaged_archive_is_an_error_that_names_it(tmp_path, damage):
    icons = {f"i{n}": SQUARE + str(hash(n)) for n in range(2000)}
    archive = make_archive(tmp_path / "a.tgz", [make_set("one", icons), make_set("two", icons)])
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.tgz"):
        list(read_icon_sets(archive, ["one", "two"]))
    with pytest.raises(FileNotFoundError):
        list(read_icon_sets(tmp_path / "absent.tgz", ["one"]))
