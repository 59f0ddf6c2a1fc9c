"""Read class folders: images whose class is the name of the folder that holds them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from whyrobust.data.archives import Member, Pack, list_folder, may_be_class_folder
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.record_writer import RecordBuffer
from whyrobust.data.records import LABEL_SEPARATOR


def read_image_folder_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``image_folder``."""
    return read_image_folder(settings["folder"], classes, settings.get("class_table"))


def read_image_folder(
    folder: Path | str, classes: Collection[str], class_table: Path | str | None = None
) -> RecordBuffer:
    """Read class folders: ``<folder>/<class>/<image>``.

    Args:
        folder: holds the class folders; one that is no class of the study is left out.
        classes: of the study.
        class_table: see `read_class_table`; without it folders are named after classes.

    Returns:
        Records with labels and empty texts.
    """
    label_of_folder = read_class_table(class_table, classes) if class_table else {name: name for name in classes}
    return read_class_folders(list_folder(folder), label_of_folder.get)


def read_class_table(path: Path | str, classes: Collection[str]) -> dict[str, str]:
    """Return the label of each folder from a CSV table with columns ``folder`` and ``classes`` (or ``class``).

    Raises:
        DatasetError: a column is missing, a folder comes twice, or a class is not in the study.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        folder, label = row.get("folder"), row.get("classes", row.get("class"))
        if not folder or not label:
            raise DatasetError(
                f"{path}, line {number}: it has no folder or no class; give the columns folder and class"
            )
        members = [name.strip() for name in label.split(LABEL_SEPARATOR)]
        unknown = sorted(set(members) - set(classes))
        if unknown:
            raise DatasetError(
                f"{path}, line {number}: '{unknown[0]}' is no class of the study: name one of data.classes"
            )
        if folder in labels:
            raise DatasetError(f"{path}, line {number}: folder '{folder}' comes twice: keep one line")
        labels[folder] = LABEL_SEPARATOR.join(sorted(members))
    return labels


def read_class_folders(members: Iterable[Member], label_of_folder: Callable[[str], str | None]) -> RecordBuffer:
    """Read images whose label follows from the name of the folder that holds them.

    Args:
        members: files of a folder or an archive.
        label_of_folder: returns the label of a folder, None where its images are left out.
    """
    records = RecordBuffer()
    for member in members:
        if may_be_class_folder(member):
            records.leave_out_missing(member.name, member.missing)
            continue
        if not member.is_image:
            records.left_out["not a picture by its name"] += 1
            continue
        folder = member.path.parent.name
        label = label_of_folder(folder)
        if label is None:
            records.left_out["its folder is no class of the study"] += 1
            continue
        records.add(member.name, member, label, collection=folder)
    return records
