"""The table of stages: what each does and which results it needs, as the page and the README show them.

The rules are what runs; a test checks that the graph which Snakemake makes of them is this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Stage:
    """A stage: its rule's name, what it does, and the stages whose results it waits for (not theirs in turn)."""

    name: str
    description: str
    needs: tuple[str, ...] = ()


STAGES: Final = (
    Stage("download_source", "fetch the pinned archive and verify it"),
    Stage("list_pairs", "addresses of image-text pairs", ("download_source",)),
    Stage("fetch_pairs", "their images from the web, with img2dataset", ("list_pairs",)),
    Stage("build_records", "icon sets to records: title, description, tags, label, group", ("download_source",)),
    Stage("list_flickr_photos", "training images of ImageNet that come from Flickr", ("download_source",)),
    Stage("look_up_flickr_texts", "their texts, from YFCC100M's metadata", ("list_flickr_photos",)),
    Stage("fetch_flickr_texts", "their texts, from Flickr's API", ("look_up_flickr_texts",)),
    Stage("write_imagenet_captions", "ImageNet-Captions from these texts", ("fetch_flickr_texts",)),
    Stage(
        "build_photo_records",
        "photographs of any layout to records",
        ("download_source", "fetch_pairs", "write_imagenet_captions"),
    ),
    Stage("build_images", "draw every icon", ("build_records",)),
    Stage("index_images", "check every photograph and index where its bytes lie", ("build_photo_records",)),
    Stage(
        "join_slices",
        "merge the slices of each photograph data set, check that it is whole",
        ("index_images",),
    ),
    Stage(
        "decode_photographs",
        "decode the photographs of each training source once, at the resolution that training needs",
        ("join_slices",),
    ),
    Stage(
        "compare_images",
        "compare training images with all test images, a slice of a source at a time",
        ("build_images", "index_images", "join_slices"),
    ),
    Stage(
        "assemble_captions",
        "one caption per record and variant",
        ("build_records", "build_photo_records", "join_slices"),
    ),
    Stage(
        "decontaminate",
        "remove training images that repeat a test image",
        ("compare_images",),
    ),
    Stage(
        "measure_similarity",
        "the training image of each source that is nearest to each test image",
        ("decontaminate",),
    ),
    Stage("match_text", "labels found in text, and how good they are", ("decontaminate",)),
    Stage(
        "describe_data", "classes, captions, what filters removed, and samples", ("decontaminate", "assemble_captions")
    ),
    Stage(
        "describe_captions",
        "how varied captions are, where a source has columns of its own for them",
        ("decontaminate", "assemble_captions"),
    ),
    Stage("filter_view", "the images that views have by sets, colour or nearness to shifts", ("decontaminate",)),
    Stage("draw_subset", "seeded subsets of a given size, of sources, views and mixtures", ("filter_view",)),
    Stage("train_run", "train one model", ("draw_subset", "match_text", "assemble_captions", "decode_photographs")),
    Stage("import_pretrained", "take in a published model"),
    Stage(
        "embed_test_sets",
        "embed test images, prompts and the training images that heads are fitted on",
        ("train_run", "import_pretrained"),
    ),
    Stage("fit_heads", "class means and linear probes on frozen embeddings", ("embed_test_sets",)),
    Stage("score_heads", "predictions and accuracies", ("fit_heads",)),
    Stage(
        "describe_runs",
        "training curves, confusions and accuracy by class of single runs",
        ("score_heads", "describe_data"),
    ),
    Stage(
        "describe_training_sets",
        "training images of each class, and how accuracy depends on them",
        ("describe_runs",),
    ),
    Stage(
        "similarity_bands",
        "accuracy of two sources where one of them is nearer to the test images",
        ("score_heads", "measure_similarity"),
    ),
    Stage("measure_robustness", "baseline and effective robustness with intervals", ("score_heads",)),
    Stage(
        "attribute_other_weights",
        "the main comparisons with classes weighted the other way",
        ("measure_robustness",),
    ),
    Stage(
        "attribute_causes",
        "controlled comparisons, and one regression as a second opinion",
        ("attribute_other_weights",),
    ),
    Stage(
        "measure_dose_response",
        "effective robustness by the share of a source in mixtures, and its trend",
        ("measure_robustness",),
    ),
    Stage("measure_reference", "the same for published models"),
    Stage("measure_published", "the five questions on published models, for studies on the shifts of ImageNet"),
    Stage(
        "draw_figures",
        "figures for papers",
        ("attribute_causes", "measure_reference", "describe_training_sets", "measure_dose_response"),
    ),
    Stage(
        "write_report",
        "the report, one page",
        (
            "attribute_causes",
            "measure_reference",
            "describe_training_sets",
            "measure_dose_response",
            "match_text",
            "measure_published",
            "similarity_bands",
            "describe_captions",
        ),
    ),
)


def all_needs() -> dict[str, set[str]]:
    """Return what each stage waits for, also by way of others."""
    needs: dict[str, set[str]] = {}
    for stage in STAGES:
        needs[stage.name] = set(stage.needs).union(*(needs[need] for need in stage.needs))
    return needs


def stages_before(used: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return what each stage that a study uses waits for, in the order of `STAGES`.

    A stage that is not used is replaced by what it waits for itself, and what another of them waits for is left out (a
    transitive reduction).
    """
    names, before, reduced = set(used), all_needs(), dict[str, tuple[str, ...]]()
    for stage in STAGES:
        if stage.name in names:
            found = [other.name for other in STAGES if other.name in before[stage.name] & names]
            reduced[stage.name] = tuple(name for name in found if not any(name in before[other] for other in found))
    return reduced
