"""Read DomainNet (Peng et al. 2019): a domain is an archive of class folders, lists say which pictures a split has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from whyrobust.data.archives import Pack, is_image_name, list_archive
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.record_writer import RecordBuffer


def read_domainnet_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``domainnet``: a domain, or a split of one."""
    return read_domainnet(settings["archive"], settings.get("pictures"), classes, pack)


def read_domainnet(
    archive: Path | str, pictures: Path | str | None, classes: Collection[str], pack: Pack
) -> RecordBuffer:
    """Read a domain: pictures ``<domain>/<class>/<name>``, whose class is their folder, in any case.

    Args:
        archive: the zip as published, or the unpacked folder.
        pictures: list of a split, with ``<domain>/<class>/<name> <number>`` per line; all pictures if None.
        classes: of the study, named as the folders; those of other folders are left out.
        pack: takes the pictures of a zip.

    Returns:
        Records; uids are the last three parts of a path, whether an archive or a folder is read.

    Raises:
        DatasetError: the list is no list of pictures, or names none of the archive.
    """
    label_of = {name.casefold(): name for name in classes}
    listed = dict.fromkeys(read_split(pictures)) if pictures is not None else None
    absent = dict(listed or {})
    records = RecordBuffer()

    def wanted(name: str) -> bool:
        return is_image_name(name) and (listed is None or _key(name, archive) in listed)

    for member in records.without_missing_folders(list_archive(archive, pack, wanted)):
        key = _key(member.name, archive)
        absent.pop(key, None)
        label = label_of.get(member.path.parent.name.casefold())
        if label is None:
            records.left_out["its folder is no class of the study"] += 1
        else:
            records.add(key, member, label, collection=key.partition("/")[0])
    if listed and len(absent) == len(listed):
        raise DatasetError(
            f"{pictures} names no picture of {archive}, for example '{next(iter(listed))}': give the "
            "list of this domain"
        )
    for key in absent:
        records.leave_out_missing(key, "it is in the list of the split and not in the archive")
    return records


def read_split(path: Path | str) -> list[str]:
    """Return the pictures that the list of a split names, in its order, each once.

    Raises:
        DatasetError: a line is no path of three parts with a number.
    """
    found: dict[str, None] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} cannot be read as text in UTF-8 ({error}): fetch it again") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, index = line.strip().rpartition(" ")
        if not index.isdecimal() or name.count("/") != 2:
            raise DatasetError(
                f"{path}, line {number} is {line[:80]!r}: a list of DomainNet has '<domain>/<class>/<picture> <number>'"
            )
        found[name] = None
    return list(found)


def _key(name: str, archive: Path | str) -> str:
    """Return ``<domain>/<class>/<picture>`` of a member; the domain's folder may be the one that is given."""
    parts = name.split("/")
    return "/".join(parts[-3:] if len(parts) > 2 else [Path(archive).name, *parts])
