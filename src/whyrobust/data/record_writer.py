"""A disk-backed buffer of records and image locations: readers add to it, stages check and write it, batch by batch.

15 million records with their texts do not fit into memory, so full batches go to a temporary file and are read back as
often as they are checked or written.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import unicodedata
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.archives import LOCATION_SCHEMA, Member, may_be_class_folder
from whyrobust.data.dataset_checks import DatasetError, LabelCounts, Presence, nearest_class
from whyrobust.data.records import CAPTION_PREFIX, record_schema
from whyrobust.files import atomic_path
from whyrobust.study.table_cells import LABEL_SEPARATOR, is_missing

#: Rows held in memory: about 100 MB with texts as long as Flickr's.
ROWS_PER_BATCH = 50_000

#: Labels that are no class of which the images are counted one by one: a table may have another in each row.
MOST_UNKNOWN_LABELS = 1000

#: Reason to leave out an image of another part of the data set.
NOT_DRAWN = "it lies outside of drawn_between"

#: Reason to leave out an image of a test set that gets its labels from texts.
NO_CLASS_NAMED = "its text does not name one class"

#: Reason to leave out an image of a class that the data set is restricted from.
OTHER_CLASS = "its class lies outside of classes_between"

#: Reason to leave out an image whose uid an earlier one has.
REPEATED = "it came before"

_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("uid", "title", "description", "label", "collection", "file")),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
    ]
)


class RecordBuffer:
    """Records in the order in which a reader finds them; nothing can be added once they have been read back.

    Attributes:
        left_out: reason -> how many images were left out.
        missing: reason -> how many of those are not where the data set says.
        first_missing: the first of them, and the reason.
        labels: how many labels are classes of the study, where the reader asks for it (`known_class`).
        unknown_labels: labels, or names of class folders, that are no class, with the images of each: the first
            `MOST_UNKNOWN_LABELS` of them.
    """

    def __init__(self, rows_per_batch: int = ROWS_PER_BATCH, captions: Sequence[str] = ()) -> None:
        self._captions = tuple(captions)
        self._schema = pa.schema([*_SCHEMA, *(pa.field(f"{CAPTION_PREFIX}{name}", pa.string()) for name in captions)])
        self.left_out: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.first_missing = ("", "")
        self.labels, self.unknown_labels = LabelCounts(), Counter[str]()
        self._rows_per_batch, self._count, self._required = rows_per_batch, 0, list[str]()
        self._between, self._classes = (0.0, 1.0), frozenset[str]()
        self._labels: Mapping[str, str] | None = None
        self._columns: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the buffer
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writer: pa.RecordBatchStreamWriter | None = pa.ipc.new_stream(self._file, self._schema, options=options)

    def __len__(self) -> int:
        """Return the number of records."""
        return self._count

    def add(
        self, uid: str, member: Member, label: str | None = None, title: str = "", description: str = "",
        tags: Sequence[str] = (), collection: str = "", captions: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Add one record; an image that is missing is counted as such. ``captions`` has those of the buffer by name."""
        if member.missing:
            self.leave_out_missing(uid, member.missing)
            return
        values = {
            "uid": uid, "title": title, "description": description, "tags": list(tags), "label": label,
            "collection": collection, "file": member.file, "offset": member.offset, "length": member.length,
        }  # fmt: skip
        values |= {f"{CAPTION_PREFIX}{name}": (captions or {}).get(name, "") for name in self._captions}
        for name, value in values.items():
            self._columns[name].append(value)
        self._count += 1
        if len(self._columns["uid"]) == self._rows_per_batch:
            self._flush()

    @property
    def presence(self) -> Presence:
        """How many images are there, before `require` leaves records out."""
        return Presence(self._count, dict(self.missing), self.first_missing)

    def leave_out_missing(self, image: str, reason: str) -> None:
        """Count an image that is not where the data set says."""
        self.left_out[reason] += 1
        if not self.missing:
            self.first_missing = (image, reason)
        self.missing[reason] += 1

    def without_missing_folders(self, members: Iterable[Member]) -> Iterator[Member]:
        """Yield members but links to class folders that are not there, each of which is counted."""
        for member in members:
            if may_be_class_folder(member):
                self.leave_out_missing(member.name, member.missing)
            else:
                yield member

    def known_class(self, uid: str, given: object, classes: Collection[str]) -> str | None:
        """Return a label where it is a class, else None; counted in ``labels``."""
        label = label_text(given)
        if label in classes:
            self.labels += LabelCounts(known=1)
            return label
        self.count_unknown(label)
        first = (uid, label, nearest_class(label, classes)) if label and not self.labels.unknown else ("", "", "")
        self.labels += LabelCounts(unknown=1, first_unknown=first) if label else LabelCounts(empty=1)
        return None

    def count_unknown(self, label: str, images: int = 1) -> None:
        """Count images of a label, or of a class folder, that is no class."""
        if label and (label in self.unknown_labels or len(self.unknown_labels) < MOST_UNKNOWN_LABELS):
            self.unknown_labels[label] += images

    def _flush(self) -> None:
        """Move the rows in memory to the temporary file."""
        if self._writer is None:
            raise ValueError("these records have been read back: nothing can be added")
        try:
            batch = pa.record_batch(
                [pa.array(self._columns[field.name], field.type) for field in self._schema], self._schema
            )
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            raise DatasetError(f"a text near record '{self._columns['uid'][0]}' cannot be stored: {error}") from error
        self._writer.write_batch(batch)
        for values in self._columns.values():
            values.clear()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield records with their locations, one batch at a time."""
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None
        self._file.seek(0)
        for batch in pa.ipc.open_stream(self._file):
            if self._between != (0.0, 1.0):
                batch = batch.filter(_drawn(batch["uid"], *self._between))
            if self._labels is not None:
                batch = _labelled(batch, self._labels)
            if self._classes:
                batch = batch.filter(_of_classes(batch["label"], self._classes))
            for name in self._required:
                batch = batch.filter(_has_value(batch, name))
            yield batch

    def draw(self, start: float, end: float) -> None:
        """Leave out records whose number, from 0 to 1 and drawn by their uid, is not from ``start`` to below ``end``.

        The same pictures have the same numbers in every data set, so that two that are drawn from one share none.
        """
        self._between = (start, end)
        self._count_left_out(NOT_DRAWN)

    def _count_left_out(self, reason: str) -> None:
        """Count the records that are left out from now on."""
        kept = sum(len(batch) for batch in self.batches())
        if kept < self._count:  # a reason that leaves out nothing is told nowhere
            self.left_out[reason] += self._count - kept
        self._count = kept

    def label_by_text(self, labels: Mapping[str, str]) -> None:
        """Give records the labels that were found in their texts, by uid, and leave out those that have none there.

        Labels that the data set brings along are dropped, and so are their counts.
        """
        self._labels = labels
        self.labels, self.unknown_labels = LabelCounts(), Counter()
        self._count_left_out(NO_CLASS_NAMED)

    def keep_classes(self, classes: Collection[str]) -> None:
        """Leave out records that have no label, or one that names a class which is none of these."""
        self._classes = frozenset(classes)
        self._count_left_out(OTHER_CLASS)

    def count_unlabelled(self) -> int:
        """Return how many records have no label."""
        return sum(batch["label"].null_count for batch in self.batches())

    def require(self, fields: Sequence[str]) -> None:
        """Leave out records that lack a field (``title, description, tags, label``) or a caption, and count them."""
        for field in fields:
            self._required.append(f"{CAPTION_PREFIX}{field}" if field in self._captions else field)
            self._count_left_out(f"it has no {field}")

    def tables(self, dataset: str) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield records (`record_schema`) and locations (`LOCATION_SCHEMA`), one batch at a time.

        Uids start with the data set's name, so that no two data sets share one.
        """
        for batch in self.batches():
            uids = pc.binary_join_element_wise(dataset, batch["uid"], "/")
            collection = pc.if_else(pc.equal(batch["collection"], ""), dataset, batch["collection"])
            columns = {name: batch[name] for name in ("title", "description", "tags", "label")}
            columns |= {"uid": uids, "group": uids, "collection": collection}
            schema = record_schema(self._captions)
            columns |= {name: batch[name] for name in schema.names if name.startswith(CAPTION_PREFIX)}
            records = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
            locations = [uids, batch["file"].dictionary_encode(), batch["offset"], batch["length"]]
            yield records, pa.Table.from_arrays(locations, schema=LOCATION_SCHEMA)

    def write(self, dataset: str, records: Path | str, locations: Path | str) -> None:
        """Write records and locations as Parquet, whole or not at all.

        Raises:
            DatasetError: two records have one uid.
        """
        hashes = array("Q")
        with contextlib.ExitStack() as stack:
            writers = []
            for path, schema in ((records, record_schema(self._captions)), (locations, LOCATION_SCHEMA)):
                temporary = stack.enter_context(atomic_path(path))
                writers.append(stack.enter_context(pq.ParquetWriter(temporary, schema, compression="zstd")))
            for tables in self.tables(dataset):
                hashes.extend(uid_hash(uid) for uid in tables[0]["uid"].to_pylist())
                for writer, table in zip(writers, tables, strict=True):
                    writer.write_table(table)
            self._check_unique(dataset, hashes)

    def _check_unique(self, dataset: str, hashes: array[int]) -> None:
        """Raise a DatasetError where a uid comes twice; hashes fit into memory, uids of equal hashes are compared."""
        values, counts = np.unique(np.asarray(hashes, dtype=np.uint64), return_counts=True)
        suspects = set(values[counts > 1].tolist())
        if not suspects:
            return
        seen: set[str] = set()
        for records, _ in self.tables(dataset):
            for uid in records["uid"].to_pylist():
                if uid_hash(uid) in suspects:
                    if uid in seen:
                        raise DatasetError(f"data set '{dataset}' has '{uid}' twice: keep one picture of this name")
                    seen.add(uid)


