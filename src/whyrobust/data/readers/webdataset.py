"""Read WebDataset shards: tar files whose members of one key (image, text, JSON) form an image-text pair."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whyrobust.data.archives import Member, Pack, list_tar, read_bytes
from whyrobust.data.readers.caption_files import read_caption, read_text
from whyrobust.data.readers.label_names import named_label, read_label_names
from whyrobust.data.record_writer import REPEATED, RecordBuffer
from whyrobust.data.text_cleaning import clean_web_field, clean_web_tags
from whyrobust.study.picture_formats import PICTURE_ENDINGS
from whyrobust.study.slices import shard_names

#: Why a picture belongs to no pair.
NOT_OF_KEY = "its ending, all after the first dot of its name, is none of image_endings"

#: What is counted of pairs that are kept.
FURTHER_CAPTIONS = "it has further captions, of which the first is taken (the picture is kept)"

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
        label_ending: ending of the text that is the class, where ``label`` is None.
        label_names: names of the classes where labels are numbers.
        percent_encoded: whether texts are (YFCC100M).
        captions: further captions: names of their variants to keys of the JSON.
    """

    image_endings: Sequence[str] = PICTURE_ENDINGS
    text_ending: str = "txt"
    fields: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    label_ending: str = "cls"
    label_names: Sequence[str] = ()
    percent_encoded: bool = False
    captions: Mapping[str, str] = field(default_factory=dict)


def read_webdataset_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``webdataset``, or a slice of its shards."""
    keys = ("image_endings", "text_ending", "fields", "label", "label_ending", "captions")
    options = {key: settings[key] for key in keys if key in settings}
    names = read_label_names(settings["class_names"]) if "class_names" in settings else ()
    layout = PairLayout(**options, label_names=names)
    return read_webdataset(settings["shards"], layout, classes, names=settings.get("shard_names"))


def read_webdataset(
    shards: Sequence[Path | str],
    layout: PairLayout = PairLayout(),
    classes: Collection[str] = (),
    names: Sequence[str] | None = None,
    identify: Identify | None = None,
) -> RecordBuffer:
    """Read image-text pairs from tar shards.

    Files belong together that have one key, their path up to the first dot of the name, as in the webdataset library;
    they need not lie side by side.

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
    records, known = RecordBuffer(captions=tuple(layout.captions)), set(classes)
    title_key, description_key, tags_key = (layout.fields.get(name) for name in ("title", "description", "tags"))
    for shard, shard_name in zip(shards, shard_names(shards) if names is None else names, strict=True):
        seen: set[str] = set()
        for key, files in _group_by_key(list_tar(shard)):
            uid = f"{shard_name}/{key}"
            image = next((files[ending] for ending in layout.image_endings if ending in files), None)
            others = [member for member in files.values() if member.is_image and member is not image]
            if image is None:
                for member in others:
                    records.leave_out_missing(f"{shard_name}/{member.name}", NOT_OF_KEY)
                if not others:
                    records.leave_out_missing(uid, "it has no picture")
                continue
            if others:
                records.left_out["it is a further picture of its key"] += len(others)
            metadata = _read_json(files.get("json"), records)
            reason = REPEATED if key in seen else ""
            if identify is not None:
                uid, reason = identify(metadata)
            if reason:
                records.left_out[reason] += 1
                continue
            seen.add(key)
            title = (
                _first_text(metadata.get(title_key), records)
                if title_key is not None
                else read_caption(files.get(layout.text_ending), records)
            )
            records.add(
                uid,
                image,
                _label(uid, files, metadata, layout, known, records),
                title=clean_web_field(title, layout.percent_encoded),
                description=clean_web_field(
                    _first_text(metadata.get(description_key or ""), records), layout.percent_encoded
                ),
                tags=clean_web_tags(metadata.get(tags_key or ""), layout.percent_encoded),
                captions={name: clean_web_field(metadata.get(key)) for name, key in layout.captions.items()},
            )
    return records


def _label(
    uid: str,
    files: Mapping[str, Member],
    metadata: Mapping[str, Any],
    layout: PairLayout,
    known: Collection[str],
    records: RecordBuffer,
) -> str | None:
    """Return the class of a pair, None where it has none."""
    if layout.label is not None:
        return records.known_class(uid, named_label(metadata.get(layout.label), layout.label_names), known)
    if layout.label_ending not in files:
        return None
    return records.known_class(uid, named_label(read_text(files[layout.label_ending]), layout.label_names), known)


def _group_by_key(members: Iterable[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """Yield the files of each key of a shard, by ending, in the order in which keys come first."""
    groups: list[tuple[str, dict[str, Member]]] = []
    latest: dict[str, dict[str, Member]] = {}
    for member in members:
        if member.path.name.startswith(".") or "__MACOSX" in member.path.parts:
            continue  # macOS puts one beside each file
        base, _, ending = member.path.name.partition(".")
        key = str(member.path.parent / base) if member.path.parent.name else base
        # A name that comes twice begins another pair, which is counted as a repeat.
        if key not in latest or ending.lower() in latest[key]:
            latest[key] = {}
            groups.append((key, latest[key]))
        latest[key][ending.lower()] = member
    yield from groups


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


def _first_text(value: object, records: RecordBuffer) -> object:
    """Return a value of JSON; of a list of captions the first that is no blank, which is counted."""
    if not isinstance(value, list):
        return value
    texts = [text for text in value if isinstance(text, str) and text.strip()]
    if len(texts) > 1:
        records.left_out[FURTHER_CAPTIONS] += 1
    return texts[0] if texts else ""
