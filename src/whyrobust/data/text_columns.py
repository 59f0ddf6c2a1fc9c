"""Columns of text in Arrow: convert columns of tables, read their bytes, and change selected texts.

Captions and labels process plain ASCII a whole column at a time, and other texts one by one in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]

#: Texts at a time: few enough that they and what is computed from them stay in the CPU cache.
TEXTS_AT_A_TIME = 16_384

# glibc returns what is free at the end of its memory to the system as soon as it is twice the largest block that was
# returned before (mallopt(3), M_MMAP_THRESHOLD). Parts of texts are smaller than that, and for each their memory would
# go back and come again, emptied. One block of this size, of which nothing is used, ends that.
np.empty(1 << 24, dtype=np.uint8)


def text_column(values: Iterable[str] | Iterable[Sequence[str]]) -> pa.Array:
    """Return texts or lists of texts, such as a column of a DataFrame, as one Arrow array; Arrow data is not copied."""
    column = pa.array(values, from_pandas=True)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    if pa.types.is_list(column.type) and pa.types.is_null(column.type.value_type):
        return column.cast(pa.list_(pa.string()))
    return column


def text_buffers(texts: pa.Array) -> tuple[Integers, Bytes]:
    """Return the offsets ``[n + 1]``, starting at 0, and the bytes of Arrow strings."""
    _, offset_buffer, data = texts.buffers()
    if not len(texts):
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    width = np.int64 if texts.type == pa.large_string() else np.int32
    offsets = np.frombuffer(offset_buffer, dtype=width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    content = np.frombuffer(data if data is not None else b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], content


def texts_with(marked: NDArray[np.bool_], offsets: Integers) -> Integers:
    """Return the positions of the texts with these offsets that hold a marked byte, each once and in their order."""
    rows: Integers = np.searchsorted(offsets, np.flatnonzero(marked), side="right") - 1
    is_first = np.ones(len(rows), dtype=np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=is_first[1:])
    return rows[is_first]


def replace_texts(texts: pa.Array, where: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Return Arrow strings with ``change`` applied where the mask ``where`` (Arrow booleans) is true."""
    before = texts.filter(where).to_pylist()
    changed = [change(text) for text in before]
    # Most texts beyond ASCII are as they should be, and a column is copied only where one is not.
    return texts if changed == before else pc.replace_with_mask(texts, where, pa.array(changed, texts.type))
