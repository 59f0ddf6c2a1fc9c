"""How varied captions are: every measure against a slow plain computation, and texts whose answer is known."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from whyrobust.data import caption_variety
from whyrobust.data.caption_variety import class_similarity, describe_variety, distinct_share, draw_images
from whyrobust.data.label_matcher import split_words

WORDS = ["a", "red", "cat", "dog", "on", "the", "mat", "two"]


def drawn_captions(rng, count):
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(0, 6))) or None for _ in range(count)]
    labels = [rng.choice(["cat", "dog", "mug", None]) for _ in range(count)]
    return texts, labels


def plain_cosine(one, other, captions):
    """Return the cosine of two captions by the definition of TF-IDF, word for word."""
    weight = {
        word: 1 + math.log((1 + len(captions)) / (1 + sum(word in caption for caption in captions))) for word in WORDS
    }
    first, second = ([caption.count(word) * weight[word] for word in WORDS] for caption in (one, other))
    lengths = math.sqrt(sum(value**2 for value in first)) * math.sqrt(sum(value**2 for value in second))
    return sum(a * b for a, b in zip(first, second, strict=True)) / lengths


@pytest.mark.parametrize("seed", range(4))
def test_similarity_is_the_mean_over_all_pairs(seed):
    texts, labels = drawn_captions(random.Random(seed), 24)
    words = [split_words(text or "") for text in texts]
    kept = [(caption, label) for caption, label in zip(words, labels, strict=True) if caption and label]
    found = {True: [], False: []}
    for (one, label), (other, second) in itertools.combinations(kept, 2):
        found[label == second].append(plain_cosine(one, other, [caption for caption, _ in kept]))
    inside, between = class_similarity(words, labels)
    assert inside == pytest.approx(np.mean(found[True])) and between == pytest.approx(np.mean(found[False]))


@pytest.mark.parametrize("seed", range(4))
def test_shares_of_different_words_are_counted_over_as_many_words_for_each_variant(seed):
    rng = random.Random(seed)
    variants = {"short": drawn_captions(rng, 9)[0], "long": drawn_captions(rng, 30)[0][:9]}
    table = describe_variety(variants, ["cat"] * 9).set_index("caption")
    words = {name: [split_words(text or "") for text in texts] for name, texts in variants.items()}
    fewest = min(len(list(itertools.chain(*split))) for split in words.values())
    for name, split in words.items():
        # Word by word, each with the number of its caption.
        flat = [(number, word) for number, caption in enumerate(split) for word in caption][:fewest]
        pairs = [(one[1], other[1]) for one, other in itertools.pairwise(flat) if one[0] == other[0]]
        assert table.loc[name, "words_compared"] == fewest
        assert table.loc[name, "distinct_word_share"] == pytest.approx(len({word for _, word in flat}) / fewest)
        assert table.loc[name, "distinct_pair_share"] == pytest.approx(len(set(pairs)) / len(pairs))
        assert table.loc[name, "captions"] == sum(text is not None for text in variants[name])


def test_measures_of_texts_whose_answer_is_known():
    same = ["a red cat"] * 3
    varied = ["a red cat", "two dogs run", "the mat"]
    table = describe_variety({"same": same, "varied": varied}, ["cat", "cat", "dog"]).set_index("caption")
    assert table.loc["same", ["captions", "words", "words_compared"]].tolist() == [3, 9, 8]
    assert table.loc["same", "distinct_caption_share"] == pytest.approx(1 / 3)
    assert table.loc["same", "similarity_in_class"] == pytest.approx(1)
    assert table.loc["same", "similarity_between_classes"] == pytest.approx(1)
    assert table.loc["varied", ["distinct_caption_share", "distinct_word_share", "distinct_pair_share"]].eq(1).all()
    assert table.loc["varied", "similarity_in_class"] == pytest.approx(0)
    # Of eight words: three, three, two, so five pairs within captions, of which two are different.
    assert distinct_share([caption.split() for caption in same], 2, 8) == pytest.approx(2 / 5)
    nothing = describe_variety({"none": [None, ""]}, ["cat", "dog"]).iloc[0]
    assert nothing["captions"] == 0 and math.isnan(nothing["distinct_word_share"])
    assert math.isnan(nothing["similarity_in_class"])
    assert all(math.isnan(value) for value in class_similarity([["a"]], ["cat"]))


def test_so_many_images_are_drawn_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr(caption_variety, "IMAGES_COMPARED", 5)
    assert draw_images(4, 0).tolist() == [0, 1, 2, 3]
    rows = draw_images(100, 0)
    assert len(set(rows)) == 5 and (np.diff(rows) > 0).all() and draw_images(100, 0).tolist() == rows.tolist()
    assert len(set(draw_images(6, 0))) == 5, "none comes twice"
