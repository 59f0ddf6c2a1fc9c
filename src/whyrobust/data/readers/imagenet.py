"""Read ImageNet (ILSVRC-2012), ImageNet-Captions and the shifts of ImageNet: V2, R, A, Sketch and ObjectNet."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from whyrobust.data.archives import MAXIMUM_BYTES, MAXIMUM_RATIO, Member, Pack, is_image_name, list_archive
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.folders import read_class_folders, read_class_table
from whyrobust.data.record_writer import RecordBuffer
from whyrobust.data.tar_headers import StrictTarInfo
from whyrobust.data.text_cleaning import clean_web_field, clean_web_tags
from whyrobust.data.worker_pool import Death, map_isolated
from whyrobust.study.data_kinds import NO_TEST_SETS

#: What each form of ImageNet-V2 is called in the names of its archive and folder, by the kind of data set.
V2_FORMS = {
    "imagenet_v2": "matched-frequency",
    "imagenet_v2_threshold": "threshold0.7",
    "imagenet_v2_top": "top-images",
}

#: Memory and processor time for ``meta.mat``, which unpacks to less than a megabyte.
META_BYTES, META_SECONDS = 2**29, 60.0

VALIDATION_TRUTH, VALIDATION_META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"


def read_imagenet_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``imagenet``: the training or the validation images."""
    if settings["split"] == "train":
        return read_imagenet_train(settings["images"], classes, pack)
    return read_imagenet_validation(settings["images"], settings.get("devkit"), classes, pack)


def read_imagenet_captions_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``imagenet_captions``."""
    return read_imagenet_captions(settings["annotations"], settings["images"], classes, pack)


def read_imagenet_v2_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``imagenet_v2``, ``imagenet_v2_threshold`` or ``imagenet_v2_top``."""
    return read_imagenet_v2(settings["archive"], classes, pack, settings["kind"])


def read_wnid_folders_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``imagenet_r``, ``imagenet_a`` or ``imagenet_sketch``: all have the same layout."""
    return read_wnid_folders(settings["archive"], classes, pack)


def read_objectnet_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``objectnet``."""
    return read_objectnet(settings["archive"], settings.get("password"), settings["class_table"], classes, pack)


# --- ILSVRC-2012 -----------------------------------------------------------------------------------------------------


def read_imagenet_train(images: Path | str, classes: Collection[str], pack: Pack) -> RecordBuffer:
    """Read the ILSVRC-2012 training images: the tar of 1,000 tars, or class folders."""
    members = list_archive(images, pack, is_image_name, nested=True)
    return read_class_folders(members, {name: name for name in classes}.get)


def read_imagenet_validation(
    images: Path | str, devkit: Path | str | None, classes: Collection[str], pack: Pack
) -> RecordBuffer:
    """Read the ILSVRC-2012 validation images: the flat tar or folder with the devkit's labels, or class folders.

    Raises:
        DatasetError: images lie in no class folder and there is no devkit, or the devkit has no label for an image.
    """
    label_of_wnid = {name: name for name in classes}
    members = list(list_archive(images, pack, is_image_name))
    if devkit is None:
        if any(len(member.path.parts) < 2 for member in members):
            raise DatasetError(
                f"{images} has pictures that lie in no class folder: give the devkit in the key 'devkit'"
            )
        return read_class_folders(members, label_of_wnid.get)
    wnids = read_devkit_labels(devkit)
    records = RecordBuffer()
    for member in members:
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})", member.path.stem)
        if number is None or not 1 <= int(number[1]) <= len(wnids):
            raise DatasetError(
                f"{images}: '{member.name}' is not one of the {len(wnids)} pictures that {devkit} labels"
            )
        label = label_of_wnid.get(wnids[int(number[1]) - 1])
        if label is None:
            records.left_out["its class is not in the study"] += 1
        else:
            records.add(member.path.stem, member, label)
    return records


