"""How varied captions are: measures of the texts alone, by which the caption variants of one source are compared.

Santurkar et al. 2022 (arXiv 2207.07635) find that captions help where they are descriptive and vary little. How well a
text describes its picture takes a large image-text model to judge, which is not here. These are plain measures of the
text, under their own names: how often words and captions come again, and how alike the captions of one class are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from whyrobust.data.label_matcher import split_words

#: Images whose captions are compared, drawn by a seed: tables of millions need not be in memory.
IMAGES_COMPARED = 100_000

VARIETY_COLUMNS = (
    "captions", "words", "distinct_caption_share", "words_compared", "distinct_word_share", "distinct_pair_share",
    "similarity_in_class", "similarity_between_classes",
)  # fmt: skip


def draw_images(count: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of `IMAGES_COMPARED` images, or of all where there are fewer, in their order."""
    if count <= IMAGES_COMPARED:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, IMAGES_COMPARED, replace=False))


def describe_variety(variants: Mapping[str, Sequence[str | None]], labels: Sequence[str | None]) -> pd.DataFrame:
    """Return a row for each caption variant of a source.

    Args:
        variants: captions of the same images by variant; None or empty text where an image has none.
        labels: the class of each image, None where it has none.

    Returns:
        ``caption`` (the variant) and `VARIETY_COLUMNS`: captions that are not empty and their words (`split_words`);
        different captions as a share of all; of the first ``words_compared`` words, as many for each variant since a
        longer text repeats more, different words as a share (type-token ratio), and different pairs of neighbours
        within a caption as a share of all pairs (distinct bigrams, Li et al. 2016); and the mean cosine of the TF-IDF
        vectors of two captions of one class, and of two classes. A value is nan where there is nothing to compare.
    """
    split = {name: [split_words(text or "") for text in texts] for name, texts in variants.items()}
    compared = min((sum(map(len, words)) for words in split.values()), default=0)
    rows = []
    for name, texts in variants.items():
        words = split[name]
        held = [text for text in texts if text]
        inside, between = class_similarity(words, labels)
        rows.append(
            {
                "caption": name,
                "captions": len(held),
                "words": sum(map(len, words)),
                "distinct_caption_share": _share(len(set(held)), len(held)),
                "words_compared": compared,
                "distinct_word_share": distinct_share(words, 1, compared),
                "distinct_pair_share": distinct_share(words, 2, compared),
                "similarity_in_class": inside,
                "similarity_between_classes": between,
            }
        )
    return pd.DataFrame(rows, columns=["caption", *VARIETY_COLUMNS])


def distinct_share(captions: Sequence[Sequence[str]], length: int, words: int) -> float:
    """Return different runs of ``length`` words within captions as a share of all such runs, nan where there is none.

    Args:
        captions: the words of each.
        length: 1 for single words, 2 for pairs of neighbours.
        words: only so many, from the first caption on.
    """
    seen: set[tuple[str, ...]] = set()
    count = 0
    for caption in captions:
        taken = caption[:words]
        words -= len(taken)
        runs = list(zip(*(taken[start:] for start in range(length)), strict=False))
        count += len(runs)
        seen.update(runs)
        if words <= 0:
            break
    return _share(len(seen), count)


def class_similarity(captions: Sequence[Sequence[str]], labels: Sequence[str | None]) -> tuple[float, float]:
    """Return the mean cosine of the TF-IDF vectors of two captions of one class, and of two classes.

    Means are over all pairs of captions with words and a label: the sum over the pairs of a class is half of what the
    square of the sum of its vectors has beyond their number, so that no pair is looked at. A word weighs
    ``1 + ln((1 + n) / (1 + captions with it))`` each time it comes (scikit-learn's default).

    Args:
        captions: the words of each.
        labels: their classes; captions of images without one are left out.
    """
    kept = [(words, label) for words, label in zip(captions, labels, strict=True) if words and label is not None]
    if not kept:
        return float("nan"), float("nan")
    vectors = tf_idf([words for words, _ in kept])
    classes = np.unique([str(label) for _, label in kept], return_inverse=True)[1]
    members = np.bincount(classes)
    of_class = sparse.csr_matrix((np.ones(len(kept)), (classes, np.arange(len(kept)))), (len(members), len(kept)))
    sums = of_class @ vectors
    squares = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
    total = np.asarray(vectors.sum(axis=0)).ravel()
    pairs_inside = float((members * (members - 1.0)).sum())
    pairs_between = float(len(kept)) ** 2 - float((members.astype(float) ** 2).sum())
    inside = float(squares.sum() - len(kept)) / pairs_inside if pairs_inside else float("nan")
    between = float(total @ total - squares.sum()) / pairs_between if pairs_between else float("nan")
    return inside, between


def tf_idf(captions: Sequence[Sequence[str]]) -> sparse.csr_matrix:
    """Return a row of length 1 for each caption, which has a word or more; a column for each word."""
    column: dict[str, int] = {}
    rows, columns, counts = list[int](), list[int](), list[int]()
    for row, words in enumerate(captions):
        for word, count in Counter(words).items():
            rows.append(row)
            columns.append(column.setdefault(word, len(column)))
            counts.append(count)
    matrix = sparse.csr_matrix((np.asarray(counts, float), (rows, columns)), (len(captions), len(column)))
    held = np.bincount(columns, minlength=len(column))
    weighted = matrix @ sparse.diags(1 + np.log((1 + len(captions)) / (1 + held)))
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / lengths) @ weighted)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
