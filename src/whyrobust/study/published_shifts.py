"""Which kinds of test sets are the shifts of ImageNet that published models have accuracies on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

PUBLISHED_SHIFTS: Final = {
    "imagenet_v2": "imagenet-v2",
    "imagenet_sketch": "imagenet-sketch",
    "imagenet_r": "imagenet-r",
    "imagenet_a": "imagenet-a",
    "objectnet": "objectnet",
}
"""Kind of test set in a config -> shift in the tables of published models, which has the same images."""

CLASSES_OF_IMAGENET: Final = 1_000
"""Classes that may be predicted on ImageNet's validation images and on shifts that cover all of them."""

OWN_CLASSES: Final = {"imagenet_r": 200, "imagenet_a": 200, "objectnet": 113}
"""Kind of test set -> how many classes may be predicted on a shift that covers only some, by published models too."""


def has_published_shifts(kinds: Iterable[str]) -> bool:
    """Tell whether a study with test sets of these kinds can be compared with published models."""
    return any(kind in PUBLISHED_SHIFTS for kind in kinds)
