"""The icons source: icon sets of the Iconify collection as records and drawings, part by part.

It stands alone because it is the only module that knows the Iconify format
(https://iconify.design/docs/types/). Which set plays which part is not decided here but in a table
(``resources/icons/sets.csv``) that this module checks.

An icon's name, written by the team that drew it, is its title. The label is the one class that the title
names. All styles of one drawing share a group, and ``studio_test`` is split off by group, never by file.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from whyrobust.data.label_matcher import LabelMatcher, LabelPolicy
from whyrobust.data.records import DRAWING_SCHEMA, RECORD_SCHEMA

SET_COLUMNS = ("set", "part", "team", "family", "licence", "reason")
TRAINING_PARTS = ("studio", "web")
SHIFT_PARTS = ("v2", "rendition", "sketch", "objects")
SET_PARTS = (*TRAINING_PARTS, *SHIFT_PARTS, "excluded")
"""What the table of sets may say. ``studio_test`` is not among them: it is split off ``studio`` by group."""

STUDIO_CATEGORY = "UI 24px"
HELD_OUT_TEAMS_SHARE = (0.18, 0.20)
"""Fewest and most icons of part v2, as shares of all icons of the sets in studio and v2."""

Pool = Literal["labelled", "all"]

# Words that say how a thing is drawn, or number its versions. They are taken off the end of a name to find
# its drawing. Taking off too much ("traffic light" becomes "traffic") only puts more drawings into one group.
_TRAILING_STYLES = """
outline outlined line linear lined filled fill solid bold duotone duo dual broken thin light regular rounded
round sharp twotone tone one two three four five basic baseline flat color colour colored remix block mini
micro stroke glyph border bordered normal medium small large big alt variant style freehand f skin dark
"""
# The same for the start of a name, where fewer of them can be taken off safely. Emoji sets draw one thing in
# many colours ("blue book", "green book"): that is one drawing too.
_LEADING_STYLES = """
outline outlined filled solid sharp twotone baseline ios md
red orange yellow green blue purple brown pink black white grey gray
"""
_TRAILING_STYLE_WORDS = frozenset(_TRAILING_STYLES.split())
_LEADING_STYLE_WORDS = frozenset(_LEADING_STYLES.split())
_NUMBER_WORD = re.compile(r"\d+(px|x\d+)?")
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


# ------------------------------------------------------------------------------------------ the table of sets


def read_sets(path: Path | str) -> pd.DataFrame:
    """Read the table of sets: columns `SET_COLUMNS`, all text.

    Raises:
        ValueError: a column is missing, a set is listed twice, a part is unknown, or a cell is empty.
    """
    sets = pd.read_csv(path, dtype=str, keep_default_na=False)
    absent = [name for name in SET_COLUMNS if name not in sets.columns]
    if absent:
        raise ValueError(f"{path}: columns {absent} are missing; the table of sets has {list(SET_COLUMNS)}")
    twice = sorted(sets["set"][sets["set"].duplicated()])
    if twice:
        raise ValueError(f"{path}: sets listed twice: {twice}; keep one row each")
    unknown = sorted(set(sets["part"]) - set(SET_PARTS))
    if unknown:
        raise ValueError(f"{path}: unknown parts {unknown}; use one of {list(SET_PARTS)}")
    for column in SET_COLUMNS:
        # Only an excluded set may lack a licence: that is a reason to exclude it.
        empty = sets[(sets[column].str.strip() == "") & ((column != "licence") | (sets["part"] != "excluded"))]
        if len(empty):
            raise ValueError(f"{path}: column {column!r} is empty for the sets {list(empty['set'])}; fill it in")
    return sets


def choose_held_out_teams(
    sets: pd.DataFrame, collections: Mapping[str, Any], shares: tuple[float, float] = HELD_OUT_TEAMS_SHARE
) -> set[str]:
    """Choose the teams whose 24-pixel interface sets are held out as part v2, without looking at any result.

    Teams that draw no other used set are taken in the order of the sha256 of their names. A team is held out
    if its sets and those held out before have at most the larger share of all the icons of the category,
    until the smaller share is reached.

    Args:
        sets: the table of sets; only ``set``, ``team`` and which sets are in studio or v2 matter.
        collections: the collection's own list (``collections.json``), for the number of icons.
        shares: fewest and most icons to hold out, as shares.
    """
    candidates = sets[sets["part"].isin(["studio", "v2"])]
    elsewhere = set(sets["team"][~sets["part"].isin(["studio", "v2", "excluded"])])
    sizes = {name: int(collections[name]["total"]) for name in candidates["set"]}
    fewest, most = (share * sum(sizes.values()) for share in shares)
    teams = sorted(set(candidates["team"]) - elsewhere, key=lambda team: hashlib.sha256(team.encode()).hexdigest())
    held_out: set[str] = set()
    icons = 0
    for team in teams:
        if icons >= fewest:
            break
        size = sum(sizes[name] for name in candidates["set"][candidates["team"] == team])
        if icons + size <= most:
            held_out.add(team)
            icons += size
    return held_out


def check_sets(sets: pd.DataFrame, collections: Mapping[str, Any]) -> None:
    """Check the table of sets against the collection's own list.

    Every set must be listed once with the licence the collection gives; no used set may be of unclear
    licence, of one that forbids commercial use, of brand marks or animated; studio and v2 must be the
    24-pixel interface sets, v2 those of `choose_held_out_teams`; and no family may be both in a training
    part and in a shift.

    Args:
        sets: the table, see `read_sets`.
        collections: the content of ``collections.json``, see `read_collections`.

    Raises:
        ValueError: lists everything that is wrong.
    """
    problems = []
    absent = sorted(set(collections) - set(sets["set"]))
    unknown = sorted(set(sets["set"]) - set(collections))
    if absent:
        problems.append(f"sets of the collection that the table does not list: {absent}")
    if unknown:
        problems.append(f"sets in the table that the collection does not have: {unknown}")
    for row in sets[sets["set"].isin(set(collections))].to_dict("records"):
        info = collections[row["set"]]
        licence = info.get("license", {}).get("spdx", "")
        category = info.get("category", "")
        if row["licence"] != licence:
            problems.append(f"{row['set']}: licence {row['licence']!r} in the table, {licence!r} in the collection")
        if row["part"] == "excluded":
            continue
        if not licence or re.search(r"(^|-)(NC|ND)(-|$)", licence):
            problems.append(f"{row['set']}: the licence {licence!r} may not be used; exclude the set")
        if category == "Logos":
            problems.append(f"{row['set']}: brand marks; exclude the set")
        if "Contains Animations" in info.get("tags", []):
            problems.append(f"{row['set']}: animated; exclude the set")
        if (row["part"] in ("studio", "v2")) != (category == STUDIO_CATEGORY):
            problems.append(f"{row['set']}: the category is {category!r} and the part {row['part']!r}")
    if not problems:
        held_out = choose_held_out_teams(sets, collections)
        for row in sets[sets["part"].isin(["studio", "v2"])].to_dict("records"):
            if (row["part"] == "v2") != (row["team"] in held_out):
                problems.append(f"{row['set']}: in {row['part']}, but the rule holds out the teams {sorted(held_out)}")
    trained = set(sets["family"][sets["part"].isin(TRAINING_PARTS)])
    both = sorted(trained & set(sets["family"][sets["part"].isin(SHIFT_PARTS)]))
    if both:
        problems.append(f"families in a training part and in a shift: {both}; exclude one side")
    if problems:
        raise ValueError("the table of sets does not fit the collection:\n- " + "\n- ".join(problems))


# ---------------------------------------------------------------------------------------- reading the archive


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
        f"{archive}: has no {sorted(wanted)}; is it the npm package @iconify/json, in the release that the "
        f"table "
        f"of sets was made for?"
    )


def read_collections(archive: Path | str) -> dict[str, Any]:
    """Return ``collections.json`` of the archive: facts on each set by its name.

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


