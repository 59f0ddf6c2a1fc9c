"""A description of the data of a study: images per class and after each filter, captions, samples and near-duplicates.

Everything is counted on what other stages kept; nothing is measured on a model. `describe_datasets`,
`describe_all_captions` and `show_pictures` make the tables of the stage ``describe_data``; only the pictures that are
shown are decoded, and of records only those rows are read.
"""

from __future__ import annotations

import io
import logging
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from whyrobust.data.image_stores import holds_photographs, read_images
from whyrobust.data.pixel_store import Pixels
from whyrobust.data.preprocessing import Preprocessing
from whyrobust.data.records import read_rows_of_uids, rows_of_uids
from whyrobust.data.subsets import draw_subset
from whyrobust.files import read_csv
from whyrobust.study.table_cells import LABEL_SEPARATOR

if TYPE_CHECKING:
    from whyrobust.data.label_matcher import LabelMatcher

#: Side at which photographs are shown: people recognise things, and ten data sets fit into a page of a few megabytes.
PHOTOGRAPH_SIDE_PIXELS = 96
WEBP_QUALITY = 80
#: Pictures of each data set, and pairs of each band of similarity, that are shown.
SAMPLES = 40
PAIRS_PER_BAND = 20

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("label", pa.string()),
        pa.field("picture", pa.binary(), nullable=False),
    ]
)
"""One row per picture that is shown; ``picture`` is a whole PNG file (drawings) or WebP file (photographs)."""