def uid_hash(uid: str) -> int:
    """Return a hash of 8 bytes; uids of equal hashes must be compared, since two uids may share one."""
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest(), "little")


def _drawn(uids: pa.Array, start: float, end: float) -> pa.Array:
    """Return which uids have a number from ``start`` to below ``end``."""
    numbers = np.array([uid_hash(uid) for uid in uids.to_pylist()], dtype=np.uint64) / 2.0**64
    # The largest hashes round to 1.
    return pa.array((numbers >= start) & ((numbers < end) | (end == 1.0)))


def _labelled(batch: pa.RecordBatch, labels: Mapping[str, str]) -> pa.RecordBatch:
    """Return the records that have a label here, with it."""
    found = pa.array([labels.get(uid) for uid in batch["uid"].to_pylist()], pa.string())
    position = batch.schema.get_field_index("label")
    return batch.set_column(position, batch.schema.field(position), found).filter(found.is_valid())


def _of_classes(labels: pa.Array, classes: frozenset[str]) -> pa.Array:
    """Return which labels name none but these classes."""
    found = {label: classes.issuperset(label.split(LABEL_SEPARATOR)) for label in labels.unique().to_pylist() if label}
    return pa.array([bool(label) and found[label] for label in labels.to_pylist()], pa.bool_())


