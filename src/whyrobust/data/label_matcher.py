"""Finding class names in text (text matching): word boundaries, plurals, longest match first.

The same matcher labels icons by their names and photographs by their captions. Fang et al. 2022 (arXiv 2205.01397,
section 5) label text by the same idea: a text that names exactly one class is an example of it.

A table of classes has the columns ``class``, ``synonyms`` and ``excluded_phrases``; the last two hold phrases
separated by ``;``. An excluded phrase is a name of something else ("hot dog" is no dog): its words name no
class.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from whyrobust.data.phrase_search import PhraseFinder
from whyrobust.data.text_columns import Integers, replace_texts, text_buffers, texts_with
from whyrobust.study.class_table import class_table_text

logger = logging.getLogger("whyrobust")

CLASS_COLUMNS = ("class", "synonyms", "excluded_phrases")

LabelPolicy = Literal["single", "first"]

SharedNames = Literal["error", "ambiguous"]
"""How a phrase that two classes share is treated: as an error in the table, or as a name that gives no label."""

_WORD = re.compile(r"[^\W\d_]+|\d+")
_APOSTROPHES = "'\u2018\u2019\u02bc"
_HASHTAG = re.compile(r"#\w+")
_WORDS_RUN_TOGETHER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_IRREGULAR_PLURALS: Mapping[str, str] = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "tooth": "teeth",
    "woman": "women",
}


def split_words(text: str) -> list[str]:
    """Split text into words: lower case, no accents; hyphens, underscores and other marks separate words.

    Letters and digits are separate words (``cloud2`` is ``cloud 2``), since names are numbered both ways.
    Apostrophes join ("men's" is ``mens``), so that both ways of writing a possessive are one word.
    """
    if text.isascii():
        return _WORD.findall(text.replace("'", "").lower())
    return _WORD.findall(text.translate(_FOLDED))


def split_hashtags(text: str) -> str:
    """Return a text in which the words of a hashtag that are told by capitals (#GoldenRetriever) stand apart."""
    return _HASHTAG.sub(lambda found: _WORDS_RUN_TOGETHER.sub(" ", found[0]), text) if "#" in text else text


def _split_hashtags_of(texts: pa.Array) -> pa.Array:
    """Return Arrow strings with their hashtags split; most texts have none, and a column without any is returned."""
    offsets, content = text_buffers(texts)
    rows = texts_with(content == ord("#"), offsets)
    if not len(rows):
        return texts
    tagged = np.zeros(len(texts), dtype=np.bool_)
    tagged[rows] = True
    return replace_texts(texts, pa.array(tagged), split_hashtags)


def space_words(text: str) -> str:
    """Return a text whose words (`split_words`) are separated by spaces, or by ASCII characters that are in no word.

    A letter and a digit of ASCII may follow each other, since a word ends between them in any text.
    """
    folded = text.translate(_FOLDED)
    return folded if folded.isascii() else " ".join(_WORD.findall(folded))


class _Folded(dict[int, str]):
    """What each character becomes when words are compared, computed when first asked for: lower case, no accents."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in _APOSTROPHES:
            folded = ""
        else:
            folded = unicodedata.normalize("NFKD", character).casefold()
            # Case folding can bring back combined characters, so decompose once more before the accents go.
            folded = unicodedata.normalize("NFKD", folded)
            folded = "".join(part for part in folded if not unicodedata.combining(part))
            folded = "".join(part if part.isalnum() else " " for part in folded)
        self[code] = folded
        return folded


_FOLDED = _Folded()


def plural_forms(word: str) -> set[str]:
    """Return the plural spellings of an English noun, not the noun itself; several where usage differs."""
    if word in _IRREGULAR_PLURALS:
        return {_IRREGULAR_PLURALS[word]}
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return {word + "es"}
    if word.endswith("y") and len(word) > 1 and word[-2] not in "aeiou":
        return {word[:-1] + "ies"}
    forms = {word + "s"}
    if word.endswith("o"):
        forms.add(word + "es")
    elif word.endswith("fe"):
        forms.add(word[:-2] + "ves")
    elif word.endswith("f"):
        forms.add(word[:-1] + "ves")
    return forms


def split_phrases(cell: object) -> list[str]:
    """Split a table cell of phrases separated by ``;``. A missing or empty cell has none."""
    if not isinstance(cell, str):
        return []
    return [phrase.strip() for phrase in cell.split(";") if phrase.strip()]


def read_classes(path: Path | str, shared: SharedNames = "error") -> pd.DataFrame:
    """Read a table of classes or of candidate nouns (CSV) and check it by building a matcher from it.

    Args:
        path: the table; only the column ``class`` is needed.
        shared: as in `LabelMatcher`.

    Returns:
        The columns of the file, text columns never missing (an empty cell is an empty text).

    Raises:
        ValueError: the column ``class`` is missing, a class is listed twice, or two classes share a name.
    """
    text = io.StringIO(class_table_text(path))
    frame = pd.read_csv(text, dtype=dict.fromkeys((*CLASS_COLUMNS, "name"), str), keep_default_na=False)
    if "class" not in frame.columns:
        raise ValueError(f"{path}: column 'class' is missing; a table of classes has {list(CLASS_COLUMNS)}")
    for name in CLASS_COLUMNS:
        if name not in frame.columns:
            frame[name] = ""
    try:
        LabelMatcher(frame, shared=shared)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return frame


@dataclass(frozen=True)
class _Target:
    """The classes that a phrase names: none for a phrase that names no class, several for one that classes share."""

    names: tuple[str, ...]
    is_class: bool
    written: bool
    """False for a plural that was derived, which gives way to a phrase that was written."""


class LabelMatcher:
    """Finds classes in text.

    Words are read from left to right. At each word the longest phrase of the table that starts there is found, and the
    search goes on after it; where none starts, at the next word. So a longer phrase hides its words ("fire truck" is
    no fire, "hot dog" no dog). The last word of a phrase may be in the plural.

    Args:
        classes: table with the columns ``class``, ``synonyms``, ``excluded_phrases``. Where it has a column ``name``,
            that is what the class is called in text, and ``class`` an identifier that is not searched for.
        others: table with the same columns of things that are no classes here. They are found the same way but
            never returned; a text that also names one of them is not about one class alone.
        shared: ``error``: no phrase may name two classes. ``ambiguous``: such a phrase names both, so that a text
            with it is about neither alone (ImageNet's "crane" is a bird and a machine).
        possessives: whether the last word of a phrase may be a possessive that looks like no plural ("ostrich's").

    Raises:
        ValueError: a class is listed twice or is empty, or one phrase names two classes.
    """

    def __init__(
        self,
        classes: pd.DataFrame,
        others: pd.DataFrame | None = None,
        shared: SharedNames = "error",
        possessives: bool = False,
    ) -> None:
        self._shared = shared
        self.classes: list[str] = [str(name) for name in classes["class"]]
        self._targets: dict[tuple[str, ...], _Target] = {}
        excluded: list[tuple[str, ...]] = []
        for table, is_class in ((classes, True), (others, False)):
            if table is None:
                continue
            repeated = table["class"][table["class"].duplicated()]
            if len(repeated):
                raise ValueError(f"the class {str(repeated.iloc[0])!r} is listed twice; list it once")
            for row in table.to_dict("records"):
                name = str(row["class"])
                spoken = str(row.get("name") or name)
                for position, phrase in enumerate([spoken, *split_phrases(row["synonyms"])]):
                    self._add(phrase, name, is_class=is_class, is_name=position == 0)
                for phrase in split_phrases(row["excluded_phrases"]):
                    excluded.append(self._key(phrase, name))
        self._add_plurals()
        # A phrase excluded from one class may be the name of another ("hot dog"): the name wins.
        for key in excluded:
            for form in [key, *_plural_keys(key)]:
                target = self._targets.get(form)
                if target is None or (not target.written and form == key):
                    self._targets[form] = _Target((), is_class=False, written=True)
        if possessives:
            self._add_possessives()
        # Lengths by first word, longest first: most words start no phrase and cost one look-up.
        lengths: dict[str, set[int]] = {}
        for key in self._targets:
            lengths.setdefault(key[0], set()).add(len(key))
        self._lengths = {word: sorted(sizes, reverse=True) for word, sizes in lengths.items()}
        self._of_columns: tuple[PhraseFinder, Integers, Integers, NDArray[np.bool_]] | None = None

    @staticmethod
    def _key(phrase: str, name: str) -> tuple[str, ...]:
        key = tuple(split_words(phrase))
        if not key:
            raise ValueError(f"the class {name!r} has the name or phrase {phrase!r}, which has no words in it")
        return key

    def _add(self, phrase: str, name: str, *, is_class: bool, is_name: bool) -> None:
        key = self._key(phrase, name)
        known = self._targets.get(key)
        names: tuple[str, ...] = (name,)
        if known is not None and name not in known.names:
            if self._shared == "error" or not (is_class and known.is_class):
                raise ValueError(
                    f"{phrase!r} is a name of two classes, {known.names[0]!r} and {name!r}; keep it for one"
                )
            names = (*known.names, name)
        elif known is not None and is_name and self._shared == "error":
            raise ValueError(f"the class {name!r} is listed twice; list it once")
        elif known is not None:
            names = known.names
        self._targets[key] = _Target(names, is_class=is_class, written=True)

    def _add_plurals(self) -> None:
        written = dict(self._targets)
        for key, target in written.items():
            for form in _plural_keys(key):
                known = self._targets.get(form)
                if known is None:
                    self._targets[form] = _Target(target.names, is_class=target.is_class, written=False)
                elif not known.written and set(known.names) != set(target.names):
                    if self._shared == "error" or not (target.is_class and known.is_class):
                        raise ValueError(
                            f"{' '.join(form)!r} is the plural of a name of two classes, {known.names[0]!r} and "
                            f"{target.names[0]!r}; write it as a synonym of one"
                        )
                    both = tuple(dict.fromkeys((*known.names, *target.names)))
                    self._targets[form] = _Target(both, is_class=True, written=False)

    def _add_possessives(self) -> None:
        """Add the possessive of every phrase whose plural is another form; an apostrophe joins ("ostrichs")."""
        for key, target in list(self._targets.items()):
            if target.written:
                form = (*key[:-1], key[-1] + "s")
                self._targets.setdefault(form, _Target(target.names, is_class=target.is_class, written=False))

    def phrases(self) -> dict[str, tuple[str, ...]]:
        """Return every phrase that is searched for, with the classes that it names (none for other nouns)."""
        return {" ".join(key): target.names if target.is_class else () for key, target in self._targets.items()}

    def _find(self, text: str) -> tuple[list[str], bool, bool]:
        """Return the distinct classes found, in order, and whether something else was found too.

        The last value is whether the first phrase found is one that several classes share.
        """
        words = split_words(split_hashtags(text))
        found: list[str] = []
        other = ambiguous_start = False
        start = 0
        while start < len(words):
            step = 1
            for length in self._lengths.get(words[start], ()):
                target = self._targets.get(tuple(words[start : start + length]))
                if target is None or start + length > len(words):
                    continue
                if target.is_class:
                    if len(target.names) > 1 and not found:
                        ambiguous_start = True
                    found += [name for name in target.names if name not in found]
                elif target.names:
                    other = True
                step = length
                break
            start += step
        return found, other, ambiguous_start

    def _columns(self) -> tuple[PhraseFinder, Integers, Integers, NDArray[np.bool_]]:
        """Return a finder of the phrases and, of each, the first and last class, and whether it is another thing.

        A phrase that classes share counts as the first and the last of them: two that differ are no class alone.
        """
        if self._of_columns is None:
            number_of = {name: number for number, name in enumerate(self.classes)}
            targets = list(self._targets.values())
            numbers = [
                sorted(number_of[name] for name in target.names) if target.is_class else [] for target in targets
            ]
            self._of_columns = (
                PhraseFinder({key: row for row, key in enumerate(self._targets)}, space_words),
                np.array([of_target[0] if of_target else -1 for of_target in numbers], dtype=np.int64),
                np.array([of_target[-1] if of_target else -1 for of_target in numbers], dtype=np.int64),
                np.array([bool(target.names) and not target.is_class for target in targets], dtype=np.bool_),
            )
        return self._of_columns

    def match(self, text: str) -> list[str]:
        """Return the distinct classes that the text names, in the order of their first mention."""
        return self._find(text)[0]

    def label_of(self, text: str, policy: LabelPolicy = "single") -> str | None:
        """Return the class of a text, or None.

        Args:
            text: a caption or a name.
            policy: ``single``: the class if the text names exactly one and none of ``others``; ``first``: the
                class named first, unless the name is one that several classes share.

        Raises:
            ValueError: the policy is neither of the two.
        """
        return self.label_of_all([text], policy)

    def label_of_all(self, texts: Iterable[str], policy: LabelPolicy = "single") -> str | None:
        """Return the class that several texts of one record name together, or None.

        Each text is searched by itself, so that a phrase never runs from one into the next.

        Args:
            texts: texts, in the order in which they are read.
            policy: as in `label_of`, of all texts together.

        Raises:
            ValueError: the policy is neither of the two.
        """
        if policy not in ("single", "first"):
            raise ValueError(f"the label policy {policy!r} is not known; use 'single' or 'first'")
        named: dict[str, None] = {}
        other = False
        for text in texts:
            found, something_else, ambiguous_start = self._find(text)
            if policy == "first" and not named and ambiguous_start:
                return None
            named |= dict.fromkeys(found)
            other = other or something_else
        if policy == "single" and (other or len(named) != 1):
            return None
        return next(iter(named), None)

    def label_records(self, fields: Sequence[pa.Array], policy: LabelPolicy = "single", threads: int = 1) -> pa.Array:
        """Return the class that the texts of each record name together: `label_of_all` of many records at once.

        Args:
            fields: of one or more fields, in the order in which they are read, Arrow strings, one per record, or lists
                of strings; none missing.
            policy: as in `label_of_all`.
            threads: number of threads that share the texts.

        Returns:
            Arrow strings; null if there is no class.

        Raises:
            ValueError: the policy is neither of the two.
        """
        if policy not in ("single", "first"):
            raise ValueError(f"the label policy {policy!r} is not known; use 'single' or 'first'")
        finder, lowest, highest, others = self._columns()
        rows_of, phrases_of = [], []
        for field in fields:
            is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
            found = finder.find(_split_hashtags_of(field.flatten() if is_list else field), threads)
            owner = pc.list_parent_indices(field).to_numpy()[found.texts] if is_list else found.texts
            rows_of.append(owner)
            phrases_of.append(found.phrases)
        rows, phrases = np.concatenate(rows_of), np.concatenate(phrases_of)
        count = len(fields[0])
        label = np.full(count, -1, dtype=np.int64)
        of_class = lowest[phrases] >= 0
        if policy == "first":
            order = np.argsort(rows[of_class], kind="stable")
            named, first = np.unique(rows[of_class][order], return_index=True)
            begins = phrases[of_class][order][first]
            label[named] = np.where(lowest[begins] == highest[begins], lowest[begins], -1)
        else:
            smallest, largest = np.full(count, len(self.classes), dtype=np.int64), label.copy()
            np.minimum.at(smallest, rows[of_class], lowest[phrases[of_class]])
            np.maximum.at(largest, rows[of_class], highest[phrases[of_class]])
            alone = smallest == largest
            alone[rows[others[phrases]]] = False
            label[alone] = smallest[alone]
        return pa.array(self.classes, pa.string()).take(pa.array(label, mask=label < 0))


def _plural_keys(key: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [(*key[:-1], form) for form in sorted(plural_forms(key[-1]))]


def other_nouns(nouns: pd.DataFrame, classes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``nouns`` that are not among ``classes``: what a name may show besides a class."""
    return nouns[~nouns["class"].isin(set(classes["class"]))].reset_index(drop=True)


def read_matcher(
    classes: Path | str, nouns: Path | str | None, shared: SharedNames = "error", possessives: bool = False
) -> LabelMatcher:
    """Return the matcher of a study's tables.

    Args:
        classes: table of classes.
        nouns: table of things that are no classes, if there is one; those that are classes are passed over.
        shared: as in `LabelMatcher`.
        possessives: as in `LabelMatcher`.

    Raises:
        ValueError: see `read_classes`.
    """
    table = read_classes(classes, shared=shared)
    others = other_nouns(read_classes(nouns), table) if nouns else None
    return LabelMatcher(table, others, shared, possessives)


def matcher_if_any(
    classes: Path | str, nouns: Path | str | None, shared: SharedNames = "error", possessives: bool = False
) -> LabelMatcher | None:
    """Return the matcher of a study's tables, or None, with a warning, where it cannot tell the classes apart.

    Labels that are folders or cells may have any names, "C" and "C++" for example; only in texts words are looked for.
    Arguments as those of `read_matcher`.
    """
    try:
        return read_matcher(classes, nouns, shared, possessives)
    except ValueError as error:
        logger.warning("captions are not searched for the names of classes: %s", error)
        return None
