"""Finding phrases in many texts at once: whole columns at a time, with Arrow and numpy.

It knows words and phrases only, not the classes that they name. It finds what a plain loop over the words of each
text finds (left to right, longest phrase first, each word used once), about ten times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from whyrobust.data.text_columns import TEXTS_AT_A_TIME, Bytes, Integers, replace_texts, text_buffers, texts_with

#: Bytes after the end of a text, so that eight can be read from where any word begins.
_BEYOND = 8

#: A table of known words' hashes has 2 to this power of entries: 128 kB, so that it stays in the cache.
_HASH_BITS = 17

#: By number of bytes: a mask of as many first bytes of eight, read as one number of which the first byte is the lowest.
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)


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
        phrases: number by phrase, a tuple of words as `label_matcher.split_words` returns them.
        space_words: puts a text beyond ASCII so that its words stand between spaces; of ASCII, a word may also stand
            between marks, or end where letters meet digits, and be in capitals.
    """

    def __init__(self, phrases: Mapping[tuple[str, ...], int], space_words: Callable[[str], str]) -> None:
        self._space_words = space_words
        words = sorted({word for phrase in phrases for word in phrase})
        number_of = {word: number for number, word in enumerate(words)}
        self._words = WordTable([word.encode() for word in words])
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
        """Return the phrases in texts (Arrow strings, none missing); ``threads`` threads share them."""
        with ThreadPoolExecutor(threads) as executor:
            rows, phrases = self._find_in_parts(texts, True, executor)
            beyond = _rows_beyond_ascii(texts)
            if len(beyond):
                # These are split anew, without a copy of all others.
                respelt = _respell(texts.take(beyond), self._space_words)
                rows_beyond, phrases_beyond = self._find_in_parts(respelt, False, executor)
                is_ascii = np.ones(len(texts), dtype=np.bool_)
                is_ascii[beyond] = False
                right = is_ascii[rows]
                rows = np.concatenate([rows[right], beyond[rows_beyond]])
                phrases = np.concatenate([phrases[right], phrases_beyond])
                order = rows.argsort(kind="stable")
                rows, phrases = rows[order], phrases[order]
        return Found(rows, phrases)

    def _find_in_parts(self, texts: pa.Array, are_ascii: bool, executor: Executor) -> tuple[Integers, Integers]:
        starts = range(0, max(1, len(texts)), TEXTS_AT_A_TIME)
        found = executor.map(lambda start: self._find(texts[start : start + TEXTS_AT_A_TIME], are_ascii), starts)
        parts = [(start + rows, phrases) for start, (rows, phrases) in zip(starts, found, strict=True)]
        rows, phrases = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(phrases)

    def _find(self, texts: pa.Array, are_ascii: bool) -> tuple[Integers, Integers]:
        text, begins, ends, edges = _split_texts(texts, are_ascii)
        known, numbers = self._words.look_up(text, begins, ends)
        ids = np.full(len(begins), -1, dtype=np.int64)
        ids[known] = numbers
        can_start = self._starts[numbers]
        starts, state = known[can_start], numbers[can_start]
        phrase = self._end[state]
        length = np.ones(len(starts), dtype=np.int64)
        waiting = np.flatnonzero(self._goes_on[state])
        state = state[waiting]
        end_of_text = edges[np.searchsorted(edges, begins[starts[waiting]], side="right")]
        depth = 1
        while len(waiting):
            following = starts[waiting] + depth
            there = np.minimum(following, len(begins) - 1)
            inside = (following == there) & (begins[there] < end_of_text)
            word = ids[there]
            step = state * len(self._words) + word
            index = np.minimum(np.searchsorted(self._steps, step), len(self._steps) - 1)
            goes_on = inside & (word >= 0) & (self._steps[index] == step)
            waiting, end_of_text, state = waiting[goes_on], end_of_text[goes_on], self._targets[index[goes_on]]
            depth += 1
            ended = self._end[state] >= 0
            phrase[waiting[ended]] = self._end[state[ended]]
            length[waiting[ended]] = depth
            more = self._goes_on[state]
            waiting, end_of_text, state = waiting[more], end_of_text[more], state[more]
        whole = phrase >= 0
        starts, phrase, length = starts[whole], phrase[whole], length[whole]
        kept = _first_of_overlapping(starts, starts + length)
        starts, phrase = starts[kept], phrase[kept]
        return np.searchsorted(edges, begins[starts], side="right") - 1, phrase


