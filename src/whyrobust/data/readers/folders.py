"""Read class folders: images whose class is the name of the folder that holds them."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from whyrobust.data.archives import Member, Pack, ending_of, is_hidden, is_image_name, list_folder
from whyrobust.data.dataset_checks import NO_PICTURE, TEXT_BESIDE, DatasetError, folded_name, nearest_class
from whyrobust.data.readers.caption_files import read_caption
from whyrobust.data.record_writer import RecordBuffer
from whyrobust.data.text_cleaning import clean_web_field
from whyrobust.study.picture_formats import UNREAD_ENDINGS
from whyrobust.study.table_cells import LABEL_SEPARATOR

#: Endings of files that other tools write beside pictures, by their name: captions and what else is known of them.
TEXT_ENDINGS = ("txt", "json")

#: The ending of files of titles.
TITLE_ENDING = "txt"


def read_image_folder_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``image_folder``."""
    return read_image_folder(
        settings["folder"],
        classes,
        settings.get("class_table"),
        is_test_set="role" in settings,
        titles_beside=settings.get("titles_beside", False),
    )


def read_image_folder(
    folder: Path | str,
    classes: Collection[str],
    class_table: Path | str | None = None,
    is_test_set: bool = False,
    titles_beside: bool = False,
) -> RecordBuffer:
    """Read class folders: ``<folder>/<class>/<image>``, also further below; names are compared in one Unicode form.

    Args:
        folder: holds the class folders.
        classes: of the study.
        class_table: see `read_class_table`; without it folders are named after classes. Folders that are not in it are
            left out.
        is_test_set: whether a folder that is no class is an error where there is no table; of a training source it is
            left out.
        titles_beside: whether a picture's title is the text file beside it, of its name and ending in .txt.

    Returns:
        Records with labels, and with titles where these lie beside the pictures; other texts are empty.

    Raises:
        DatasetError: a folder is a class in another spelling; of a test set, one is no class, or holds no picture.
    """
    named = read_class_table(class_table, classes) if class_table else {name: name for name in classes}
    label_of = {_one_form(name): label for name, label in named.items()}
    pictures: Counter[str] = Counter()

    records = read_class_folders(
        list_folder(folder), lambda name: label_of.get(_one_form(name)), pictures, titles_beside
    )
    for name, count in pictures.items():
        if _one_form(name) not in label_of:
            _check_left_out(Path(folder), name, count, list(named), "class_table" if class_table else "data.classes",
                            is_test_set and not class_table)  # fmt: skip
            records.count_unknown("" if class_table else name, count)
    empty = [path.name for path in Path(folder).iterdir() if path.is_dir() and _one_form(path.name) in label_of]
    for name in sorted(set(empty) - set(pictures)) if is_test_set else []:
        raise DatasetError(
            f"{folder}: class folder '{name}' holds no picture: fetch its pictures, or remove the folder"
        )
    return records


def _one_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _check_left_out(folder: Path, name: str, count: int, known: Sequence[str], key: str, must_be_known: bool) -> None:
    """Check that pictures are not left out by mistake.

    Args:
        folder: of the class folders.
        name: the folder whose pictures are left out; empty where they lie in none.
        count: how many.
        known: names that folders may have.
        key: of the config that has these names.
        must_be_known: whether every folder must have one of them.

    Raises:
        DatasetError: the folder's name is nearly one of those, or must be one and is not.
    """
    nearest = nearest_class(name, known)
    respelt = bool(nearest) and folded_name(nearest) == folded_name(name)
    if respelt or must_be_known:
        where = f"folder '{name}', which is none of the names in {key}" if name else "no class folder"
        found = f" (nearest: '{nearest}')" if nearest else ""
        todo = (
            "rename the folder, add its class to data.classes, or list the folders that count in a class_table"
            if name
            else "move what is to count into the folder of its class, and the rest elsewhere"
        )
        raise DatasetError(f"{folder}: {count:,} picture{'s lie' if count > 1 else ' lies'} in {where}{found}: {todo}")


