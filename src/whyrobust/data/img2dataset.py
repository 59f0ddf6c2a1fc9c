"""Lists of pictures on the web, and calls of img2dataset, which fetches them into tar shards.

img2dataset is called as a command of its own environment (envs/img2dataset.txt), since it brings many packages that
nothing else needs. `whyrobust.data.fetching` says which addresses are tried when.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.archives import list_tar
from whyrobust.data.child_processes import die_with_parent
from whyrobust.files import atomic_path

#: Rows of a list that are in memory at a time.
ROWS_PER_GROUP = 100_000

#: Seconds between two looks at what img2dataset has written, and those that it may take to start.
SECONDS_BETWEEN_LOOKS, SECONDS_TO_START = 0.5, 600.0


#: What img2dataset prints where the disk is full or broken; it takes this for failures of pictures.
CANNOT_WRITE = re.compile(
    "failed .*("
    + "|".join(os.strerror(number) for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO))
    + ")"
)


class PairError(RuntimeError):
    """Pictures that could not be fetched; the message says what to do."""


@dataclass(frozen=True)
class FetchSettings:
    """How pictures are fetched.

    Attributes:
        command: img2dataset.
        processes: of img2dataset.
        threads: of img2dataset, per process.
        shorter_side: pixels; pictures with a longer shorter side are resized to it and compressed again. None: pictures
            keep their bytes.
        attempts: how often an address that fails is tried.
        retry_after_seconds: pause before failed addresses are tried again.
        stall_seconds: img2dataset is ended when it has written nothing for so long.
        pairs_per_shard: rows of the list per shard.
    """

    command: str
    processes: int
    threads: int
    shorter_side: int | None = None
    attempts: int = 3
    retry_after_seconds: float = 60
    stall_seconds: float = 600
    pairs_per_shard: int = 10_000


def write_pairs(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> int:
    """Write a list of pairs as Parquet, a part at a time, and return how many there are.

    Args:
        path: the file; it gets a column ``row``, the number of the row from 0, before ``columns``.
        columns: texts of a pair besides its address.
        rows: each with ``url`` and the columns.
    """
    schema = pa.schema([("url", pa.string()), ("row", pa.int64()), *((name, pa.string()) for name in columns)])
    count, waiting = 0, list[dict[str, object]]()
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            waiting.append({"url": row["url"], "row": count} | {name: row[name] for name in columns})
            count += 1
            if len(waiting) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, schema))
    return count


def find_img2dataset(command: str) -> str:
    """Return the path of img2dataset: on the search path, or where ``make img2dataset`` puts it."""
    beside = Path(sys.prefix, "img2dataset", "bin", command)
    found = shutil.which(command) or (str(beside) if beside.exists() else None)
    if found is None:
        raise PairError(
            f"there is no command '{command}': run 'make img2dataset', or give its path in the key img2dataset"
        )
    return found


def call_img2dataset(pairs: Path, folder: Path, settings: FetchSettings, pairs_per_shard: int) -> bool:
    """Fetch the pictures of a list into a new folder of shards.

    Args:
        pairs: list of `write_pairs`, or some of its rows.
        folder: where the shards are written.
        settings: how.
        pairs_per_shard: rows of the list per shard.

    Returns:
        Whether it ended by itself; False where it stalled and was ended.

    Raises:
        PairError: img2dataset failed, or could not write.
    """
    columns = [name for name in pq.read_schema(pairs).names if name != "url"]
    call = [
        find_img2dataset(settings.command), "--url_list", str(pairs), "--input_format", "parquet", "--url_col", "url",
        "--save_additional_columns", json.dumps(columns),
        "--output_format", "webdataset", "--output_folder", str(folder),
        "--processes_count", str(settings.processes), "--thread_count", str(settings.threads),
        "--number_sample_per_shard", str(pairs_per_shard), "--skip_reencode", "True",
        *(["--resize_mode", "no"] if settings.shorter_side is None else
          ["--resize_mode", "keep_ratio", "--resize_only_if_bigger", "True",
           "--image_size", str(settings.shorter_side)]),
        "--retries", "3", "--timeout", "20", "--incremental_mode", "incremental",
        "--enable_wandb", "False", "--compute_hash", "sha256",
    ]  # fmt: skip
    # Libraries of img2dataset would check the web for updates of themselves.
    quiet = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            call, env=os.environ | quiet, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            ended = _wait(process, folder, settings.stall_seconds)
        finally:
            # Its worker processes too, which would wait for ever for a server that sends a byte now and then.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        lines = output.read().decode("utf-8", errors="replace").strip().splitlines()
    if ended and process.returncode != 0:
        raise PairError(
            f"img2dataset failed ({process.returncode}): {lines[-1] if lines else 'no message'}; run again to go on"
        )
    trouble = next((line for line in lines if CANNOT_WRITE.search(line)), None)
    if trouble is not None:
        raise PairError(f"img2dataset cannot write to {folder}: {trouble}; make room there and run again to go on")
    return ended


def _wait(process: subprocess.Popen[bytes], folder: Path, stall_seconds: float) -> bool:
    """Wait for img2dataset; return False where nothing was written for so long."""
    seen, since = _bytes_below(folder), time.monotonic()
    while True:
        try:
            process.wait(SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            written = _bytes_below(folder)
            if written != seen:
                seen, since = written, time.monotonic()
            has_begun = next(folder.glob("*.tar"), None) is not None
            if time.monotonic() - since > (stall_seconds if has_begun else max(stall_seconds, SECONDS_TO_START)):
                return False
        else:
            return True


def _bytes_below(folder: Path) -> tuple[int, int]:
    """Return how many files are below a folder, and their bytes."""
    sizes = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # a temporary file that has gone
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def whole_shards(folder: Path) -> list[str]:
    """Return the names of the shards of a folder that img2dataset has finished, and that are whole, in order.

    A shard is finished once its statistics are there. img2dataset goes on when a disk is full: rows are then missing
    from the table of a shard, or pictures from its tar.
    """
    return [stats.name.removesuffix("_stats.json") for stats in sorted(folder.glob("*_stats.json")) if _is_whole(stats)]


def _is_whole(stats: Path) -> bool:
    name = stats.with_name(stats.name.removesuffix("_stats.json"))
    try:
        counts = json.loads(stats.read_text(encoding="utf-8"))
        pictures = sum(member.is_image for member in list_tar(name.with_suffix(".tar")))
        rows = pq.read_metadata(name.with_suffix(".parquet")).num_rows
        return bool(rows == counts["count"] and pictures == counts["successes"])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return False


def read_shard(folder: Path, name: str) -> pa.Table:
    """Return what became of each row of a shard: ``row, status`` (success, or how it failed) and ``error_message``."""
    return pq.read_table(folder / f"{name}.parquet", columns=["row", "status", "error_message"])
