"""Finding classes in text: against hand-written captions and against a slow reference made of regular expressions."""

import re
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.data.label_matcher import (
    LabelMatcher,
    matcher_if_any,
    other_nouns,
    plural_forms,
    read_classes,
    space_words,
    split_words,
)
from whyrobust.files import write_table

NOUNS_CSV = Path(__file__).parents[2] / "resources" / "icons" / "nouns.csv"


CLASSES_CSV = Path(__file__).parents[2] / "resources" / "icons" / "classes.csv"


def table(*rows):
    return pd.DataFrame(
        [(name, synonyms, excluded) for name, synonyms, excluded in rows],
        columns=["class", "synonyms", "excluded_phrases"],
    )


CLASSES = table(
    ("cat", "kitten", ""),
    ("dog", "puppy", "hot dog;sea dog"),
    ("fire", "", ""),
    ("fire truck", "fire engine", ""),
    ("knife", "", ""),
    ("café", "", ""),
    ("ice cream", "", ""),
    ("glass", "", ""),
    ("glasses", "", ""),
    ("goose", "", ""),
)


MATCHER = LabelMatcher(CLASSES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a cat", ["cat"]),
        ("Cats!", ["cat"]),
        ("the cat's tail", ["cat"]),
        ("catalogue of concatenated scat", []),
        ("CAT_and-dog", ["cat", "dog"]),
        ("dog chases cat, dog wins", ["dog", "cat"]),
        ("kitten", ["cat"]),
        ("puppies", ["dog"]),
        ("hot dog stand", []),
        ("hot dogs", []),
        ("a hot dog and a dog", ["dog"]),
        ("Hot-Dog_dog", ["dog"]),
        ("sea-dog", []),
        ("fire", ["fire"]),
        ("fire truck", ["fire truck"]),
        ("fire trucks on fire", ["fire truck", "fire"]),
        ("fire-engine", ["fire truck"]),
        ("two knives", ["knife"]),
        ("Cafe", ["café"]),
        ("CAFÉ\u0301S", ["café"]),
        ("cafe\u0301", ["café"]),
        ("icecream", []),
        ("ice creams", ["ice cream"]),
        ("ices cream", []),
        ("glass", ["glass"]),
        ("glasses", ["glasses"]),
        ("geese", ["goose"]),
        ("cat2 and 3dogs", ["cat", "dog"]),
        ("", []),
        ("---", []),
        ("\ufb01re", ["fire"]),  # the ligature fi
    ],
)
def test_hand_written_captions(text, found):
    assert MATCHER.match(text) == found


def test_single_needs_one_class_and_first_takes_the_first():
    assert MATCHER.label_of("a cat and cats") == "cat"
    assert MATCHER.label_of("a cat and a dog") is None
    assert MATCHER.label_of("a cat and a dog", "first") == "cat"
    assert MATCHER.label_of("nothing") is None
    assert MATCHER.label_of("nothing", "first") is None
    with pytest.raises(ValueError, match="most"):
        MATCHER.label_of("a cat", "most")
    assert [MATCHER.label_of(text) for text in ("dog", "dog cat")] == ["dog", None]
    assert [MATCHER.label_of(text, "first") for text in ("dog", "dog cat")] == ["dog", "dog"]


def test_other_nouns_make_a_text_about_more_than_one_thing():
    matcher = LabelMatcher(CLASSES, table(("person", "man;men", ""), ("cat food", "", "")))
    assert matcher.match("man with a cat") == ["cat"]
    assert matcher.label_of("man with a cat") is None
    assert matcher.label_of("man with a cat", "first") == "cat"
    assert matcher.label_of("people") is None
    assert matcher.match("cat food") == []
    assert matcher.label_of("cat") == "cat"


