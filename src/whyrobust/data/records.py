"""The table of records and the table of drawings: columns, checks, reading and writing; the one join by uid.

Every data set is read into these tables and every later stage starts from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from whyrobust.files import write_table
from whyrobust.study.table_cells import is_missing

if TYPE_CHECKING:
    import pandas as pd

#: A column of uids, as Python or as Arrow holds it.
Uids: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray

#: Rows of a table that are looked up at a time: the result of one look-up takes 8 MB.
MINIMUM_ROWS_LOOKED_UP = 1_000_000

RECORD_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("label", pa.string()),
        pa.field("group", pa.string(), nullable=False),
        pa.field("collection", pa.string(), nullable=False),
    ]
)
"""Columns of records: one row per image-text pair. Only ``label`` may be missing."""

#: What the columns of further captions begin with, before the name of their variant.
CAPTION_PREFIX = "caption_"


def record_schema(captions: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of records with further captions, which are empty where a record has none."""
    fields = [pa.field(f"{CAPTION_PREFIX}{name}", pa.string(), nullable=False) for name in captions]
    return pa.schema([*RECORD_SCHEMA, *fields])


DRAWING_SCHEMA = pa.schema([pa.field("uid", pa.string(), nullable=False), pa.field("svg", pa.string(), nullable=False)])
"""Columns of drawings: one row per record that is drawn, ``svg`` a whole SVG document."""


def check_uids(uids: Iterable[object], what: str) -> None:
    """Raise a ValueError unless every uid is a non-empty string and none occurs twice."""
    seen: set[str] = set()
    for row, uid in enumerate(uids):
        if not isinstance(uid, str) or not uid.strip():
            raise ValueError(f"{what}: row {row} has the uid {uid!r}; give every row a non-empty text uid")
        if uid in seen:
            raise ValueError(f"{what}: the uid {uid!r} occurs more than once (again in row {row}); make uids unique")
        seen.add(uid)


class MissingUidError(ValueError):
    """Uids that a table lacks; the message names the table and some of them."""


def rows_of_uids(table_uids: Uids, wanted: Uids) -> NDArray[np.int64]:
    """Return the row of each wanted uid in a table: the one join by uid.

    The shorter of the two columns is hashed and the longer streams past it a chunk at a time, so that a few uids are
    found among millions with memory for the few.

    Args:
        table_uids: the table's column of uids, each once.
        wanted: uids, in any order; one may come more than once.

    Returns:
        int64 ``[len(wanted)]``; -1 where the table lacks the uid.
    """
    table, asked = uid_column(table_uids), uid_column(wanted)
    rows = np.full(len(asked), -1, dtype=np.int64)
    if len(table) <= len(asked):
        for start, stretch in _stretches(asked, len(table)):
            rows[start : start + len(stretch)] = _index_in(stretch, table)
        return rows
    for start, stretch in _stretches(table, len(asked)):
        found = _index_in(stretch, asked)
        here = np.flatnonzero(found >= 0)
        rows[found[here]] = start + here
    absent = np.flatnonzero(rows < 0)
    if len(absent):
        # Of a uid that is wanted twice only the first is found above.
        rows[absent] = rows[_index_in(asked.take(arrow_rows(absent)), asked)]
    return rows


def require_rows_of_uids(table_uids: Uids, wanted: Uids, table: str) -> NDArray[np.int64]:
    """Return the row of each wanted uid in a table, see `rows_of_uids`.

    Args:
        table_uids: the table's column of uids, each once.
        wanted: uids, in any order; one may come more than once.
        table: what the table is, for messages, for example its path.

    Raises:
        MissingUidError: the table lacks some.
    """
    rows = rows_of_uids(table_uids, wanted)
    absent = np.flatnonzero(rows < 0)
    if len(absent):
        examples = ", ".join(f"'{wanted[int(row)]}'" for row in absent[:5])
        raise MissingUidError(
            f"{table} lacks {len(absent)} of {len(rows)} uids, for example {examples}: build it again, or keep to its "
            "uids"
        )
    return rows


def has_uids(table_uids: Uids, asked: Uids) -> NDArray[np.bool_]:
    """Return which of the asked uids a table has, bool ``[len(asked)]``."""
    table, uids = uid_column(table_uids), uid_column(asked)
    return np.asarray(pc.is_in(uids, value_set=table).to_numpy(), dtype=np.bool_)