def read_devkit_labels(devkit: Path | str) -> list[str]:
    """Return the wnid of each validation image, in order, from the devkit (tar.gz or unpacked folder).

    The ground truth gives ILSVRC2012_IDs, which are not in the order of wnids: ``meta.mat`` translates them.

    Raises:
        DatasetError: a file of the devkit is missing or damaged, or an id has no wnid.
    """
    truth, meta = _devkit_files(Path(devkit))
    lines = truth.decode("utf-8", "replace").split()
    wrong = next((number for number, line in enumerate(lines, start=1) if not line.isdecimal()), None)
    if wrong is not None:
        raise DatasetError(
            f"{devkit}: {VALIDATION_TRUTH} has '{lines[wrong - 1][:40]}' in line {wrong}, which is no number: fetch "
            "the devkit again"
        )
    # A small compressed file may unpack without end, and say of itself that it is larger than any memory.
    ((found,),) = map_isolated(_read_synsets, [meta], workers=1, cpu_seconds=META_SECONDS, memory_bytes=META_BYTES)
    if isinstance(found, Death | str):
        reason = found.reason if isinstance(found, Death) else found
        raise DatasetError(f"{devkit}: {VALIDATION_META} cannot be read ({reason}): fetch the devkit again")
    ids = [int(line) for line in lines]
    unknown = sorted(set(ids) - set(found))
    if unknown:
        raise DatasetError(
            f"{devkit}: the ground truth has id {unknown[0]}, which meta.mat does not name: fetch it again"
        )
    return [found[number] for number in ids]


def _read_synsets(meta: bytes) -> dict[int, str] | str:
    """Return the wnid of each ILSVRC2012_ID from ``meta.mat``, or why it cannot be read; runs in a worker."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]  # type: ignore[arg-type]
        # Inner nodes of the hierarchy, which have children, are no labels.
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0}
    except MemoryError:
        return f"it unpacks to more than {META_BYTES / 2**30:g} GB"
    except Exception as error:  # SciPy raises nearly every kind of error about a damaged file
        return str(error) or type(error).__name__


def _devkit_files(devkit: Path) -> tuple[bytes, bytes]:
    """Return the ground truth and ``meta.mat`` of a devkit."""
    wanted = (VALIDATION_TRUTH, VALIDATION_META)
    found: dict[str, bytes] = {}
    if devkit.is_dir():
        found = {path.name: path.read_bytes() for path in sorted(devkit.rglob("*")) if path.name in wanted}
    else:
        try:
            with tarfile.open(devkit, "r:*", tarinfo=StrictTarInfo) as archive:
                for member in archive:
                    stream = archive.extractfile(member) if PurePosixPath(member.name).name in wanted else None
                    if stream is not None:
                        if member.size > MAXIMUM_BYTES:
                            raise DatasetError(
                                f"{devkit}: member '{member.name}' has {member.size:,} bytes: no list is so large, "
                                "fetch it again"
                            )
                        found[PurePosixPath(member.name).name] = stream.read()
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DatasetError(f"{devkit} cannot be read ({error}): fetch it again") from error
    for name in wanted:
        if name not in found:
            raise DatasetError(f"{devkit} holds no {name}: give ILSVRC2012_devkit_t12.tar.gz")
    return found[VALIDATION_TRUTH], found[VALIDATION_META]


# --- ImageNet-Captions -----------------------------------------------------------------------------------------------


def read_imagenet_captions(
    annotations: Path | str, images: Path | str, classes: Collection[str], pack: Pack
) -> RecordBuffer:
    """Join the texts of ImageNet-Captions (Fang et al. 2022) with the ILSVRC-2012 training images by file name.

    Args:
        annotations: ``imagenet_captions.zip``, or the JSON list in it: ``filename, wnid, title, description, tags``.
        images: as in `read_imagenet_train`.
        classes: of the study.
        pack: takes images of archives that cannot be read in place.

    Raises:
        DatasetError: the list is damaged, or gives an image another class than its folder.
    """
    texts = {str(row["filename"]): row for row in read_caption_list(Path(annotations))}
    known = set(classes)
    records = RecordBuffer()
    for member in list_archive(images, pack, is_image_name, nested=True):
        row = texts.pop(member.path.name, None)
        if row is None:
            records.left_out["it has no caption"] += 1
        elif row["wnid"] not in known:
            records.left_out["its class is not in the study"] += 1
        elif row["wnid"] != member.path.parent.name:
            raise DatasetError(
                f"{annotations}: '{member.path.name}' is of class {row['wnid']}, and lies in folder "
                f"{member.path.parent.name} of {images}"
            )
        else:
            records.add(
                member.path.stem,
                member,
                row["wnid"],
                title=clean_web_field(row.get("title")),
                description=clean_web_field(row.get("description")),
                tags=clean_web_tags(row.get("tags")),
            )
    records.left_out["its caption has no image"] += len(texts)
    return records


def read_caption_list(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ImageNet-Captions from its zip or its JSON file.

    Raises:
        DatasetError: the file is damaged, or is not a list of records with ``filename`` and ``wnid``.
    """
    try:
        rows = json.loads(_only_json(path) if zipfile.is_zipfile(path) else path.read_bytes())
    except (ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DatasetError(f"{path} cannot be read as JSON ({error}): fetch it again") from error
    needed = {"filename", "wnid"}
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and needed <= set(row) for row in rows):
        raise DatasetError(f"{path} is not a JSON list of records with {', '.join(sorted(needed))}")
    return rows


