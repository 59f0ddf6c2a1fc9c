"""Caption variants: how the text of a record becomes one caption.

Stands alone because language at training time is one of the five causes: what a caption says must be decided in
one place, on text alone, for every source alike.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import pandas as pd

#: Variants made of a record's own text, with the columns that each joins.
TEXT_VARIANTS: dict[str, tuple[str, ...]] = {
    "title": ("title",),
    "title_description": ("title", "description"),
    "title_tags": ("title", "tags"),
    "title_description_tags": ("title", "description", "tags"),
}
VARIANTS = (*TEXT_VARIANTS, "template")


class CaptionError(ValueError):
    """A caption that cannot be made."""


def clean_text(text: str) -> str:
    """Return text in NFC form with control characters and runs of white space as single spaces."""
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", spaced)).strip()


def build_caption(
    variant: str, title: str, description: str, tags: Iterable[str], label: str | None, template: str
) -> str:
    """Return one caption; text fields are joined by ", ", empty ones left out.

    Raises:
        CaptionError: an unknown variant, or a template caption of a record without a label.
    """
    if variant == "template":
        if not label:
            raise CaptionError(f"the record titled '{title}' has no label: the variant 'template' needs labelled records")
        return clean_text(template.replace("{class}", label))
    if variant not in TEXT_VARIANTS:
        raise CaptionError(f"caption variant '{variant}' is not known: choose one of {', '.join(VARIANTS)}")
    fields = {"title": [title], "description": [description], "tags": list(tags)}
    texts = (clean_text(text) for name in TEXT_VARIANTS[variant] for text in fields[name])
    return ", ".join(text for text in texts if text)


def assemble_captions(records: pd.DataFrame, variants: Sequence[str], template: str) -> pd.DataFrame:
    """Return ``uid`` and one column of captions a variant, in the order of the records.

    Raises:
        CaptionError: a record whose caption would be empty; records without any text have to be left out before.
    """
    columns: dict[str, list[str]] = {"uid": list(records["uid"])}
    for variant in variants:
        captions = [
            build_caption(variant, row.title, row.description, row.tags, row.label, template)
            for row in records.itertuples(index=False)
        ]
        empty = [uid for uid, caption in zip(columns["uid"], captions, strict=True) if not caption]
        if empty:
            raise CaptionError(
                f"{len(empty)} records have no text for variant '{variant}', for example '{empty[0]}': leave them out"
            )
        columns[variant] = captions
    return pd.DataFrame(columns)


def shuffle_within_class(
    uids: Sequence[str], captions: Sequence[str], labels: Sequence[str], seed: int
) -> list[str]:
    """Return the captions permuted among the records of each class.

    What a caption tells about the class stays, what it tells about its own image goes. The permutation depends on
    uids and seed, not on the order of the records.
    """
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
