"""Readers of photograph data sets: each turns one published layout, or a user's own, into records and locations.

Stands alone because what is odd about a data set ends here: afterwards a record is a record. Labels are classes of the
study's class table; where several classes are right for a picture (ObjectNet), the label names them all, separated by
`records.LABEL_SEPARATOR`.
"""

from __future__ import annotations

import bz2
import csv
import html
import io
import json
import re
import tarfile
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote_plus

import numpy as np
import pandas as pd

from whyrobust.data.archives import IMAGE_SUFFIXES, Member, Pack, list_archive, list_folder, list_tar, read_bytes
from whyrobust.data.captions import MAXIMUM_TEXT_CHARACTERS, clean_text
from whyrobust.data.record_writer import Reading, SourceError
from whyrobust.data.records import LABEL_SEPARATOR
from whyrobust.study.slices import shard_names

#: Images that each published test set has (their papers), so that a short copy is noticed.
PUBLISHED_IMAGES = {
    "imagenet_validation": 50_000,
    "imagenet_v2": 10_000,
    "imagenet_r": 30_000,
    "imagenet_sketch": 50_889,
    "imagenet_a": 7_500,
    "objectnet": 18_574,
}

#: Why the second picture of a name is left out.
REPEATED = "it came before"

#: ObjectNet's red border, to be cut off (Barbu et al. 2019, the data set's terms).
OBJECTNET_BORDER_PIXELS = 2

#: Elements of HTML, of today and of the years that such texts are from (WHATWG HTML standard, sections 4 and 16.2).
_ELEMENTS = (
    "a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote "
    "body br button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl "
    "dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr "
    "html i iframe img input ins kbd label legend li link main map mark marquee menu meta meter nav nobr noframes "
    "noscript object ol optgroup option output p param picture pre progress q rp rt ruby s samp script section "
    "select slot small source span strike strong style sub summary sup svg table tbody td template textarea tfoot "
    "th thead time title tr track tt u ul var video wbr"
)
#: Tags and comments; "I <3 my cat", "5 < 6 and 7 > 2" and CC12M's "<PERSON>" are text.
_TAG = re.compile(rf"</?(?:{_ELEMENTS.replace(' ', '|')})(?:[\s/][^<>]*)?>|<!(?:--|[a-z])[^<>]*>", re.IGNORECASE)
# Python refuses to read a number of thousands of digits; no character has one of more than seven.
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,};?")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


#: Largest list of texts (ImageNet-Captions has 0.4 GB); it is read as a whole.
MAXIMUM_JSON_BYTES = 4 * 2**30

#: Longest cell of a table of a user's own.
MAXIMUM_FIELD_CHARACTERS = 16 * 2**20


def clean_web_text(text: str, percent_encoded: bool = False) -> str:
    """Return text from the web as people would read it: no HTML, no addresses, no wrong encoding, single spaces.

    Args:
        text: a title, description or tag.
        percent_encoded: first undo ``%20`` and ``+`` (YFCC100M stores its texts so).
    """
    from ftfy import fix_text

    if percent_encoded:
        text = unquote_plus(text)
    text = _LONG_REFERENCE.sub(" ", text[:MAXIMUM_TEXT_CHARACTERS])
    # Entities twice: Flickr's descriptions hold escaped tags.
    text = _TAG.sub(" ", html.unescape(text))
    text = _TAG.sub(" ", html.unescape(_LONG_REFERENCE.sub(" ", text)))
    return clean_text(fix_text(_ADDRESS.sub(" ", text)))


# --- Classes ---------------------------------------------------------------------------------------------------------