def read_class_table(path: Path | str, classes: Collection[str]) -> dict[str, str]:
    """Return the label of each folder from a CSV table with columns ``folder`` and ``classes`` (or ``class``).

    Raises:
        DatasetError: it is no UTF-8, a column is missing, a folder comes twice, or a class is not in the study.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV table in UTF-8 ({error}): save it as one") from error
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        folder, label = row.get("folder"), row.get("classes", row.get("class"))
        if not folder or not label:
            raise DatasetError(
                f"{path}, line {number}: it has no folder or no class; give the columns folder and class"
            )
        members = [_one_form(name.strip()) for name in label.split(LABEL_SEPARATOR)]
        unknown = sorted(set(members) - set(classes))
        if unknown:
            raise DatasetError(
                f"{path}, line {number}: '{unknown[0]:.80}' is no class of the study: name one of data.classes"
            )
        if folder in labels:
            raise DatasetError(f"{path}, line {number}: folder '{folder}' comes twice: keep one line")
        labels[folder] = LABEL_SEPARATOR.join(sorted(members))
    return labels


def read_class_folders(
    members: Iterable[Member],
    label_of_folder: Callable[[str], str | None],
    pictures: Counter[str] | None = None,
    titles_beside: bool = False,
) -> RecordBuffer:
    """Read images whose label follows from the name of the innermost folder above them that has one.

    Args:
        members: files of a folder or an archive.
        label_of_folder: returns the label of a folder, None where it has none.
        pictures: where images are counted by that folder, or by the one that holds them where none has a label.
        titles_beside: of files of a folder: see `read_image_folder`.
    """
    records, pictures = RecordBuffer(), Counter() if pictures is None else pictures
    beside = _TextFiles(TITLE_ENDING if titles_beside else "")
    for member in records.without_missing_folders(members):
        ending = ending_of(member.name)
        if member.is_image or ending in TEXT_ENDINGS:
            records.left_out += beside.add(member.path)
        if not member.is_image:
            if ending in TEXT_ENDINGS:
                continue
            unread = f"a picture in a format that is not read (.{ending})" if ending in UNREAD_ENDINGS else ""
            records.left_out[unread or NO_PICTURE] += 1
            continue
        if is_hidden(member.path):
            records.left_out["it is hidden, or lies in a hidden folder"] += 1
            continue
        above = member.path.parts[-2::-1] or ("",)
        labelled = ((name, label) for name in above if (label := label_of_folder(name)) is not None)
        folder, label = next(labelled, (above[0], None))
        pictures[folder] += 1
        if label is None:
            records.left_out["its folder is no class of the study"] += 1
            continue
        title = _title_beside(member, records) if titles_beside else ""
        records.add(member.name, member, label, title=title, collection=folder)
    records.left_out += beside.count()
    return records


def _title_beside(picture: Member, records: RecordBuffer) -> str:
    """Return what the text file beside a picture of a folder says, empty where there is none."""
    path = Path(picture.file).with_suffix(f".{TITLE_ENDING}")
    if picture.missing or not path.is_file():
        return ""
    return clean_web_field(read_caption(Member(path.name, str(path), 0, -1), records))


class _TextFiles:
    """Text files of the folder that is being read, told apart by whether a picture of their name lies beside them.

    Args:
        read: ending of those beside pictures that are read, and so not left out; empty where none is.
    """

    def __init__(self, read: str) -> None:
        self._read = read
        self._folder = PurePosixPath()
        self._pictures, self._texts = set[str](), list[PurePosixPath]()

    def add(self, path: PurePosixPath) -> Counter[str]:
        """Note a picture or a text file; where it starts another folder, returns the counts of the one before."""
        counts = self.count() if path.parent != self._folder else Counter[str]()
        self._folder = path.parent
        if is_image_name(str(path)):
            self._pictures.add(path.stem)
        else:
            self._texts.append(path)
        return counts

    def count(self) -> Counter[str]:
        """Return how many text files were noted, by why they are left out, and forget them."""
        beside = [path for path in self._texts if path.stem in self._pictures]
        counts = Counter({NO_PICTURE: len(self._texts) - len(beside)})
        counts[TEXT_BESIDE] = sum(path.suffix != f".{self._read}" for path in beside)
        self._pictures.clear()
        self._texts.clear()
        return counts
