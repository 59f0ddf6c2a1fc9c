"""Labels of whole columns against the loop over the words of one text after the other."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.data import phrase_search
from whyrobust.data.label_matcher import LabelMatcher, space_words
from whyrobust.data.phrase_search import PhraseFinder

# Words are told apart by eight bytes first, so some have as many, one less, or more that differ after them only.
LONG = ["halibut", "haddocks", "albatrossa", "albatrosse"]
WORDS = ["ka", "lo", "mi", "kas", "los", "café", "7", "٣", "7٣", "ж", *LONG]
LISTED = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
# Words of the phrases in many ways of writing, between what separates and what does not.
PIECES = [
    *WORDS,
    "KA",
    "Lo-",
    "mi's",
    "’s",
    "cafe\u0301",
    "CAFÉ",
    "ka7",
    "7lo",
    "_",
    "-",
    "\n",
    "\x14",
    "@[",
    "ſ",
    "ß",
    "x",
    "halibutx",
    "haddock",
    "Albatross",
    "albatrosset",
]
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).flatmap(
    lambda pieces: st.sampled_from([" ", "", " ", "-"]).map(lambda between: between.join(pieces))
)


def holds(text):
    """Tell whether a file can hold a text."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


@settings(max_examples=400)
@given(
    names=st.lists(LISTED, min_size=1, max_size=6, unique=True),
    synonyms=st.lists(LISTED, max_size=3),
    others=st.lists(LISTED, max_size=2, unique=True),
    excluded=st.lists(LISTED, max_size=3),
    records=st.lists(st.tuples(TEXT.filter(holds), st.lists(TEXT.filter(holds), max_size=3)), max_size=8),
    part=st.integers(1, 5),
    start=st.integers(0, 3),
    # With few of them, different words have one hash.
    hash_bits=st.sampled_from([2, 17]),
)
def test_columns_are_labelled_as_single_records_are(names, synonyms, others, excluded, records, part, start, hash_bits):
    empty = [""] * len(names)
    classes = pd.DataFrame({"class": names, "synonyms": [";".join(synonyms), *empty[1:]], "excluded_phrases": empty})
    classes.loc[0, "excluded_phrases"] = ";".join(excluded)
    other = pd.DataFrame({"class": others, "synonyms": "", "excluded_phrases": ""})
    try:
        matcher = LabelMatcher(classes, other, shared="ambiguous")
    except ValueError:
        return
    # A part of longer columns, as a batch of a file may be.
    titles = pa.array([title for title, _ in records], pa.string())[start:]
    tags = pa.array([tags for _, tags in records], pa.list_(pa.string()))[start:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phrase_search, "TEXTS_AT_A_TIME", part)
        patch.setattr(phrase_search, "_HASH_BITS", hash_bits)
        for policy in ("single", "first"):
            expected = [matcher.label_of_all([title, *tags], policy) for title, tags in records[start:]]
            assert matcher.label_records([titles, tags], policy, threads=2).to_pylist() == expected
            alone = [matcher.label_of(title, policy) for title, _ in records[start:]]
            assert matcher.label_records([titles.cast(pa.large_string())], policy).to_pylist() == alone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fire truck", ["fire truck"]),
        ("fire fire truck fire", ["fire", "fire truck", "fire"]),
        # Of phrases that overlap the first is taken, then what is left of the words.
        ("big fire truck stop", ["big fire", "truck stop"]),
        ("big fire truck stop sign", ["big fire", "truck stop sign"]),
        ("fire truck stop sign", ["fire truck", "sign"]),
        ("fire-TRUCK", ["fire truck"]),
        ("fire\ntruck", ["fire truck"]),
        ("fire's truck", []),
        ("firetruck", []),
        ("fire2truck", ["fire"]),
        ("truck", []),
        ("", []),
    ],
)
def test_the_first_and_longest_phrase_takes_its_words(text, expected):
    listed = ["fire", "fire truck", "big fire", "truck stop", "truck stop sign", "sign"]
    finder = PhraseFinder({tuple(phrase.split()): row for row, phrase in enumerate(listed)}, space_words)
    # Between others, of which no word may be taken.
    found = finder.find(pa.array(["big", text, "truck"]))
    assert [listed[row] for place, row in zip(found.texts, found.phrases, strict=True) if place == 1] == expected
    assert finder.find(pa.array([], pa.string())).texts.tolist() == []


@pytest.mark.parametrize("hash_bits", [2, 17])
def test_words_that_begin_with_the_same_eight_bytes_are_told_apart(monkeypatch, hash_bits):
    monkeypatch.setattr(phrase_search, "_HASH_BITS", hash_bits)
    known = ["albatrossa", "albatrosse", "haddocks", "ka"]
    finder = PhraseFinder({(word,): row for row, word in enumerate(known)}, space_words)
    unknown = ["albatros", "albatrossi", "albatrossae", "haddock", "haddocksx", "kas"]
    found = finder.find(pa.array([*unknown, *known, *unknown]))
    assert found.texts.tolist() == [6, 7, 8, 9]
    assert found.phrases.tolist() == [0, 1, 2, 3]


def test_texts_beyond_ascii_take_their_place_among_the_others():
    finder = PhraseFinder({("cafe",): 0, ("fire",): 1}, space_words)
    found = finder.find(pa.array(["fire", "Fire, café", "naïve", "fire café-fire", "fire"]))
    assert found.texts.tolist() == [0, 1, 1, 3, 3, 3, 4]
    assert found.phrases.tolist() == [1, 1, 0, 1, 0, 1, 1]
