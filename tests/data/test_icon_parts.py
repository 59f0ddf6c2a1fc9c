"""The parts of the icons study: drawings that share a name, the records of each part, and the table of sets."""

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.icon_archives import CLASSES, MATCHER, SQUARE, make_archive, make_set
from whyrobust.data.icon_parts import (
    build_icon_records,
    check_sets,
    choose_held_out_teams,
    choose_shift_sets,
    drawing_name,
    icon_records,
    read_sets,
    teams_of_sets,
)
from whyrobust.data.iconify import (
    name_in_words,
)
from whyrobust.data.records import write_drawings, write_records
from whyrobust.data.split_by_drawing import is_held_out

SETS_CSV = Path(__file__).parents[2] / "resources" / "icons" / "sets.csv"


def make_table(rows):
    """Make a table of sets from (set, part, family, licence)."""
    return pd.DataFrame(
        [(name, part, f"{name} team", family, licence, "made up") for name, part, family, licence in rows],
        columns=["set", "part", "team", "family", "licence", "reason"],
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("home", "home"),
        ("home-outline", "home"),
        ("home-2-line-duotone-24px", "home"),
        ("home-20-solid", "home"),
        ("home2-filled", "home"),
        ("outline-home", "home"),
        ("arrow-left", "arrow-left"),
        ("alarm-clock-off", "alarm-clock-off"),
        ("light-bulb", "light-bulb"),
        ("blue-book", "book"),
        ("line", "line"),
        ("24", "24"),
        ("ear-medium-dark-skin-tone", "ear"),
        ("x2", "x2"),
    ],
)
def test_styles_of_a_drawing_have_one_stem(name, stem):
    assert drawing_name(name) == stem


def test_a_sets_own_suffixes_and_prefixes_are_styles_too():
    assert drawing_name("home-sketchy", ["", "sketchy"]) == "home"
    assert drawing_name("round-home-two", [], ["round"]) == drawing_name("home")
    assert drawing_name("sketchy", ["sketchy"]) == "sketchy"


@given(st.text(st.sampled_from("ab2-_ "), max_size=12))
def test_a_stem_is_never_empty_for_a_name(name):
    assert drawing_name(name) or not name
    assert name_in_words(name).split() == [word for word in re.split("[-_ ]+", name) if word]


@pytest.mark.parametrize(
    "body",
    [
        '<path><animate attributeName="d"/></path>',
        '<path><animateTransform attributeName="d"/></path>',
        '<set attributeName="x"/>',
        '<image href="file:///etc/passwd"/>',
        "<script>1</script>",
    ],
)
def test_what_is_no_single_drawing_is_left_out(body):
    records, _, drawable = icon_records(make_set("s", {"cat": body, "dog": SQUARE}), "s", MATCHER)
    assert records["uid"].tolist() == ["s:dog"]
    assert drawable == 1


def study(tmp_path):
    styles = ("", "-outline", "-filled")
    studio = {f"cat-{'abcdefghijklmnopqrstuvwxyz'[i]}x{style}": SQUARE for i in range(26) for style in styles}
    icon_sets = [
        make_set("studio", studio | {"no-class": SQUARE}),
        make_set("web", {"dog": SQUARE, "other-thing": SQUARE, "hot-dog": SQUARE}, category="Thematic"),
        # Coloured copies of the drawings of studio, by the same team.
        make_set("copies", {f"{name}-color": SQUARE for name in studio}, category="UI Multicolor"),
        make_set("v2", {"bell": SQUARE, "thing": SQUARE, "bell-tower": SQUARE}),
        make_set("old", {"bell": SQUARE, "bell-tower": SQUARE, "bell-rope": SQUARE}, category="Archive / Unmaintained"),
        make_set("logos", {"cat": SQUARE}, category="Logos"),
    ]
    table = make_table(
        [
            ("studio", "studio", "studio", "MIT"),
            ("web", "web", "web", "MIT"),
            ("copies", "web", "studio", "MIT"),
            ("v2", "v2", "v2", "MIT"),
            ("old", "retired", "old", "MIT"),
            ("logos", "excluded", "logos", "MIT"),
        ]
    )
    return make_archive(tmp_path / "a.tgz", icon_sets), table


