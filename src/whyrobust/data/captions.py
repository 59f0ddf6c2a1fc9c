"""Captions: what a training image is captioned with, made from the text of its record.

`assemble_captions` makes the captions of a source, one column per variant. The variants, and the fields that each
joins, are listed in `whyrobust.study.caption_variants`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from whyrobust.data.records import CAPTION_PREFIX
from whyrobust.data.text_cleaning import clean_text, clean_texts
from whyrobust.data.text_columns import text_column
from whyrobust.study.caption_variants import CAPTION_VARIANTS


class CaptionError(ValueError):
    """A caption that cannot be made."""


def join_fields(fields: Sequence[pa.Array], separator: str = ", ") -> pa.Array:
    """Return the cleaned texts of each record joined, empty ones left out; null where none is left.

    Args:
        fields: Arrow strings, or lists of strings, one per record; none missing.
        separator: between the fields, and between the strings of a list.
    """
    joined: list[pa.Array] = []
    for field in fields:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            joined.append(_join_lists(field, separator))
        else:
            joined.append(_null_where_empty(clean_texts(field)))
    texts = joined[0]
    for more in joined[1:]:
        texts, more = texts.cast(pa.large_string()), more.cast(pa.large_string())
        both = pc.binary_join_element_wise(texts, more, pa.scalar(separator, pa.large_string()))
        texts = pc.coalesce(both, texts, more)
    return texts


def _join_lists(lists: pa.Array, separator: str) -> pa.Array:
    """Return the cleaned texts of each list joined by a separator, empty ones left out; null where none is left."""
    texts = _null_where_empty(clean_texts(lists.flatten()))
    held = pc.is_valid(texts)
    owners = pc.list_parent_indices(lists).filter(held).to_numpy()
    ends = np.searchsorted(owners, np.arange(len(lists) + 1)).astype(np.int32)
    kept = pa.ListArray.from_arrays(pa.array(ends), texts.filter(held).cast(pa.string()))
    return _null_where_empty(pc.binary_join(kept, separator))


def _null_where_empty(texts: pa.Array) -> pa.Array:
    empty = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(empty, pa.scalar(None, texts.type), texts) if pc.any(empty).as_py() else texts


def template_caption(template: str, class_name: str) -> str:
    """Return the template caption of a class.

    Args:
        template: a sentence with ``{class}`` in it, used as it is written: there is no choice of "a" or "an".
        class_name: what the class is called.

    Raises:
        CaptionError: the template has no ``{class}`` in it, or the class has no name.
    """
    if "{class}" not in template:
        raise CaptionError(f"the template '{template}' has no {{class}} in it: every caption would be the same")
    if not class_name:
        raise CaptionError("a record has no label, but an empty one: leave it missing, or give the record its class")
    return clean_text(template.replace("{class}", class_name))


def assemble_captions(
    records: pd.DataFrame,
    variants: Sequence[str],
    template: str = "",
    seed: int = 0,
    class_names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return ``uid`` and one column of captions per variant, in the order of the records.

    Args:
        records: with ``uid, title, description, tags, label``: those of a source or, without ``shuffled``, of a slice;
            and a column per variant of the source's own.
        variants: of `CAPTION_VARIANTS`, or of the source's own. ``shuffled`` are the titles, permuted among all records
            of a class in the source (not in a subset), so that captions are a property of the source; records without a
            label are one class.
        template: sentence of the variant ``template``, which alone needs it; the caption of a record without a label is
            missing.
        seed: of the permutation.
        class_names: what a class is called in the template; the class itself if left out.

    Returns:
        A caption is missing where a record has no text for the variant; a run learns nothing from it.

    Raises:
        CaptionError: a variant is not known, or the template has no ``{class}``.
    """
    uids: list[str] = list(records["uid"])
    columns: dict[str, pa.Array] = {}
    names = class_names or {}
    labels = [label if isinstance(label, str) else None for label in records["label"]]
    for variant in variants:
        if variant == "template":
            captions = _template_captions(labels, names, template)
        elif variant in CAPTION_VARIANTS:
            row = CAPTION_VARIANTS[variant]
            captions = join_fields([text_column(records[name]) for name in row.fields], row.separator)
        elif f"{CAPTION_PREFIX}{variant}" in records:
            captions = join_fields([text_column(records[f"{CAPTION_PREFIX}{variant}"])])
        else:
            raise CaptionError(f"caption variant '{variant}' is not known: choose one of {', '.join(CAPTION_VARIANTS)}")
        if variant == "shuffled":
            captions = _shuffle(captions, uids, labels, seed)
        columns[variant] = captions
    table = pa.table(columns).to_pandas() if columns else pd.DataFrame(index=range(len(uids)))
    table.insert(0, "uid", uids)
    return table


def _template_captions(labels: Sequence[str | None], names: Mapping[str, str], template: str) -> pa.Array:
    """Return the template caption of each record, null without a label; each class's caption is made once."""
    caption_of = {
        label: template_caption(template, names.get(label, label)) or None
        for label in dict.fromkeys(labels)
        if label is not None
    }
    return pa.array([None if label is None else caption_of[label] for label in labels], pa.string())


def _shuffle(captions: pa.Array, uids: Sequence[str], labels: Sequence[str | None], seed: int) -> pa.Array:
    """Return captions permuted among the records of each class that have one; null stays null."""
    texts = captions.to_pylist()
    held = [row for row, text in enumerate(texts) if text is not None]
    shuffled = shuffle_within_class(
        [uids[row] for row in held], [texts[row] for row in held], [labels[row] or "" for row in held], seed
    )
    for row, text in zip(held, shuffled, strict=True):
        texts[row] = text
    return pa.array(texts, pa.string())


def shuffle_within_class(uids: Sequence[str], captions: Sequence[str], labels: Sequence[str], seed: int) -> list[str]:
    """Return the captions permuted among the records of each class.

    What a caption says about the class stays, what it says about its own image is lost. The permutation depends on uids
    and seed, not on the order of the records. A class of one record keeps its caption.

    Args:
        uids: uids of the records, each once.
        captions: their captions, in the same order.
        labels: their classes, in the same order.
        seed: another seed gives another permutation.

    Raises:
        CaptionError: the three differ in length, or a record has no label.
    """
    if not len(uids) == len(captions) == len(labels):
        raise CaptionError(
            f"{len(uids)} uids, {len(captions)} captions and {len(labels)} labels: give one of each per record"
        )
    by_class: dict[str, list[int]] = {}
    for row, (uid, label) in enumerate(zip(uids, labels, strict=True)):
        if not isinstance(label, str):
            raise CaptionError(f"the record '{uid}' has no label: captions are shuffled among labelled records")
        by_class.setdefault(label, []).append(row)
    shuffled = list(captions)
    for label, rows in by_class.items():
        in_order = sorted(rows, key=lambda row: uids[row])
        permuted = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\x00{label}\x00{uids[row]}".encode()).digest())
        for target, origin in zip(in_order, permuted, strict=True):
            shuffled[target] = captions[origin]
    return shuffled
