"""What tests of readers share: classes, pictures on disk, and the content of a buffer of records as plain tables."""

from __future__ import annotations

import io

import pyarrow as pa

from tests.data.test_photo_store import encoded, picture
from whyrobust.data.archives import Member, Pack
from whyrobust.data.readers.dispatch import load_reader
from whyrobust.data.records import RECORD_SCHEMA
from whyrobust.study.data_kinds import DATA_KINDS

CLASSES = ["cat", "dog", "mug"]


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture()))


def read_dataset(settings, pack=None, classes=CLASSES):
    """Read a data set by its settings, with the reader that the table of kinds names."""
    reader = load_reader(DATA_KINDS[settings["kind"]].reader)
    return reader(settings, classes, pack or Pack(io.BytesIO(), "pack"))


def rows_of(buffer):
    """Return all (record, member) of a buffer."""
    rows = [row for batch in buffer.batches() for row in batch.to_pylist()]
    return [(row, Member(row["uid"], row["file"], row["offset"], row["length"])) for row in rows]


def records_of(buffer, dataset):
    """Return the table of records of a buffer."""
    tables = [records for records, _ in buffer.tables(dataset)]
    frame = pa.concat_tables(tables or [RECORD_SCHEMA.empty_table()]).to_pandas()
    frame["tags"] = [list(tags) for tags in frame["tags"]]
    frame["label"] = frame["label"].astype(object).where(frame["label"].notna(), None)
    return frame