def test_the_parts_share_no_drawing_and_tests_are_labelled(tmp_path):
    archive, table = study(tmp_path)
    parts, counts = build_icon_records(archive, table, CLASSES, held_out_share=0.3, seed=0)
    assert list(parts) == [
        *("studio", "web", "studio_test", "web_test", "v2", "rendition", "symbols", "retired", "sketch", "objects")
    ]
    groups = {part: set(records["group"]) for part, (records, _) in parts.items()}
    assert len(groups["studio"]) + len(groups["studio_test"]) == 26
    assert (groups["studio_test"] | groups["web_test"]).isdisjoint(groups["studio"] | groups["web"])
    assert 0 < len(groups["studio_test"]) < 26
    # Copies of what is held out of studio are held out of web, each style in the test set of its source.
    assert groups["studio_test"] <= groups["web_test"]
    assert set(parts["web_test"][0]["collection"]) == {"copies"}
    assert "web:dog" in groups["web"]
    # Copies of drawings that stay in studio stay in web.
    assert groups["studio"] <= groups["web"]
    for part, (records, drawings) in parts.items():
        assert records["label"].notna().all()
        assert drawings["uid"].tolist() == records["uid"].tolist()
        assert counts["kept"][counts["part"] == part].sum() == len(records)
        write_records(tmp_path / f"{part}.parquet", records)
        write_drawings(tmp_path / f"{part}_drawings.parquet", drawings)
    studio = counts[(counts["part"] == "studio") & (counts["set"] == "studio")].iloc[0]
    assert (studio["icons"], studio["labelled"], studio["licence"]) == (79, 78, "MIT")
    assert "logos" not in set(counts["set"])


def test_the_pool_of_all_icons_keeps_those_without_a_label_for_training_only(tmp_path):
    archive, table = study(tmp_path)
    parts, _ = build_icon_records(archive, table, CLASSES, pool="all", held_out_share=0.3, seed=0)
    assert {"web:other-thing", "web:hot-dog"} <= set(parts["web"][0]["uid"])
    assert parts["web"][0]["label"].isna().any()
    assert parts["v2"][0]["uid"].tolist() == ["v2:bell", "v2:bell-tower"]
    assert parts["web_test"][0]["label"].notna().all()
    assert parts["studio_test"][0]["label"].notna().all()
    labelled, _ = build_icon_records(archive, table, CLASSES, held_out_share=0.3, seed=0)
    assert parts["studio_test"][0]["uid"].tolist() == labelled["studio_test"][0]["uid"].tolist()
    with pytest.raises(ValueError, match="some"):
        build_icon_records(archive, table, CLASSES, pool="some")


def test_a_shift_has_no_names_of_another_but_those_of_classes(tmp_path):
    archive, table = study(tmp_path)
    parts, counts = build_icon_records(archive, table, CLASSES, held_out_share=0.3, seed=0)
    assert parts["retired"][0]["uid"].tolist() == ["old:bell", "old:bell-rope"]
    row = counts[counts["part"] == "retired"].iloc[0]
    assert (row["icons"], row["labelled"], row["kept"]) == (3, 3, 2)


def test_every_drawing_of_web_may_be_held_out(tmp_path):
    names = [f"{first}-{a}{b}" for a in "abcdefgh" for b in "abcdefgh" for first in ("dog", "thing")]
    archive = make_archive(tmp_path / "a.tgz", [make_set("w", dict.fromkeys(names, SQUARE), category="Thematic")])
    table = make_table([("w", "web", "w", "MIT")])
    parts, _ = build_icon_records(archive, table, CLASSES, pool="all", held_out_share=0.5, seed=1)
    held_out = [name for name in names if is_held_out(f"w:{name}", 0.5, 1)]
    # What has no label tests nothing, and is not learnt from either.
    assert parts["web_test"][0]["uid"].tolist() == [f"w:{name}" for name in held_out if name.startswith("dog")]
    assert parts["web"][0]["uid"].tolist() == [f"w:{name}" for name in names if name not in held_out]