def test_a_name_of_two_classes_is_an_error():
    with pytest.raises(ValueError, match="two classes"):
        LabelMatcher(table(("mouse", "", ""), ("computer mouse", "mouse", "")))
    with pytest.raises(ValueError, match="two classes"):
        LabelMatcher(table(("Café", "", ""), ("bar", "cafe", "")))
    with pytest.raises(ValueError, match="twice"):
        LabelMatcher(table(("cat", "", ""), ("cat", "kitten", "")))
    with pytest.raises(ValueError, match="two classes"):  # "calves" is the plural of both
        LabelMatcher(table(("calf", "", ""), ("calve", "", "")))
    with pytest.raises(ValueError, match="no words"):
        LabelMatcher(table(("--", "", "")))
    with pytest.raises(ValueError, match="two classes"):
        LabelMatcher(table(("cat", "", "")), table(("pet", "cat", "")))


def test_the_name_of_a_class_wins_over_a_phrase_excluded_from_another():
    matcher = LabelMatcher(table(("dog", "", "hot dog"), ("hot dog", "", "")))
    assert matcher.match("hot dog") == ["hot dog"]
    assert matcher.match("hot dogs") == ["hot dog"]


def test_an_excluded_plural_takes_the_plural_from_its_class():
    matcher = LabelMatcher(table(("glass", "", "glasses")))
    assert matcher.match("glasses") == []
    assert matcher.match("glass") == ["glass"]


@pytest.mark.parametrize(
    ("word", "plurals"),
    [
        ("cat", {"cats"}),
        ("box", {"boxes"}),
        ("brush", {"brushes"}),
        ("watch", {"watches"}),
        ("bus", {"buses"}),
        ("cherry", {"cherries"}),
        ("key", {"keys"}),
        ("leaf", {"leafs", "leaves"}),
        ("knife", {"knifes", "knives"}),
        ("potato", {"potatos", "potatoes"}),
        ("mouse", {"mice"}),
    ],
)
def test_plurals(word, plurals):
    assert plural_forms(word) == plurals


def slow_match(phrases, text):
    """Match by regular expressions: walk over the text, at each word try the longest phrase first."""
    clean = " ".join(split_words(text)) + " "
    found, position = [], 0
    ordered = sorted(phrases, key=lambda phrase: -phrase.count(" "))
    while position < len(clean):
        for phrase in ordered:
            if re.compile(re.escape(phrase) + r"(?= )").match(clean, position):
                if phrases[phrase] is not None and phrases[phrase] not in found:
                    found.append(phrases[phrase])
                position += len(phrase) + 1
                break
        else:
            position = clean.index(" ", position) + 1
    return found


word = st.sampled_from(["ka", "lo", "mi", "ne", "kas", "los"])


phrase = st.lists(word, min_size=1, max_size=3).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(phrase, min_size=1, max_size=5, unique=True),
    excluded=st.lists(phrase, max_size=3),
    text=st.lists(word | st.sampled_from(["ka-", "x", "Ka", "_lo", "mi,ne"]), max_size=12).map(" ".join),
)
def test_the_matcher_agrees_with_the_slow_reference(names, excluded, text):
    classes = table(*[(name, "", ";".join(excluded) if i == 0 else "") for i, name in enumerate(names)])
    # Written names first, then excluded phrases, then plurals, each only where nothing stands yet.
    phrases = {name: name for name in names}
    plurals = {name: name + ("es" if name.endswith("s") else "s") for name in names}
    shared = [form for form in plurals.values() if list(plurals.values()).count(form) > 1 and form not in names]
    if shared:
        return
    for other in excluded:
        phrases.setdefault(other, None)
    for name, form in plurals.items():
        phrases.setdefault(form, name)
    for other in excluded:
        phrases.setdefault(other + ("es" if other.endswith("s") else "s"), None)
    assert LabelMatcher(classes).match(text) == slow_match(phrases, text)


@given(st.text(max_size=30))
def test_wild_text_never_fails_and_case_and_spacing_do_not_matter(text):
    words = split_words(text)
    assert all(words)
    assert split_words("  ".join(words)) == words
    assert split_words("-".join(words).upper()) == split_words("-".join(words).upper().lower())
    MATCHER.match(text)


def fold_whole(text):
    """Fold a text as a whole, as the words of Unicode are compared: decomposed, case folded, without accents."""
    folded = unicodedata.normalize("NFKD", re.sub("['\u2018\u2019\u02bc]", "", text)).casefold()
    folded = unicodedata.normalize("NFKD", folded)
    return re.findall(r"[^\W\d_]+|\d+", "".join(c for c in folded if not unicodedata.combining(c)))


