"""Captions for the benchmarks of text: seeded, written by the benchmark itself, as long as titles of photographs.

Stands alone because the rows of the table and the measurement of growth need the same captions at any number.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

CLASSES = Path(__file__).parent.parent / "resources" / "imagenet" / "classes.csv"

#: Records of a batch, as the Parquet file of a source has them.
BATCH = 65_536

#: Different records that are made, which takes longer than what is measured on them.
DISTINCT = 1_000_000

#: Share of captions that name a class, near that of photographs with titles, and of those beyond ASCII.
NAMING_SHARE, BEYOND_ASCII_SHARE = 0.35, 0.05


def _common_words() -> list[str]:
    """Return 3,000 made-up words, none of which is part of a class's name."""
    parts = ["ba", "co", "di", "fo", "gu", "ha", "jo", "ki", "lu", "me", "no", "pe", "ra", "su", "ty"]
    words = [first + second + last for first in parts for second in parts for last in ("", *parts[:13])]
    return words[:3000]


def class_phrases(path: Path = CLASSES) -> list[str]:
    """Return the names and synonyms of ImageNet's 1,000 classes."""
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    return [*table["name"], *(phrase for cell in table["synonyms"] for phrase in cell.split(";") if phrase)]


def record_batches(count: int, seed: int, phrases: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield records with a title of 2 to 6 words and a description of 1 to 5, some of which name a class."""
    words = np.array(_common_words())
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()
    generator = np.random.default_rng(seed)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        columns = {}
        for name, shortest, longest in (("title", 2, 6), ("description", 1, 5)):
            lengths = generator.integers(shortest, longest + 1, size)
            drawn = iter(generator.choice(words, int(lengths.sum()), p=share).tolist())
            columns[name] = [[next(drawn) for _ in range(length)] for length in lengths]
        naming = generator.random(size) < NAMING_SHARE
        named = generator.integers(0, len(phrases), size)
        beyond = generator.random(size) < BEYOND_ASCII_SHARE
        for row in range(size):
            title = columns["title"][row]
            if naming[row]:
                title[int(named[row]) % len(title)] = phrases[named[row]]
            if beyond[row]:
                title[-1] = "café"
            title[0] = title[0].capitalize()
        texts = {name: pa.array([" ".join(of_row) for of_row in column]) for name, column in columns.items()}
        uids = pa.array([f"{number:012d}" for number in range(start, start + size)])
        yield pa.RecordBatch.from_pydict({"uid": uids, **texts})


def write_texts(path: Path, count: int, seed: int) -> None:
    """Write records as Parquet, a batch at a time; after `DISTINCT` records the same come again."""
    batches = itertools.cycle(record_batches(min(count, DISTINCT), seed, class_phrases()))
    with pq.ParquetWriter(
        path, pa.schema({"uid": pa.string(), "title": pa.string(), "description": pa.string()})
    ) as writer:
        while count:
            batch = next(batches)[:count]
            writer.write_batch(batch)
            count -= len(batch)
