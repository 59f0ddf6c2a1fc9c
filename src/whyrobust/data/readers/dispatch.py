"""Load what reads or lists a data set by the name that the table of kinds gives it (`whyrobust.study.data_kinds`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from whyrobust.data.archives import Pack
from whyrobust.data.record_writer import RecordBuffer

#: Called with the settings of a data set (docs/config.md; of a slice its shards and their ``shard_names``), the study's
#: classes in the order of their table, and a pack that takes images which cannot be read in place.
Reader = Callable[[Mapping[str, Any], Sequence[str], Pack], RecordBuffer]

#: Called with the settings of a list of addresses; returns the texts of a row, and the rows with ``url`` and the texts.
Lister = Callable[[Mapping[str, Any]], tuple[Sequence[str], Iterator[Mapping[str, str]]]]


def load_reader(name: str) -> Reader:
    """Return the reader of this name, ``module:function``, of which only that module is imported."""
    reader: Reader = _load(name)
    return reader


def load_lister(name: str) -> Lister:
    """Return the function of this name that lists addresses, see `load_reader`."""
    lister: Lister = _load(name)
    return lister


def _load(name: str) -> Any:  # noqa: ANN401 - a function
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
