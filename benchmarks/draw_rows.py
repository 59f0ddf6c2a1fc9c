"""A subset of the paper's size drawn from as many records as YFCC has, against pandas.

Both sides read the same table of uids, labels and groups, choose 463,622 of 15 million rows by a seed and write them.
The peer's choice depends on the order of the rows; ours is by a hash of each uid, so that subsets are nested and the
same whatever the order is.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import peak_mb
from benchmarks.rows import Aim, Measured, Row, Setting

CHUNK = 1_000_000


def write_rows(path: Path, count: int) -> None:
    """Write a table such as the decontamination leaves of photographs, uids in no order."""
    generator = np.random.default_rng(0)
    names = pa.array([f"n{number:08d}" for number in range(1000)])
    schema = pa.schema({"uid": pa.string(), "label": pa.string(), "group": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, count, CHUNK):
            numbers = start + generator.permutation(min(CHUNK, count - start))
            uids = pa.array(numbers * 658 + 10_000_000_000).cast(pa.string())
            labels = names.take(pa.array(generator.integers(0, 1000, len(numbers))))
            writer.write_table(pa.Table.from_arrays([uids, labels, uids], schema=schema))


def subset_size(setting: Setting) -> int:
    """Return how many rows are drawn: as many as ImageNet-Captions has."""
    return setting.size(463_622, 500)


def prepare(setting: Setting) -> None:
    """Write the table."""
    write_rows(setting.folder / "kept.parquet", setting.size(15_000_000, 20_000))


def ours(setting: Setting) -> Measured:
    """Draw as the stage does."""
    from whyrobust.data.subsets import draw_from_files

    began = time.perf_counter()
    subset = draw_from_files([setting.folder / "kept.parquet"], subset_size(setting), 0, processes=setting.cores)
    pq.write_table(subset, setting.folder / "subset.parquet", compression="zstd")
    took = time.perf_counter() - began
    return Measured(took, {"peak_mb": peak_mb(setting.cores if setting.cores > 1 else 0)})


def peer(setting: Setting) -> Measured:
    """Draw with pandas: a sample of the uids, merged with the table."""
    import pandas as pd

    began = time.perf_counter()
    path = setting.folder / "kept.parquet"
    drawn = pd.read_parquet(path, columns=["uid"]).sample(subset_size(setting), random_state=0)
    drawn.merge(pd.read_parquet(path), on="uid").to_parquet(setting.folder / "drawn.parquet", compression="zstd")
    return Measured(time.perf_counter() - began, {"peak_mb": peak_mb()})


ROWS = (
    Row(
        name="draw_rows",
        what="drawing a subset of 463,622 from 15 million records",
        unit="s",
        ours=ours,
        peer="pandas, sample and merge",
        measure_peer=peer,
        aims={"cpu": (Aim(most=10, figure="ours"), Aim(most=1000, figure="peak_mb"))},
        better="lower",
        limit="one SHA-256 a record, in Python",
        prepare=prepare,
        devices=("cpu",),
        rounds=2,
    ),
)
