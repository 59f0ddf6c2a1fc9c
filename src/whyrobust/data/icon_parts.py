"""The parts of the icons study: which icon sets each has, which drawings are held out, and its records.

A part is a data set of icons: two training sources (``studio``, ``web``), the held-out drawings of each
(``studio_test``, ``web_test``) and the distribution shifts. Which set belongs to which part is listed in a table
(``resources/icons/sets.csv``) that `check_sets` checks against the collection. All styles of one drawing share a group,
and held-out drawings are split off by drawing, never by file (`whyrobust.data.split_by_drawing`).

An icon's name, written by the team that drew it, is its title. Its label is the one class that the title names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from whyrobust.data.iconify import (
    describe_icon,
    icon_tags,
    is_drawable,
    name_in_words,
    read_icon_sets,
    read_icons,
    svg_document,
)
from whyrobust.data.label_matcher import LabelMatcher, LabelPolicy
from whyrobust.data.records import DRAWING_SCHEMA, RECORD_SCHEMA
from whyrobust.data.split_by_drawing import split_by_drawing
from whyrobust.study.kind_settings import ICON_PARTS, SET_COLUMNS

TRAINING_PARTS = ("studio", "web")

HELD_OUT_PARTS = {"studio": "studio_test", "web": "web_test"}
"""The part that gets the held-out drawings of a training part."""

SHIFT_PARTS = ("v2", "rendition", "symbols", "retired", "sketch", "objects")

SET_PARTS = (*TRAINING_PARTS, *SHIFT_PARTS, "excluded")
"""Parts that the table of sets may name; `HELD_OUT_PARTS` are not among them: they are split off by drawing."""

STUDIO_CATEGORY = "UI 24px"

HELD_OUT_TEAMS_SHARE = (0.18, 0.20)
"""Fewest and most icons of part v2, as shares of all icons of the sets in studio and v2."""

SHIFTS_BY_CATEGORY = {
    "Thematic": "symbols",
    "Flags / Maps": "symbols",
    "Archive / Unmaintained": "retired",
    "": "retired",
}
"""The shift of a category of the collection; hidden sets, which were replaced or retired, have no category."""

NAMES_LEFT_OUT = {"retired": "v2"}
"""A shift, and the shift of which it has no icon's name, lest two shifts test the same: bare class names apart."""

Pool = Literal["labelled", "all"]

# Words for a style or a version, removed from the end of a name to find its drawing. Removing too much ("traffic light"
# becomes "traffic") only puts more drawings into one group.
_TRAILING_STYLES = """
outline outlined line linear lined filled fill solid bold duotone duo dual broken thin light regular rounded
round sharp twotone tone one two three four five basic baseline flat color colour colored remix block mini
micro stroke glyph border bordered normal medium small large big alt variant style freehand f skin dark
"""

# The same for the start of a name, where fewer can be removed safely. Emoji sets draw one thing in many colours ("blue
# book", "green book"): that is one drawing too.
_LEADING_STYLES = """
outline outlined filled solid sharp twotone baseline ios md
red orange yellow green blue purple brown pink black white grey gray
"""

_TRAILING_STYLE_WORDS = frozenset(_TRAILING_STYLES.split())

_LEADING_STYLE_WORDS = frozenset(_LEADING_STYLES.split())