@settings(max_examples=500)
@given(st.text(max_size=30) | st.text(st.characters(categories=["Mn", "Lm", "Nd", "No", "Ll", "Lu"]), max_size=10))
def test_characters_are_folded_one_by_one_as_the_whole_text_is(text):
    assert split_words(text) == fold_whole(text)
    spaced = space_words(text)
    assert (
        re.findall("[a-z]+|[0-9]+", spaced) == fold_whole(text)
        if spaced.isascii()
        else spaced.split() == fold_whole(text)
    )


def test_every_character_is_folded_as_unicode_says():
    assert [code for code in range(0x110000) if split_words(chr(code)) != fold_whole(chr(code))] == []


def test_tables_are_read_back_and_checked(tmp_path):
    path = tmp_path / "classes.csv"
    write_table(path, CLASSES)
    assert read_classes(path)[list(CLASSES.columns)].values.tolist() == CLASSES.values.tolist()
    write_table(path, table(("null", "nan", "NA")))  # words that a careless reader takes for missing values
    assert read_classes(path).values.tolist() == [["null", "nan", "NA"]]
    write_table(path, table(("cat", "", ""), ("pet", "cat", "")))
    with pytest.raises(ValueError, match=r"classes\.csv"):
        read_classes(path)
    write_table(path, CLASSES[["class"]])  # a plain list of classes is enough
    assert read_classes(path)[["synonyms", "excluded_phrases"]].eq("").all(axis=None)
    write_table(path, CLASSES.drop(columns="class"))
    with pytest.raises(ValueError, match="'class' is missing"):
        read_classes(path)


def test_classes_whose_names_texts_cannot_tell_apart_are_looked_for_in_none(tmp_path, caplog):
    for name, classes in (("alike", "C\nC++\n"), ("signs", "\N{CAT}\n\N{DOG}\n"), ("words", "cat\ndog\n")):
        (tmp_path / f"{name}.csv").write_text(f"class\n{classes}", encoding="utf-8")
        caplog.clear()
        found = matcher_if_any(tmp_path / f"{name}.csv", None)
        assert (found is None) == (name != "words") == (f"{name}.csv" in caplog.text)


def test_the_committed_classes_are_candidate_nouns():
    nouns, classes = read_classes(NOUNS_CSV), read_classes(CLASSES_CSV)
    candidates = nouns[nouns["role"] == "candidate"].set_index("class")
    assert set(nouns["role"]) == {"candidate", "other"}
    assert len(classes) >= 100
    for row in classes.to_dict("records"):
        assert candidates.loc[row["class"], "synonyms"] == row["synonyms"]
        assert candidates.loc[row["class"], "excluded_phrases"] == row["excluded_phrases"]


@pytest.fixture(scope="module")
def icon_matcher():
    nouns, classes = read_classes(NOUNS_CSV), read_classes(CLASSES_CSV)
    return LabelMatcher(classes, other_nouns(nouns, classes))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("alarm-clock-off", "alarm clock"),
        ("shopping-cart-2-line", "shopping cart"),
        ("heart-rate-monitor", None),
        ("smiling-face-with-heart-eyes", None),
        ("flag-for-jersey", None),
        ("flag-france", None),
        ("chequered-flag", "flag"),
        ("folder-heart", None),
        ("cloud-sun2", None),
        ("keyboard-key", None),
        ("mouse", None),
        ("plane-departure", "airplane"),
        ("airplane-mode", None),
        ("sun-with-face", "sun"),
        ("user-star", None),
        ("file-search", None),
        ("bell-pepper", None),
        ("brown-mushroom", None),
        ("house-with-garden", "house"),
        ("fire-extinguisher", None),
        ("chef-hat-heart", None),
    ],
)
def test_names_of_icons_get_the_label_a_reader_would_give(icon_matcher, name, label):
    assert icon_matcher.label_of(name.replace("-", " ")) == label
