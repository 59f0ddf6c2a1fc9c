"""Read CounterAnimal (Wang et al. 2024): animals on the background that is common for them, and on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whyrobust.data.archives import Pack, is_image_name, list_archive
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.imagenet import class_at
from whyrobust.data.record_writer import RecordBuffer

#: The folder whose groups were chosen by CLIP models trained on LAION; the paper's others have other groups.
FOLDER = "LAION-final"


def read_counter_animal_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``counter_animal``: one of its groups."""
    return read_counter_animal(settings["archive"], settings["split"], classes, pack)


def read_counter_animal(archive: Path | str, group: str, class_order: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a group of CounterAnimal: pictures ``<number> <animal>/<group>-<background>/<name>``.

    Args:
        archive: as published, or the unpacked folder.
        group: ``common`` or ``counter``.
        class_order: the 1,000 sorted wnids: the number of an animal is its position among them.
        pack: takes pictures that cannot be read in place.

    Returns:
        Records; ``collection`` is the folder with group and background.

    Raises:
        DatasetError: the classes are not ImageNet's 1,000, or a folder of an animal does not begin with a number.
    """
    if len(class_order) != 1000:
        raise DatasetError(f"CounterAnimal's numbers are of 1,000 classes, data.classes has {len(class_order)}")
    records = RecordBuffer()
    for member in records.without_missing_folders(list_archive(archive, pack, is_image_name)):
        folders = member.path.parts[:-1]
        elsewhere = any(name.endswith("-final") and name != FOLDER for name in folders)
        if elsewhere or len(folders) < 2 or not folders[-1].startswith(f"{group}-"):
            records.left_out["it is of another group"] += 1
            continue
        label = class_at(folders[-2].partition(" ")[0], class_order, archive)
        records.add(member.name, member, label, collection=folders[-1])
    return records
