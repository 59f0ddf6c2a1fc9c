"""ImageNet's class tables against published facts, and its 1,000 classes in hand-written captions."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.make_imagenet_tables import (
    CLASSES,
    EXCLUDED,
    OBJECTNET,
    REFERENCE,
    TableError,
    objectnet_rows,
    read_wnids,
    tables,
)
from whyrobust.data.label_matcher import LabelMatcher, plural_forms, read_classes, split_phrases, split_words


@pytest.fixture(scope="module")
def classes(root):
    return read_classes(root / CLASSES, shared="ambiguous")


@pytest.fixture(scope="module")
def matcher(classes):
    return LabelMatcher(classes, shared="ambiguous", possessives=True)


def test_the_committed_tables_are_what_the_command_writes(root):
    for path, text in tables(root).items():
        assert (root / path).read_text(encoding="utf-8") == text, f"{path}: run python -m tools.make_imagenet_tables"


def test_published_counts(root, classes):
    assert len(classes) == 1000 and list(classes["class"]) == sorted(classes["class"])
    for part in ("imagenet_r", "imagenet_a"):
        assert classes[part].astype(str).str.lower().eq("true").sum() == 200
    rows = objectnet_rows(root / REFERENCE, read_wnids())
    wnids = [wnid for row in rows for wnid in row["classes"].split(";")]
    assert len(rows) == 113 and len(wnids) == len(set(wnids)) == 125
    assert sum(";" in row["classes"] for row in rows) >= 5
    assert (root / OBJECTNET).exists()
    index = json.loads((root / REFERENCE / "imagenet_index_to_label.json").read_text(encoding="utf-8"))
    label_of = {wnid: index[str(number)] for number, wnid in enumerate(read_wnids())}
    (clock,) = [row["classes"].split(";") for row in rows if row["folder"] == "alarm_clock"]
    assert sorted(label_of[wnid] for wnid in clock) == ["analog clock", "digital clock"]


def test_an_objectnet_class_called_crane_would_be_refused(root, tmp_path):
    # Two ids share the label "crane", the bird and the machine: a plain inversion would lose one of them.
    index = json.loads((root / REFERENCE / "imagenet_index_to_label.json").read_text(encoding="utf-8"))
    assert [int(number) for number, label in index.items() if label == "crane"] == [134, 517]
    for name in ("objectnet_folder_to_label", "objectnet_label_to_imagenet_labels", "imagenet_index_to_label"):
        shutil.copy(root / REFERENCE / f"{name}.json", tmp_path)
    path = tmp_path / "objectnet_label_to_imagenet_labels.json"
    labels = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**labels, "Banana": "crane"}), encoding="utf-8")
    with pytest.raises(TableError, match=r"Banana.*crane.*2 ImageNet classes"):
        objectnet_rows(tmp_path, read_wnids())


@pytest.mark.parametrize(
    "caption, names",
    [
        ("a tench", ["tench"]),
        ("Two tabby cats, asleep", ["tabby cat"]),
        ("our golden-retriever's first swim", ["Golden Retriever"]),
        ("a golden-retriever puppy", ["Golden Retriever"]),
        ("the new catalogue", []),
        ("category: dogsled", ["dog sled"]),
        ("caf\u00e9 with an espresso", ["espresso"]),
        ("ESPRESSO!!! #coffee", ["espresso"]),
        ("a tiger shark and a tiger", ["tiger shark", "tiger"]),
        ("tigers", ["tiger"]),
        ("IMG_1234", []),
        ("a box of goldfish crackers, no bullfrogs", ["goldfish", "American bullfrog"]),
    ],
)
def test_hand_written_captions(classes, matcher, caption, names):
    name_of = dict(zip(classes["class"], classes["name"], strict=True))
    assert [name_of[found] for found in matcher.match(caption)] == names
    assert matcher.label_of(caption) == (matcher.match(caption)[0] if len(names) == 1 else None)


@pytest.mark.parametrize("word", ["crane", "cranes", "maillot", "missile", "sunglasses"])
def test_a_name_of_two_classes_tells_neither(matcher, word):
    assert len(matcher.match(f"look, a {word}")) == 2
    assert matcher.label_of(f"look, a {word}") is None
    assert matcher.label_of(f"look, a {word}", "first") is None
    assert matcher.label_of(f"a tench under a {word}", "first") == "n01440764"


def test_shared_names_are_an_error_unless_they_are_allowed(root):
    with pytest.raises(ValueError, match="name of two classes"):
        read_classes(root / CLASSES)


def plain_targets(classes):
    """Classes by phrase, the plain way: names before excluded phrases before plurals before possessives."""
    written, derived, excluded = {}, {}, []
    for row in classes.to_dict("records"):
        for phrase in [row["name"], *split_phrases(row["synonyms"])]:
            key = tuple(split_words(phrase))
            written.setdefault(key, set()).add(row["class"])
            for form in plural_forms(key[-1]):
                derived.setdefault((*key[:-1], form), set()).add(row["class"])
        excluded += [tuple(split_words(phrase)) for phrase in split_phrases(row["excluded_phrases"])]
    targets = derived | written
    for key in excluded:
        if key not in written:
            targets[key] = set()
        for form in plural_forms(key[-1]):
            targets.setdefault((*key[:-1], form), set())
    for key in [*written, *excluded]:
        targets.setdefault((*key[:-1], key[-1] + "s"), targets[key])
    return targets


def plain_matches(text, targets):
    """The plain way: at each word try every phrase of every class, longest first."""
    longest = max(map(len, targets))
    words, found, at = split_words(text), [], 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            hit = targets.get(tuple(words[at : at + length]))
            if hit is not None:
                found += [name for name in hit if name not in found]
                at += length - 1
                break
        at += 1
    return set(found)


@pytest.fixture(scope="module")
def targets(classes):
    return plain_targets(classes)


@pytest.fixture(scope="module")
def vocabulary(classes):
    words = [word for name in classes["name"] for word in re.findall(r"[\w'-]+", name)]
    words += [word for phrases in classes["excluded_phrases"] for word in re.findall(r"[\w'-]+", phrases)]
    return [
        *sorted(set(words)),
        "cats",
        "ostrich's",
        "boxer's",
        "tiger",
        "woods",
        "a",
        "the",
        "crane",
        "catalogue",
        "fire",
        "hot",
    ]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_matches_equal_the_plain_way(data, targets, matcher, vocabulary):
    words = data.draw(st.lists(st.sampled_from(vocabulary), max_size=7))
    text = data.draw(st.sampled_from([" ", "-", ", "])).join(words)
    assert set(matcher.match(text)) == plain_matches(text, targets)


def test_excluded_phrases_name_no_class_in_any_form(targets, matcher):
    """Plurals and possessives too, which texts that are drawn at random hardly have."""
    phrases = [" ".join(key) for key, names in targets.items() if not names]
    assert len(phrases) > 1000 and [text for text in phrases if matcher.match(text)] == []


def test_captions_get_the_label_that_a_reader_gave(classes, matcher):
    """Written in the manner of titles on Flickr and judged by reading: names in other senses, possessives, hashtags."""
    with (Path(__file__).parent / "judged_captions.csv").open(encoding="utf-8", newline="") as handle:
        judged = {row["caption"]: row["class"] or None for row in csv.DictReader(handle)}
    name_of = dict(zip(classes["class"], classes["name"], strict=True))
    assert {caption: name_of.get(matcher.label_of(caption)) for caption in judged} == judged
    without = LabelMatcher(classes.assign(excluded_phrases=""), shared="ambiguous")
    wrong = [caption for caption, label in judged.items() if name_of.get(without.label_of(caption)) != label]
    assert len(wrong) > 40, "they are captions that need the excluded phrases"
    columns = matcher.label_records([pa.array(list(judged))]).to_pylist()
    assert [name_of.get(label) for label in columns] == list(judged.values())


def test_excluded_phrases_are_of_classes_whose_word_they_hold(root, classes):
    rows = {row["class"]: row for row in classes.to_dict("records")}
    with (root / EXCLUDED).open(encoding="utf-8", newline="") as handle:
        for given in csv.DictReader(handle):
            row = rows[given["class"]]
            names = [" ".join(split_words(name)) for name in (row["name"], *split_phrases(row["synonyms"]))]
            forms = {form for name in names for form in (name, *plurals(name))}
            assert given["name"] == row["name"]
            for phrase in split_phrases(given["excluded_phrases"]):
                assert any(f" {form} " in f" {phrase} " for form in forms), f"{phrase}: {given['name']}"


def plurals(name):
    words = name.split()
    return [" ".join([*words[:-1], form]) for form in plural_forms(words[-1])]
