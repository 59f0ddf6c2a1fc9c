"""Caption variants: how the text of a record becomes one caption.

`assemble_captions` makes the captions of a source, one column per variant; `clean_text` is the cleaning that all text
goes through. The variants are listed in `whyrobust.study.caption_variants`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from whyrobust.data.text_columns import replace_texts, text_buffers, text_column
from whyrobust.study.caption_variants import CAPTION_VARIANTS

#: Text is cut to this length: 60 times what a text tower reads of it. Without a bound a text of a million accents,
#: which are put in order one by one, takes hours.
MAXIMUM_TEXT_CHARACTERS = 20_000


class CaptionError(ValueError):
    """A caption that cannot be made."""


#: Control characters (Unicode's category Cc) and separators of lines and paragraphs (Zl, Zp).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return text in NFC form with control characters and runs of white space as single spaces.

    Right-to-left text, emoji and what else is a character stay; half characters (lone surrogates), which no file can
    hold, become the replacement character. What is beyond `MAXIMUM_TEXT_CHARACTERS` is cut off.
    """
    cut = text[:MAXIMUM_TEXT_CHARACTERS]
    if not cut.isprintable():
        cut = _HALF_CHARACTER.sub("\ufffd", _CONTROL.sub(" ", cut))
    return " ".join(unicodedata.normalize("NFC", cut).split())


def clean_texts(texts: pa.Array) -> pa.Array:
    """Return Arrow strings, each as `clean_text` makes it; those that are clean ASCII already cost next to nothing."""
    offsets, content = text_buffers(texts)
    space = content == ord(" ")
    unclean = (content < ord(" ")) | (content > ord("~"))
    unclean[1:] |= space[1:] & space[:-1]
    # The first and the last byte of each text that has any; what would join two texts is found again, to no harm.
    held = offsets[:-1] < offsets[1:]
    unclean[offsets[:-1][held]] |= space[offsets[:-1][held]]
    unclean[offsets[1:][held] - 1] |= space[offsets[1:][held] - 1]
    changed = np.diff(offsets) > MAXIMUM_TEXT_CHARACTERS
    changed[np.searchsorted(offsets, np.flatnonzero(unclean), side="right") - 1] = True
    return replace_texts(texts, pa.array(changed), clean_text) if changed.any() else texts


def join_fields(fields: Sequence[pa.Array]) -> pa.Array:
    """Return the cleaned texts of each record joined by ", ", empty ones left out; null where none is left.

    Args:
        fields: Arrow strings, or lists of strings, one a record; none missing.
    """
    joined: list[pa.Array] = []
    for field in fields:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            joined.append(_join_lists(field))
        else:
            joined.append(_null_where_empty(clean_texts(field)))
    texts = joined[0]
    for more in joined[1:]:
        texts, more = texts.cast(pa.large_string()), more.cast(pa.large_string())
        both = pc.binary_join_element_wise(texts, more, pa.scalar(", ", pa.large_string()))
        texts = pc.coalesce(both, texts, more)
    return texts


def _join_lists(lists: pa.Array) -> pa.Array:
    """Return the cleaned texts of each list joined by ", ", empty ones left out; null where none is left."""
    texts = _null_where_empty(clean_texts(lists.flatten()))
    held = pc.is_valid(texts)
    owners = pc.list_parent_indices(lists).filter(held).to_numpy()
    ends = np.searchsorted(owners, np.arange(len(lists) + 1)).astype(np.int32)
    kept = pa.ListArray.from_arrays(pa.array(ends), texts.filter(held).cast(pa.string()))
    return _null_where_empty(pc.binary_join(kept, ", "))


def _null_where_empty(texts: pa.Array) -> pa.Array:
    empty = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(empty, pa.scalar(None, texts.type), texts) if pc.any(empty).as_py() else texts


def build_caption(
    variant: str, title: str, description: str, tags: Iterable[str], label: str | None, template: str
) -> str:
    """Return one caption; text fields are joined by ", ", empty ones left out.

    Args:
        variant: one of `CAPTION_VARIANTS`.
        title: the record's title.
        description: the record's description.
        tags: the record's tags.
        label: the record's class, or None (or a missing value) if it has none.
        template: a sentence with ``{class}`` in it, used as it is written: there is no choice of "a" or "an".

    Raises:
        CaptionError: an unknown variant, a template without ``{class}``, or a template caption of a record
            without a label.
    """
    if variant == "template":
        if "{class}" not in template:
            raise CaptionError(f"the template '{template}' has no {{class}} in it: every caption would be the same")
        if not isinstance(label, str) or not label:
            raise CaptionError(
                f"the record titled '{title}' has no label: the variant 'template' needs labelled records"
            )
        return clean_text(template.replace("{class}", label))
    if variant not in CAPTION_VARIANTS or CAPTION_VARIANTS[variant].needs_whole_source:
        raise CaptionError(_unknown(variant))
    fields = {"title": [title], "description": [description], "tags": list(tags)}
    texts = (clean_text(text) for name in CAPTION_VARIANTS[variant].fields for text in fields[name])
    return ", ".join(text for text in texts if text)