_NUMBER_WORD = re.compile(r"\d+(px|x\d+)?")


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
    """Choose the teams whose 24-pixel interface sets are held out as part v2, independently of any result.

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


def choose_shift_sets(sets: pd.DataFrame, collections: Mapping[str, Any]) -> dict[str, str]:
    """Choose the sets that leave ``web`` for a shift, by their category, independently of any result.

    Sets are linked if they have a team or a family in common, also by way of others. A set is in the shift of its
    category (`SHIFTS_BY_CATEGORY`) if all sets that it is linked to have a category of that shift: its teams are
    then in no training source.

    Args:
        sets: the table of sets, see `read_sets`; excluded sets link nothing.
        collections: the content of ``collections.json``, for the categories.

    Returns:
        The shift of each set that has one.
    """
    used = sets[sets["part"] != "excluded"]
    linked = {name: {name} for name in used["set"]}
    for column in ("team", "family"):
        for _, names in used.groupby(column)["set"]:
            together = set().union(*(linked[name] for name in names))
            linked.update(dict.fromkeys(together, together))
    wanted = {
        row["set"]: SHIFTS_BY_CATEGORY.get(collections[row["set"]].get("category", ""), "")
        for row in used.to_dict("records")
    }
    # Emoji sets have their own parts, whatever the collection's category.
    wanted.update(dict.fromkeys(used["set"][used["part"].isin(["rendition", "sketch", "objects"])], ""))
    shifts = {name: {wanted[other] for other in together} for name, together in linked.items()}
    return {name: found.pop() for name, found in shifts.items() if len(found) == 1 and "" not in found}


def check_sets(sets: pd.DataFrame, collections: Mapping[str, Any]) -> None:
    """Check the table of sets against the collection's own list.

    Every set must be listed once with the licence the collection gives; no used set may be of unclear
    licence, of one that forbids commercial use, of brand marks or animated; studio and v2 must be the
    24-pixel interface sets, v2 those of `choose_held_out_teams`; symbols and retired must be those of
    `choose_shift_sets`; and no family may be both in a training part and in a shift.

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
        chosen = choose_shift_sets(sets, collections)
        for row in sets[sets["part"].isin(["web", *SHIFTS_BY_CATEGORY.values()])].to_dict("records"):
            part = chosen.get(row["set"], "web")
            if row["part"] != part:
                problems.append(f"{row['set']}: in {row['part']}, but by category and team it is in {part}")
    trained = set(sets["family"][sets["part"].isin(TRAINING_PARTS)])
    both = sorted(trained & set(sets["family"][sets["part"].isin(SHIFT_PARTS)]))
    if both:
        problems.append(f"families in a training part and in a shift: {both}; exclude one side")
    if problems:
        raise ValueError("the table of sets does not fit the collection:\n- " + "\n- ".join(problems))


def teams_of_sets(path: Path | str) -> dict[str, str]:
    """Return who drew each set of the table of sets; a record names its set in the column ``collection``.

    Raises:
        ValueError: see `read_sets`.
    """
    sets = read_sets(path)
    return dict(zip(sets["set"], sets["team"], strict=True))


