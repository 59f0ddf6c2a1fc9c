"""Columns of text in Arrow: taken from tables, looked at byte by byte, and changed where they need it.

Stands alone because captions and labels are made from the same columns, in the same way: what holds for plain ASCII is
done for a whole column at once, and what does not is done text by text in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]


def text_column(values: Iterable[str] | Iterable[Sequence[str]]) -> pa.Array:
    """Return texts or lists of texts (of a table, say) as one Arrow array; a column that holds Arrow is not copied."""
    column = pa.array(values, from_pandas=True)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    if pa.types.is_list(column.type) and pa.types.is_null(column.type.value_type):
        return column.cast(pa.list_(pa.string()))
    return column


def text_buffers(texts: pa.Array) -> tuple[Integers, Bytes]:
    """Return the offsets ``[n + 1]``, from 0 on, and the bytes of Arrow strings."""
    _, offset_buffer, data = texts.buffers()
    if not len(texts):
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    width = np.int64 if texts.type == pa.large_string() else np.int32
    offsets = np.frombuffer(offset_buffer, dtype=width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    content = np.frombuffer(data if data is not None else b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], content


def replace_texts(texts: pa.Array, where: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Return Arrow strings of which those at ``where`` (Arrow booleans) are changed by a function."""
    changed = [change(text) for text in texts.filter(where).to_pylist()]
    return pc.replace_with_mask(texts, where, pa.array(changed, texts.type))
