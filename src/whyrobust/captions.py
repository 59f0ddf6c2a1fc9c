"""Caption variants: how the text of a record becomes one caption.

Stands alone because language at training time is one of the five causes: what a caption says must be decided
in one place, on text alone, for every source alike.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

#: Variants made of a record's own text, with the columns that each joins.
TEXT_VARIANTS: dict[str, tuple[str, ...]] = {
    "title": ("title",),
    "title_description": ("title", "description"),
    "title_tags": ("title", "tags"),
    "title_description_tags": ("title", "description", "tags"),
}
VARIANTS = (*TEXT_VARIANTS, "template", "shuffled")


#: Text is cut to this length: 60 times what a text tower reads of it. Without a bound a text of a million accents,
#: which are put in order one by one, takes hours.
MAXIMUM_TEXT_CHARACTERS = 20_000


class CaptionError(ValueError):
    """A caption that cannot be made."""


#: Categories of characters that are no text, and what stands in their place.
_REPLACED = {"Cc": " ", "Zl": " ", "Zp": " ", "Cs": "\ufffd"}


def clean_text(text: str) -> str:
    """Return text in NFC form with control characters and runs of white space as single spaces.

    Right-to-left text, emoji and what else is a character stay; half characters (lone surrogates), which no file can
    hold, become the replacement character. What is beyond `MAXIMUM_TEXT_CHARACTERS` is cut off.
    """
    spaced = "".join(_REPLACED.get(unicodedata.category(c), c) for c in text[:MAXIMUM_TEXT_CHARACTERS])
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", spaced)).strip()


def build_caption(
    variant: str, title: str, description: str, tags: Iterable[str], label: str | None, template: str
) -> str:
    """Return one caption; text fields are joined by ", ", empty ones left out.

    Args:
        variant: one of `VARIANTS`.
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
    if variant not in TEXT_VARIANTS:
        raise CaptionError(f"caption variant '{variant}' is not known: choose one of {', '.join(VARIANTS)}")
    fields = {"title": [title], "description": [description], "tags": list(tags)}
    texts = (clean_text(text) for name in TEXT_VARIANTS[variant] for text in fields[name])
    return ", ".join(text for text in texts if text)


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
        variants: of `VARIANTS`. ``shuffled`` are the titles, permuted among all records of a class in the source (not
            in a subset), so that captions are a property of the source; records without a label are one class.
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
    columns: dict[str, list[str] | list[str | None]] = {"uid": uids}
    names = class_names or {}
    fields = [list(records[name]) for name in ("title", "description", "tags", "label")]
    spoken = [names.get(label, label) if isinstance(label, str) else label for label in fields[-1]]
    for variant in variants:
        captions: list[str | None] = [
            build_caption("title" if variant == "shuffled" else variant, title, description, tags, label, template)
            or None
            if variant != "template" or isinstance(label, str)
            else None
            for title, description, tags, label in zip(*fields[:-1], spoken, strict=True)
        ]
        if whole and captions and not any(captions):
            raise CaptionError(
                f"none of {len(captions)} records has text for the caption variant '{variant}', for example "
                f"'{uids[0]}': choose another variant, or another source"
            )
        if variant == "shuffled":
            classes = [label if isinstance(label, str) else "" for label in fields[-1]]
            held = [row for row, text in enumerate(captions) if text is not None]
            shuffled = shuffle_within_class(
                [uids[row] for row in held], [str(captions[row]) for row in held], [classes[row] for row in held], seed
            )
            for row, text in zip(held, shuffled, strict=True):
                captions[row] = text
        columns[variant] = captions
    return pd.DataFrame(columns)


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
