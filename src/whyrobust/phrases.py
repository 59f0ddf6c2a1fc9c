"""Finding phrases in many texts at once: whole columns in Arrow and numpy where `classes.LabelMatcher` reads a text.

Stands alone because it knows words and phrases only, not what a phrase stands for. It finds what the plain loop over
the words of each text finds (left to right, longest phrase first, a word is used once), some ten times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from whyrobust.texts import Integers, replace_texts, text_buffers

#: Texts at a time: their bytes and what is made of them stay in the processor's cache.
TEXTS_AT_A_TIME = 16_384


@dataclass(frozen=True)
class Found:
    """Phrases found, in the order of the texts and, in a text, of their words.

    Attributes:
        texts: positions of the texts, ``[found]``.
        phrases: numbers of the phrases, ``[found]``.
    """

    texts: Integers
    phrases: Integers


class PhraseFinder:
    """Finds phrases of words in texts.

    Args:
        phrases: each a tuple of words as ``split_words`` gives them, and its number.
        space_words: puts a text beyond ASCII so that its words stand between spaces; of ASCII, a word may also stand
            between marks, or end where letters meet digits, and be in capitals.
    """

    def __init__(self, phrases: Mapping[tuple[str, ...], int], space_words: Callable[[str], str]) -> None:
        self._space_words = space_words
        words = sorted({word for phrase in phrases for word in phrase})
        number_of = {word: number for number, word in enumerate(words)}
        self._words = pa.array([word.encode() for word in words], pa.binary())
        # A tree of phrases: states are beginnings of phrases; the first ``len(words)`` are those of one word.
        states: dict[tuple[int, ...], int] = {(number,): number for number in range(len(words))}
        ends = dict.fromkeys(range(len(words)), -1)
        for phrase, value in phrases.items():
            key = tuple(number_of[word] for word in phrase)
            for length in range(1, len(key) + 1):
                state = states.setdefault(key[:length], len(states))
                ends.setdefault(state, -1)
            ends[states[key]] = value
        self._end = np.array([ends[state] for state in range(len(ends))], dtype=np.int64)
        steps = sorted((states[key[:-1]] * len(words) + key[-1], state) for key, state in states.items() if key[1:])
        self._steps = np.array([step for step, _ in steps], dtype=np.int64)
        self._targets = np.array([state for _, state in steps], dtype=np.int64)
        self._goes_on = np.zeros(len(self._end), dtype=np.bool_)
        self._goes_on[self._steps // max(1, len(words))] = True
        self._starts = (self._end[: len(words)] >= 0) | self._goes_on[: len(words)]

    def find(self, texts: pa.Array, threads: int = 1) -> Found:
        """Return the phrases in texts (Arrow strings, none missing); threads share them in parts."""

        def find_from(start: int) -> tuple[Integers, Integers]:
            rows, phrases = self._find(texts[start : start + TEXTS_AT_A_TIME])
            return start + rows, phrases

        with ThreadPoolExecutor(threads) as executor:
            found = list(executor.map(find_from, range(0, len(texts), TEXTS_AT_A_TIME)))
        if not found:
            return Found(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        return Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _find(self, texts: pa.Array) -> tuple[Integers, Integers]:
        words, first_word = self._split(texts)
        ids = pc.fill_null(pc.index_in(words, value_set=self._words), -1).to_numpy(zero_copy_only=False)
        starts = np.flatnonzero((ids >= 0) & self._starts[ids])
        # The word after the last of the text that a word is in.
        ends_of_text = np.repeat(first_word[1:], np.diff(first_word))
        state = ids[starts].astype(np.int64)
        phrase = self._end[state]
        length = np.ones(len(starts), dtype=np.int64)
        waiting = np.flatnonzero(self._goes_on[state])
        state = state[waiting]
        depth = 1
        while len(waiting):
            following = starts[waiting] + depth
            inside = following < ends_of_text[starts[waiting]]
            word = ids[np.where(inside, following, 0)]
            step = state * len(self._words) + word
            place = np.minimum(np.searchsorted(self._steps, step), len(self._steps) - 1)
            goes_on = inside & (word >= 0) & (self._steps[place] == step)
            waiting, state = waiting[goes_on], self._targets[place[goes_on]]
            depth += 1
            ended = self._end[state] >= 0
            phrase[waiting[ended]] = self._end[state[ended]]
            length[waiting[ended]] = depth
            more = self._goes_on[state]
            waiting, state = waiting[more], state[more]
        whole = phrase >= 0
        starts, phrase, length = starts[whole], phrase[whole], length[whole]
        kept = _first_of_overlapping(starts, starts + length)
        starts, phrase = starts[kept], phrase[kept]
        return np.searchsorted(first_word, starts, side="right") - 1, phrase

    def _split(self, texts: pa.Array) -> tuple[pa.Array, Integers]:
        """Return all words of texts one after the other, as bytes, and the position of each text's first."""
        texts = self._fold_beyond_ascii(texts)
        offsets, content = text_buffers(texts)
        apostrophe = content == ord("'")
        if apostrophe.any():
            offsets = offsets - np.searchsorted(np.flatnonzero(apostrophe), offsets)
            content = content[~apostrophe]
        beyond = content > 127
        # In ASCII this bit makes a capital letter small; digits have it.
        lower = content | ~beyond * np.uint8(0x20)
        digit = content - ord("0") < 10
        letter = lower - ord("a") < 26
        in_word = digit | letter | beyond
        begins = in_word.copy()
        begins[1:] &= ~in_word[:-1] | (digit[1:] & letter[:-1]) | (letter[1:] & digit[:-1])
        edges = offsets[:-1][offsets[:-1] < len(content)]
        begins[edges] = in_word[edges]
        ends = in_word.copy()
        ends[:-1] &= begins[1:] | ~in_word[1:]
        starts = np.flatnonzero(begins)
        word_offsets = np.zeros(len(starts) + 1, dtype=np.int32)
        np.cumsum(np.flatnonzero(ends) + 1 - starts, out=word_offsets[1:])
        letters = np.compress(in_word, lower)  # half the time of lower[in_word]
        words = pa.Array.from_buffers(
            pa.binary(), len(starts), [None, pa.py_buffer(word_offsets), pa.py_buffer(letters)]
        )
        return words, np.searchsorted(starts, offsets)

    def _fold_beyond_ascii(self, texts: pa.Array) -> pa.Array:
        """Return texts of which those beyond ASCII are put as their words, which are then split like any others."""
        beyond = pc.invert(pc.string_is_ascii(texts))
        if not pc.any(beyond).as_py():
            return texts
        return replace_texts(texts, beyond, self._space_words)


def _first_of_overlapping(starts: Integers, ends: Integers) -> NDArray[np.bool_]:
    """Return which spans are left where each, in order, is taken unless it overlaps with one taken before."""
    kept = np.ones(len(starts), dtype=np.bool_)
    furthest = np.maximum.accumulate(ends)
    # What begins where all before have ended is taken; few do not, and of these one after the other is looked at.
    overlapping = np.flatnonzero(starts[1:] < furthest[:-1]) + 1
    before, taken_to = -1, -1
    for here, start, end in zip(
        overlapping.tolist(), starts[overlapping].tolist(), ends[overlapping].tolist(), strict=True
    ):
        if here - 1 != before:
            taken_to = int(ends[here - 1])
        before = here
        kept[here] = start >= taken_to
        if kept[here]:
            taken_to = end
    return kept