def read_folder_classes(path: Path | str, classes: Collection[str]) -> dict[str, str]:
    """Return the label of each folder from a table with columns ``folder`` and ``classes`` (or ``class``).

    Raises:
        SourceError: a column is missing, a folder comes twice, or a class is not in the study.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        folder, named = row.get("folder"), row.get("classes", row.get("class"))
        if not folder or not named:
            raise SourceError(f"{path}, line {number}: it has no folder or no class; give the columns folder and class")
        members = [name.strip() for name in named.split(LABEL_SEPARATOR)]
        unknown = sorted(set(members) - set(classes))
        if unknown:
            raise SourceError(
                f"{path}, line {number}: '{unknown[0]}' is no class of the study: name one of data.classes"
            )
        if folder in found:
            raise SourceError(f"{path}, line {number}: folder '{folder}' comes twice: keep one line")
        found[folder] = LABEL_SEPARATOR.join(sorted(members))
    return found


def _by_folder(
    members: Iterable[Member], label_of: Callable[[str], str | None], keep_unlabelled: bool = False
) -> Reading:
    """Read pictures whose class is the name of the folder they lie in."""
    reading = Reading()
    for member in members:
        if not member.is_image:
            reading.left_out["not a picture by its name"] += 1
            continue
        folder = member.path.parent.name
        label = label_of(folder)
        if label is None and not keep_unlabelled:
            reading.left_out["its folder is no class of the study"] += 1
            continue
        reading.add(member.name, member, label, collection=folder)
    return reading


def read_image_folder(folder: Path | str, classes: Collection[str], class_table: Path | str | None = None) -> Reading:
    """Read class folders: ``<folder>/<class>/<picture>``. With a class table, folders may be named otherwise.

    A folder that is no class is left out; titles are empty, since there is no text.
    """
    known = read_folder_classes(class_table, classes) if class_table else {name: name for name in classes}
    return _by_folder(list_folder(folder), known.get)


# --- ImageNet and its shifts -----------------------------------------------------------------------------------------


def read_imagenet_train(images: Path | str, classes: Collection[str], pack: Pack) -> Reading:
    """Read the ILSVRC-2012 training images: the tar of 1,000 tars, or class folders."""
    return _by_folder(list_archive(images, pack, _is_image_name, nested=True), {name: name for name in classes}.get)


def read_imagenet_validation(
    images: Path | str, devkit: Path | str | None, classes: Collection[str], pack: Pack
) -> Reading:
    """Read the ILSVRC-2012 validation images: the flat tar or folder with the devkit's labels, or class folders."""
    known = {name: name for name in classes}
    members = list(list_archive(images, pack, _is_image_name))
    if devkit is None:
        if any(len(member.path.parts) < 2 for member in members):
            raise SourceError(f"{images} has pictures that lie in no class folder: give the devkit in the key 'devkit'")
        return _by_folder(members, known.get)
    labels = read_devkit_labels(devkit)
    reading = Reading()
    for member in members:
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})", member.path.stem)
        if number is None or not 1 <= int(number[1]) <= len(labels):
            raise SourceError(
                f"{images}: '{member.name}' is not one of the {len(labels)} pictures that {devkit} labels"
            )
        label = known.get(labels[int(number[1]) - 1])
        if label is None:
            reading.left_out["its class is not in the study"] += 1
        else:
            reading.add(member.path.stem, member, label)
    return reading


def read_devkit_labels(devkit: Path | str) -> list[str]:
    """Return the wnid of each validation image, in order, from the devkit (tar.gz or unpacked folder).

    The ground truth gives ILSVRC2012_IDs, which are not in the order of wnids: ``meta.mat`` translates them.
    """
    from scipy.io import loadmat

    truth, meta = _devkit_files(Path(devkit))
    synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]  # type: ignore[arg-type]
    wnid_of = {
        int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0
    }  # inner nodes of the hierarchy are no labels
    ids = [int(line) for line in truth.decode().split()]
    unknown = sorted(set(ids) - set(wnid_of))
    if unknown:
        raise SourceError(
            f"{devkit}: the ground truth has id {unknown[0]}, which meta.mat does not name: fetch it again"
        )
    return [wnid_of[number] for number in ids]


def _devkit_files(devkit: Path) -> tuple[bytes, bytes]:
    wanted = ("ILSVRC2012_validation_ground_truth.txt", "meta.mat")
    found: dict[str, bytes] = {}
    if devkit.is_dir():
        found = {path.name: path.read_bytes() for path in sorted(devkit.rglob("*")) if path.name in wanted}
    else:
        try:
            with tarfile.open(devkit, "r:*") as archive:
                for member in archive:
                    stream = archive.extractfile(member) if PurePosixPath(member.name).name in wanted else None
                    if stream is not None:
                        found[PurePosixPath(member.name).name] = stream.read()
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise SourceError(f"{devkit} cannot be read ({error}): fetch it again") from error
    for name in wanted:
        if name not in found:
            raise SourceError(f"{devkit} holds no {name}: give ILSVRC2012_devkit_t12.tar.gz")
    return found[wanted[0]], found[wanted[1]]