def test_other_nouns_take_the_label_away(tmp_path):
    archive, table = study(tmp_path)
    others = pd.DataFrame([("ax", "", "")], columns=list(CLASSES.columns))
    parts, _ = build_icon_records(archive, table, CLASSES, others)
    everything = pd.concat([parts["studio"][0], parts["studio_test"][0]])
    assert everything["group"].nunique() == 25
    assert "studio:cat-ax" not in set(everything["group"])


def test_a_licence_that_changed_stops_the_build(tmp_path):
    archive, table = study(tmp_path)
    table.loc[table["set"] == "web", "licence"] = "CC0-1.0"
    with pytest.raises(ValueError, match=r"web.*MIT.*CC0"):
        build_icon_records(archive, table, CLASSES)


def valid_collection():
    """Return a table of sets and a collection that fit: ten teams with one 24-pixel set each, and a web set."""
    names = [f"s{i}" for i in range(10)]
    collections = {name: make_set(name, {"a": SQUARE} | {str(i): SQUARE for i in range(9)})["info"] for name in names}
    collections["w"] = make_set("w", {"a": SQUARE}, category="UI 16px / 32px")["info"]
    table = make_table([*((name, "studio", name, "MIT") for name in names), ("w", "web", "w", "MIT")])
    held_out = choose_held_out_teams(table, collections)
    table.loc[table["team"].isin(held_out), "part"] = "v2"
    return table, collections


def test_teams_are_held_out_by_their_names_up_to_the_share():
    table, collections = valid_collection()
    assert (table["part"] == "v2").sum() == 2  # 20 of 100 icons
    check_sets(table, collections)
    assert choose_held_out_teams(table.iloc[::-1], collections) == set(table["team"][table["part"] == "v2"])
    # A team that also draws a web set cannot be held out, nor one that is too large for the share.
    first = table["team"][table["part"] == "v2"].iloc[0]
    table.loc[table["set"] == "w", "team"] = first
    assert first not in choose_held_out_teams(table, collections)
    second = table["set"][table["part"] == "v2"].iloc[1]
    collections[second]["total"] = 1000
    assert f"{second} team" not in choose_held_out_teams(table, collections)


def categories(**by_set):
    return {name: {"category": category} for name, category in by_set.items()}


def test_a_set_leaves_web_where_all_that_its_team_and_family_draw_is_of_one_shift():
    collections = categories(maps="Flags / Maps", signs="Thematic", fork="Thematic", ui="UI 16px / 32px", font="")
    rows = [(name, "web", name, "MIT") for name in collections]
    table = make_table(rows)
    all_apart = {"maps": "symbols", "signs": "symbols", "fork": "symbols", "font": "retired"}
    assert choose_shift_sets(table, collections) == all_apart
    # One team, two categories of one shift.
    one_team = table.replace({"team": {"maps team": "signs team"}})
    assert choose_shift_sets(one_team, collections) == all_apart
    # A team with an interface set of web stays, and so does a fork of its drawings by another team.
    linked = table.replace({"team": {"signs team": "ui team"}, "family": {"fork": "signs"}})
    assert choose_shift_sets(linked, collections) == {"maps": "symbols", "font": "retired"}
    assert choose_shift_sets(linked.iloc[::-1], collections) == {"maps": "symbols", "font": "retired"}
    # Two shifts by one team: neither, since the team would be in both.
    both = table.replace({"team": {"font team": "maps team"}})
    assert choose_shift_sets(both, collections) == {"signs": "symbols", "fork": "symbols"}
    # What is excluded links nothing; emoji link whatever their category.
    excluded = linked.assign(part=["web", "web", "web", "excluded", "web"])
    assert choose_shift_sets(excluded, collections) == all_apart
    emoji = table.replace({"team": {"maps team": "font team"}}).assign(part=["rendition", "web", "web", "web", "web"])
    assert choose_shift_sets(emoji, collections) == {"signs": "symbols", "fork": "symbols"}


