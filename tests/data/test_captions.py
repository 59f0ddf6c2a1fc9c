"""Caption variants: what each says, and what a shuffle within classes keeps and loses."""

import re
import unicodedata
from collections import Counter

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.data import text_cleaning
from whyrobust.data.captions import (
    CaptionError,
    assemble_captions,
    join_fields,
    shuffle_within_class,
    template_caption,
)
from whyrobust.data.text_cleaning import MAXIMUM_TEXT_CHARACTERS, clean_text
from whyrobust.study.caption_variants import CAPTION_VARIANTS

#: Fields of the variants that a record's own text makes.
FIELDS_OF_VARIANT = {
    variant.name: variant.fields for variant in CAPTION_VARIANTS.values()
    if variant.fields and not variant.needs_whole_source
}  # fmt: skip
TEMPLATE = "an icon of a {class}"


def plain_caption(variant, title, description, tags):
    """Return the caption of one record, field by field."""
    fields = {"title": [title], "description": [description], "tags": tags}
    texts = [clean_text(text) for name in FIELDS_OF_VARIANT[variant] for text in fields[name]]
    return CAPTION_VARIANTS[variant].separator.join(text for text in texts if text)


def make_records(**changes):
    columns = {
        "uid": ["a:cat", "a:dog"],
        "title": ["cat  face", "dog\n"],
        "description": ["A set by a team", ""],
        "tags": [["pets", "animal\tfaces"], []],
        "label": ["cat", "dog"],
    }
    return pd.DataFrame(columns | changes)


def test_each_variant_says_what_its_name_says():
    captions = assemble_captions(make_records(), list(CAPTION_VARIANTS), TEMPLATE).set_index("uid")
    assert captions.loc["a:cat"].to_dict() == {
        "title": "cat face",
        "title_description": "cat face, A set by a team",
        "title_tags": "cat face, pets, animal faces",
        "title_description_tags": "cat face, A set by a team, pets, animal faces",
        "title_tags_description": "cat face pets animal faces A set by a team",
        "template": "an icon of a cat",
        "shuffled": "cat face",
    }
    # Empty fields leave no trace.
    assert captions.loc["a:dog"].to_dict() == dict.fromkeys(FIELDS_OF_VARIANT, "dog") | {
        "template": "an icon of a dog",
        "shuffled": "dog",
    }
    unlabelled = assemble_captions(make_records(label=["cat", None]), ["template", "title"], TEMPLATE)
    assert unlabelled["template"].isna().tolist() == [False, True]


def test_only_the_variants_asked_for_are_made_in_the_order_of_the_records():
    captions = assemble_captions(make_records().iloc[::-1], ["template"], TEMPLATE)
    assert list(captions.columns) == ["uid", "template"]
    assert captions["uid"].tolist() == ["a:dog", "a:cat"]
    assert list(assemble_captions(make_records(), [], TEMPLATE).columns) == ["uid"]


def test_a_template_caption_says_nothing_but_the_class():
    captions = assemble_captions(make_records(title=["x", "y"], label=["cat", "cat"]), ["template"], TEMPLATE)
    assert captions["template"].nunique() == 1
    assert template_caption("two {class} {class}", "{class}") == "two {class} {class}"


def test_a_template_needs_a_label():
    for missing in (None, float("nan")):
        captions = assemble_captions(make_records(label=["cat", missing]), ["template"], TEMPLATE)["template"]
        assert captions.isna().tolist() == [False, True]
    with pytest.raises(CaptionError, match="no label"):
        assemble_captions(make_records(label=["cat", ""]), ["template"], TEMPLATE)


def test_a_template_needs_a_place_for_the_class_and_a_variant_must_be_known():
    with pytest.raises(CaptionError, match="an icon"):
        assemble_captions(make_records(), ["template"], "an icon")
    with pytest.raises(CaptionError, match="titel"):
        assemble_captions(make_records(), ["titel"], TEMPLATE)


def test_a_record_without_text_has_no_caption():
    records = make_records(title=["cat", " \u2028\x00"])
    assert assemble_captions(records, ["title"], TEMPLATE)["title"].isna().tolist() == [False, True]
    # None may have any, as in a slice of a source: training says so.
    assert assemble_captions(make_records(title=["", " "]), ["title"], TEMPLATE)["title"].isna().all()
    # Its other texts may still make a caption.
    records["tags"] = [["x"], ["pets"]]
    assert assemble_captions(records, ["title_tags"], TEMPLATE)["title_tags"].tolist() == ["cat, x", "pets"]


@given(st.text(max_size=40))
def test_cleaned_text_has_no_control_characters_and_is_clean_already(text):
    cleaned = clean_text(text)
    assert cleaned == clean_text(cleaned) == " ".join(cleaned.split())
    assert not any(ord(c) < 32 or ord(c) == 127 for c in cleaned)
    assert clean_text(f"\n {text}\t") == cleaned