def read_imagenet_captions(
    annotations: Path | str, images: Path | str, classes: Collection[str], pack: Pack
) -> Reading:
    """Join the texts of ImageNet-Captions (Fang et al. 2022) with the ILSVRC-2012 training images by file name.

    Args:
        annotations: ``imagenet_captions.zip``, or the JSON list in it: ``filename, wnid, title, description, tags``.
        images: as in `read_imagenet_train`.
        classes: of the study.
        pack: for archives that cannot be read in place.
    """
    texts = {str(row["filename"]): row for row in _read_json_list(Path(annotations))}
    known = set(classes)
    reading = Reading()
    for member in list_archive(images, pack, _is_image_name, nested=True):
        row = texts.pop(member.path.name, None)
        if row is None:
            reading.left_out["it has no caption"] += 1
        elif row["wnid"] not in known:
            texts.pop(member.path.name, None)
            reading.left_out["its class is not in the study"] += 1
        elif row["wnid"] != member.path.parent.name:
            raise SourceError(
                f"{annotations}: '{member.path.name}' is of class {row['wnid']}, and lies in folder "
                f"{member.path.parent.name} of {images}"
            )
        else:
            reading.add(
                member.path.stem,
                member,
                row["wnid"],
                title=clean_web_text(_text(row.get("title"))),
                description=clean_web_text(_text(row.get("description"))),
                tags=_tags(row.get("tags")),
            )
    reading.left_out["its caption has no image"] += len(texts)
    return reading


