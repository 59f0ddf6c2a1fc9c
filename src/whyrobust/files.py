"""Atomic writing of files, folders, text, JSON and tables; checksums.

Every stage writes through this module, so that a killed job never leaves half a file under its final name.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Errors of a file system for want of room, of a quota, or beyond the largest file that it or a user's limit allows.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error for want of room name what was written: once a file is open, neither Python nor a library does."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # As libraries in Rust write it, safetensors among them.
        if number is None and (said := re.search(r"\(os error (\d+)\)", str(error))):
            number = int(said[1])
        if number not in NO_ROOM or getattr(error, "filename", None) is not None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without an error.

    The temporary name keeps the suffix, since some writers choose their format by it. On an error the
    temporary file is removed and ``path`` is left as it was.

    Raises:
        OSError: there is no room for it; the error names ``path``, whatever the writer of the block said.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.stem}.{uuid.uuid4().hex[:8]}.part{final.suffix}")
    try:
        with _naming(final):
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
        temporary.replace(final)
    finally:
        # A disk that became read-only refuses this too, and would hide the first error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it replaces ``path`` when the block ends without an error.

    So a folder is whole or not there, also where a process that lost its parent still writes what another one writes
    too: each has its own temporary folder, and the last to end leaves all of its files.

    Raises:
        OSError: there is no room for it, as `atomic_path` says it.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    temporary.mkdir(parents=True)
    try:
        with _naming(final):
            yield temporary
        while True:
            # An existing folder is moved away, not removed file by file: nobody sees half of it.
            with suppress(FileNotFoundError):
                old = final.rename(final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part"))
                shutil.rmtree(old, ignore_errors=True)
            try:
                temporary.rename(final)
                break
            except OSError as error:  # another process was faster
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    """Write ``value`` as indented JSON with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_table(path: Path | str, table: pd.DataFrame | pa.Table, schema: pa.Schema | None = None) -> None:
    """Write a table as CSV or as Parquet (zstd), whole or not at all.

    Args:
        path: its suffix decides the format: ``.csv`` or ``.parquet``.
        table: a DataFrame, without its index, or an Arrow table (Parquet only).
        schema: of the Parquet file, where it does not follow from the values of a DataFrame.

    Raises:
        ValueError: the path ends otherwise.
    """
    ending = Path(path).suffix
    if ending not in (".csv", ".parquet"):
        raise ValueError(f"{path} is no name of a table: let it end in .csv or .parquet")
    with atomic_path(path) as temporary:
        if ending == ".csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
            return
        # Imported by name, so that Arrow counts as a package of the stages that write Parquet only (`code_version`).
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        if not isinstance(table, arrow.Table):
            table = arrow.Table.from_pandas(table, schema, preserve_index=False)
        parquet.write_table(table, temporary, compression="zstd")


#: Columns of CSV tables that hold names that users give: text, whatever they look like.
TEXT_COLUMNS = (
    "class",
    "label",
    "prediction",
    "uid",
    "test_uid",
    "dataset",
    "source",
    "test_set",
    "shift",
    "comparison",
)


def read_csv(path: Path | str, keep_empty: bool = False) -> pd.DataFrame:
    """Return a CSV table that `write_table` wrote.

    Names stay as they were written: the classes ``001``, ``01`` and ``1e2`` are no numbers, and a test set may be
    called ``null``.

    Args:
        path: the table.
        keep_empty: whether an empty cell is an empty text; else it is missing.
    """
    # Imported by name, so that it counts as a package of the stages that read tables only (`code_version`).
    pandas, text = importlib.import_module("pandas"), dict.fromkeys(TEXT_COLUMNS, str)
    table: pd.DataFrame = pandas.read_csv(path, dtype=text, keep_default_na=False, na_values=[] if keep_empty else [""])
    return table


def read_parquet(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a Parquet table, or some of its columns, whole in memory.

    `pyarrow.parquet.read_table` does the same by way of Arrow's data sets, whose import takes pandas with it: a quarter
    of a second in each of a study's jobs.
    """
    parquet = importlib.import_module("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        return file.read(columns=columns if columns is None else list(columns))


def checksum(path: Path | str, algorithm: str = "sha256") -> str:
    """Return the hexadecimal checksum of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()
