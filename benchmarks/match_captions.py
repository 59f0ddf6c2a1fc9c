"""Captions assembled and their classes found, against the loops that are usually written for it.

Both sides read the same records (a title and a description, together about seven words) and say of each caption which
one of ImageNet's 1,000 classes it names, by any synonym or plural; the peers are given the phrases of our matcher.
They leave accents as they are, which costs them nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.texts import BATCH, CLASSES, write_texts
from whyrobust.captions import join_fields
from whyrobust.classes import LabelMatcher, read_classes

FIELDS = ("title", "description")


def prepare(setting: Setting) -> None:
    """Write the records."""
    write_texts(setting.folder / "records.parquet", setting.size(1_000_000, 2_000), seed=0)


def open_matcher() -> LabelMatcher:
    """Return a matcher of ImageNet's classes."""
    return LabelMatcher(read_classes(CLASSES, shared="ambiguous"), shared="ambiguous")


def match_captions(path: Path, matcher: LabelMatcher, threads: int) -> tuple[int, int]:
    """Assemble and match all captions of a file in batches; return how many there are, and how many name one class."""
    seen = matched = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH, columns=FIELDS):
        labels = matcher.label_records([join_fields([batch[name] for name in FIELDS])], threads=threads)
        seen += len(labels)
        matched += len(labels) - labels.null_count
    return seen, matched


def ours(setting: Setting) -> Measured:
    """Measure captions a second on all cores, and on one."""
    path, matcher = setting.folder / "records.parquet", open_matcher()
    rates = {}
    for threads in (1, setting.cores):
        began = time.perf_counter()
        seen, matched = match_captions(path, matcher, threads)
        rates[threads] = seen / (time.perf_counter() - began)
    return Measured(rates[setting.cores], {"on one core": rates[1], "share labelled": matched / seen})


def loop_over_captions(path: Path, count: int, find: Callable[[str], set[str]]) -> Measured:
    """Measure a function that finds the classes of one caption, over the first captions of a file."""
    seen = matched = 0
    began = time.perf_counter()
    for batch in pq.ParquetFile(path).iter_batches(batch_size=min(BATCH, count), columns=FIELDS):
        for title, description in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            matched += len(find(f"{title}, {description}")) == 1
        seen += len(batch)
        if seen >= count:
            break
    return Measured(seen / (time.perf_counter() - began), {"share labelled": matched / seen})


def ngram_loop(setting: Setting) -> Measured:
    """Measure the usual loop: at each word the longest run of words that is in a dictionary."""
    classes = {tuple(phrase.split()): names for phrase, names in open_matcher().phrases().items()}
    longest = max(map(len, classes))
    word = re.compile(r"[a-z]+|[0-9]+")

    def find(caption: str) -> set[str]:
        words = word.findall(caption.lower())
        found: set[str] = set()
        start = 0
        while start < len(words):
            for length in range(min(longest, len(words) - start), 0, -1):
                names = classes.get(tuple(words[start : start + length]))
                if names is not None:
                    found.update(names)
                    start += length
                    break
            else:
                start += 1
        return found

    return loop_over_captions(setting.folder / "records.parquet", setting.size(300_000, 2_000), find)


def regex_union(setting: Setting) -> Measured:
    """Measure one regular expression of all phrases, longest first, on word boundaries."""
    classes = open_matcher().phrases()
    listed = sorted(classes, key=lambda phrase: (-len(phrase), phrase))
    union = re.compile(r"\b(?:" + "|".join(re.escape(phrase).replace(r"\ ", r"[\W_]+") for phrase in listed) + r")\b")
    separators = re.compile(r"[\W_]+")

    def find(caption: str) -> set[str]:
        found: set[str] = set()
        for phrase in union.findall(caption.lower()):
            found.update(classes[separators.sub(" ", phrase)])
        return found

    return loop_over_captions(setting.folder / "records.parquet", setting.size(20_000, 200), find)


_SHARED = {
    "what": "captions of about 7 words assembled and matched to 1,000 classes",
    "unit": "captions/s",
    "ours": ours,
    "prepare": prepare,
    "devices": ("cpu",),
}

ROWS = (
    Row(
        name="match_captions",
        peer="n-gram loop over a dictionary, in Python",
        measure_peer=ngram_loop,
        aims={"cpu": (Aim(least=4), Aim(least=2_000_000, figure="ours"))},
        limit="passes over the bytes, and one look-up a word in a hash table",
        **_SHARED,
    ),
    Row(name="match_captions_regex", peer="regular expression of all phrases", measure_peer=regex_union, **_SHARED),
)
