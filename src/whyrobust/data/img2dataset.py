"""Lists of image-text pairs whose images are on the web, and downloads of their images with img2dataset.

Links die, so fewer images are obtained than are listed; every pair of a list is accounted for, and later stages count
what was obtained. img2dataset is called as a command of its own environment (envs/img2dataset.txt), since it brings
many packages that nothing else needs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.files import atomic_path

#: Columns of a list; the texts stay as YFCC100M writes them.
PAIR_COLUMNS = ("url", "photoid", "title", "description", "usertags")
PAIR_SCHEMA = pa.schema([(name, pa.string()) for name in PAIR_COLUMNS])

#: Shard name and reason for pairs that no shard accounts for.
NO_SHARD, NOT_ATTEMPTED = "none", "not attempted"


class PairError(RuntimeError):
    """Pairs whose images could not be fetched."""


def write_pairs(path: Path | str, rows: Iterable[Mapping[str, str]], chunk: int = 100_000) -> int:
    """Write a list of pairs as Parquet, one chunk at a time, and return how many there are.

    Args:
        path: the file.
        rows: each with ``downloadurl, photoid, title, description, usertags``.
        chunk: rows per row group.
    """
    count, waiting = 0, list[dict[str, str]]()
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, PAIR_SCHEMA, compression="zstd") as writer:
        for row in rows:
            waiting.append({"url": row["downloadurl"]} | {name: row[name] for name in PAIR_COLUMNS[1:]})
            count += 1
            if len(waiting) == chunk:
                writer.write_table(pa.Table.from_pylist(waiting, PAIR_SCHEMA))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, PAIR_SCHEMA))
    return count


def find_img2dataset(command: str) -> str:
    """Return the path of img2dataset: on the search path, or where ``make img2dataset`` puts it."""
    beside = Path(sys.prefix, "img2dataset", "bin", "img2dataset")
    found = shutil.which(command) or (str(beside) if beside.exists() else None)
    if found is None:
        raise PairError(
            f"there is no command '{command}': run 'make img2dataset', or give its path in the key img2dataset"
        )
    return found


def fetch_pairs(
    pairs: Path | str,
    folder: Path | str,
    command: str,
    processes: int,
    threads: int,
    pairs_per_shard: int = 10_000,
    shorter_side: int | None = None,
) -> pd.DataFrame:
    """Fetch the images of a list into WebDataset shards; a call continues where an earlier one stopped.

    Args:
        pairs: list of `write_pairs`.
        folder: where shards are written; finished ones are not fetched again.
        command: img2dataset.
        processes: of img2dataset.
        threads: of img2dataset, per process.
        pairs_per_shard: rows of the list per shard.
        shorter_side: pixels; images with a longer shorter side are resized to it and compressed again. None: images
            keep their bytes.

    Returns:
        See `count_pairs`.

    Raises:
        PairError: img2dataset failed, nothing at all was obtained, or the folder holds another list's shards.
    """
    call = [
        find_img2dataset(command), "--url_list", str(pairs), "--input_format", "parquet", "--url_col", "url",
        "--save_additional_columns", json.dumps(list(PAIR_COLUMNS[1:])),
        "--output_format", "webdataset", "--output_folder", str(folder),
        "--processes_count", str(processes), "--thread_count", str(threads),
        "--number_sample_per_shard", str(pairs_per_shard), "--skip_reencode", "True",
        *(["--resize_mode", "no"] if shorter_side is None else
          ["--resize_mode", "keep_ratio", "--resize_only_if_bigger", "True", "--image_size", str(shorter_side)]),
        "--retries", "3", "--timeout", "20", "--incremental_mode", "incremental",
        "--enable_wandb", "False", "--compute_hash", "sha256",
    ]  # fmt: skip
    # Libraries of img2dataset would check the web for updates of themselves.
    quiet = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(call, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PairError(
            f"img2dataset failed ({done.returncode}): {lines[-1] if lines else 'no message'}; run again to go on"
        )
    table = count_pairs(folder, pq.read_metadata(pairs).num_rows)
    if not table["obtained"].sum():
        why = table["failures"].iloc[0] if len(table) else "the list is empty"
        raise PairError(f"none of the pairs in {pairs} could be fetched: {why}")
    return table


def obtained_shards(table: Path | str) -> list[str]:
    """Return the shards that have images, from a table of `fetch_pairs`; they lie in the folder of the table's name."""
    rows = pd.read_csv(table)
    return [(Path(table).with_suffix("") / shard).as_posix() for shard in rows.loc[rows["obtained"] > 0, "shard"]]


def count_pairs(folder: Path | str, listed: int) -> pd.DataFrame:
    """Return how many pairs of a list each shard has, by the statistics that img2dataset wrote.

    Args:
        folder: of the shards.
        listed: pairs in the list that was fetched.

    Returns:
        One row per shard: ``shard, pairs, obtained``, and the most frequent reasons of failure as JSON in ``failures``.
        Pairs that no shard accounts for, because img2dataset gave a shard up, are a last row, `NO_SHARD`.

    Raises:
        PairError: there are more pairs than listed.
    """
    rows = []
    for stats in sorted(Path(folder).glob("*_stats.json")):
        shard = json.loads(stats.read_text(encoding="utf-8"))
        reasons = {reason: count for reason, count in shard.get("status_dict", {}).items() if reason != "success"}
        common = dict(sorted(reasons.items(), key=lambda item: -item[1])[:5])
        rows.append(
            (stats.name.removesuffix("_stats.json") + ".tar", shard["count"], shard["successes"], json.dumps(common))
        )
    lost = listed - sum(row[1] for row in rows)
    if lost < 0:
        raise PairError(
            f"the shards in {folder} are of {listed - lost} pairs, the list has {listed}: remove the folder"
        )
    if lost:
        rows.append((NO_SHARD, lost, 0, json.dumps({NOT_ATTEMPTED: lost})))
    return pd.DataFrame(rows, columns=["shard", "pairs", "obtained", "failures"])
