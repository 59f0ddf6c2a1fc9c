"""Read YFCC-15M (Radford et al. 2021): the list of its photo ids, the YFCC100M metadata, and shards of its pairs."""

from __future__ import annotations

import bz2
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whyrobust.data.archives import Pack
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.table_files import MAXIMUM_FIELD_CHARACTERS, check_line
from whyrobust.data.readers.webdataset import PairLayout, read_webdataset
from whyrobust.data.record_writer import REPEATED, RecordBuffer

#: Columns of the YFCC100M metadata file, tab separated, without a header (the data set's README).
YFCC_COLUMNS = (
    "line", "photoid", "hash", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title", "description",
    "usertags", "machinetags", "longitude", "latitude", "accuracy", "pageurl", "downloadurl", "licensename",
    "licenseurl", "serverid", "farmid", "secret", "secretoriginal", "ext", "marker",
)  # fmt: skip

#: Columns that the first release of the file does not have.
YFCC_LATER_COLUMNS = ("line", "hash")

#: Shards hold the texts as YFCC100M writes them; img2dataset does so where it is told to keep these columns.
YFCC_LAYOUT = PairLayout(
    fields={"title": "title", "description": "description", "tags": "usertags"}, percent_encoded=True
)


#: Texts of a pair that is fetched, as YFCC100M names and writes them.
YFCC_TEXTS = ("photoid", "title", "description", "usertags")


def list_yfcc15m(settings: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[dict[str, str]]]:
    """Return the texts that a data set of kind ``yfcc15m`` has, and its rows: ``url`` and the texts."""
    rows = list_yfcc_pairs(settings["subset"], settings["metadata"])
    return YFCC_TEXTS, ({"url": row["downloadurl"]} | {name: row[name] for name in YFCC_TEXTS} for row in rows)


def read_yfcc15m_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``yfcc15m``, or a slice of its shards."""
    return read_yfcc15m(settings["shards"], settings["subset"])


def read_yfcc15m(shards: Sequence[Path | str], subset: Path | str) -> RecordBuffer:
    """Read the pairs of WebDataset shards that are in OpenAI's 15 M subset of YFCC100M, each photo once.

    Args:
        shards: tar files whose JSON has ``photoid, title, description, usertags``.
        subset: ``yfcc100m_subset_data.tsv.bz2``: line number, photo id, photo hash.

    Raises:
        DatasetError: the list of the subset is damaged.
        LocationError: a shard is damaged.
    """
    ids = read_yfcc_ids(subset)
    taken = np.zeros(len(ids.numbers), dtype=np.bool_)

    def identify(metadata: Mapping[str, Any]) -> tuple[str, str]:
        photo = str(metadata.get("photoid", ""))
        position = ids.position(photo)
        if position < 0:
            return "", "it is not in the list of the subset"
        if taken[position]:
            return "", REPEATED
        taken[position] = True
        return photo, ""

    return read_webdataset(shards, YFCC_LAYOUT, identify=identify)


class PhotoIds:
    """A set of photo ids that takes 8 bytes per id.

    Attributes:
        numbers: the ids, int64 ``[n]``, sorted, each once.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = np.unique(np.asarray(array("q", numbers), dtype=np.int64))

    def position(self, photo: str) -> int:
        """Return the position of an id in ``numbers``, -1 where it is not there."""
        number = _photo_number(photo)
        position = int(self.numbers.searchsorted(number))
        found = number >= 0 and position < len(self.numbers) and self.numbers[position] == number
        return position if found else -1


def _photo_number(photo: str) -> int:
    """Return an id as an int64, -1 where it is none."""
    number = int(photo) if photo.isdecimal() and len(photo) < 20 else -1
    return number if number < 2**63 else -1


def read_yfcc_ids(subset: Path | str) -> PhotoIds:
    """Return the photo ids of a subset list (bz2, tab separated: line number, photo id, photo hash).

    Raises:
        DatasetError: a line is not of this form, or the file is damaged.
    """

    def numbers() -> Iterator[int]:
        for number, line in _bz2_lines(subset):
            parts = line.rstrip("\n").split("\t")
            if len(parts) != 3 or _photo_number(parts[1]) < 0:
                raise DatasetError(
                    f"{subset}, line {number}: expected line number, photo id and hash, found {line[:60]!r}"
                )
            yield _photo_number(parts[1])

    return PhotoIds(numbers())


def list_yfcc_pairs(subset: Path | str, metadata: Path | str) -> Iterator[dict[str, str]]:
    """Yield the metadata of the photos of a subset, without videos; see `read_yfcc_ids` and `list_photo_metadata`."""
    return list_photo_metadata(read_yfcc_ids(subset), metadata)


def list_photo_metadata(ids: PhotoIds, metadata: Path | str) -> Iterator[dict[str, str]]:
    """Yield the metadata of photos, without videos, in the order of the file.

    Args:
        ids: of the photos.
        metadata: bz2, tab separated, `YFCC_COLUMNS`; the first release has no `YFCC_LATER_COLUMNS`.

    Raises:
        DatasetError: a line has another number of columns, or a file is damaged.
    """
    first_release = tuple(name for name in YFCC_COLUMNS if name not in YFCC_LATER_COLUMNS)
    layouts = {len(names): (names, names.index("photoid")) for names in (YFCC_COLUMNS, first_release)}
    for number, line in _bz2_lines(metadata):
        values = line.rstrip("\r\n").split("\t")
        if len(values) not in layouts:
            expected = " or ".join(map(str, layouts))
            raise DatasetError(f"{metadata}, line {number}: {len(values)} columns, expected {expected}")
        names, photo = layouts[len(values)]
        if values[-1] == "0" and ids.position(values[photo]) >= 0:  # 1 marks videos
            yield dict(zip(names, values, strict=True))


def _bz2_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text compressed by bzip2.

    Raises:
        DatasetError: the file is damaged, is not UTF-8, or has a line that is too long.
    """
    number = 0
    try:
        with bz2.open(path, "rt", encoding="utf-8", newline="\n") as handle:
            while line := handle.readline(MAXIMUM_FIELD_CHARACTERS + 1):
                number += 1
                check_line(path, line, number)
                yield number, line
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read after line {number} ({error}): fetch it again") from error
