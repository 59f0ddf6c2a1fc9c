"""The data: samples, images per class, captions, filters, labels found in text, and removed training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from whyrobust.report.charts.histogram import by_falling_size, histogram_panel
from whyrobust.report.page_parts import Panel, picture_uri, table_rows
from whyrobust.report.tables import DataTables
from whyrobust.report.theme import PALETTE
from whyrobust.study.display_names import count_noun, spaced
from whyrobust.study.table_cells import cell_text


def data_section(data: DataTables, similarity: float, text_fields: Sequence[str]) -> dict[str, Any]:
    """Return the values of the section.

    Args:
        data: the tables.
        similarity: from which a training image counts as a near-duplicate of a test image.
        text_fields: the text fields that were searched for labels.
    """
    filters = [
        {"dataset": dataset, "images": dict(zip(rows["step"], rows["images"], strict=True))}
        for dataset, rows in data.filters.groupby("dataset", sort=False)
    ]
    return {
        "data_sets": [
            _describe_dataset(str(name), str(role), rows, data.classes)
            for (name, role), rows in data.samples.groupby(["dataset", "role"], sort=False)
        ],
        "captions": table_rows(data.captions),
        "caption_variety": table_rows(data.caption_variety),
        "steps": list(dict.fromkeys(data.filters["step"])),
        "filters": filters,
        "removed": table_rows(data.removed[data.removed["images"] > 0]),
        "bands": [_describe_band(rows) for _, rows in data.pairs.groupby(["low", "high"])],
        "similarity": similarity,
        "text_matches": table_rows(data.text_matches),
        "text_fields": [spaced(name) for name in text_fields],
    }


def _describe_dataset(name: str, role: str, samples: pd.DataFrame, classes: pd.DataFrame) -> dict[str, Any]:
    """Return the samples of a data set as tiles, and its images per class as a chart."""
    counts = classes[classes["dataset"] == name]
    panel = None
    if len(counts):
        spec = histogram_panel(counts, PALETTE[0] if role == "training_source" else PALETTE[1])
        panel = Panel(name, spec, describe_counts(counts))
    tiles = [
        {"picture": picture_uri(row["picture"]), "label": cell_text(row["label"]), "caption": _record_text(row)}
        for row in table_rows(samples)
    ]
    return {"name": name, "role": spaced(role), "tiles": tiles, "histogram": panel}


def _describe_band(pairs: pd.DataFrame) -> dict[str, Any]:
    """Return a band of similarity: how many pairs it has, and those that are shown."""
    shown = [
        row | {"picture": picture_uri(row["picture"]), "test_picture": picture_uri(row["test_picture"])}
        for row in table_rows(pairs)
    ]
    count = int(pairs.drop_duplicates("source")["in_band"].sum())
    return {"low": shown[0]["low"], "high": shown[0]["high"], "in_band": count, "pairs": shown}


def _record_text(record: Mapping[str, Any]) -> str:
    """Return all the text of a record in one line: title, description, tags."""
    tags = record["tags"]
    parts = [cell_text(record["title"]), cell_text(record["description"]), "" if tags is None else ", ".join(tags)]
    return "; ".join(filter(None, parts))


def describe_counts(counts: pd.DataFrame) -> str:
    """Say what a class histogram shows, for readers who do not see it."""
    rows = by_falling_size(counts)
    largest, smallest = rows.iloc[0], rows.iloc[-1]
    empty = int((rows["images"] == 0).sum())
    text = (
        f"{count_noun(int(rows['images'].sum()), 'labelled image')} of "
        f"{count_noun(len(rows) - empty, 'class', 'classes')}; median "
        f"{rows['images'].median():,.0f} per class; most: {largest['class']} ({int(largest['images']):,}); fewest: "
        f"{smallest['class']} ({int(smallest['images']):,})"
    )
    return text + (f"; {count_noun(empty, 'class', 'classes')} without an image." if empty else ".")