# -------------------------------------------------------------------------------------------- text of an icon


def name_in_words(name: str) -> str:
    """Return an icon's name in words: hyphens and underscores are spaces, nothing is dropped."""
    return " ".join(re.split(r"[-_\s]+", name)).strip()


def drawing_stem(name: str, suffixes: Collection[str] = (), prefixes: Collection[str] = ()) -> str:
    """Return what is left of an icon's name without its style: the name of the drawing.

    The set's own suffixes and prefixes go first, then, again and again, trailing words for a style, a size or
    a number (``bell-2-line-duotone-24px`` is ``bell``) and leading ones. At least one word is left.

    Args:
        name: the icon's name, words joined by hyphens.
        suffixes: styles that the set lists as suffixes (keys of its ``suffixes``).
        prefixes: the same for prefixes.
    """
    for prefix in sorted(prefixes, key=len, reverse=True):
        if prefix and name.startswith(f"{prefix}-"):
            name = name[len(prefix) + 1 :]
            break
    for suffix in sorted(suffixes, key=len, reverse=True):
        if suffix and name.endswith(f"-{suffix}"):
            name = name[: -len(suffix) - 1]
            break
    words = [word for word in re.split(r"[-_\s]+", name) if word]
    while len(words) > 1 and (words[-1] in _TRAILING_STYLE_WORDS or _NUMBER_WORD.fullmatch(words[-1])):
        words.pop()
    while len(words) > 1 and words[0] in _LEADING_STYLE_WORDS:
        words.pop(0)
    # A number glued to the last word ("book2") is a version of the same thing too.
    if words:
        words[-1] = re.sub(r"(?<=[a-z]{3})\d+$", "", words[-1])
    return "-".join(words) or name