def _read_json_list(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(_only_json(path) if zipfile.is_zipfile(path) else path.read_bytes())
    except (ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise SourceError(f"{path} cannot be read as JSON ({error}): fetch it again") from error
    needed = {"filename", "wnid"}
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and needed <= set(row) for row in rows):
        raise SourceError(f"{path} is not a JSON list of records with {', '.join(sorted(needed))}")
    return rows


def _only_json(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.infolist()
                 if name.filename.endswith(".json") and not name.filename.startswith("__MACOSX")]  # fmt: skip
        if len(found) != 1:
            raise SourceError(f"{path} holds {len(found)} JSON files: expected one, imagenet_captions.json")
        if found[0].file_size > MAXIMUM_JSON_BYTES:
            raise SourceError(
                f"{path}: member '{found[0].filename}' has {found[0].file_size:,} bytes: no list is so large"
            )
        return archive.read(found[0])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _tags(value: object, percent_encoded: bool = False, separator: str = ",") -> list[str]:
    listed = value.split(separator) if isinstance(value, str) else value if isinstance(value, list) else []
    cleaned = (clean_web_text(str(tag), percent_encoded) for tag in listed)
    return [tag for tag in cleaned if tag]


def _is_image_name(name: str) -> bool:
    path = PurePosixPath(name)
    # Inner archives of ILSVRC-2012 are asked about by the names of their members.
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def read_class_folders(archive: Path | str, classes: Collection[str], pack: Pack) -> Reading:
    """Read ImageNet-R, ImageNet-A or ImageNet-Sketch: folders named by wnid."""
    return _by_folder(list_archive(archive, pack, _is_image_name), {name: name for name in classes}.get)


def read_imagenet_v2(archive: Path | str, class_order: Sequence[str], pack: Pack) -> Reading:
    """Read ImageNet-V2: folders ``0`` to ``999`` are positions in ``class_order``, the 1,000 sorted wnids.

    Raises:
        SourceError: a folder is not a number below the number of classes, or the classes are not ImageNet's 1,000.
    """
    if len(class_order) != 1000:
        raise SourceError(f"ImageNet-V2's folders are numbers of 1,000 classes, data.classes has {len(class_order)}")

    def label_of(folder: str) -> str:
        if not folder.isdecimal() or int(folder) >= len(class_order):
            raise SourceError(f"{archive}: folder '{folder}' is not a number from 0 to {len(class_order) - 1}")
        return class_order[int(folder)]

    return _by_folder(list_archive(archive, pack, _is_image_name), label_of)


def read_objectnet(
    archive: Path | str, password: str | None, folders: Path | str, classes: Collection[str], pack: Pack
) -> Reading:
    """Read the ObjectNet images of the classes that overlap ImageNet's.

    Args:
        archive: the zip, or the unpacked folder (Python decrypts slowly: unpack the 190 GB with another program once).
        password: of the zip, published with the data set.
        folders: table of folder names and their wnids.
        classes: of the study.
        pack: where pictures from the zip are copied to.
    """
    labels = read_folder_classes(folders, classes)

    def wanted(name: str) -> bool:
        return _is_image_name(name) and PurePosixPath(name).parent.name in labels

    return _by_folder(list_archive(archive, pack, wanted, password=password), labels.get)


# --- Image-text pairs ------------------------------------------------------------------------------------------------


def read_webdataset(
    shards: Sequence[Path | str],
    image: Sequence[str] = ("jpg", "jpeg", "png", "webp"),
    text: str = "txt",
    fields: Mapping[str, str] | None = None,
    label: str | None = None,
    classes: Collection[str] = (),
    percent_encoded: bool = False,
    identify: Callable[[Mapping[str, Any]], tuple[str, str]] | None = None,
    names: Sequence[str] | None = None,
) -> Reading:
    """Read tar shards of image-text pairs: files of one key, told apart by what follows the first dot.

    Args:
        shards: tar files.
        image: endings of pictures, the first one found is taken.
        text: ending of the text, which becomes the title; passed over where ``fields`` names a title.
        fields: of ``title, description, tags`` to keys of the JSON beside the picture.
        label: key of the JSON that holds a class.
        classes: of the study, where ``label`` is given.
        percent_encoded: whether texts are (YFCC100M).
        identify: asked with the JSON of each pair for its uid, and the reason where it is to be left out. Without it
            the uid is the shard's path below the folder that all shards have in common, and the key; of equal keys in a
            shard the first counts.
        names: of the shards, where they are a slice of the data set; without them `shard_names`.

    Raises:
        ShardError: a shard is given twice.
    """
    reading, known = Reading(), set(classes)
    keys = dict(fields or {})
    for shard, stem in zip(shards, shard_names(shards) if names is None else names, strict=True):
        seen: set[str] = set()
        for key, files in _group_by_key(list_tar(shard)):
            member = next((files[ending] for ending in image if ending in files), None)
            if member is None:
                reading.leave_out_missing(f"{stem}/{key}", "it has no picture")
                continue
            facts = _read_json(files.get("json"), reading)
            uid, reason = f"{stem}/{key}", REPEATED if key in seen else ""
            if identify is not None:
                uid, reason = identify(facts)
            if reason:
                reading.left_out[reason] += 1
                continue
            seen.add(key)
            title = facts.get(keys["title"]) if "title" in keys else _read_text(files.get(text))
            reading.add(
                uid,
                member,
                reading.known_class(uid, facts.get(label), known) if label is not None else None,
                title=clean_web_text(_text(title), percent_encoded),
                description=clean_web_text(_text(facts.get(keys.get("description", ""))), percent_encoded),
                tags=_tags(facts.get(keys.get("tags", "")), percent_encoded),
            )
    return reading


def _group_by_key(members: Iterable[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """Yield the files of each key, by ending; the files of one key follow each other (WebDataset's rule)."""
    current, files = "", dict[str, Member]()
    for member in members:
        base, _, ending = member.path.name.partition(".")
        key = str(member.path.parent / base) if member.path.parent.name else base
        # A name that comes twice begins another pair, which is counted as one that came before.
        if files and (key != current or ending.lower() in files):
            yield current, files
            files = {}
        current = key
        files[ending.lower()] = member
    if files:
        yield current, files


def _read_json(member: Member | None, reading: Reading) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        value = json.loads(read_bytes(member.file, member.offset, member.length))
    except (ValueError, RecursionError):
        reading.left_out["its JSON does not parse (the picture is kept)"] += 1
        return {}
    return value if isinstance(value, dict) else {}


def _read_text(member: Member | None) -> str:
    if member is None:
        return ""
    return read_bytes(member.file, member.offset, member.length).decode("utf-8", errors="replace")


def read_yfcc15m(shards: Sequence[Path | str], subset: Path | str) -> Reading:
    """Read the pairs of WebDataset shards that are in OpenAI's 15 M subset of YFCC100M.

    Args:
        shards: tar files whose JSON has ``photoid, title, description, usertags`` as YFCC100M writes them
            (percent-encoded), as `img2dataset` writes them when it is told to keep these columns.
        subset: ``yfcc100m_subset_data.tsv.bz2``: line number, photo id, photo hash.
    """
    ids = read_yfcc_ids(subset)
    taken = np.zeros(len(ids.numbers), dtype=np.bool_)

    def identify(facts: Mapping[str, Any]) -> tuple[str, str]:
        photo = str(facts.get("photoid", ""))
        place = ids.place(photo)
        if place < 0:
            return "", "it is not in the list of the subset"
        if taken[place]:
            return "", REPEATED
        taken[place] = True
        return photo, ""

    return read_webdataset(
        shards,
        fields={"title": "title", "description": "description", "tags": "usertags"},
        percent_encoded=True,
        identify=identify,
    )


class PhotoIds:
    """Ids of photos, 8 bytes each.

    Attributes:
        numbers: the ids, rising, each once.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = np.unique(np.asarray(array("q", numbers), dtype=np.int64))

    def place(self, photo: str) -> int:
        """Return the position of an id in ``numbers``, -1 where it is none of them."""
        number = _photo_number(photo)
        place = int(self.numbers.searchsorted(number))
        return place if number >= 0 and place < len(self.numbers) and self.numbers[place] == number else -1


def _photo_number(photo: str) -> int:
    """Return an id as a number of 8 bytes, -1 where it is none."""
    number = int(photo) if photo.isdecimal() and len(photo) < 20 else -1
    return number if number < 2**63 else -1


def read_yfcc_ids(subset: Path | str) -> PhotoIds:
    """Return the photo ids of a subset list (bz2, tab separated: line number, photo id, photo hash)."""

    def numbers() -> Iterator[int]:
        for number, line in _bz2_lines(subset):
            parts = line.rstrip("\n").split("\t")
            if len(parts) != 3 or _photo_number(parts[1]) < 0:
                raise SourceError(
                    f"{subset}, line {number}: expected line number, photo id and hash, found {line[:60]!r}"
                )
            yield _photo_number(parts[1])

    return PhotoIds(numbers())


def _bz2_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text compressed by bzip2.

    Raises:
        SourceError: it is damaged, or no UTF-8.
    """
    number = 0
    try:
        with bz2.open(path, "rt", encoding="utf-8", newline="\n") as handle:
            for line in handle:
                number += 1
                yield number, line
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read after line {number} ({error}): fetch it again") from error


#: Columns of the YFCC100M metadata file, tab separated, without a header (the data set's README).
YFCC_COLUMNS = (
    "line", "photoid", "hash", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title", "description",
    "usertags", "machinetags", "longitude", "latitude", "accuracy", "pageurl", "downloadurl", "licensename",
    "licenseurl", "serverid", "farmid", "secret", "secretoriginal", "ext", "marker",
)  # fmt: skip


#: The first release of the file has neither of these.
YFCC_LATER_COLUMNS = ("line", "hash")


def list_yfcc_pairs(subset: Path | str, metadata: Path | str) -> Iterator[dict[str, str]]:
    """Yield the metadata (`YFCC_COLUMNS`, the first release without `YFCC_LATER_COLUMNS`) of the photos of a subset.

    Raises:
        SourceError: a line has another number of columns.
    """
    ids = read_yfcc_ids(subset)
    first = tuple(name for name in YFCC_COLUMNS if name not in YFCC_LATER_COLUMNS)
    layouts = {len(names): (names, names.index("photoid")) for names in (YFCC_COLUMNS, first)}
    for number, line in _bz2_lines(metadata):
        values = line.rstrip("\r\n").split("\t")
        if len(values) not in layouts:
            expected = " or ".join(map(str, layouts))
            raise SourceError(f"{metadata}, line {number}: {len(values)} columns, expected {expected}")
        names, photo = layouts[len(values)]
        if values[-1] == "0" and ids.place(values[photo]) >= 0:  # 1 marks videos
            yield dict(zip(names, values, strict=True))


def read_image_table(
    table: Path | str,
    pack: Pack,
    image: str,
    title: str | None = None,
    description: str | None = None,
    tags: str | None = None,
    label: str | None = None,
    classes: Collection[str] = (),
    root: Path | str | None = None,
) -> Reading:
    """Read a user's own CSV or Parquet: a column of paths or of image bytes, and columns of text.

    Args:
        table: ``.csv``, ``.tsv`` or ``.parquet``.
        pack: where pictures that lie in the table itself are copied to.
        image: column of paths (from ``root``) or bytes.
        title: column with text.
        description: column with text.
        tags: column with lists, or text separated by commas.
        label: column with a class of the study, as text or a number; another value counts as no label.
        classes: of the study.
        root: folder that paths start from; without it the folder of the table.

    Raises:
        SourceError: a column is missing, a path leads out of ``root``, or two rows name one picture.
    """
    path = Path(table)
    rows = _read_table(path)
    named = {"image": image, "title": title, "description": description, "tags": tags, "label": label}
    for key, column in named.items():
        if column is not None and column not in rows.columns:
            raise SourceError(
                f"{path} has no column '{column}' (key '{key}'): it has {', '.join(map(str, rows.columns))}"
            )
    base = Path(root) if root is not None else path.parent
    known, reading = set(classes), Reading()
    cell = {key: rows[column].tolist() for key, column in named.items() if column is not None}
    for key, kinds, words in (("title", str, "text"), ("description", str, "text"), ("label", _LABELS, "classes")):
        given = next((value for value in cell.get(key, ()) if not _is_nothing(value)), "")
        if not isinstance(given, kinds):
            raise SourceError(f"{path}: column '{named[key]}' (key '{key}') holds {given!r}: give a column of {words}")
    row_of: dict[str, int] = {}
    for number in range(len(rows)):
        value = cell["image"][number]
        if isinstance(value, Mapping):  # how the datasets library stores pictures
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            uid, member = f"row_{number}", pack.add(f"row {number}", value)
        elif isinstance(value, str) and value.strip():
            place = base / value.replace("\0", "\ufffd")
            if not place.resolve().is_relative_to(base.resolve()):
                raise SourceError(
                    f"{path}, row {number + 1}: '{value}' leads out of {base}: keep pictures inside, or set root"
                )
            if not _is_file(place):
                reading.leave_out_missing(value, "its file is not there")
                continue
            if value in row_of:
                raise SourceError(
                    f"{path}, row {number + 1}: '{value}' is the picture of row {row_of[value] + 1} too: keep one "
                    "row a picture, with one caption or with all of them joined"
                )
            row_of[value] = number
            uid, member = value, Member(value, place.as_posix(), 0, -1)
        else:
            reading.leave_out_missing(f"row {number + 1}", "it names no picture")
            continue
        reading.add(
            uid,
            member,
            reading.known_class(uid, cell["label"][number], known) if "label" in cell else None,
            title=clean_web_text(_text(cell["title"][number])) if "title" in cell else "",
            description=clean_web_text(_text(cell["description"][number])) if "description" in cell else "",
            tags=_tags(_plain_list(cell["tags"][number])) if "tags" in cell else (),
        )
    return reading


#: What a cell of a user's table may hold as a class.
_LABELS = str | int | float


def _plain_list(value: Any) -> Any:  # noqa: ANN401 - a cell of a user's table
    return value.tolist() if hasattr(value, "tolist") else value


def _is_nothing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table; of CSV and TSV every row must have as many cells as the header, so that none moves a column.

    Raises:
        SourceError: it cannot be read; the message has the line.
    """
    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {error}") from error
    csv.field_size_limit(MAXIMUM_FIELD_CHARACTERS)
    try:
        # Spreadsheets put a mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            header = next(reader, [])
            twice = [name for name, count in Counter(header).items() if count > 1]
            if twice:
                raise SourceError(f"{path} has the column '{twice[0]}' twice: rename one")
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise SourceError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, the header has {len(header)}: put text "
                        "that holds a separator, a quote or a line break in double quotes"
                    )
                if row:
                    rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read as UTF-8 {path.suffix.lstrip('.')}: {error}") from error
    return pd.DataFrame(rows, columns=header, dtype=str)


# --- All kinds -------------------------------------------------------------------------------------------------------


def read_photographs_of(facts: Mapping[str, Any], class_order: Sequence[str], pack: Pack) -> Reading:
    """Read a data set by the facts that the config gives.

    Args:
        facts: ``kind`` and the keys of that kind (docs/config.md); of a slice its shards and their ``shard_names``.
        class_order: classes of the study, in the order of their table.
        pack: for pictures that cannot be read where they are.
    """
    kind = facts["kind"]
    if kind == "image_folder":
        return read_image_folder(facts["folder"], class_order, facts.get("class_table"))
    if kind == "image_table":
        columns = {key: facts.get(key) for key in ("title", "description", "tags", "label")}
        return read_image_table(
            facts["table"], pack, facts["image"], **columns, classes=class_order, root=facts.get("root")
        )
    if kind == "webdataset":
        given = {"image_endings": "image", "text_ending": "text", "fields": "fields", "label": "label"}
        options = {name: facts[key] for key, name in given.items() if key in facts}
        return read_webdataset(facts["shards"], **options, classes=class_order, names=facts.get("shard_names"))
    if kind == "yfcc15m":
        return read_yfcc15m(facts["shards"], facts["subset"])
    if kind == "imagenet" and facts["split"] == "train":
        return read_imagenet_train(facts["images"], class_order, pack)
    if kind == "imagenet":
        return read_imagenet_validation(facts["images"], facts.get("devkit"), class_order, pack)
    if kind == "imagenet_captions":
        return read_imagenet_captions(facts["annotations"], facts["images"], class_order, pack)
    if kind == "imagenet_v2":
        return read_imagenet_v2(facts["archive"], class_order, pack)
    if kind in ("imagenet_r", "imagenet_a", "imagenet_sketch"):
        return read_class_folders(facts["archive"], class_order, pack)
    if kind == "objectnet":
        return read_objectnet(facts["archive"], facts.get("password"), facts["class_table"], class_order, pack)
    raise SourceError(f"data sets of kind '{kind}' are not known")


def keeps_first_of_repeats(kind: str) -> bool:
    """Tell whether of several pictures of one uid in different shards the first counts; else they are an error."""
    return kind == "yfcc15m"


def border_of(kind: str) -> int:
    """Return the pixels to cut off each side of the pictures of a kind of data set."""
    return OBJECTNET_BORDER_PIXELS if kind == "objectnet" else 0


def expected_images(facts: Mapping[str, Any]) -> int | None:
    """Return how many images a test set should have by what the config says of it, None where that is not known.

    Args:
        facts: ``kind``, ``role`` of a test set, and the keys of that kind.
    """
    kind = f"imagenet_{facts['split']}" if facts["kind"] == "imagenet" else str(facts["kind"])
    given = facts.get("expected_images", PUBLISHED_IMAGES.get(kind) if "role" in facts else None)
    return int(given) if given is not None else None


def check_not_empty(kept: int, left_out: Mapping[str, int], dataset: str) -> None:
    """Check that a data set has images.

    Args:
        kept: its records.
        left_out: reason -> how many were left out.
        dataset: its name.

    Raises:
        SourceError: it has none; the message has the reasons.
    """
    if not kept:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(left_out).most_common())
        raise SourceError(f"data set '{dataset}' has no image that can be used: {reasons or 'it is empty'}")


def check_whole(found: int, facts: Mapping[str, Any], dataset: str) -> None:
    """Check that a test set has as many images as the config, or its paper, says.

    Raises:
        SourceError: see `check_count`.
    """
    expected = expected_images(facts)
    if expected is not None:
        check_count(found, expected, dataset, bool(facts.get("allow_short", False)))


def check_count(found: int, expected: int, dataset: str, allow_short: bool) -> None:
    """Check that a test set is whole.

    Raises:
        SourceError: images are missing, or there are too many.
    """
    if found == expected or (found < expected and allow_short):
        return
    if found < expected:
        raise SourceError(
            f"test set '{dataset}' has {found:,} of {expected:,} images, {expected - found:,} are missing: get the "
            f"whole data set, or set test_sets.{dataset}.allow_short to true"
        )
    raise SourceError(
        f"test set '{dataset}' has {found:,} images, {found - expected:,} more than the {expected:,} that are "
        f"published: give one copy of it, or set test_sets.{dataset}.expected_images"
    )