PAIR_SCHEMA = pa.schema(
    [
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("in_band", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("test_set", pa.string(), nullable=False),
        pa.field("test_uid", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("picture", pa.binary(), nullable=False),
        pa.field("test_picture", pa.binary(), nullable=False),
    ]
)
"""One row per pair of a training image and its most similar test image, with both pictures as in `SAMPLE_SCHEMA`."""

CAPTION_COLUMNS = (
    "records", "captions", "empty_share", "words_mean", "words_median", "words_p95", "characters_mean", "labelled",
    "share_naming_class",
)  # fmt: skip


logger = logging.getLogger("whyrobust")


class DescriptionError(ValueError):
    """Counts of two stages that contradict each other; the message names both."""


@dataclass(frozen=True)
class DatasetFiles:
    """A data set of a study and its files.

    Attributes:
        name: of the data set.
        role: ``training_source``, ``in_distribution`` or ``shift``.
        records: its records.
        failures: the images that could not be decoded.
        kept: ``uid, label`` of the images that no filter removed.
        images: its image store.
        fetched: counts of the addresses that its images were fetched from, where they were.
    """

    name: str
    role: str
    records: Path | str
    failures: Path | str
    kept: Path | str
    images: Path | str
    fetched: Path | str | None = None


def describe_datasets(
    datasets: Sequence[DatasetFiles], classes: Sequence[str], sizes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pa.Table]]:
    """Count the images of each data set and choose those to show.

    Args:
        datasets: the data sets.
        classes: classes of the study, in order.
        sizes: ``decontaminated/sizes.csv``.

    Returns:
        ``dataset, role, class, images`` (see `count_classes`); ``dataset, step, images`` (see `list_filters`); and the
        chosen records by data set (see `choose_samples`).
    """
    sizes_of = {
        str(row["dataset"]): {str(column): int(count) for column, count in row.items() if column != "dataset"}
        for row in sizes.to_dict("records")
    }
    class_rows, filter_rows, samples = [], [], {}
    for dataset in datasets:
        kept = pq.read_table(dataset.kept, columns=["uid", "label"])
        images = {item["values"]: item["counts"] for item in kept["label"].drop_null().value_counts().to_pylist()}
        class_rows += [(dataset.name, dataset.role, *row) for row in count_classes(images, classes).items()]
        addresses = read_csv(dataset.fetched) if dataset.fetched else None
        steps = list_filters(
            dataset.name,
            recorded=pq.read_metadata(dataset.records).num_rows,
            failures=len(read_csv(dataset.failures)),
            sizes=sizes_of[dataset.name],
            is_test_set=dataset.role != "training_source",
            fetched=None if addresses is None else (int(addresses["pairs"].sum()), int(addresses["obtained"].sum())),
        )
        filter_rows += [(dataset.name, *row) for row in steps.items()]
        samples[dataset.name] = choose_samples(dataset.records, kept["uid"], SAMPLES, seed="samples")
        logger.info("%s: %s", dataset.name, ", ".join(f"{count} {step}" for step, count in steps.items()))
    return (
        pd.DataFrame(class_rows, columns=["dataset", "role", "class", "images"]),
        pd.DataFrame(filter_rows, columns=["dataset", "step", "images"]),
        samples,
    )


def describe_all_captions(
    captions: Mapping[str, Mapping[str, Sequence[Path | str]]],
    kept: Mapping[str, Path | str],
    matcher: LabelMatcher | None,
) -> pd.DataFrame:
    """Describe every variant of the captions of every source.

    Args:
        captions: by source and variant, one file or one per slice: ``uid`` and a column that is called as the variant.
        kept: ``uid, label`` of the images of each source that no filter removed.
        matcher: finds classes in text; None where their names cannot be told apart there.

    Returns:
        ``source, caption`` (the variant) and `CAPTION_COLUMNS`.
    """
    rows: list[dict[str, Any]] = []
    for source, variants in captions.items():
        known = pq.read_table(kept[source], columns=["uid", "label"])
        for variant, paths in variants.items():
            described = describe_captions(read_captions(paths, variant, known), matcher)
            rows.append({"source": source, "caption": variant} | described)
    return pd.DataFrame(rows, columns=["source", "caption", *CAPTION_COLUMNS])


def show_pictures(
    datasets: Sequence[DatasetFiles], samples: Mapping[str, pa.Table], pairs: pd.DataFrame
) -> tuple[pa.Table, pa.Table]:
    """Read the pictures of samples and of pairs of near-duplicates, those of a data set together.

    Args:
        datasets: the data sets.
        samples: the records to show of each (see `describe_datasets`).
        pairs: the pairs to show (see `sample_pairs`).

    Returns:
        The samples (`SAMPLE_SCHEMA`) and the pairs (`PAIR_SCHEMA`).
    """
    wanted = defaultdict(list, {name: table["uid"].to_pylist() for name, table in samples.items()})
    for column, uids in ("source", "uid"), ("test_set", "test_uid"):
        for name, rows in pairs.groupby(column):
            wanted[str(name)] += rows[uids].tolist()
    pictures = {dataset.name: read_pictures(dataset.images, wanted[dataset.name]) for dataset in datasets}
    sample_rows = [
        row | {"dataset": dataset.name, "role": dataset.role, "picture": pictures[dataset.name][row["uid"]]}
        for dataset in datasets
        for row in samples[dataset.name].to_pylist()
    ]
    pair_rows = [
        row
        | {"picture": pictures[row["source"]][row["uid"]], "test_picture": pictures[row["test_set"]][row["test_uid"]]}
        for row in pairs.to_dict("records")
    ]
    logger.info("%d samples, %d pairs", len(sample_rows), len(pair_rows))
    return pa.Table.from_pylist(sample_rows, SAMPLE_SCHEMA), pa.Table.from_pylist(pair_rows, PAIR_SCHEMA)


def count_classes(labels: Mapping[str, int], classes: Sequence[str]) -> dict[str, int]:
    """Return how many images each class has, in the order of the study's classes; classes without images have 0.

    A label that names several classes, any of which is right (ObjectNet), counts once, under the label as it is
    written, at the position of the first class that it names. So the counts add up to the labelled images.

    Args:
        labels: label -> number of images.
        classes: classes of the study.

    Raises:
        DescriptionError: a label names a class that the study does not have.
    """
    position = {name: number for number, name in enumerate(classes)}
    first: dict[str, int] = {}
    named: set[str] = set()
    for label in labels:
        members = label.split(LABEL_SEPARATOR)
        unknown = [name for name in members if name not in position]
        if unknown:
            raise DescriptionError(
                f"the label '{label}' names '{unknown[0]}', which is none of the study's {len(classes)} classes: "
                "build the records again with the class table of the config"
            )
        first[label] = min(position[name] for name in members)
        named.update(members)
    empty = {name: number for name, number in position.items() if name not in named}
    positions = first | empty
    return {label: labels.get(label, 0) for label in sorted(positions, key=lambda label: (positions[label], label))}


def read_captions(paths: Sequence[Path | str], variant: str, kept: pa.Table) -> Iterator[tuple[str | None, str | None]]:
    """Yield (caption, label) of each kept record, in the order of the captions and a batch of them at a time.

    Args:
        paths: captions of a variant of a source, ``uid`` and its column; one file, or one per slice.
        variant: the column.
        kept: ``uid, label`` of the images that no filter removed.

    Raises:
        DescriptionError: a kept image has no row.
    """
    labels, start = kept["label"].combine_chunks(), 0
    uids = pa.concat_tables(pq.read_table(path, columns=["uid"]) for path in paths)["uid"]
    row_of = rows_of_uids(kept["uid"], uids)
    held = int((row_of >= 0).sum())
    if held != len(kept):
        raise DescriptionError(f"{paths[0]} has captions of {held} of {len(kept)} images: assemble them again")
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=[variant]):
            rows = row_of[start : start + len(batch)]
            kept_here = rows >= 0
            texts = batch.column(0).filter(pa.array(kept_here))
            yield from zip(texts.to_pylist(), labels.take(pa.array(rows[kept_here])).to_pylist(), strict=True)
            start += len(batch)


