"""ImageNet-Captions from photographs and their texts: cleaned, filtered, written and compared with the authors' list.

The authors' list has ``filename, wnid, title, description, tags`` for each image.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.flickr_texts import TEXT_SCHEMA
from whyrobust.data.readers.imagenet import read_caption_list
from whyrobust.data.text_cleaning import clean_web_field, clean_web_tags
from whyrobust.files import atomic_path

#: What became of an image.
WRITTEN = "written"
NOT_ASKED = "no source of texts was asked for its photograph, or has it"
NO_TEXT = "title, description and tags are empty"
A_VIDEO = "it is a video"
EXCLUDED = "its text has an excluded word"

#: Images whose texts are in memory at a time.
IMAGES_AT_ONCE = 10_000

#: Texts of a row of the list.
FIELDS = ("title", "description", "tags")


def read_excluded_words(path: Path | str) -> list[str]:
    """Return the words and phrases of a text with one per line; empty lines, and those that begin with #, are comments.

    Raises:
        DatasetError: the file is no text in UTF-8, or has no word.
    """
    try:
        lines = [" ".join(line.split()) for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text in UTF-8 ({error}): give a text with a word per line") from error
    words = [line for line in lines if line and not line.startswith("#")]
    if not words:
        raise DatasetError(f"{path} has no word: give one per line")
    return words


def _names_one_of(words: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a text has one of the words, as a whole word in capitals or not."""
    if not words:
        return lambda _: False
    any_word = "|".join(re.escape(word.casefold()) for word in words)
    found = re.compile(rf"(?<!\w)(?:{any_word})(?!\w)")
    return lambda text: found.search(text.casefold()) is not None


class KnownTexts:
    """Tables of texts by photograph; the first table that has texts of a photograph gives them.

    Args:
        tables: of `flickr_texts.TEXT_SCHEMA`.
    """

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self._table = pa.concat_tables([*tables, TEXT_SCHEMA.empty_table()])
        photos = self._table["photo"].to_numpy()
        without = self._table["left_out"].to_numpy(zero_copy_only=False) != ""
        # By photograph; of several rows those with texts first, then those of earlier tables.
        self._order = np.lexsort((np.arange(len(photos)), without, photos))
        self._photos = photos[self._order]

    def of(self, photos: np.ndarray[Any, np.dtype[np.int64]]) -> list[dict[str, Any] | None]:
        """Return the row of each photograph, None where no table has one."""
        if not len(self._photos):
            return [None] * len(photos)
        places = np.minimum(self._photos.searchsorted(photos), len(self._photos) - 1)
        there = self._photos[places] == photos
        rows = iter(self._table.take(pa.array(self._order[places[there]])).to_pylist())
        return [next(rows) if found else None for found in there]


def build_captions(
    photos: pa.Table, texts: Sequence[pa.Table], excluded_words: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each training image what became of it, and its row of the list, cleaned: empty where it has none.

    Args:
        photos: of `flickr_addresses.PHOTO_SCHEMA`.
        texts: of `flickr_texts.TEXT_SCHEMA`; the first table that has texts of a photograph gives them.
        excluded_words: an image whose text has one of them is left out.
    """
    known, is_excluded = KnownTexts(texts), _names_one_of(excluded_words)
    for batch in photos.to_batches(max_chunksize=IMAGES_AT_ONCE):
        rows = batch.to_pylist()
        for image, text in zip(rows, known.of(batch["photo"].to_numpy()), strict=True):
            outcome = image["left_out"] or (NOT_ASKED if text is None else text["left_out"])
            if text is None or outcome:
                yield outcome, {}
                continue
            caption = _caption_of(image["filename"], text)
            outcome = _why_filtered(caption, text["media"], is_excluded)
            yield outcome, caption if outcome == WRITTEN else {}


def _caption_of(filename: str, text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "filename": filename,
        "title": clean_web_field(text["title"]),
        "tags": clean_web_tags(text["tags"]),
        "description": clean_web_field(text["description"]),
        "wnid": filename.partition("_")[0],
    }


def _why_filtered(caption: Mapping[str, Any], media: str, is_excluded: Callable[[str], bool]) -> str:
    if media == "video":
        return A_VIDEO
    if not any(caption[field] for field in FIELDS):
        return NO_TEXT
    # On lines of their own, so that no word begins in one field and ends in the next.
    whole = "\n".join([caption["title"], caption["description"], *caption["tags"]])
    return EXCLUDED if is_excluded(whole) else WRITTEN


def write_captions(path: Path | str, outcomes: Iterable[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """Write the list of captions as JSON, an image per line, and return how many images had each outcome.

    Args:
        path: of the list.
        outcomes: see `build_captions`.

    Returns:
        A table with the columns ``outcome, images``, the most common first.

    Raises:
        DatasetError: no image has a caption.
    """
    counts: Counter[str] = Counter()
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as handle:
            for outcome, caption in outcomes:
                counts[outcome] += 1
                if caption:
                    handle.write(("[\n" if counts[WRITTEN] == 1 else ",\n") + json.dumps(caption, ensure_ascii=False))
            handle.write("\n]\n")
        if not counts[WRITTEN]:
            reasons = "; ".join(f"{count:,} x {outcome}" for outcome, count in counts.most_common(5))
            raise DatasetError(f"no training image has a caption ({reasons}): check the list of addresses")
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return pd.DataFrame(rows, columns=["outcome", "images"])


# --- The authors' list -----------------------------------------------------------------------------------------------


def compare_captions(built: Path | str, published: Path | str) -> pd.DataFrame:
    """Compare two lists of captions: how many images are in both, and of those how many texts are equal once cleaned.

    Args:
        built: a list, as JSON or zip.
        published: the other.

    Returns:
        A table with the columns ``compared, images, share_of_common``; the share is empty where it is none.

    Raises:
        DatasetError: a list cannot be read.
    """
    ours = {str(row["filename"]): row for row in read_caption_list(Path(built))}
    theirs = {str(row["filename"]): row for row in read_caption_list(Path(published))}
    common = sorted(set(ours) & set(theirs))
    equal: Counter[str] = Counter()
    for name in common:
        same = {field: _cleaned(ours[name], field) == _cleaned(theirs[name], field) for field in FIELDS}
        equal.update(field for field in FIELDS if same[field])
        equal["all"] += all(same.values())
        equal["wnid"] += ours[name]["wnid"] == theirs[name]["wnid"]
    counts = [("built", len(ours)), ("published", len(theirs)), ("in both", len(common))]
    counts += [("built only", len(ours) - len(common)), ("published only", len(theirs) - len(common))]
    found = [("equal class", equal["wnid"]), *((f"equal {field}", equal[field]) for field in FIELDS)]
    found.append(("all texts equal", equal["all"]))
    rows: list[tuple[str, int, float | None]] = [(name, count, None) for name, count in counts]
    rows += [(name, count, count / len(common) if common else None) for name, count in found]
    return pd.DataFrame(rows, columns=["compared", "images", "share_of_common"])


def _cleaned(row: Mapping[str, Any], field: str) -> str | list[str]:
    return clean_web_tags(row.get(field)) if field == "tags" else clean_web_field(row.get(field))
