"""Whether the data of a study are ready for training: `find_remarks` lists what to look at, `summarise` says it all.

Every remark rests on counts that other stages wrote. What stops a study later, such as a size that no source has, is
among them, and what makes its answer hard to read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from whyrobust.data.dataset_checks import TEXT_BESIDE, nearest_class
from whyrobust.data.record_writer import NOT_DRAWN
from whyrobust.report.number_format import format_percent, list_some
from whyrobust.report.page_parts import table_rows
from whyrobust.study.display_names import count_noun
from whyrobust.study.table_cells import is_missing

TRAINING_SOURCE = "training_source"

#: Pictures left out for one reason, of all that a data set lists, that are worth a look.
LEFT_OUT_SHARE = 0.005
#: Images that repeat one of a test set, and records without a caption, that are worth a look.
REPEATED_SHARE = 0.01
EMPTY_SHARE = 0.01
#: Of the labelled images, those whose caption names their class: below it, language can hardly be learned from.
NAMING_SHARE = 0.05
#: Half of the 95 % interval of an accuracy of one half, above which a test set is small.
WIDE_INTERVAL = 0.1
#: Images of an in-distribution test set below which its noise shows as an effect of the source (docs/method.md).
FEWEST_OF_SOURCES = 500
#: Distance (total variation) between the class proportions of a shift and of the first in-distribution test set.
PROPORTION_DISTANCE = 0.1

#: Rows of the counts of a data set that are no pictures left out of what it should have.
KEPT_ROWS = ("kept", NOT_DRAWN)
KEPT_WITHOUT = "(kept without one)"


@dataclass(frozen=True)
class DataCounts:
    """What is counted of the data of a study.

    Attributes:
        filters: ``dataset, step, images``, as `data_summary.list_filters` names steps.
        classes: ``dataset, role, class, images``.
        captions: ``source, caption`` and `data_summary.CAPTION_COLUMNS`.
        removed: near-duplicates of test images: ``source, test_set, reason, images``.
        left_out: ``dataset, reason, images``: pictures that are no records, and those that do not decode.
        unknown_labels: ``dataset, label, images, nearest``: labels that are no class, and the class spelt most alike.
    """

    filters: pd.DataFrame
    classes: pd.DataFrame
    captions: pd.DataFrame
    removed: pd.DataFrame
    left_out: pd.DataFrame
    unknown_labels: pd.DataFrame


@dataclass(frozen=True)
class StudyNeeds:
    """What a study asks of its data.

    Attributes:
        train_images: the largest training set that runs ask of each source.
        allowed_shortfall_share: share (0..1) by which a training set may be smaller.
        all_classes: test sets whose images may be any class of the study.
        class_weights: ``images`` or ``equal``, as in the config.
    """

    train_images: Mapping[str, int]
    allowed_shortfall_share: float
    all_classes: Sequence[str]
    class_weights: str


@dataclass(frozen=True)
class Remark:
    """Something to look at before training.

    Attributes:
        dataset: that it is about.
        kind: what it is about, in a word, the same for every remark of its kind.
        text: what was found, and what to do.
    """

    dataset: str
    kind: str
    text: str


def left_out_table(
    counts: Mapping[str, Iterable[tuple[str, int]]], failures: Mapping[str, Iterable[str]]
) -> pd.DataFrame:
    """Return ``dataset, reason, images``: what is no record, and what does not decode.

    Args:
        counts: (what, images) of each data set of photographs, as `join_slices` writes them.
        failures: the reason of each picture of a data set that could not be decoded or drawn.
    """
    rows = [(name, what, images) for name, listed in counts.items() for what, images in listed if what not in KEPT_ROWS]
    for name, reasons in failures.items():
        for reason, images in pd.Series(list(reasons), dtype=object).value_counts().items():
            rows.append((name, str(reason), int(images)))
    return pd.DataFrame(rows, columns=["dataset", "reason", "images"])


def unknown_label_table(labels: Mapping[str, Iterable[tuple[str, int]]], classes: Sequence[str]) -> pd.DataFrame:
    """Return ``dataset, label, images, nearest``, most images first.

    Args:
        labels: (label, images) of each data set of photographs, of labels that are no class.
        classes: of the study.
    """
    rows = [
        (name, label, images, nearest_class(label, classes))
        for name, found in labels.items()
        for label, images in found
    ]
    return pd.DataFrame(rows, columns=["dataset", "label", "images", "nearest"])


def find_remarks(counts: DataCounts, needs: StudyNeeds) -> list[Remark]:
    """Return what to look at before training, data set by data set."""
    roles = dict(zip(counts.classes["dataset"], counts.classes["role"], strict=True))
    found: list[Remark] = []
    for name, role in roles.items():
        steps = _steps_of(counts.filters, name)
        classes = counts.classes[counts.classes["dataset"] == name]
        found += _missing_classes(name, role, classes, needs)
        found += _unknown_labels(name, counts.unknown_labels)
        found += _left_out(name, steps, counts.left_out)
        found += _repeats(name, role, steps, counts.removed)
        found += _too_few(name, role, steps, needs)
        found += _too_few_beside_another(name, roles, steps)
        found += _captions(name, counts.captions)
    if needs.class_weights == "images":
        found += _other_proportions(counts.classes, roles, needs.all_classes)
    return found


def _steps_of(filters: pd.DataFrame, name: str) -> dict[str, int]:
    rows = filters[filters["dataset"] == name]
    return {str(step): int(images) for step, images in zip(rows["step"], rows["images"], strict=True)}


def _left(steps: Mapping[str, int]) -> int:
    """Return the images that the last filter leaves."""
    return list(steps.values())[-1]


def _missing_classes(name: str, role: str, classes: pd.DataFrame, needs: StudyNeeds) -> list[Remark]:
    empty = [str(label) for label in classes.loc[classes["images"] == 0, "class"]]
    without_labels = len(empty) == len(classes)
    if (
        not empty
        or (without_labels and role == TRAINING_SOURCE)
        or (role != TRAINING_SOURCE and name not in needs.all_classes)
    ):
        return []
    cost = (
        "models cannot learn them here" if role == TRAINING_SOURCE else
        "models may answer with them and are never right; add pictures, remove them from data.classes, or set classes: "
        "own for a shift"
    )  # fmt: skip
    listed = f"{len(empty):,} of {len(classes):,} classes have no image ({list_some(empty)})"
    return [Remark(name, "classes without images", f"{listed}: {cost}")]


def _unknown_labels(name: str, unknown: pd.DataFrame) -> list[Remark]:
    rows = table_rows(unknown[unknown["dataset"] == name])
    if not rows:
        return []
    nearest = [f", nearest class: {row['nearest']}" if row["nearest"] else "" for row in rows]
    listed = [f"'{row['label']}' ({row['images']:,}{like})" for row, like in zip(rows, nearest, strict=True)]
    images = sum(row["images"] for row in rows)
    text = (
        f"{count_noun(images, 'image')} with {count_noun(len(rows), 'label')} that match no class: {list_some(listed)}"
    )
    return [
        Remark(name, "labels that match no class", f"{text}; write labels as data.classes does, or add the classes")
    ]


def _left_out(name: str, steps: Mapping[str, int], left_out: pd.DataFrame) -> list[Remark]:
    rows = [row for row in table_rows(left_out[left_out["dataset"] == name]) if KEPT_WITHOUT not in row["reason"]]
    # As many as there are pictures, and no picture is lost by them.
    rows = [row for row in rows if row["reason"] != TEXT_BESIDE]
    # What is no record is counted beside the records, what does not decode is one of them.
    listed = steps["decoded"] + sum(row["images"] for row in rows)
    return [
        Remark(name, "left out", f"{row['images']:,} of {listed:,} left out: {row['reason']}")
        for row in rows
        if row["images"] > LEFT_OUT_SHARE * listed
    ]


def _repeats(name: str, role: str, steps: Mapping[str, int], removed: pd.DataFrame) -> list[Remark]:
    repeats = steps["decoded"] - _left(steps)
    if repeats <= REPEATED_SHARE * steps["decoded"]:
        return []
    share = format_percent(repeats / steps["decoded"])
    if role != TRAINING_SOURCE:
        return [Remark(name, "repeats", f"{repeats:,} images ({share}) repeat another one of it and were removed")]
    of_source = removed[(removed["source"] == name) & (removed["images"] > 0)].groupby("test_set")["images"].sum()
    where = ", ".join(f"{images:,} of {test_set}" for test_set, images in of_source.items())
    text = f"{repeats:,} images ({share}) repeat a test image ({where}) and were removed from training"
    return [Remark(name, "near-duplicates of test images", f"{text}; look at the pairs on the page")]


def _too_few(name: str, role: str, steps: Mapping[str, int], needs: StudyNeeds) -> list[Remark]:
    left = _left(steps)
    if role == TRAINING_SOURCE:
        wanted = needs.train_images.get(name, 0)
        if left >= wanted * (1 - needs.allowed_shortfall_share):
            return []
        text = f"runs ask for {wanted:,} training images, {left:,} are left: lower train_images, or the study stops"
        return [Remark(name, "too few images", text)]
    half = 1.96 * math.sqrt(0.25 / left) if left else 1.0
    if half <= WIDE_INTERVAL:
        return []
    text = f"{count_noun(left, 'image')}: an accuracy of 50 % is known within ±{100 * half:.0f} points only"
    return [Remark(name, "too few images", text)]


def _too_few_beside_another(name: str, roles: Mapping[str, str], steps: Mapping[str, int]) -> list[Remark]:
    """Say where noise of an in-distribution test set bends the comparison of two sources."""
    sources = sum(role == TRAINING_SOURCE for role in roles.values())
    left = _left(steps)
    if roles[name] != "in_distribution" or sources < 2 or left >= FEWEST_OF_SOURCES:
        return []
    text = (
        f"{count_noun(left, 'image')}, fewer than {FEWEST_OF_SOURCES}: its noise pulls the effect of a training source "
        "towards the difference in accuracy itself (docs/method.md): test on more images"
    )
    return [Remark(name, "too few images to compare sources", text)]


def _captions(name: str, captions: pd.DataFrame) -> list[Remark]:
    found = []
    for row in table_rows(captions[captions["source"] == name]):
        if row["empty_share"] > EMPTY_SHARE:
            text = f"caption '{row['caption']}': {format_percent(row['empty_share'])} of the records have none"
            found.append(Remark(name, "captions", text))
        if row["labelled"] and row["share_naming_class"] < NAMING_SHARE:
            share = format_percent(row["share_naming_class"])
            text = (
                f"caption '{row['caption']}': {share} of those of labelled images name the class: little can be learned"
            )
            found.append(Remark(name, "captions", f"{text}; add synonyms to data.classes, or look at the captions"))
    return found


def _other_proportions(classes: pd.DataFrame, roles: Mapping[str, str], all_classes: Sequence[str]) -> list[Remark]:
    first = next((name for name, role in roles.items() if role == "in_distribution"), None)
    shares = {
        str(name): rows.set_index("class")["images"] / max(1, rows["images"].sum())
        for name, rows in classes.groupby("dataset")
        if name in all_classes
    }
    found = []
    for name in all_classes:
        if first in shares and roles[name] == "shift":
            distance = float(shares[name].sub(shares[first], fill_value=0).abs().sum() / 2)
            if distance > PROPORTION_DISTANCE:
                text = (
                    f"its classes come in other proportions than those of '{first}' ({100 * distance:.0f} % of the "
                    "images would have to be of another class): set class_weights: equal"
                )
                found.append(Remark(name, "class proportions", text))
    return found


def verdict(remarks: Sequence[Remark]) -> str:
    """Return whether training can begin, in a few words."""
    return f"look at {'this' if len(remarks) == 1 else f'these {len(remarks):,} things'}" if remarks else "ready"


def summarise(study: str, counts: DataCounts, remarks: Sequence[Remark]) -> str:
    """Return what a terminal shows: counts of each data set, captions, remarks and the verdict, a line each."""
    lines = [f"Data of the study '{study}':"]
    for (name, role), rows in counts.classes.groupby(["dataset", "role"], sort=False):
        steps = ", ".join(
            f"{images:,} {step.replace('_', ' ')}" for step, images in _steps_of(counts.filters, str(name)).items()
        )
        held = int((rows["images"] > 0).sum())
        labelled = f"{int(rows['images'].sum()):,} labelled, {held:,} of {len(rows):,} classes"
        lines.append(f"  {name} ({str(role).replace('_', ' ')}): {steps}; {labelled}")
        lines += [
            f"    {row['images']:,} {'' if KEPT_WITHOUT in row['reason'] else 'left out: '}{row['reason']}"
            for row in table_rows(counts.left_out[counts.left_out["dataset"] == name])
        ]
    for row in table_rows(counts.captions):
        words = f"{row['words_median']:g} words (median)" if row["captions"] else "no text"
        share = row["share_naming_class"]
        naming = "" if is_missing(share) else f", {format_percent(share)} name their class"
        with_text = f"{row['captions']:,} of {row['records']:,}"
        lines.append(f"  captions of {row['source']}, {row['caption']}: {with_text}, {words}{naming}")
    lines.append(f"Verdict: {verdict(remarks)}.")
    lines += [f"  {remark.dataset}: {remark.text}." for remark in remarks]
    return "\n".join(lines)
