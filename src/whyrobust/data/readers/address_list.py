"""Read lists of addresses: tables with an address and a caption per row, and the shards that were fetched from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whyrobust.data.archives import Pack
from whyrobust.data.readers.label_names import read_label_names
from whyrobust.data.readers.table_files import form_of, read_rows
from whyrobust.data.readers.webdataset import PairLayout, read_webdataset
from whyrobust.data.record_writer import REPEATED, RecordBuffer, label_text

#: What a row may say of its picture; columns of the list that is fetched, and keys of the JSON in its shards.
TEXTS = ("title", "description", "tags", "label")


def list_addresses(settings: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[dict[str, str]]]:
    """Return the texts that a data set of kind ``address_list`` has, and its rows: ``url`` and the texts."""
    keys = {name: settings[name] for name in ("url", *TEXTS) if name in settings}
    rows = (row for table in settings["addresses"] for row in read_rows(Path(table), keys, form_of(settings)))
    return list(keys)[1:], ({key: _cell_text(cell) for key, cell in row.items()} for row in rows)


def _cell_text(cell: object) -> str:
    """Return a cell as text; a list, as tags are in Parquet, with commas between."""
    return ",".join(map(str, cell)) if isinstance(cell, list) else label_text(cell)


def read_address_list_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read the shards that were fetched for a data set of kind ``address_list``, or a slice of them.

    Records are named by the row of the list, the first being 0, whichever shard has them.
    """
    names = read_label_names(settings["class_names"]) if "class_names" in settings else ()
    label = "label" if "label" in settings else None
    layout = PairLayout(fields={name: name for name in TEXTS[:3]}, label=label, label_names=names)
    taken = bytearray()

    def identify(metadata: Mapping[str, Any]) -> tuple[str, str]:
        row = metadata.get("row")
        if not isinstance(row, int):
            return "", "its JSON names no row of the list"
        taken.extend(bytes(max(0, row + 1 - len(taken))))
        reason = REPEATED if taken[row] else ""
        taken[row] = True
        return str(row), reason

    return read_webdataset(settings["shards"], layout, classes, settings.get("shard_names"), identify)
