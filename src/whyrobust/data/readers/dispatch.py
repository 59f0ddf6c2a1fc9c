"""Read a data set of any kind: `read_dataset` calls the reader of the data set's kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whyrobust.data.archives import Pack
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers import folders, imagenet, tables, webdataset, yfcc
from whyrobust.data.record_writer import RecordBuffer

Reader = Callable[[Mapping[str, Any], Sequence[str], Pack], RecordBuffer]

READERS: Mapping[str, Reader] = {
    "image_folder": folders.read_image_folder_dataset,
    "image_table": tables.read_image_table_dataset,
    "webdataset": webdataset.read_webdataset_dataset,
    "yfcc15m": yfcc.read_yfcc15m_dataset,
    "imagenet": imagenet.read_imagenet_dataset,
    "imagenet_captions": imagenet.read_imagenet_captions_dataset,
    "imagenet_v2": imagenet.read_imagenet_v2_dataset,
    "imagenet_r": imagenet.read_wnid_folders_dataset,
    "imagenet_a": imagenet.read_wnid_folders_dataset,
    "imagenet_sketch": imagenet.read_wnid_folders_dataset,
    "objectnet": imagenet.read_objectnet_dataset,
}


def read_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read the records of a data set.

    Args:
        settings: ``kind`` and the keys of that kind (docs/config.md); of a slice its shards and their ``shard_names``.
        classes: of the study, in the order of their table.
        pack: takes images that cannot be read in place.

    Raises:
        DatasetError: the kind is not known, or the data set is not laid out as its kind says.
        LocationError: an archive is damaged.
    """
    reader = READERS.get(settings["kind"])
    if reader is None:
        raise DatasetError(f"data sets of kind '{settings['kind']}' are not known: allowed are {', '.join(READERS)}")
    return reader(settings, classes, pack)