rows = st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(rows=rows, seed=st.integers(0, 5), order=st.randoms())
def test_a_shuffle_keeps_the_captions_of_each_class_and_ignores_the_order_of_records(rows, seed, order):
    uids = [f"u{i}" for i in range(len(rows))]
    labels, captions = [label for label, _ in rows], [caption for _, caption in rows]
    shuffled = shuffle_within_class(uids, captions, labels, seed)
    assert Counter(zip(labels, shuffled, strict=True)) == Counter(rows)
    places = list(range(len(rows)))
    order.shuffle(places)
    again = shuffle_within_class(*([column[i] for i in places] for column in (uids, captions, labels)), seed)
    assert again == [shuffled[i] for i in places]


def test_a_shuffle_moves_nearly_every_caption_and_depends_on_the_seed():
    uids = [f"u{i}" for i in range(1000)]
    labels = ["a", "b"] * 500
    shuffles = [shuffle_within_class(uids, uids, labels, seed) for seed in (0, 1)]
    assert shuffles[0] != shuffles[1]
    for shuffled in shuffles:
        # A random permutation leaves one caption in its place, on average, in each of the two classes.
        assert sum(a == b for a, b in zip(uids, shuffled, strict=True)) < 12


def test_a_shuffle_needs_labels_and_columns_of_one_length():
    with pytest.raises(CaptionError, match="u1"):
        shuffle_within_class(["u0", "u1"], ["x", "y"], ["a", None], 0)
    with pytest.raises(CaptionError, match="1 captions"):
        shuffle_within_class(["u0", "u1"], ["x"], ["a", "a"], 0)


def test_the_same_letters_written_two_ways_make_one_caption():
    assert clean_text("cafe\u0301") == clean_text("caf\u00e9") == "caf\u00e9"


def test_shuffled_titles_stay_within_their_class_and_do_not_depend_on_order():
    names = [f"a:{number}" for number in range(12)]
    records = pd.DataFrame(
        {
            "uid": names,
            "title": [f"title {number}" for number in range(12)],
            "description": "",
            "tags": [[] for _ in names],
            "label": ["cat"] * 6 + ["dog"] * 4 + [None] * 2,
        }
    )
    found = assemble_captions(records, ["title", "shuffled"], TEMPLATE, seed=1).set_index("uid")
    for label, rows in records.groupby(records["label"].fillna("")):
        assert sorted(found.loc[rows["uid"], "shuffled"]) == sorted(rows["title"]), label
    assert (found["title"] == found["shuffled"]).mean() < 0.8
    again = assemble_captions(records[::-1], ["shuffled"], TEMPLATE, seed=1).set_index("uid")
    assert (again.loc[names, "shuffled"] == found.loc[names, "shuffled"]).all()


TEXTS = st.text(max_size=6) | st.sampled_from(
    ["a cat", " a", "a ", "a  b", "", " ", "a\nb", "~", "\x7f", "\u2028", "é"]
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.lists(TEXTS, max_size=3)), min_size=1, max_size=8),
    st.integers(0, 2),
    st.sampled_from([1, 2, 3, 100]),
)
def test_whole_columns_make_the_captions_that_single_records_make(rows, start, part):
    clean = [
        (title, text, tags)
        for title, text, tags in rows
        if not re.search("[\ud800-\udfff]", title + text + "".join(tags))
    ]
    kinds = (pa.string(), pa.large_string(), pa.list_(pa.string()))
    fields = (
        [pa.array(column, kind) for column, kind in zip(zip(*clean, strict=True), kinds, strict=False)] if clean else []
    )
    for variant, names in FIELDS_OF_VARIANT.items() if clean else ():
        columns = [fields[("title", "description", "tags").index(name)][start:] for name in names]
        expected = [plain_caption(variant, *row) or None for row in clean[start:]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text_cleaning, "TEXTS_AT_A_TIME", part)
            assert join_fields(columns, CAPTION_VARIANTS[variant].separator).to_pylist() == expected


@given(st.lists(st.integers(0, 0x10FFFF).map(chr), max_size=30).map("".join))
def test_control_characters_go_by_their_unicode_category(text):
    kept = "".join({"Cc": " ", "Zl": " ", "Zp": " ", "Cs": "\ufffd"}.get(unicodedata.category(c), c) for c in text)
    assert clean_text(text) == re.sub(r"\s+", " ", unicodedata.normalize("NFC", kept)).strip()


def test_a_text_too_long_is_cut_in_a_column_too():
    long = "a" * (MAXIMUM_TEXT_CHARACTERS + 1)
    assert join_fields([pa.array(["b", long, "c"])]).to_pylist() == ["b", long[:-1], "c"]
