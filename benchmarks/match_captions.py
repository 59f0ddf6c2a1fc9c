"""Captions assembled and their classes found, against the loops that are usually written for it.

Both sides read the same records (a title and a description, together about seven words) and say of each caption which
one of ImageNet's 1,000 classes it names, by any synonym or plural; the peers are given the phrases of our matcher.
They leave accents as they are, which costs them nothing. Each side reads slices of the records in as many processes as
there are cores, as ``slices`` in the config has a source prepared; starting them and making the matcher are left out.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.texts import BATCH, CLASSES, write_texts
from whyrobust.data.captions import join_fields
from whyrobust.data.label_matcher import LabelMatcher, read_classes
from whyrobust.study.slices import slices_of

FIELDS = ("title", "description")

#: Captions for our side: a million are over before the first batches, which take twice the time of later ones, are few.
COUNT = 4_000_000

#: A slice that waits longer for the others ends with an error: one of them has failed.
MEETING_SECONDS = 60


def prepare(setting: Setting) -> None:
    """Write the records."""
    write_texts(setting.folder / "records.parquet", setting.size(COUNT, 2_000), seed=0)


def open_matcher() -> LabelMatcher:
    """Return a matcher of ImageNet's classes."""
    return LabelMatcher(read_classes(CLASSES, shared="ambiguous"), shared="ambiguous")


def batches_of(path: Path, rows: range) -> Iterator[pa.RecordBatch]:
    """Yield the texts of some rows of a file in batches."""
    dataset = pq.ParquetFile(path)
    start = 0
    for group in range(dataset.num_row_groups):
        stop = start + dataset.metadata.row_group(group).num_rows
        inside = range(max(rows.start, start), min(rows.stop, stop))
        if inside:
            table = dataset.read_row_group(group, columns=FIELDS).slice(inside.start - start, len(inside))
            yield from table.to_batches(max_chunksize=BATCH)
        start = stop


#: Finds the classes of a batch; returns how many of its captions name one class.
MatchBatch = Callable[[pa.RecordBatch], int]


def match_columns() -> MatchBatch:
    """Return the way of this project: whole columns at once."""
    matcher = open_matcher()

    def match(batch: pa.RecordBatch) -> int:
        labels = matcher.label_records([join_fields([batch[name] for name in FIELDS])])
        return len(labels) - int(labels.null_count)

    return match


def match_one_by_one(find: Callable[[str], set[str]]) -> MatchBatch:
    """Return a way that takes captions one after the other, from a function that finds the classes of one."""

    def match(batch: pa.RecordBatch) -> int:
        texts = zip(*(batch[name].to_pylist() for name in FIELDS), strict=True)
        return sum(len(find(f"{title}, {description}")) == 1 for title, description in texts)

    return match


def match_by_dictionary() -> MatchBatch:
    """Return the usual loop: at each word the longest run of words that is in a dictionary."""
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

    return match_one_by_one(find)


def match_by_expression() -> MatchBatch:
    """Return one regular expression of all phrases, longest first, on word boundaries."""
    classes = open_matcher().phrases()
    listed = sorted(classes, key=lambda phrase: (-len(phrase), phrase))
    union = re.compile(r"\b(?:" + "|".join(re.escape(phrase).replace(r"\ ", r"[\W_]+") for phrase in listed) + r")\b")
    separators = re.compile(r"[\W_]+")

    def find(caption: str) -> set[str]:
        found: set[str] = set()
        for phrase in union.findall(caption.lower()):
            found.update(classes[separators.sub(" ", phrase)])
        return found

    return match_one_by_one(find)


_together: Barrier


def _meet(barrier: Barrier) -> None:
    """Let the slices of a worker's pool start at the same moment."""
    global _together
    _together = barrier


def match_slice(path: Path, rows: range, prepare_matching: Callable[[], MatchBatch]) -> tuple[int, float, float]:
    """Match the captions of some rows; return how many name one class, and when the first began and the last ended."""
    match = prepare_matching()
    _together.wait()
    began = time.perf_counter()
    matched = sum(map(match, batches_of(path, rows)))
    return matched, began, time.perf_counter()


def match_captions(path: Path, prepare_matching: Callable[[], MatchBatch], count: int, processes: int) -> Measured:
    """Measure how many of the first captions of a file are matched per second, in slices, one process for each.

    The clock of ``perf_counter`` is one for all processes.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes, context, _meet, (context.Barrier(processes, timeout=MEETING_SECONDS),)
    ) as executor:
        parts = [part.rows_of(count) for part in slices_of("captions", processes)]
        found = [executor.submit(match_slice, path, rows, prepare_matching) for rows in parts]
        matched, began, ended = zip(*(future.result() for future in found), strict=True)
    return Measured(count / (max(ended) - min(began)), {"share labelled": sum(matched) / count})


def ours(setting: Setting) -> Measured:
    """Measure captions per second on all cores, and on one."""
    path, count = setting.folder / "records.parquet", setting.size(COUNT, 2_000)
    alone = match_captions(path, match_columns, count, 1)
    together = match_captions(path, match_columns, count, setting.cores)
    return Measured(together.value, {"on one core": alone.value, **together.notes})


def dictionary_loop(setting: Setting) -> Measured:
    """Measure the usual loop."""
    count = setting.size(600_000, 2_000)
    return match_captions(setting.folder / "records.parquet", match_by_dictionary, count, setting.cores)


def regex_union(setting: Setting) -> Measured:
    """Measure the regular expression, on fewer captions since it is slow."""
    return match_captions(
        setting.folder / "records.parquet", match_by_expression, setting.size(40_000, 200), setting.cores
    )


_SHARED = {
    "what": "captions of about 7 words assembled and matched to 1,000 classes",
    "unit": "captions/s",
    "ours": ours,
    "prepare": prepare,
    "limit": "passes over the bytes, and a hash of each word",
    "devices": ("cpu",),
}

ROWS = (
    Row(
        name="match_captions",
        peer="n-gram loop over a dictionary, in Python",
        measure_peer=dictionary_loop,
        aims={"cpu": (Aim(least=4), Aim(least=2_000_000, figure="ours"))},
        **_SHARED,
    ),
    Row(name="match_captions_regex", peer="regular expression of all phrases", measure_peer=regex_union, **_SHARED),
)