def _unknown(variant: str) -> str:
    return f"caption variant '{variant}' is not known: choose one of {', '.join(CAPTION_VARIANTS)}"


def assemble_captions(
    records: pd.DataFrame,
    variants: Sequence[str],
    template: str,
    seed: int = 0,
    class_names: Mapping[str, str] | None = None,
    whole: bool = True,
) -> pd.DataFrame:
    """Return ``uid`` and one column of captions a variant, in the order of the records.

    Args:
        records: with ``uid, title, description, tags, label``.
        variants: of `CAPTION_VARIANTS`. ``shuffled`` are the titles, permuted among all records of a class in the
            source (not in a subset), so that captions are a property of the source; records without a label are one
            class.
        template: sentence of the variant ``template``; the caption of a record without a label is missing.
        seed: of the permutation.
        class_names: what a class is called in the template; the class itself where left out.
        whole: whether these are all records of a source. Of a part, none may have text, and none can be shuffled.

    Returns:
        A caption is missing where a record has no text for the variant; a run learns nothing from it.

    Raises:
        CaptionError: no record has text for a variant; a part of a source is to be shuffled.
    """
    if not whole and "shuffled" in variants:
        raise CaptionError("captions are shuffled among all records of a source: take its slices away, or the variant")
    uids: list[str] = list(records["uid"])
    columns: dict[str, pa.Array] = {}
    names = class_names or {}
    labels = [label if isinstance(label, str) else None for label in records["label"]]
    for variant in variants:
        if variant == "template":
            captions = _template_captions(list(records["title"]), labels, names, template)
        elif variant in CAPTION_VARIANTS:
            captions = join_fields([text_column(records[name]) for name in CAPTION_VARIANTS[variant].fields])
        else:
            raise CaptionError(_unknown(variant))
        if whole and len(captions) and captions.null_count == len(captions):
            raise CaptionError(
                f"none of {len(captions)} records has text for the caption variant '{variant}', for example "
                f"'{uids[0]}': choose another variant, or another source"
            )
        if variant == "shuffled":
            texts = captions.to_pylist()
            held = [row for row, text in enumerate(texts) if text is not None]
            shuffled = shuffle_within_class(
                [uids[row] for row in held], [texts[row] for row in held], [labels[row] or "" for row in held], seed
            )
            for row, text in zip(held, shuffled, strict=True):
                texts[row] = text
            captions = pa.array(texts, pa.string())
        columns[variant] = captions
    table = pa.table(columns).to_pandas() if columns else pd.DataFrame(index=range(len(uids)))
    table.insert(0, "uid", uids)
    return table


def _template_captions(
    titles: Sequence[str], labels: Sequence[str | None], names: Mapping[str, str], template: str
) -> pa.Array:
    """Return the template caption of each record, null without a label; a class's sentence is made once."""
    made: dict[str, str] = {}
    for title, label in zip(titles, labels, strict=True):
        if label is not None and label not in made:
            made[label] = build_caption("template", title, "", [], names.get(label, label), template)
    return pa.array([made[label] or None if label is not None else None for label in labels], pa.string())


def share_unchanged(captions: Sequence[str], shuffled: Sequence[str]) -> float:
    """Return the share of records whose shuffled caption says what their own does.

    It is above 0 since records of one class may have equal titles: what shuffling takes away is that much less.
    """
    same = sum(own == other for own, other in zip(captions, shuffled, strict=True))
    return same / len(captions) if len(captions) else 0.0


def shuffle_within_class(uids: Sequence[str], captions: Sequence[str], labels: Sequence[str], seed: int) -> list[str]:
    """Return the captions permuted among the records of each class.

    What a caption tells about the class stays, what it tells about its own image goes. The permutation
    depends on uids and seed, not on the order of the records. A class of one record keeps its caption.

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
            f"{len(uids)} uids, {len(captions)} captions and {len(labels)} labels: give one each a record"
        )
    for uid, label in zip(uids, labels, strict=True):
        if not isinstance(label, str):
            raise CaptionError(
                f"the record '{uid}' has no label: captions are shuffled within classes of labelled ones"
            )
    by_class: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        by_class.setdefault(label, []).append(row)
    shuffled = list(captions)
    for label, rows in by_class.items():
        ordered = sorted(rows, key=lambda row: uids[row])
        drawn = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\x00{label}\x00{uids[row]}".encode()).digest())
        for target, origin in zip(ordered, drawn, strict=True):
            shuffled[target] = captions[origin]
    return shuffled
