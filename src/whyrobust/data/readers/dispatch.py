"""Load the reader of a data set's kind by the name that the table of kinds gives it (`whyrobust.study.data_kinds`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whyrobust.data.archives import Pack
from whyrobust.data.record_writer import RecordBuffer

#: Called with the settings of a data set (docs/config.md; of a slice its shards and their ``shard_names``), the study's
#: classes in the order of their table, and a pack that takes images which cannot be read in place.
Reader = Callable[[Mapping[str, Any], Sequence[str], Pack], RecordBuffer]


def load_reader(name: str) -> Reader:
    """Return the reader of this name, ``module:function``, of which only that module is imported."""
    module, _, function = name.partition(":")
    reader: Reader = getattr(importlib.import_module(module), function)
    return reader
