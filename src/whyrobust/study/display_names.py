"""Labels of what figures, tables and the page show: kinds of training, runs, heads, causes and test sets.

Light, since a config is checked with them: colours are given by kind of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from whyrobust.study.caption_variants import CAPTION_VARIANTS
from whyrobust.study.heads_table import HEADS
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.restricted_names import split_restricted_name
from whyrobust.study.table_cells import is_empty

RAISES: Final = "raises"
LOWERS: Final = "lowers"
NOT_MEASURED: Final = "not measured"
WITHIN: Final = "within"
UNDECIDED: Final = "undecided"
NO_INTERVAL: Final = "no interval"
VERDICTS: Final = (RAISES, LOWERS, WITHIN, UNDECIDED)
NO_VERDICT: Final = "no verdict"
"""What colours and shapes go by; on an effect they are given by `whyrobust.analysis.verdicts.judge_effect`, with the
margin in words (see `name_margin`). An effect on a case study, or without an interval, has `NO_VERDICT`."""

MEAN: Final = "mean"
MEAN_SEEN: Final = "mean_seen"
"""In place of a shift: the mean over shifts that take part in verdicts, and over those of a style seen in training."""
AVERAGE: Final = "average"
"""In place of a shift, and its role: accuracies of several shifts, averaged before anything is measured."""

ALL_COMPARISONS: Final = "All comparisons"
"""How the part of a study's summary begins that is too long for a terminal."""


def name_margin(points: float) -> str:
    """Return the verdict on an effect that is shown to be smaller than so many points: ``within ±2``."""
    return f"{WITHIN} ±{points:g}"


def verdict_key(verdict: object) -> str:
    """Return what colour and shape of a verdict go by: one of `VERDICTS`, or `NO_VERDICT`."""
    words = "" if is_empty(verdict) else str(verdict)
    return WITHIN if words.startswith(WITHIN) else words if words in VERDICTS else NO_VERDICT


SHIFT_WORDS: Final = {
    "imagenet": "ImageNet",
    "imagenet-v2": "ImageNet-V2",
    "imagenet-sketch": "ImageNet-Sketch",
    "imagenet-r": "ImageNet-R",
    "imagenet-a": "ImageNet-A",
    "objectnet": "ObjectNet",
}
"""Test sets of published models."""

_TEST_SET_WORDS: Final = {
    name.replace("-", "_"): words for name, words in SHIFT_WORDS.items() if name != "imagenet"
} | {
    "imagenet_val": "ImageNet validation",
    MEAN: "mean over shifts",
    MEAN_SEEN: "mean over shifts of a seen style",
    AVERAGE: "average accuracy over shifts",
}

COLLECTION_WORDS: Final = {
    "imagenet_testbed": "other models of the ImageNet testbed",
    "open_clip": "CLIP models of open_clip, zero-shot",
    "vlhub": "image-text models of VL Hub",
}
STANDARD_WORDS: Final = "standard models (fit the line)"


def spaced(name: str) -> str:
    """Return a name with spaces for underscores; one that has spaces already is returned as it is."""
    return name if " " in name else name.replace("_", " ")


KIND_FIELDS: Final = ("objective", "supervision", "caption", "labels", "pretrained_by", "source")
"""Fields of a run that make its kind of training."""


def name_kind(
    objective: str,
    supervision: str,
    caption: str | None,
    source: str,
    labels: str | None = None,
    pretrained_by: str | None = None,
) -> str:
    """Name a kind of training in words, such as ``CLIP on web titles`` or ``cross-entropy on studio labels``.

    Args:
        objective: The objective, e.g. ``clip``; one that is not known is shown as it is, spaced.
        supervision: ``captions``, ``labels`` or ``images``.
        caption: The caption variant; empty or missing without captions.
        source: Where the training images come from.
        labels: ``annotated`` or ``text_match``; empty or missing without labels.
        pretrained_by: Objective of the run that it starts from; empty or missing for random weights.
    """
    words = f"{name_objective(objective)} on {spaced(source)} {name_supervision(supervision, caption, labels)}"
    if not is_empty(pretrained_by):
        words += f", after {name_objective(str(pretrained_by))}"
    return words


