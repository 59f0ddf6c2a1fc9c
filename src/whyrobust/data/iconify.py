"""Reading the Iconify collection: its archive, its list of collections, and the icons of a set as SVG documents.

The format is that of https://iconify.design/docs/types/. Which icons a study uses, and for what, is decided in
`whyrobust.data.icon_parts`.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOVING = re.compile(r"<(?:animate\w*|set)\b")

_NOT_DRAWN_HERE = re.compile(r"<(?:image|script|foreignObject)\b")

_CURRENT_COLOUR = re.compile("currentcolor", re.IGNORECASE)

_KINDS: Mapping[str, str] = {
    "Emoji": "Emoji",
    "Flags / Maps": "Map symbol",
    "Thematic": "Pictogram",
    "Programming": "Programming icon",
}


@dataclass(frozen=True)
class Icon:
    """One icon as the set's file has it: its name, its SVG body and its box in units of the drawing."""

    name: str
    body: str
    left: float
    top: float
    width: float
    height: float
    rotate: int
    h_flip: bool
    v_flip: bool


def _members(archive: Path | str, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield (member name, parsed JSON) of the wanted members in the archive's order; nothing goes to disk."""
    wanted = set(names)
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.name not in wanted or not member.isfile():
                    continue
                handle = tar.extractfile(member)
                if handle is None:
                    continue
                wanted.discard(member.name)
                try:
                    content = json.loads(handle.read())
                except ValueError as error:
                    raise ValueError(
                        f"{archive}: the member {member.name} is not JSON ({error}); download the archive again"
                    ) from error
                yield member.name, content
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{archive}: cannot be read as a .tgz archive ({error}); download it again") from error
    raise ValueError(
        f"{archive}: has no {sorted(wanted)}; is it the npm package @iconify/json, in the release that the table of "
        "sets was made for?"
    )


def read_collections(archive: Path | str) -> dict[str, Any]:
    """Return ``collections.json`` of the archive: metadata of each set by its name.

    Raises:
        ValueError: the archive cannot be read or has no such member.
    """
    for _, content in _members(archive, {"package/collections.json"}):
        return dict(content)
    raise AssertionError("unreachable: _members yields or raises")


def read_icon_sets(archive: Path | str, sets: Collection[str]) -> Iterator[dict[str, Any]]:
    """Stream the archive once and yield the parsed icon sets wanted, in the archive's order.

    Args:
        archive: the .tgz of the npm package ``@iconify/json``, members ``package/json/<set>.json``.
        sets: names of the sets wanted.

    Raises:
        ValueError: the archive cannot be read, a set is absent, or its content is not an icon set.
    """
    for name, content in _members(archive, {f"package/json/{name}.json" for name in sets}):
        if not isinstance(content, dict) or not {"prefix", "icons", "info"} <= content.keys():
            raise ValueError(f"{archive}: the member {name} is not an icon set: it needs prefix, icons and info")
        yield content


def read_icons(icon_set: Mapping[str, Any]) -> Iterator[Icon]:
    """Yield the icons of a parsed set that are neither hidden nor aliases.

    Box and turns follow Iconify's rules: the icon's own value, else the set's, else left 0, top 0, width 16,
    height 16, no turn, no flip.
    """

    def number(icon: Mapping[str, Any], key: str, default: float) -> float:
        return float(icon.get(key, icon_set.get(key, default)))

    for name, icon in icon_set["icons"].items():
        if icon.get("hidden"):
            continue
        yield Icon(
            name=name,
            body=icon["body"],
            left=number(icon, "left", 0),
            top=number(icon, "top", 0),
            width=number(icon, "width", 16),
            height=number(icon, "height", 16),
            rotate=int(number(icon, "rotate", 0)),
            h_flip=bool(icon.get("hFlip", icon_set.get("hFlip", False))),
            v_flip=bool(icon.get("vFlip", icon_set.get("vFlip", False))),
        )


def svg_document(icon: Icon) -> str:
    """Return the icon as a whole SVG document: its box as viewBox, turned and flipped, current colour black.

    Turns and flips are those of ``iconToSVG`` in ``@iconify/utils``: quarter turns clockwise after the flips;
    a flip both ways is a half turn.
    """
    left, top, width, height = icon.left, icon.top, icon.width, icon.height
    turns = icon.rotate
    steps: list[str] = []
    if icon.h_flip and icon.v_flip:
        turns += 2
    elif icon.h_flip:
        steps += [f"translate({width + left:g} {-top:g})", "scale(-1 1)"]
        left = top = 0.0
    elif icon.v_flip:
        steps += [f"translate({-left:g} {height + top:g})", "scale(1 -1)"]
        left = top = 0.0
    turns %= 4
    if turns == 1:
        centre = height / 2 + top
        steps.insert(0, f"rotate(90 {centre:g} {centre:g})")
    elif turns == 2:
        steps.insert(0, f"rotate(180 {width / 2 + left:g} {height / 2 + top:g})")
    elif turns == 3:
        centre = width / 2 + left
        steps.insert(0, f"rotate(-90 {centre:g} {centre:g})")
    if turns % 2:
        left, top, width, height = top, left, height, width
    body = _CURRENT_COLOUR.sub("black", icon.body)
    if steps:
        body = f'<g transform="{" ".join(steps)}">{body}</g>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width:g}" height="{height:g}" viewBox="{left:g} {top:g} {width:g} {height:g}">{body}</svg>'
    )