def read_rows_of_uids(paths: Sequence[Path | str], columns: Sequence[str], uids: Uids) -> pa.Table:
    """Return some columns of Parquet tables with a column ``uid``: a row for each of ``uids``, in their order.

    Rows of other uids are left out while the tables are read, so that memory grows with ``uids`` and not with tables of
    millions of rows.

    Args:
        paths: the tables, read as one.
        columns: the columns wanted.
        uids: uids, in any order; one may come more than once.

    Raises:
        MissingUidError: the tables lack some.
    """
    wanted = uid_column(uids)
    read = list(dict.fromkeys(["uid", *columns]))
    table = pa.concat_tables(_read_rows(path, read, wanted) for path in paths)
    rows = require_rows_of_uids(table["uid"], wanted, ", ".join(map(str, paths)))
    return table.select(list(columns)).take(arrow_rows(rows))


def _read_rows(path: Path | str, columns: Sequence[str], wanted: pa.ChunkedArray) -> pa.Table:
    """Return the rows of a Parquet table whose uid is wanted, in the table's order.

    A stretch at a time, not through Arrow's data sets, whose import takes pandas with it: a quarter of a second a job.
    """
    length = max(len(wanted), MINIMUM_ROWS_LOOKED_UP)
    with pq.ParquetFile(path) as file:
        schema = pa.schema([file.schema_arrow.field(name) for name in columns])
        found = [
            batch.filter(pc.is_in(batch.column("uid"), value_set=wanted))
            for batch in file.iter_batches(length, columns=columns)
        ]
    return pa.Table.from_batches([batch.select(columns) for batch in found], schema)


def arrow_rows(rows: NDArray[np.int64]) -> pa.Array:
    """Return rows as Arrow has them, without a copy; `pyarrow.array` would import pandas."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def uids_in_file(path: Path | str, uids: Uids) -> NDArray[np.bool_]:
    """Return which of ``uids`` a Parquet table with a column ``uid`` has, bool ``[len(uids)]``.

    Other rows are left out while the table is read, so that memory grows with ``uids`` and not with the table.
    """
    wanted = uid_column(uids)
    return has_uids(_read_rows(path, ["uid"], wanted)["uid"], wanted)


def uid_column(uids: Uids) -> pa.ChunkedArray:
    """Return uids as an Arrow column of strings, without copying what Arrow holds."""
    if not isinstance(uids, (pa.Array, pa.ChunkedArray)):
        uids = pa.array(uids, pa.string())
    column = uids if isinstance(uids, pa.ChunkedArray) else pa.chunked_array([uids])
    return column if column.type == pa.string() else column.cast(pa.string())


def _stretches(column: pa.ChunkedArray, hashed: int) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """Yield (first row, rows) of a column that is looked up among ``hashed`` uids.

    Arrow hashes those uids again for each stretch, so that at least as many rows are looked up at a time: hashing then
    takes less time than the look-ups, and a stretch's result less memory than the hash table.
    """
    count = max(1, len(column) // max(hashed, MINIMUM_ROWS_LOOKED_UP))
    length = -(-len(column) // count)
    for start in range(0, len(column), max(1, length)):
        yield start, column.slice(start, length)


def _index_in(column: pa.ChunkedArray, values: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return the index of each of a column's uids among ``values``, -1 where it is none of them."""
    found = pc.index_in(column, value_set=values)
    index = np.full(len(column), -1, dtype=np.int32)
    # By DLPack: Arrow's `to_numpy` would import pandas.
    is_known = np.from_dlpack(found.is_valid().cast(pa.uint8()).combine_chunks()).astype(np.bool_)
    index[is_known] = np.from_dlpack(found.drop_null().combine_chunks())
    return index