def _only_json(path: Path) -> bytes:
    """Return the one JSON file in a zip."""
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.infolist()
                 if name.filename.endswith(".json") and not name.filename.startswith("__MACOSX")]  # fmt: skip
        if len(found) != 1:
            raise DatasetError(f"{path} holds {len(found)} JSON files: expected one, imagenet_captions.json")
        # A zip member yields no more bytes than its entry says, so this bounds what is held in memory.
        if found[0].file_size > MAXIMUM_RATIO * path.stat().st_size + MAXIMUM_BYTES:
            raise DatasetError(
                f"{path}: member '{found[0].filename}' has {found[0].file_size:,} bytes, more than {MAXIMUM_RATIO} "
                "times the size of the zip: captions hardly shrink so far; fetch it again"
            )
        return archive.read(found[0])


# --- Shifts ----------------------------------------------------------------------------------------------------------


def read_wnid_folders(archive: Path | str, classes: Collection[str], pack: Pack) -> RecordBuffer:
    """Read ImageNet-R, ImageNet-A or ImageNet-Sketch: folders named by wnid.

    Raises:
        DatasetError: it is ImageNet-O, whose folders do not say what its images show.
    """

    def checked() -> Iterator[Member]:
        for member in list_archive(archive, pack, is_image_name):
            if "imagenet-o" in (*member.path.parts, Path(archive).name.split(".")[0]):
                raise DatasetError(f"{archive} is not what its kind says: {NO_TEST_SETS['imagenet_o']}")
            yield member

    return read_class_folders(checked(), {name: name for name in classes}.get)


def read_imagenet_v2(
    archive: Path | str, class_order: Sequence[str], pack: Pack, kind: str = "imagenet_v2"
) -> RecordBuffer:
    """Read a form of ImageNet-V2: folders ``0`` to ``999`` are positions in ``class_order``, the 1,000 sorted wnids.

    Args:
        archive: as published, or unpacked.
        class_order: classes of the study, in their order.
        pack: takes images of the compressed archive.
        kind: of `V2_FORMS`.

    Raises:
        DatasetError: a folder is not a number below the number of classes, the classes are not ImageNet's 1,000, or it
            is another form.
    """
    if len(class_order) != 1000:
        raise DatasetError(f"ImageNet-V2's folders are numbers of 1,000 classes, data.classes has {len(class_order)}")

    def checked() -> Iterator[Member]:
        for member in list_archive(archive, pack, is_image_name):
            for other, form in V2_FORMS.items():
                if other != kind and form in f"{Path(archive).name}/{member.name}":
                    raise DatasetError(f"{archive} holds ImageNet-V2's form {form}: give the kind {other}")
            yield member

    def label_of_folder(folder: str) -> str:
        return class_at(folder, class_order, archive)

    return read_class_folders(checked(), label_of_folder)


def class_at(number: str, class_order: Sequence[str], archive: Path | str) -> str:
    """Return the class at a position, which the name of a folder gives.

    Raises:
        DatasetError: it is no number, or too large a one.
    """
    if not number.isdecimal() or int(number) >= len(class_order):
        raise DatasetError(f"{archive}: folder '{number}' is not a number from 0 to {len(class_order) - 1}")
    return class_order[int(number)]


def read_objectnet(
    archive: Path | str, password: str | None, class_table: Path | str, classes: Collection[str], pack: Pack
) -> RecordBuffer:
    """Read the ObjectNet images (Barbu et al. 2019) of the classes that overlap ImageNet's.

    Args:
        archive: the zip, or the unpacked folder (Python decrypts slowly: unpack the 190 GB with another program once).
        password: of the zip, published with the data set.
        class_table: names of folders and their wnids.
        classes: of the study.
        pack: takes the images from the zip.
    """
    labels = read_class_table(class_table, classes)

    def wanted(name: str) -> bool:
        return is_image_name(name) and PurePosixPath(name).parent.name in labels

    return read_class_folders(list_archive(archive, pack, wanted, password=password), labels.get)
