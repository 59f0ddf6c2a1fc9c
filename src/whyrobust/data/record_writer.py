"""What a reader of photographs found: records and where their pictures lie, with memory for one batch.

Stands alone because 15 million records with their texts do not fit into memory: rows are put by in a temporary file,
batch by batch, and read back as often as they are checked or written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.archives import LOCATION_SCHEMA, Member
from whyrobust.data.records import LABEL_SEPARATOR, RECORD_SCHEMA
from whyrobust.files import atomic_path, write_json

#: Rows that are held in memory: some 100 MB with texts as long as Flickr's.
ROWS_A_BATCH = 50_000

_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("uid", "title", "description", "label", "collection", "file")),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
    ]
)


class SourceError(ValueError):
    """A data set that is not laid out as it should be; the message names file, what was found and what to do."""


@dataclass(frozen=True)
class Presence:
    """How many pictures are where a source says that they are.

    Attributes:
        found: pictures that are there.
        missing: reason -> how many are not.
        first_missing: the first of those, and the reason.
    """

    found: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    first_missing: tuple[str, str] = ("", "")

    def __add__(self, other: Presence) -> Presence:
        """Return what both together have, ``other`` after this one."""
        first = self.first_missing if self.missing else other.first_missing
        return Presence(self.found + other.found, Counter(self.missing) + Counter(other.missing), first)

    def check(self, dataset: str, allowed_share: float) -> None:
        """Check that no more than ``allowed_share`` (0..1) of all pictures are missing.

        Raises:
            SourceError: more are.
        """
        missing = sum(self.missing.values())
        total = missing + self.found
        if missing > allowed_share * total:
            picture, reason = self.first_missing
            reasons = ", ".join(f"{count:,} x {what}" for what, count in Counter(self.missing).most_common())
            raise SourceError(
                f"data set '{dataset}' lacks {missing:,} of {total:,} pictures ({reasons}), {missing / total:.1%} "
                f"where {allowed_share:.1%} are allowed, the first '{picture}': {reason}; put them in place, correct "
                "the table, or allow a larger share in data.allowed_failure_share"
            )


def write_presence(path: Path | str, presence: Presence) -> None:
    """Write how many pictures are there as JSON, whole or not at all."""
    write_json(path, asdict(presence))


def read_presence(path: Path | str) -> Presence:
    """Read what `write_presence` wrote."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    return Presence(given["found"], given["missing"], tuple(given["first_missing"]))


