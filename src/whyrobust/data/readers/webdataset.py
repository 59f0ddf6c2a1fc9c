"""Read WebDataset shards: tar files whose members of one key (image, text, JSON) form an image-text pair."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whyrobust.data.archives import Member, Pack, list_tar, read_bytes
from whyrobust.data.record_writer import REPEATED, RecordBuffer
from whyrobust.data.text_cleaning import clean_web_field, clean_web_tags
from whyrobust.study.slices import shard_names

#: Given the JSON of a pair, returns its uid and, where it is left out, the reason.
Identify = Callable[[Mapping[str, Any]], tuple[str, str]]


@dataclass(frozen=True)
class PairLayout:
    """Where shards keep images, texts and labels.

    Attributes:
        image_endings: endings of images; of several images of a key, the first ending in this list is taken.
        text_ending: ending of the text that becomes the title; not read where ``fields`` names a title.
        fields: of ``title, description, tags`` to keys of the JSON beside the image.
        label: key of the JSON that holds a class.
        percent_encoded: whether texts are (YFCC100M).
    """

    image_endings: Sequence[str] = ("jpg", "jpeg", "png", "webp")
    text_ending: str = "txt"
    fields: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    percent_encoded: bool = False


def read_webdataset_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``webdataset``, or a slice of its shards."""
    options = {key: settings[key] for key in ("image_endings", "text_ending", "fields", "label") if key in settings}
    return read_webdataset(settings["shards"], PairLayout(**options), classes, names=settings.get("shard_names"))


def read_webdataset(
    shards: Sequence[Path | str],
    layout: PairLayout = PairLayout(),
    classes: Collection[str] = (),
    names: Sequence[str] | None = None,
    identify: Identify | None = None,
) -> RecordBuffer:
    """Read image-text pairs from tar shards.

    Args:
        shards: tar files.
        layout: where they keep images, texts and labels.
        classes: of the study, where pairs have labels.
        names: of the shards where these are a slice of the data set; by default their `shard_names`.
        identify: gives the uid of a pair. By default it is the shard's name and the key; of equal keys in a shard the
            first counts.

    Raises:
        ShardError: a shard is given twice.
        LocationError: a shard is damaged.
    """
    records, known = RecordBuffer(), set(classes)
    title_key, description_key, tags_key = (layout.fields.get(name) for name in ("title", "description", "tags"))
    for shard, shard_name in zip(shards, shard_names(shards) if names is None else names, strict=True):
        seen: set[str] = set()
        for key, files in _group_by_key(list_tar(shard)):
            uid = f"{shard_name}/{key}"
            image = next((files[ending] for ending in layout.image_endings if ending in files), None)
            if image is None:
                records.leave_out_missing(uid, "it has no picture")
                continue
            metadata = _read_json(files.get("json"), records)
            reason = REPEATED if key in seen else ""
            if identify is not None:
                uid, reason = identify(metadata)
            if reason:
                records.left_out[reason] += 1
                continue
            seen.add(key)
            title = metadata.get(title_key) if title_key is not None else _read_text(files.get(layout.text_ending))
            records.add(
                uid,
                image,
                records.known_class(uid, metadata.get(layout.label), known) if layout.label is not None else None,
                title=clean_web_field(title, layout.percent_encoded),
                description=clean_web_field(metadata.get(description_key or ""), layout.percent_encoded),
                tags=clean_web_tags(metadata.get(tags_key or ""), layout.percent_encoded),
            )
    return records


def _group_by_key(members: Iterable[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """Yield the files of each key, by ending; the files of one key follow each other (WebDataset's rule)."""
    current, files = "", dict[str, Member]()
    for member in members:
        base, _, ending = member.path.name.partition(".")
        key = str(member.path.parent / base) if member.path.parent.name else base
        # A name that comes twice begins another pair, which is counted as a repeat.
        if files and (key != current or ending.lower() in files):
            yield current, files
            files = {}
        current = key
        files[ending.lower()] = member
    if files:
        yield current, files


def _read_json(member: Member | None, records: RecordBuffer) -> dict[str, Any]:
    """Return the JSON object of a pair, empty if there is none; a damaged one is counted."""
    if member is None or member.missing:
        return {}
    try:
        value = json.loads(read_bytes(member.file, member.offset, member.length))
    except (ValueError, RecursionError):
        records.left_out["its JSON does not parse (the picture is kept)"] += 1
        return {}
    return value if isinstance(value, dict) else {}


def _read_text(member: Member | None) -> str:
    if member is None or member.missing:
        return ""
    return read_bytes(member.file, member.offset, member.length).decode("utf-8", errors="replace")