def drawing_name(name: str, suffixes: Collection[str] = (), prefixes: Collection[str] = ()) -> str:
    """Return what is left of an icon's name without its style: the name of the drawing.

    The set's own suffixes and prefixes are removed first, then all trailing words for a style, a size or a number
    (``bell-2-line-duotone-24px`` is ``bell``), then leading ones. At least one word is left.

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


def icon_records(
    icon_set: Mapping[str, Any],
    family: str,
    matcher: LabelMatcher,
    policy: LabelPolicy = "single",
    labelled_only: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Turn a parsed set into records and drawings.

    Icons that are animated, or that hold a bitmap or a script, are left out.

    Args:
        icon_set: a parsed set, see `read_icon_sets`.
        family: the lineage of drawings that the set belongs to; with the drawing's name it makes the group.
        matcher: finds classes in the title.
        policy: see `LabelMatcher.label_of`.
        labelled_only: keep only icons with a label.

    Returns:
        records (see `whyrobust.data.records.RECORD_SCHEMA`), drawings (one row per record), and the number of icons
        of the set that can be drawn, with or without a label.
    """
    prefix = icon_set["prefix"]
    suffixes = tuple(icon_set.get("suffixes") or ())
    prefixes = tuple(icon_set.get("prefixes") or ())
    tags = icon_tags(icon_set)
    rows: list[tuple[str, str, str, list[str], str | None, str, str]] = []
    svgs: list[str] = []
    drawable = 0
    for icon in read_icons(icon_set):
        if not is_drawable(icon):
            continue
        drawable += 1
        title = name_in_words(icon.name)
        label = matcher.label_of(title, policy)
        if labelled_only and label is None:
            continue
        group = f"{family}:{drawing_name(icon.name, suffixes, prefixes)}"
        description = describe_icon(icon.name, icon_set)
        rows.append((f"{prefix}:{icon.name}", title, description, tags.get(icon.name, []), label, group, prefix))
        svgs.append(svg_document(icon))
    records = pd.DataFrame(rows, columns=RECORD_SCHEMA.names)
    drawings = pd.DataFrame({"uid": records["uid"], "svg": svgs}, columns=DRAWING_SCHEMA.names)
    return records, drawings, drawable


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

    ``studio_test`` gets the held-out groups of ``studio``, ``web_test`` those of ``web``. Where a team draws for both,
    a drawing that is held out of one is held out of the other too. Test parts keep labelled icons only.

    Args:
        archive: the .tgz of the npm package ``@iconify/json``.
        sets: the table of sets, see `read_sets`.
        classes: the table of classes, see `whyrobust.data.label_matcher.read_classes`.
        others: nouns that are no class, see `whyrobust.data.label_matcher.other_nouns`: an icon that also shows one of
            them gets no label.
        pool: ``labelled`` keeps only labelled icons for training; ``all`` keeps those without a label too.
        held_out_share: share of the groups of studio and of web that is held out.
        seed: seed of that split.

    Returns:
        parts: (records, drawings) by part, rows ordered by set name and then as in the set.
        counts: one row per part and set: ``part, set, licence, icons, labelled, kept``: icons that can be drawn, those
            with a label, and those that the part keeps.

    Raises:
        ValueError: the pool is unknown, or a set's licence in the archive is not the one in the table.
    """
    if pool not in ("labelled", "all"):
        raise ValueError(f"the pool {pool!r} is not known; use 'labelled' or 'all'")
    matcher = LabelMatcher(classes, others)
    used = sets[sets["part"] != "excluded"].set_index("set")
    tables: dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]] = {}
    found: dict[str, tuple[str, int, int]] = {}
    for icon_set in read_icon_sets(archive, list(used.index)):
        name = icon_set["prefix"]
        row = used.loc[name]
        licence = icon_set["info"].get("license", {}).get("spdx", "")
        if licence != row["licence"]:
            raise ValueError(
                f"{archive}: the set {name} has the licence {licence!r}, the table of sets says {row['licence']!r}; "
                "check the new licence and update the table"
            )
        keep_unlabelled = pool == "all" and row["part"] in TRAINING_PARTS
        records, drawings, drawable = icon_records(icon_set, row["family"], matcher, labelled_only=not keep_unlabelled)
        found[name] = licence, drawable, int(records["label"].notna().sum())
        parts = {row["part"]: records}
        if row["part"] in TRAINING_PARTS:
            # Groups are held out by their names alone, so a drawing that a team made for both leaves both.
            stay, held_out = split_by_drawing(records, held_out_share, seed)
            parts = {row["part"]: stay, HELD_OUT_PARTS[row["part"]]: held_out[held_out["label"].notna()]}
        for part, kept in parts.items():
            tables[part, name] = kept, drawings[drawings.index.isin(kept.index)]
    for part, other in NAMES_LEFT_OUT.items():
        _leave_out_names(tables, part, other, classes)
    result = {}
    for part in ICON_PARTS:
        frames = [tables[key] for key in sorted(tables) if key[0] == part]
        result[part] = (
            _join([records for records, _ in frames], RECORD_SCHEMA.names),
            _join([drawings for _, drawings in frames], DRAWING_SCHEMA.names),
        )
    counts = [(part, name, *found[name], len(records)) for (part, name), (records, _) in sorted(tables.items())]
    return result, pd.DataFrame(counts, columns=["part", "set", "licence", "icons", "labelled", "kept"])


def _leave_out_names(
    tables: dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]], part: str, other: str, classes: pd.DataFrame
) -> None:
    """Leave out of the sets of one part what has a name and label of another part, unless a class is called so."""
    names = set(classes["class"]).union(*classes["synonyms"].str.split(";"))
    taken = {
        pair
        for (of, _), (records, _) in tables.items()
        if of == other
        for pair in zip(records["title"], records["label"], strict=True)
        if pair[0] not in names
    }
    for key, (records, drawings) in tables.items():
        if key[0] == part:
            stays = [pair not in taken for pair in zip(records["title"], records["label"], strict=True)]
            tables[key] = records[stays], drawings[stays]


def _join(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
