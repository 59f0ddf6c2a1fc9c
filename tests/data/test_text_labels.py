"""Labels found in text, and how good they are."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.data.label_matcher import LabelMatcher
from whyrobust.data.text_labels import describe_matches, labels_in_batches, match_records, sum_matches

CLASSES = pd.DataFrame(
    {
        "class": ["dog", "fire", "fire truck"],
        "synonyms": ["hound", "flame", "fire engine"],
        "excluded_phrases": ["hot dog", "", ""],
    }
)
OTHERS = pd.DataFrame({"class": ["cat"], "synonyms": [""], "excluded_phrases": [""]})
MATCHER = LabelMatcher(CLASSES, OTHERS)


def records(*rows):
    return pd.DataFrame(rows, columns=["uid", "title", "description", "tags", "label"])


def found(row, fields=("title", "tags"), policy="single"):
    return match_records(records(("u", *row, None)), MATCHER, fields, policy)["label"].tolist()


@pytest.mark.parametrize(
    ("row", "single", "first"),
    [
        (("two dogs", "", []), "dog", "dog"),
        (("dogma", "", []), None, None),
        (("hot dog", "", []), None, None),
        (("fire trucks", "", []), "fire truck", "fire truck"),
        # A phrase never runs from one field, or one tag, into the next.
        (("fire", "", ["truck"]), "fire", "fire"),
        (("a", "", ["fire", "truck"]), "fire", "fire"),
        (("dog", "", ["flame"]), None, "dog"),
        (("dog", "", ["cat"]), None, "dog"),
        (("hound", "fire", ["dog"]), "dog", "dog"),
        (("", "", []), None, None),
    ],
)
def test_one_class_alone_or_the_first(row, single, first):
    assert found(row) == [single]
    assert found(row, policy="first") == [first]


def test_only_the_fields_asked_for_are_read():
    row = ("dog", "fire", [])
    assert found(row, ["title"]) == ["dog"]
    assert found(row, ["description"]) == ["fire"]
    with pytest.raises(ValueError, match="colour"):
        found(row, ["colour"])


TEXTS = st.lists(st.sampled_from(["dog", "fire truck", "cat", "hot dog", "x"]), max_size=2).map(" and ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS, st.lists(TEXTS, max_size=2)), max_size=12), st.integers(1, 5))
def test_labels_of_batches_are_those_of_each_record_alone(rows, size):
    fields = ("title", "description", "tags")
    expected = {str(uid): label for uid, row in enumerate(rows) if (label := found(row, fields)[0]) is not None}
    table = records(*((str(uid), *row, "fire") for uid, row in enumerate(rows)))
    schema = pa.schema([(name, pa.string()) for name in ("uid", "title", "description", "label")])
    schema = schema.insert(3, pa.field("tags", pa.list_(pa.string())))
    batches = pa.Table.from_pandas(table, schema, preserve_index=False).to_batches(max_chunksize=size)
    assert labels_in_batches(batches, MATCHER, fields) == expected


def test_counts_and_rates_by_class():
    table = records(
        ("1", "dog", "", [], "dog"),
        ("2", "fire", "", [], "dog"),
        ("3", "x", "", [], "fire"),
        ("4", "dog", "", [], None),
        ("5", "fire", "", [], "fire"),
    )
    described = describe_matches(table, match_records(table, MATCHER, ["title"])).set_index("class")
    assert described.loc["", ["records", "matched", "known", "right"]].tolist() == [4, 4, 3, 2]
    assert described.loc["", "precision"] == pytest.approx(2 / 3)
    assert described.loc["", "recall"] == pytest.approx(2 / 4)
    assert described.loc["dog", ["records", "matched", "known", "right"]].tolist() == [2, 2, 1, 1]
    assert described.loc["fire", ["precision", "recall"]].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="share 4"):
        describe_matches(table, match_records(table[:4], MATCHER, ["title"]))


def test_matches_of_slices_add_up_to_those_of_their_source():
    rows = [
        ("1", "dog", "", [], "dog"),
        ("2", "flame", "", [], "dog"),
        ("3", "", "", [], "fire"),
        ("4", "cat", "", [], None),
    ]
    whole = records(*rows)

    def matches(part, source):
        found = match_records(part, MATCHER, ["title"])
        table = describe_matches(part, found)
        table.insert(0, "source", source)
        return table

    slices = [matches(whole[:1], "web"), matches(whole[1:], "web"), matches(whole[:3], "a third")]
    summed = sum_matches(slices)
    assert list(dict.fromkeys(summed["source"])) == ["web", "a third"]
    for source, expected in (("web", matches(whole, "web")), ("a third", slices[2])):
        part = summed[summed["source"] == source].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, expected, check_dtype=False)