class WordTable:
    """A hash table of known words, for looking up all words of a text.

    Most words of a text are not known. A filter rejects nearly all of these by a hash of their first eight bytes,
    without copying them; the words that pass it are looked up exactly.

    Args:
        words: each once; their numbers are their indices.
    """

    def __init__(self, words: Sequence[bytes]) -> None:
        self._words = pa.array(words, pa.binary())
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        ends = lengths.cumsum()
        text = np.frombuffer(b"".join(words) + bytes(_BEYOND), dtype=np.uint8)
        self._may_be_known = np.zeros(1 << _HASH_BITS, dtype=np.bool_)
        self._may_be_known[_hash_words(text, ends - lengths, ends)] = True

    def __len__(self) -> int:
        return len(self._words)

    def look_up(self, text: Bytes, begins: Integers, ends: Integers) -> tuple[Integers, Integers]:
        """Return the indices of those of the given words that are known, and their numbers.

        Args:
            text: bytes, with `_BEYOND` more at the end.
            begins: where each word begins in it.
            ends: where it ends.
        """
        candidates = np.flatnonzero(self._may_be_known.take(_hash_words(text, begins, ends), mode="clip"))
        lengths = ends[candidates] - begins[candidates]
        offsets = np.zeros(len(candidates) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        letters = text[np.repeat(begins[candidates] - offsets[:-1], lengths) + np.arange(offsets[-1])]
        words = pa.Array.from_buffers(
            pa.binary(), len(candidates), [None, pa.py_buffer(offsets), pa.py_buffer(letters)]
        )
        numbers = pc.fill_null(pc.index_in(words, value_set=self._words), -1).to_numpy(zero_copy_only=False)
        known = numbers >= 0
        return candidates[known], numbers[known].astype(np.int64)


def _hash_words(text: Bytes, begins: Integers, ends: Integers) -> Integers:
    """Return a hash of each word's first eight bytes, below 2 to the power of `_HASH_BITS`."""
    eights: NDArray[np.uint64] = np.ndarray((len(text) - _BEYOND + 1,), dtype="<u8", buffer=text, strides=(1,))
    hashes = eights[begins] & _FIRST_BYTES.take(ends - begins, mode="clip")
    # Fibonacci hashing: Knuth, The Art of Computer Programming 3, section 6.4.
    hashes *= np.uint64(0x9E3779B97F4A7C15)
    hashes >>= np.uint64(64 - _HASH_BITS)
    signed: Integers = hashes.view(np.int64)
    return signed


def _split_texts(texts: pa.Array, are_ascii: bool) -> tuple[Bytes, Integers, Integers, Integers]:
    """Return the bytes of texts in lower case and where their words begin and end.

    Args:
        texts: Arrow strings, none missing.
        are_ascii: whether texts beyond ASCII may be split anywhere; else what is beyond is taken for letters.

    Returns:
        The bytes, with a line break around each text and `_BEYOND` more at the end; where each word begins in them;
        where it ends; and where each text begins, and the next would.
    """
    large = texts.cast(pa.large_string())
    edges = text_buffers(large)[0] + np.arange(1, len(texts) + 2)
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(large)], pa.int64()), large)
    joined = pc.binary_join(whole, pa.scalar("\n", pa.large_string()))[0].as_buffer()
    held = b"".join((b"\n", joined, b"\n" * _BEYOND))
    if b"'" in held:
        apostrophes = np.flatnonzero(np.frombuffer(held, dtype=np.uint8) == ord("'"))
        texts_after = np.searchsorted(edges, apostrophes, side="right")
        edges -= np.bincount(texts_after, minlength=len(edges)).cumsum()
        held = held.replace(b"'", b"")
    content = np.frombuffer(held, dtype=np.uint8)
    # In ASCII this bit makes a capital letter small; digits have it, and what it does to marks is in no word.
    small: Bytes = content | (np.uint8(0x20) if are_ascii else (~content & np.uint8(0x80)) >> np.uint8(2))
    letter = _are_between(small, "a", "z")
    digit = _are_between(content, "0", "9")
    in_word = letter | digit
    if not are_ascii:
        in_word |= content > 0x7F
    turns_here = np.zeros(len(content), dtype=np.bool_)
    np.not_equal(in_word[1:], in_word[:-1], out=turns_here[1:])
    turns = np.flatnonzero(turns_here)
    # A word ends where letters meet digits too, which few do.
    digits = np.flatnonzero(digit)
    meet = np.concatenate([digits[letter[digits - 1]], digits[letter[digits + 1]] + 1])
    if len(meet):
        turns = np.sort(np.concatenate([turns, meet, meet]), kind="stable")
    return small, turns[::2], turns[1::2], edges


def _are_between(characters: Bytes, first: str, last: str) -> NDArray[np.bool_]:
    """Return which bytes are between two characters, or one of them; in place, since new memory takes longer."""
    above = characters - np.uint8(ord(first))
    between: NDArray[np.bool_] = np.less_equal(above, np.uint8(ord(last) - ord(first)), out=above.view(np.bool_))
    return between


def _rows_beyond_ascii(texts: pa.Array) -> Integers:
    """Return the positions of the texts (Arrow strings) that are beyond ASCII."""
    offsets, content = text_buffers(texts)
    return texts_with(content > 0x7F, offsets)


def _respell(texts: pa.Array, space_words: Callable[[str], str]) -> pa.Array:
    """Return texts in which all beyond ASCII is respelt by ``space_words``, so that it splits like ASCII.

    Each text between spaces is normalised on its own, each spelling once.
    """
    pieces = pc.split_pattern(texts, " ")
    spellings = pieces.flatten().dictionary_encode()
    known = spellings.dictionary
    known = replace_texts(known, pc.invert(pc.string_is_ascii(known)), space_words)
    respelt = type(pieces).from_arrays(pieces.offsets, known.take(spellings.indices))
    return pc.binary_join(respelt, pa.scalar(" ", texts.type))


def _first_of_overlapping(starts: Integers, ends: Integers) -> NDArray[np.bool_]:
    """Return which spans are left where each, in order, is taken unless it overlaps with one taken before."""
    kept = np.ones(len(starts), dtype=np.bool_)
    furthest = np.maximum.accumulate(ends)
    # A phrase that begins where all earlier ones have ended is kept; the few others are decided one by one.
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