def name_kind_of(run: Mapping[str, Any]) -> str:
    """Name the kind of training of a run, given by the columns `KIND_FIELDS` of its row."""
    fields: dict[str, Any] = {name: run.get(name) for name in KIND_FIELDS}
    return name_kind(**fields)


def name_objective(objective: str) -> str:
    """Return an objective in words; one that is not known is shown as it is, spaced."""
    return OBJECTIVES[objective].label if objective in OBJECTIVES else spaced(objective)


def name_supervision(supervision: str, caption: str | None = None, labels: str | None = None) -> str:
    """Return what a run learns from, in words: ``titles``, ``labels``, ``labels found in text``, ``images``."""
    if supervision == "captions" and not is_empty(caption):
        variant = CAPTION_VARIANTS.get(str(caption))
        return variant.label if variant else f"{spaced(str(caption))} captions"
    return "labels found in text" if labels == "text_match" else spaced(supervision)


def name_runs(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Name runs in words, with model and number of samples seen where the runs differ in these.

    Args:
        runs: their rows of ``runs.csv``.

    Returns:
        By the name of its files: ``CLIP on web titles, 5,000 images, icon cnn, 30,000 seen, seed 0``.
    """
    rows = {str(run["run"]): run for run in runs}
    models = {row.get("model") for row in rows.values() if not is_empty(row.get("model"))}
    samples = {row.get("samples_seen") for row in rows.values() if not is_empty(row.get("samples_seen"))}
    named = {}
    for name, row in rows.items():
        parts = [name_kind_of(row), f"{int(row['train_images']):,} images"]
        if len(models) > 1 and not is_empty(row.get("model")):
            parts.append(spaced(str(row["model"])))
        if len(samples) > 1 and not is_empty(row.get("samples_seen")):
            parts.append(f"{int(row['samples_seen']):,} seen")
        named[name] = ", ".join([*parts, f"seed {row['seed']}"])
    return named


def capital(text: str) -> str:
    """Return a text with its first letter as a capital and the rest as it is, unlike ``str.capitalize``."""
    return text[:1].upper() + text[1:]


def name_cause(cause: str) -> str:
    """Return a cause in words: ``language_at_test`` becomes ``language at test``."""
    return spaced(cause)


def name_weighting(class_weights: str) -> str:
    """Return in words how accuracies weigh classes: ``over images``, ``of equal classes``."""
    return "over images" if class_weights == "images" else f"of {spaced(class_weights)} classes"


def name_test_set(test_set: str, names: Mapping[str, str] | None = None) -> str:
    """Return a test set in words; ``x@y`` is test set x restricted to the classes of shift y."""
    given = names or {}
    if test_set in given:
        return given[test_set]
    whole, part = split_restricted_name(test_set)
    words = given.get(whole, _TEST_SET_WORDS.get(whole, spaced(whole)))
    return f"{words}, classes of {name_test_set(part, names)}" if part else words


def join_test_sets(test_sets: Iterable[str]) -> str:
    """Return test sets in words, separated by commas."""
    return ", ".join(name_test_set(name) for name in test_sets)


def name_head(head: str, prompts: str | None, fitted_on: str | None = None) -> str:
    """Return a head in words: ``zero-shot (ensemble)``, ``linear probe (own images)``."""
    words = HEADS[head].label if head in HEADS else spaced(head)
    if not is_empty(prompts):
        words += f" ({spaced(str(prompts))})"
    if not is_empty(fitted_on):
        words += f" ({spaced(str(fitted_on))} images)"
    return words


def count_noun(number: int, noun: str, plural: str = "") -> str:
    """Write a number of things: ``1 point``, ``2 points``; ``plural`` where it is not the noun with an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or f'{noun}s'}"