def describe_captions(
    records: Iterable[tuple[str | None, str | None]], matcher: LabelMatcher | None
) -> dict[str, int | float]:
    """Describe the captions of one variant of one source; memory grows by four bytes per caption.

    Args:
        records: (caption, label) of each; None, or an empty caption, where it has none.
        matcher: finds classes in text, as for labels found in text; None: nothing is looked for.

    Returns:
        `CAPTION_COLUMNS`: the number of records and of captions; ``empty_share``: share of records without a caption;
        mean, median and 95th percentile of the words of a caption (parts between white space) and mean number of its
        characters; ``labelled``: records with a known class; ``share_naming_class``: share of those whose caption
        names their class, alone or among others; a record without a caption names none. Missing (nan) where there is
        nothing to divide by.
    """
    lengths = array("I")
    count = characters = labelled = naming = 0
    for caption, label in records:
        count += 1
        if caption:
            lengths.append(len(caption.split()))
            characters += len(caption)
        if label is not None:
            labelled += 1
            if caption and matcher is not None:
                naming += not set(label.split(LABEL_SEPARATOR)).isdisjoint(matcher.match(caption))
    words = np.asarray(lengths)
    return {
        "records": count,
        "captions": len(words),
        "empty_share": 1 - len(words) / count if count else np.nan,
        "words_mean": float(words.mean()) if len(words) else np.nan,
        "words_median": float(np.median(words)) if len(words) else np.nan,
        "words_p95": float(np.percentile(words, 95)) if len(words) else np.nan,
        "characters_mean": characters / len(words) if len(words) else np.nan,
        "labelled": labelled,
        "share_naming_class": naming / labelled if labelled and matcher is not None else np.nan,
    }


