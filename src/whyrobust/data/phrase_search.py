"""Finding phrases in many texts at once: whole columns at a time, with Arrow and numpy.

It knows words and phrases only, not the classes that they name. It finds what a plain loop over the words of each
text finds (left to right, longest phrase first, each word used once), about ten times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        if threads == 1:
            # Not in a pool, of which the caller would wait for another thread at each part.
            return self._find_all(texts, map)
        with ThreadPoolExecutor(threads) as executor:
            return self._find_all(texts, executor.map)

    def _find_all(self, texts: pa.Array, share: Callable[..., Iterable[tuple[Integers, Integers]]]) -> Found:
        """Find the phrases in texts, of which parts are shared among threads by ``map`` or what does as it does."""
        rows, phrases = self._find_in_parts(texts, True, share)
        beyond = _rows_beyond_ascii(texts)
        if len(beyond):
            # These are split anew, without a copy of all others.
            respelt = _respell(texts.take(beyond), self._space_words)
            rows_beyond, phrases_beyond = self._find_in_parts(respelt, False, share)
            is_ascii = np.ones(len(texts), dtype=np.bool_)
            is_ascii[beyond] = False
            right = is_ascii[rows]
            rows = np.concatenate([rows[right], beyond[rows_beyond]])
            phrases = np.concatenate([phrases[right], phrases_beyond])
            order = rows.argsort(kind="stable")
            rows, phrases = rows[order], phrases[order]
        return Found(rows, phrases)

    def _find_in_parts(
        self, texts: pa.Array, are_ascii: bool, share: Callable[..., Iterable[tuple[Integers, Integers]]]
    ) -> tuple[Integers, Integers]:
        starts = range(0, max(1, len(texts)), TEXTS_AT_A_TIME)
        found = share(lambda start: self._find(texts[start : start + TEXTS_AT_A_TIME], are_ascii), starts)
        parts = [(start + rows, phrases) for start, (rows, phrases) in zip(starts, found, strict=True)]
        rows, phrases = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(phrases)

    def _find(self, texts: pa.Array, are_ascii: bool) -> tuple[Integers, Integers]:
        text, begins, ends, edges = _split_texts(texts, are_ascii)
        known, numbers = self._words.look_up(text, begins, ends)
        places = np.flatnonzero(self._starts[numbers])
        starts, state = known[places], numbers[places]
        row = np.searchsorted(edges, begins[starts], side="right") - 1
        phrase = self._end[state]
        length = np.ones(len(starts), dtype=np.int64)
        waiting = np.flatnonzero(self._goes_on[state])
        state = state[waiting]
        depth = 1
        while len(waiting):
            # The next word of the text has to be the next known one, ...
            there = np.minimum(places[waiting] + depth, len(known) - 1)
            follows = known[there] == starts[waiting] + depth
            waiting, state, there = waiting[follows], state[follows], there[follows]
            # ... of the same text, and of a phrase that begins like this.
            inside = begins[known[there]] < edges[row[waiting] + 1]
            step = state * len(self._words) + numbers[there]
            index = np.minimum(np.searchsorted(self._steps, step), len(self._steps) - 1)
            goes_on = inside & (self._steps[index] == step)
            waiting, state = waiting[goes_on], self._targets[index[goes_on]]
            depth += 1
            ended = self._end[state] >= 0
            phrase[waiting[ended]] = self._end[state[ended]]
            length[waiting[ended]] = depth
            more = self._goes_on[state]
            waiting, state = waiting[more], state[more]
        whole = phrase >= 0
        row, starts, phrase, length = row[whole], starts[whole], phrase[whole], length[whole]
        kept = _first_of_overlapping(starts, starts + length)
        return row[kept], phrase[kept]


class WordTable:
    """A hash table of known words, for looking up all words of a text.

    Most words of a text are not known. A filter rejects nearly all of these by a hash of their first eight bytes,
    without copying them. Of those that pass it, a word of at most eight bytes is known by them; others are looked up
    as Arrow strings: longer ones, and the few whose hash is that of another known word.

    Args:
        words: each once; their numbers are their indices.
    """

    def __init__(self, words: Sequence[bytes]) -> None:
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        ends = lengths.cumsum()
        text = np.frombuffer(b"".join(words) + bytes(_BEYOND), dtype=np.uint8)
        self._eights = _first_bytes(text, ends - lengths, ends)
        hashes = _hash(self._eights)
        self._may_be_known = np.zeros(1 << _HASH_BITS, dtype=np.bool_)
        self._may_be_known[hashes] = True
        self._number_at = np.zeros(1 << _HASH_BITS, dtype=np.int32)
        short = np.flatnonzero(lengths <= _BEYOND)
        self._number_at[hashes[short]] = short
        self._is_short = lengths <= _BEYOND
        others = np.flatnonzero(~self._is_short | (self._number_at[hashes] != np.arange(len(words))))
        self._others = np.append(others, -1)
        self._other_words = pa.array([words[number] for number in others.tolist()], pa.large_binary())

    def __len__(self) -> int:
        return len(self._eights)

    def look_up(self, text: Bytes, begins: Integers, ends: Integers) -> tuple[Integers, Integers]:
        """Return the indices of those of the given words that are known, and their numbers.

        Args:
            text: bytes, with `_BEYOND` more at the end.
            begins: where each word begins in it.
            ends: where it ends.
        """
        eights = _first_bytes(text, begins, ends)
        hashes = _hash(eights)
        candidates = np.flatnonzero(self._may_be_known.take(hashes, mode="clip"))
        begins, ends = begins[candidates], ends[candidates]
        numbers = self._number_at[hashes[candidates]].astype(np.int64)
        same = (self._eights[numbers] == eights[candidates]) & (ends - begins <= _BEYOND) & self._is_short[numbers]
        left = np.flatnonzero(~same)
        numbers[left] = self._look_up_others(text, begins[left], ends[left])
        known = numbers >= 0
        return candidates[known], numbers[known]

    def _look_up_others(self, text: Bytes, begins: Integers, ends: Integers) -> Integers:
        """Return the numbers of words that are not known by their first eight bytes, -1 of those that are not known."""
        # Arrow strings lie side by side: what is between two words is one too.
        bounds = np.stack([begins, ends], axis=1).ravel()
        pieces = pa.Array.from_buffers(
            pa.large_binary(), max(0, len(bounds) - 1), [None, pa.py_buffer(bounds), pa.py_buffer(text)]
        )
        words = pieces.take(pa.array(np.arange(0, len(bounds), 2)))
        found = pc.fill_null(pc.index_in(words, value_set=self._other_words), -1)
        numbers: Integers = self._others[found.to_numpy()]
        return numbers


def _first_bytes(text: Bytes, begins: Integers, ends: Integers) -> NDArray[np.uint64]:
    """Return the first eight bytes of each word as a number, in which bytes after its end are 0."""
    eights: NDArray[np.uint64] = np.ndarray((len(text) - _BEYOND + 1,), dtype="<u8", buffer=text, strides=(1,))
    return eights[begins] & _FIRST_BYTES.take(ends - begins, mode="clip")


def _hash(eights: NDArray[np.uint64]) -> Integers:
    """Return a hash of numbers below 2 to the power of `_HASH_BITS`."""
    # Fibonacci hashing: Knuth, The Art of Computer Programming 3, section 6.4.
    hashes = eights * np.uint64(0x9E3779B97F4A7C15)
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
    before, taken_to, decided = -1, -1, []
    # As lists, of which an item costs a tenth of what one of an array does.
    columns = (overlapping, starts[overlapping], ends[overlapping], ends[overlapping - 1])
    for here, start, end, end_before in zip(*(column.tolist() for column in columns), strict=True):
        if here - 1 != before:
            taken_to = end_before
        before = here
        decided.append(start >= taken_to)
        if decided[-1]:
            taken_to = end
    kept[overlapping] = decided
    return kept