def classes_between(classes: Sequence[str], start: float, end: float) -> list[str]:
    """Return the classes from one share of them to another, in an order that is drawn by their names.

    Ranges that meet have no class in common and, together, all: ``0`` to ``0.5`` and ``0.5`` to ``1`` are two halves.

    Args:
        classes: of the study, in any order.
        start: share of the classes that come before.
        end: share of the classes up to the last.
    """
    drawn = sorted(classes, key=lambda name: (uid_hash(name), name))
    return drawn[round(start * len(drawn)) : round(end * len(drawn))]


def _has_value(batch: pa.RecordBatch, name: str) -> pa.BooleanArray:
    """Return which rows have a value in a field."""
    column = batch[name]
    if name == "label":
        return pc.is_valid(column)
    length = pc.list_value_length(column) if name == "tags" else pc.binary_length(column)
    return pc.greater(length, 0)


def label_text(value: object) -> str:
    """Return a label as text in NFC form: numbers as a table of classes writes them, "" for a missing value."""
    if is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers with gaps holds floats
        value = int(value)
    return unicodedata.normalize("NFC", str(value).strip())


def check_labels(records: RecordBuffer, dataset: str, classes: Sequence[str]) -> None:
    """Check that every image of a test set has a label that can be scored.

    Args:
        records: of the test set.
        dataset: its name.
        classes: that it may have, in the order of their table.

    Raises:
        DatasetError: an image has no label, or one that is no class of the study; the message names the first.
    """
    known, bad = set(classes), list[tuple[str, str | None]]()
    for batch in records.batches():
        for uid, label in zip(batch["uid"].to_pylist(), batch["label"].to_pylist(), strict=True):
            if label is None or not known.issuperset(label.split(LABEL_SEPARATOR)):
                bad.append((uid, label))
    if not bad:
        return
    uid, label = bad[0]
    first, unknown, nearest = records.labels.first_unknown
    given = label or (unknown if first == uid else "")
    found = f"the label '{given}', which is no class that it may have" if given else "no label"
    if nearest and first == uid:
        found += f" (nearest class: '{nearest}')"
    if given.isdecimal() and not all(name.isdecimal() for name in classes):
        found += " (a number: class_names gives numbers names)"
    shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    raise DatasetError(
        f"test set '{dataset}' has {len(bad):,} of {len(records):,} images that cannot be scored, the first "
        f"'{uid}' with {found}: allowed are {len(classes)} classes of data.classes ({shown}); correct the "
        "label, or leave the image out"
    )