def list_filters(
    dataset: str,
    recorded: int,
    failures: int,
    sizes: Mapping[str, int],
    is_test_set: bool,
    fetched: tuple[int, int] | None = None,
) -> dict[str, int]:
    """Return how many images of a data set are left after each step, in order; steps that do not apply are absent.

    Args:
        dataset: its name, for messages.
        recorded: records of the data set.
        failures: pictures that could not be drawn or decoded.
        sizes: its row of ``decontaminated/sizes.csv``: ``decoded, repeats_removed, near_duplicates_removed, kept``.
        is_test_set: repeats are removed within test sets, near-duplicates of test images from training sources.
        fetched: where the source is a list of addresses: how many it lists, and how many images were obtained.

    Returns:
        ``listed`` and ``fetched`` for a list of addresses, ``recorded``, ``decoded`` (drawn, for drawings), then
        ``without_repeats`` for a test set or ``without_near_duplicates`` for a training source.

    Raises:
        DescriptionError: what two stages say does not fit together.
    """
    steps = dict(zip(("listed", "fetched"), fetched, strict=True)) if fetched else {}
    steps |= {"recorded": recorded, "decoded": recorded - failures}
    removed = "repeats_removed" if is_test_set else "near_duplicates_removed"
    last = "without_repeats" if is_test_set else "without_near_duplicates"
    steps[last] = steps["decoded"] - sizes[removed]
    for step, column in (("decoded", "decoded"), (last, "kept")):
        if steps[step] != sizes[column]:
            raise DescriptionError(
                f"data set '{dataset}': {steps[step]} images by the records and failures ({step}), {sizes[column]} in "
                f"sizes.csv ({column}): delete its records and run again"
            )
    counts = list(steps.values())
    if counts != sorted(counts, reverse=True):
        raise DescriptionError(f"data set '{dataset}' grows from one step to the next ({steps}): build it again")
    return steps


def choose_samples(path: Path | str, kept: pa.ChunkedArray, size: int, seed: int | str) -> pa.Table:
    """Draw kept records to show, in the order of the draw; the same for any order of the records.

    Args:
        path: records of the data set.
        kept: uids that no filter removed.
        size: records wanted; all where there are fewer.
        seed: another seed gives others.

    Returns:
        ``uid, title, description, tags, label``.

    Raises:
        MissingUidError: a kept uid has no record.
    """
    # One chunk at a time: 15 million uids need not be Python objects at once.
    uids = (uid for chunk in kept.chunks for uid in chunk.to_pylist())
    shown = draw_subset(uids, min(size, len(kept)), seed) if len(kept) else []
    return read_rows_of_uids([path], ["uid", "title", "description", "tags", "label"], shown)


def sample_pairs(pairs: pd.DataFrame, per_band: int) -> pd.DataFrame:
    """Return the first pairs of each band of similarity, as many of each source as there is room for.

    Args:
        pairs: ``decontaminated/pairs.csv``, where ``in_band`` counts the pairs of one source.
        per_band: at most so many of each band.

    Returns:
        The same columns, by rising band; ``in_band`` counts the pairs of all sources, those not shown among them.
    """
    parts = [
        _head_of_sources(band, per_band).assign(in_band=int(band.drop_duplicates("source")["in_band"].sum()))
        for _, band in pairs.groupby(["low", "high"])
    ]
    return pd.concat(parts, ignore_index=True) if parts else pairs


def _head_of_sources(band: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return up to so many rows: the first of each source, then the second of each, and so on; in their order."""
    turn = band.groupby("source", sort=False).cumcount()
    return band.loc[turn.sort_values(kind="stable").index[:count]].sort_index()


def encode_picture(pixels: Pixels, photograph: bool) -> bytes:
    """Return uint8 ``[side, side, 3]`` as a file: a photograph as WebP, a drawing as PNG, which loses nothing."""
    buffer = io.BytesIO()
    if photograph:
        Image.fromarray(pixels).save(buffer, format="WEBP", quality=WEBP_QUALITY, method=6)
    else:
        Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def read_pictures(path: Path | str, uids: Sequence[str]) -> dict[str, bytes]:
    """Return the pictures of uids from a store of either kind, each as the bytes of a file.

    Photographs have their shorter side brought to `PHOTOGRAPH_SIDE_PIXELS` and the middle cut out; drawings keep the
    side at which they were drawn.

    Raises:
        MissingImageError: some uids are not in the store.
    """
    each_once = list(dict.fromkeys(uids))
    if not each_once:
        return {}
    photographs = holds_photographs([path])
    found = read_images([path], each_once, Preprocessing(PHOTOGRAPH_SIDE_PIXELS))
    return {uid: encode_picture(pixels, photographs) for uid, pixels in zip(each_once, found, strict=True)}