def _style_of(name: str, icon_set: Mapping[str, Any]) -> str:
    """Return the style in the set's own words, or an empty text where the set names none for this icon."""
    for key, matches in (("suffixes", name.endswith), ("prefixes", name.startswith)):
        table: Mapping[str, str] = icon_set.get(key) or {}
        for affix in sorted(table, key=len, reverse=True):
            if affix and matches(f"-{affix}" if key == "suffixes" else f"{affix}-"):
                return table[affix]
        if "" in table:
            return table[""]
    return ""


def _tags_by_icon(icon_set: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the tags of each icon: the categories it is in, then its other names in words, each once."""
    tags: dict[str, dict[str, None]] = {}
    for category, names in (icon_set.get("categories") or {}).items():
        for name in names:
            tags.setdefault(name, {})[category] = None
    aliases: Mapping[str, Any] = icon_set.get("aliases") or {}
    for alias, entry in aliases.items():
        parent, steps = entry, 0
        # An alias that turns or flips is another picture ("arrow-left" of "arrow-right"): no name for its
        # parent.
        plain = True
        name = alias
        while parent is not None and steps <= len(aliases):
            plain = plain and not {"rotate", "hFlip", "vFlip"} & parent.keys()
            name = parent["parent"]
            parent, steps = aliases.get(name), steps + 1
        if plain and name in icon_set["icons"]:
            tags.setdefault(name, {})[name_in_words(alias)] = None
    return {name: list(found) for name, found in tags.items()}


def describe(name: str, icon_set: Mapping[str, Any]) -> str:
    """Return two sentences from the set's own facts: who drew it under which licence, and how it is drawn."""
    info = icon_set["info"]
    category = info.get("category", "")
    kind = _KINDS.get(category, "Interface icon" if category.startswith(("UI ", "Material")) else "Icon")
    height = info.get("displayHeight") or info.get("height") or icon_set.get("height")
    facts = [kind, "in colour" if info.get("palette") else "in one colour"]
    if isinstance(height, (int, float)):
        facts.append(f"{height:g} pixels")
    style = _style_of(name, icon_set)
    if style:
        facts.append(f"style {style.lower()}")
    author = info.get("author", {}).get("name", "an unnamed author")
    licence = info.get("license", {}).get("spdx", "licence not given")
    return f"{info['name']} by {author}, {licence}. {', '.join(facts)}"


# ---------------------------------------------------------------------------------------------- records


def icon_records(
    icon_set: Mapping[str, Any],
    family: str,
    matcher: LabelMatcher,
    policy: LabelPolicy = "single",
    labelled_only: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Turn a parsed set into records and drawings.

    Icons that move, or that hold a picture file or a script, are left out: they cannot be drawn as one SVG
    image.

    Args:
        icon_set: a parsed set, see `read_icon_sets`.
        family: the lineage of drawings that the set belongs to; with the drawing's name it makes the group.
        matcher: finds classes in the title.
        policy: see `LabelMatcher.label_of`.
        labelled_only: keep only icons with a label.

    Returns:
        records (see `whyrobust.data.records.RECORD_SCHEMA`), drawings (one row a record), and the number of icons
        of the set that can be drawn, with or without a label.
    """
    prefix = icon_set["prefix"]
    suffixes = tuple(icon_set.get("suffixes") or ())
    prefixes = tuple(icon_set.get("prefixes") or ())
    tags = _tags_by_icon(icon_set)
    rows: list[tuple[str, str, str, list[str], str | None, str, str]] = []
    svgs: list[str] = []
    drawable = 0
    for icon in read_icons(icon_set):
        if _MOVING.search(icon.body) or _NOT_DRAWN_HERE.search(icon.body):
            continue
        drawable += 1
        title = name_in_words(icon.name)
        label = matcher.label_of(title, policy)
        if labelled_only and label is None:
            continue
        group = f"{family}:{drawing_stem(icon.name, suffixes, prefixes)}"
        description = describe(icon.name, icon_set)
        rows.append((f"{prefix}:{icon.name}", title, description, tags.get(icon.name, []), label, group, prefix))
        svgs.append(svg_document(icon))
    records = pd.DataFrame(rows, columns=RECORD_SCHEMA.names)
    drawings = pd.DataFrame({"uid": records["uid"], "svg": svgs}, columns=DRAWING_SCHEMA.names)
    return records, drawings, drawable


def in_held_out_share(group: str, share: float, seed: int) -> bool:
    """Say whether a group is held out: sha256 of seed and group, as a number in [0, 1), is below the share.

    The answer depends on nothing but the arguments: adding sets or icons never moves a drawing across.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split_by_group(records: pd.DataFrame, share: float = 0.2, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split records in two so that no group is on both sides.

    Args:
        records: a table with the column ``group``.
        share: expected share of the groups that is held out, 0 to 1.
        seed: another seed holds out other groups.

    Returns:
        The records that stay and those held out, each in the order given.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share to hold out is {share}; give a fraction from 0 to 1")
    groups = {group: in_held_out_share(group, share, seed) for group in records["group"].unique()}
    held_out = records["group"].map(groups).astype(bool)
    return records[~held_out], records[held_out]


def build_icon_records(
    archive: Path | str,
    sets: pd.DataFrame,
    classes: pd.DataFrame,
    others: pd.DataFrame | None = None,
    pool: Pool = "labelled",
    held_out_share: float = 0.2,
    seed: int = 0,
) -> tuple[dict[str, tuple[pd.DataFrame, pd.DataFrame]], pd.DataFrame]:
    """Build the records and drawings of every part of the icons study.

    ``studio_test`` gets the held-out groups of ``studio``. Where a set of ``web`` has a drawing of a held-out
    group (some teams draw for both), it is left out of ``web``. Test parts keep labelled icons only.

    Args:
        archive: the .tgz of the npm package ``@iconify/json``.
        sets: the table of sets, see `read_sets`.
        classes: the table of classes, see `whyrobust.data.label_matcher.read_classes`.
        others: nouns that are no class, see `whyrobust.data.label_matcher.other_nouns`: an icon that also shows one of
            them
            gets no label.
        pool: ``labelled`` keeps only labelled icons for training; ``all`` keeps those without a label too.
        held_out_share: share of the groups of studio that becomes studio_test.
        seed: seed of that split.

    Returns:
        parts: (records, drawings) by part, rows ordered by set name and then as in the set.
        counts: one row a part and set: ``part, set, licence, icons, labelled, kept``; for icons that can be
            drawn,
            those with a label, and those that the part keeps.

    Raises:
        ValueError: the pool is unknown, or a set's licence in the archive is not the one in the table.
    """
    if pool not in ("labelled", "all"):
        raise ValueError(f"the pool {pool!r} is not known; use 'labelled' or 'all'")
    matcher = LabelMatcher(classes, others)
    used = sets[sets["part"] != "excluded"].set_index("set")
    studio_families = set(used["family"][used["part"] == "studio"])
    tables: dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]] = {}
    counts: list[dict[str, object]] = []
    for icon_set in read_icon_sets(archive, list(used.index)):
        name = icon_set["prefix"]
        row = used.loc[name]
        licence = icon_set["info"].get("license", {}).get("spdx", "")
        if licence != row["licence"]:
            raise ValueError(
                f"{archive}: the set {name} has the licence {licence!r}, the table of sets says "
                f"{row['licence']!r}; "
                f"check the new licence and update the table"
            )
        keep_unlabelled = pool == "all" and row["part"] in TRAINING_PARTS
        records, drawings, drawable = icon_records(icon_set, row["family"], matcher, labelled_only=not keep_unlabelled)
        parts = {row["part"]: records}
        # A team may draw one thing for both training parts: what is held out of one is in neither.
        if row["family"] in studio_families:
            stay, held_out = split_by_group(records, held_out_share, seed)
            parts = {row["part"]: stay}
            if row["part"] == "studio":
                parts["studio_test"] = held_out[held_out["label"].notna()]
        for part, kept in parts.items():
            tables[part, name] = kept, drawings[drawings.index.isin(kept.index)]
            counts.append(
                {
                    "part": part,
                    "set": name,
                    "licence": licence,
                    "icons": drawable,
                    "labelled": int(records["label"].notna().sum()),
                    "kept": len(kept),
                }
            )
    result = {}
    for part in (*TRAINING_PARTS, "studio_test", *SHIFT_PARTS):
        frames = [tables[key] for key in sorted(tables) if key[0] == part]
        result[part] = (
            _join([records for records, _ in frames], RECORD_SCHEMA.names),
            _join([drawings for _, drawings in frames], DRAWING_SCHEMA.names),
        )
    table = pd.DataFrame(counts, columns=["part", "set", "licence", "icons", "labelled", "kept"])
    return result, table.sort_values(["part", "set"], ignore_index=True)


def _join(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