class Reading:
    """Records as a reader finds them, one after the other; after the first look at them nothing is added.

    Attributes:
        left_out: reason -> how many were left out.
        missing: reason -> how many of those left out have no picture where the source says.
        first_missing: the first of them, and the reason.
        no_class: uid and label of the first record whose label is no class of the study.
    """

    def __init__(self, rows_a_batch: int = ROWS_A_BATCH) -> None:
        self.left_out: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.first_missing = ("", "")
        self.no_class = ("", "")
        self._rows_a_batch, self._count, self._needed = rows_a_batch, 0, list[str]()
        self._columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the reading
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writer: pa.RecordBatchStreamWriter | None = pa.ipc.new_stream(self._file, _SCHEMA, options=options)

    def __len__(self) -> int:
        """How many records there are."""
        return self._count

    def add(
        self, uid: str, member: Member, label: str | None = None, title: str = "", description: str = "",
        tags: Sequence[str] = (), collection: str = "",
    ) -> None:  # fmt: skip
        """Keep one record."""
        values = {
            "uid": uid, "title": title, "description": description, "tags": list(tags), "label": label,
            "collection": collection, "file": member.file, "offset": member.offset, "length": member.length,
        }  # fmt: skip
        for name, value in values.items():
            self._columns[name].append(value)
        self._count += 1
        if len(self._columns["uid"]) == self._rows_a_batch:
            self._put_by()

    @property
    def presence(self) -> Presence:
        """How many pictures are there, before records are left out that `need` something."""
        return Presence(self._count, dict(self.missing), self.first_missing)

    def leave_out_missing(self, picture: str, reason: str) -> None:
        """Count a record whose picture is not where the source says."""
        self.left_out[reason] += 1
        if not self.missing:
            self.first_missing = (picture, reason)
        self.missing[reason] += 1

    def known_class(self, uid: str, given: object, classes: Collection[str]) -> str | None:
        """Return the class that a source gives a record; None, and a note of the first, where it is no class."""
        label = label_text(given)
        if label in classes:
            return label
        if label and not self.no_class[0]:
            self.no_class = (uid, label)
        return None

    def _put_by(self) -> None:
        if self._writer is None:
            raise ValueError("this reading has been looked at: nothing can be added")
        try:
            batch = pa.record_batch([pa.array(self._columns[field.name], field.type) for field in _SCHEMA], _SCHEMA)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            raise SourceError(f"a text near record '{self._columns['uid'][0]}' cannot be stored: {error}") from error
        self._writer.write_batch(batch)
        for values in self._columns.values():
            values.clear()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the records with their places, a batch at a time."""
        if self._writer is not None:
            self._put_by()
            self._writer.close()
            self._writer = None
        self._file.seek(0)
        for batch in pa.ipc.open_stream(self._file):
            for name in self._needed:
                batch = batch.filter(_has(batch, name))
            yield batch

    def need(self, names: Sequence[str]) -> None:
        """Leave out records that lack one of the fields (``title, description, tags, label``), and count them."""
        for name in names:
            lacking = sum(pc.sum(pc.invert(_has(batch, name))).as_py() or 0 for batch in self.batches())
            if lacking:
                self.left_out[f"it has no {name}"] += lacking
                self._count -= lacking
            self._needed.append(name)

    @property
    def rows(self) -> list[tuple[dict[str, Any], Member]]:
        """All (record, member), in memory: for a few."""
        found = [row for batch in self.batches() for row in batch.to_pylist()]
        return [(row, Member(row["uid"], row["file"], row["offset"], row["length"])) for row in found]

    def tables(self, dataset: str) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield records (`RECORD_SCHEMA`) and locations (`LOCATION_SCHEMA`), a batch at a time.

        Uids start with the data set's name, so that no two sets share one.
        """
        for batch in self.batches():
            uids = pc.binary_join_element_wise(dataset, batch["uid"], "/")
            named = pc.if_else(pc.equal(batch["collection"], ""), dataset, batch["collection"])
            columns = {name: batch[name] for name in ("title", "description", "tags", "label")}
            columns |= {"uid": uids, "group": uids, "collection": named}
            records = pa.Table.from_arrays([columns[name] for name in RECORD_SCHEMA.names], schema=RECORD_SCHEMA)
            places = [uids, batch["file"].dictionary_encode(), batch["offset"], batch["length"]]
            yield records, pa.Table.from_arrays(places, schema=LOCATION_SCHEMA)

    def records(self, dataset: str) -> pd.DataFrame:
        """Return the table of records, in memory: for a few."""
        parts = [records for records, _ in self.tables(dataset)]
        frame: pd.DataFrame = pa.concat_tables(parts or [RECORD_SCHEMA.empty_table()]).to_pandas(types_mapper=None)
        frame["tags"] = [list(tags) for tags in frame["tags"]]
        frame["label"] = frame["label"].astype(object).where(frame["label"].notna(), None)
        return frame

    def write(self, dataset: str, records: Path | str, locations: Path | str) -> None:
        """Write records and locations as Parquet, whole or not at all.

        Raises:
            SourceError: two records have one uid.
        """
        numbers = array("Q")
        with contextlib.ExitStack() as stack:
            writers = []
            for path, schema in ((records, RECORD_SCHEMA), (locations, LOCATION_SCHEMA)):
                temporary = stack.enter_context(atomic_path(path))
                writers.append(stack.enter_context(pq.ParquetWriter(temporary, schema, compression="zstd")))
            for tables in self.tables(dataset):
                numbers.extend(uid_number(uid) for uid in tables[0]["uid"].to_pylist())
                for writer, table in zip(writers, tables, strict=True):
                    writer.write_table(table)
            self._check_unique(dataset, numbers)

    def _check_unique(self, dataset: str, numbers: array[int]) -> None:
        """Look for uids that come twice: first by numbers of 8 bytes a uid, which fit into memory, then by name."""
        values, counts = np.unique(np.asarray(numbers, dtype=np.uint64), return_counts=True)
        suspects = set(values[counts > 1].tolist())
        if not suspects:
            return
        seen: set[str] = set()
        for records, _ in self.tables(dataset):
            for uid in records["uid"].to_pylist():
                if uid_number(uid) in suspects:
                    if uid in seen:
                        raise SourceError(f"data set '{dataset}' has '{uid}' twice: keep one picture of this name")
                    seen.add(uid)


def uid_number(uid: str) -> int:
    """Return 8 bytes that stand for a uid; those of equal numbers must be compared, since two may share one."""
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest(), "little")


def _has(batch: pa.RecordBatch, name: str) -> pa.BooleanArray:
    """Return which rows have something in a field."""
    column = batch[name]
    if name == "label":
        return pc.is_valid(column)
    length = pc.list_value_length(column) if name == "tags" else pc.binary_length(column)
    return pc.greater(length, 0)


def label_text(value: object) -> str:
    """Return a label as text: numbers as they are written in a table of classes, nothing for a missing value."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():  # whole numbers with gaps come as floats
        value = int(value)
    return str(value).strip()


def check_labels(reading: Reading, dataset: str, classes: Sequence[str]) -> None:
    """Check that every image of a test set has a label that can be scored.

    Args:
        reading: of the test set.
        dataset: its name.
        classes: that it may have, in the order of their table.

    Raises:
        SourceError: an image has no label, or one that is no class of the study; the message names the first.
    """
    known, bad = set(classes), list[tuple[str, str | None]]()
    for batch in reading.batches():
        for uid, label in zip(batch["uid"].to_pylist(), batch["label"].to_pylist(), strict=True):
            if label is None or not known.issuperset(label.split(LABEL_SEPARATOR)):
                bad.append((uid, label))
    if not bad:
        return
    uid, label = bad[0]
    given = label or (reading.no_class[1] if reading.no_class[0] == uid else "")
    found = f"the label '{given}', which is no class that it may have" if given else "no label"
    shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    raise SourceError(
        f"test set '{dataset}' has {len(bad):,} of {len(reading):,} images that cannot be scored, the first "
        f"'{uid}' with {found}: allowed are {len(classes)} classes of data.classes ({shown}); correct the "
        "label, or leave the image out"
    )