def test_teams_are_read_from_the_table_of_sets(tmp_path):
    make_table([("s", "web", "s", "MIT"), ("t", "v2", "t", "MIT")]).to_csv(tmp_path / "sets.csv", index=False)
    assert teams_of_sets(tmp_path / "sets.csv") == {"s": "s team", "t": "t team"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda table, collections: collections["w"].update(category="Flags / Maps"), "it is in symbols"),
        (lambda table, collections: table.replace({"part": {"web": "retired"}}, inplace=True), "it is in web"),
        (lambda table, collections: collections.update(new=dict(collections["s0"])), "new"),
        (lambda table, collections: collections.pop("w"), "does not have"),
        (lambda table, collections: collections["w"]["license"].update(spdx="GPL-3.0"), "GPL-3.0"),
        (lambda table, collections: collections["w"].update(category="Logos"), "brand"),
        (lambda table, collections: collections["w"].update(tags=["Contains Animations"]), "animated"),
        (lambda table, collections: collections["w"].update(category="UI 24px"), "UI 24px"),
        (lambda table, collections: table.replace({"part": {"v2": "studio"}}, inplace=True), "rule holds out"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(change, named):
    table, collections = valid_collection()
    change(table, collections)
    with pytest.raises(ValueError, match=named):
        check_sets(table, collections)


def test_a_family_in_training_and_in_a_shift_is_refused():
    table, collections = valid_collection()
    table.loc[table["set"] == "w", ["part", "family"]] = ["sketch", table["family"][table["part"] == "studio"].iloc[0]]
    with pytest.raises(ValueError, match="families"):
        check_sets(table, collections)


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", ""])
def test_licences_that_may_not_be_used_are_refused_unless_the_set_is_excluded(licence):
    table, collections = valid_collection()
    collections["w"]["license"]["spdx"] = licence
    table.loc[table["set"] == "w", "licence"] = licence
    with pytest.raises(ValueError, match="may not be used"):
        check_sets(table, collections)
    table.loc[table["set"] == "w", "part"] = "excluded"
    check_sets(table, collections)


def test_the_committed_table_has_every_part_and_a_reason_a_row(tmp_path):
    sets = read_sets(SETS_CSV)
    assert set(sets["part"]) == {
        *("studio", "web", "v2", "rendition", "symbols", "retired", "sketch", "objects", "excluded")
    }
    assert sets["set"].is_monotonic_increasing
    used = sets[sets["part"] != "excluded"]
    assert not used["licence"].str.contains("NC").any()
    for shift in ("v2", "symbols", "retired"):
        held_out = used["part"] == shift
        assert set(used["team"][held_out]).isdisjoint(used["team"][~held_out])
        assert used["team"][held_out].nunique() >= 6
    trained = used["part"].isin(["studio", "web"])
    assert set(used["family"][trained]).isdisjoint(used["family"][~trained])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda sets: sets.drop(columns="reason"), "reason"),
        (lambda sets: pd.concat([sets, sets[:1]]), "twice"),
        (lambda sets: sets.assign(part="webb"), "webb"),
        (lambda sets: sets.assign(team=""), "team"),
        (lambda sets: sets.assign(licence=""), "licence"),
    ],
)
def test_a_damaged_table_of_sets_is_refused(tmp_path, change, named):
    change(make_table([("s", "web", "s", "MIT")])).to_csv(tmp_path / "sets.csv", index=False)
    with pytest.raises(ValueError, match=named):
        read_sets(tmp_path / "sets.csv")