def to_table(frame: pd.DataFrame, schema: pa.Schema, what: str) -> pa.Table:
    """Turn a DataFrame into an Arrow table of exactly ``schema``.

    Args:
        frame: one row per record; columns in any order.
        schema: the columns wanted.
        what: what the table is, for messages.

    Returns:
        The table, columns in the order of the schema; a missing label is null.

    Raises:
        ValueError: a column is missing or unknown, a value is missing or of the wrong type, a uid is empty
            or not unique.
    """
    missing = [name for name in schema.names if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in schema.names]
    if missing or unknown:
        raise ValueError(
            f"{what}: columns missing: {missing or 'none'}, columns not known: {unknown or 'none'}; "
            f"the table must have exactly {schema.names}"
        )
    check_uids(frame["uid"], what)
    columns = []
    for field in schema:
        values = [_plain(value) for value in frame[field.name]]
        if not field.nullable:
            empty = [row for row, value in enumerate(values) if value is None]
            if empty:
                raise ValueError(
                    f"{what}: column {field.name!r} has no value in {len(empty)} rows, first in row {empty[0]} "
                    f"(uid {frame['uid'].iloc[empty[0]]!r}); only 'label' may be missing"
                )
        if pa.types.is_list(field.type) and any(isinstance(value, str) for value in values):
            # Arrow would take one text for a list of its letters.
            raise ValueError(f"{what}: column {field.name!r} holds a single text; give each row a list of texts")
        try:
            columns.append(pa.array(values, type=field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            raise ValueError(f"{what}: column {field.name!r} cannot be stored as {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _plain(value: object) -> object:
    """Return a value as Arrow takes it: None for any kind of missing, a list for any kind of sequence."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else value


def _check_records(frame: pd.DataFrame, what: str) -> None:
    """Raise a ValueError where a group, a collection or a given label is empty."""
    for column in ("group", "collection", "label"):
        empty = frame[column].notna() & (frame[column].astype(str).str.strip() == "")
        if empty.any():
            row = int(empty.to_numpy().argmax())
            hint = "leave it missing" if column == "label" else "give each record one"
            raise ValueError(
                f"{what}: column {column!r} is empty in row {row} (uid {frame['uid'].iloc[row]!r}); {hint}"
            )


def write_records(path: Path | str, records: pd.DataFrame) -> None:
    """Check records and write them as Parquet, whole or not at all.

    Args:
        path: the file to write.
        records: columns of `RECORD_SCHEMA`, in any order.

    Raises:
        ValueError: see `to_table`; also for an empty group, collection or label.
    """
    table = to_table(records, RECORD_SCHEMA, f"records for {path}")
    _check_records(records, f"records for {path}")
    write_table(path, table)


def read_records(path: Path | str) -> pd.DataFrame:
    """Read and check records. ``tags`` holds lists of text; a missing ``label`` is missing (``isna``).

    Raises:
        ValueError: the file does not hold the columns of `RECORD_SCHEMA`, or a uid is empty or not unique.
    """
    return _as_records(path, _checked(path, pq.read_table(path), RECORD_SCHEMA))


def _as_records(path: Path | str, table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    frame["tags"] = [list(tags) for tags in frame["tags"]]
    check_uids(frame["uid"], f"records in {path}")
    _check_records(frame, f"records in {path}")
    return frame


def read_record_rows(path: Path | str, rows: range, captions: Sequence[str] = ()) -> pd.DataFrame:
    """Read some rows of records; no row groups but theirs are in memory.

    Args:
        path: the records.
        rows: which.
        captions: caption variants of the source's own columns that are wanted too.

    Raises:
        ValueError: see `read_records`.
    """
    file, schema = pq.ParquetFile(path), record_schema(captions)
    parts, start = [schema.empty_table()], 0
    for number in range(file.num_row_groups):
        stop = start + file.metadata.row_group(number).num_rows
        first, last = max(rows.start, start), min(rows.stop, stop)
        if first < last:
            parts.append(_checked(path, file.read_row_group(number), schema).slice(first - start, last - first))
        start = stop
    return _as_records(path, pa.concat_tables(parts))


def write_drawings(path: Path | str, drawings: pd.DataFrame) -> None:
    """Check drawings (columns of `DRAWING_SCHEMA`) and write them as Parquet, whole or not at all."""
    write_table(path, to_table(drawings, DRAWING_SCHEMA, f"drawings for {path}"))


def read_drawings(path: Path | str) -> pd.DataFrame:
    """Read and check drawings: columns ``uid`` and ``svg``.

    Raises:
        ValueError: the file does not hold the columns of `DRAWING_SCHEMA`, or a uid is empty or not unique.
    """
    frame = _read(path, DRAWING_SCHEMA)
    check_uids(frame["uid"], f"drawings in {path}")
    return frame


def _read(path: Path | str, schema: pa.Schema) -> pd.DataFrame:
    frame: pd.DataFrame = _checked(path, pq.read_table(path), schema).to_pandas()
    return frame


def _checked(path: Path | str, table: pa.Table, schema: pa.Schema) -> pa.Table:
    for field in schema:
        found = table.schema.field(field.name).type if field.name in table.column_names else None
        if found != field.type:
            raise ValueError(
                f"{path}: column {field.name!r} should be {field.type} and is {found or 'absent'}; "
                f"write the file with whyrobust.data.records"
            )
    return table.select(schema.names).cast(schema)