def name_in_words(name: str) -> str:
    """Return an icon's name with spaces for hyphens and underscores."""
    return " ".join(re.split(r"[-_\s]+", name)).strip()


def _style_of(name: str, icon_set: Mapping[str, Any]) -> str:
    """Return the style of an icon as its set calls it, or an empty text where the set names none."""
    for key, matches in (("suffixes", name.endswith), ("prefixes", name.startswith)):
        table: Mapping[str, str] = icon_set.get(key) or {}
        for affix in sorted(table, key=len, reverse=True):
            if affix and matches(f"-{affix}" if key == "suffixes" else f"{affix}-"):
                return table[affix]
        if "" in table:
            return table[""]
    return ""


def icon_tags(icon_set: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the tags of each icon: the categories it is in, then its other names in words, each once."""
    tags: dict[str, dict[str, None]] = {}
    for category, names in (icon_set.get("categories") or {}).items():
        for name in names:
            tags.setdefault(name, {})[category] = None
    aliases: Mapping[str, Any] = icon_set.get("aliases") or {}
    for alias, entry in aliases.items():
        parent, steps = entry, 0
        # An alias that turns or flips is another drawing ("arrow-left" of "arrow-right"), not a name of its parent.
        plain = True
        name = alias
        while parent is not None and steps <= len(aliases):
            plain = plain and not {"rotate", "hFlip", "vFlip"} & parent.keys()
            name = parent["parent"]
            parent, steps = aliases.get(name), steps + 1
        if plain and name in icon_set["icons"]:
            tags.setdefault(name, {})[name_in_words(alias)] = None
    return {name: list(found) for name, found in tags.items()}


def describe_icon(name: str, icon_set: Mapping[str, Any]) -> str:
    """Return two sentences from the set's metadata: who drew it under which licence, and how it is drawn."""
    info = icon_set["info"]
    category = info.get("category", "")
    kind = _KINDS.get(category, "Interface icon" if category.startswith(("UI ", "Material")) else "Icon")
    height = info.get("displayHeight") or info.get("height") or icon_set.get("height")
    details = [kind, "in colour" if info.get("palette") else "in one colour"]
    if isinstance(height, (int, float)):
        details.append(f"{height:g} pixels")
    style = _style_of(name, icon_set)
    if style:
        details.append(f"style {style.lower()}")
    author = info.get("author", {}).get("name", "an unnamed author")
    licence = info.get("license", {}).get("spdx", "licence not given")
    return f"{info['name']} by {author}, {licence}. {', '.join(details)}"


def is_drawable(icon: Icon) -> bool:
    """Say whether an icon can be drawn as one SVG image: it is not animated and holds no bitmap and no script."""
    return not (_MOVING.search(icon.body) or _NOT_DRAWN_HERE.search(icon.body))
