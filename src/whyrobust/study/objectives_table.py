"""The table of training objectives: what each learns from, its settings, and the class that computes its loss.

Learning rates and batch sizes are those that `tools.search_hyperparameters` found for icons (docs/method.md).

A new objective is one row here, with the dataclass of its settings, and one class in `whyrobust.training.objectives`:
the config's keys, the checks, the labels of figures and the docs come from the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from whyrobust.study.setting_types import Allowed, PositiveShare, Settings, Share

#: Share of the pairs of a batch above which false negatives are a warning, in the log of the run and on the page.
MANY_FALSE_NEGATIVES = 0.01

LearningRate = Annotated[float, Allowed(gt=0, le=1)]
Temperature = Annotated[float, Allowed(gt=0, le=10)]
# Beyond what any machine trains with: a slip of the keyboard is said before any work.
BatchSize = Annotated[int, Allowed(ge=2, le=1_000_000)]
ProjectionWidth = Annotated[int, Allowed(ge=1, le=65_536)]


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(Settings):
    """Optimisation, which every objective has."""

    batch_size: BatchSize = 64
    """Images per step."""
    learning_rate: LearningRate = 0.001
    """Peak learning rate."""
    weight_decay: Annotated[float, Allowed(ge=0)] = 0.05
    """Weight decay, on matrices and filters only."""
    warmup_share: Share = 0.1
    """Share of the steps with a rising learning rate."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for matrices and filters, AdamW for embeddings, the classifier, biases and norms. adamw: AdamW for all
    weights."""


@dataclass(frozen=True, kw_only=True)
class ImageTextSettings(ObjectiveSettings):
    """Settings of the losses between images and captions, which learn their temperature."""

    learning_rate: LearningRate = 0.002
    """Peak learning rate."""
    weight_decay: Annotated[float, Allowed(ge=0)] = 0.1
    """Weight decay, on matrices and filters only."""


@dataclass(frozen=True, kw_only=True)
class SiglipSettings(ImageTextSettings):
    """Settings of SigLIP."""

    learning_rate: LearningRate = 0.004
    """Peak learning rate."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropySettings(ObjectiveSettings):
    """Settings of cross-entropy on labels."""

    learning_rate: LearningRate = 0.01
    """Peak learning rate."""
    label_smoothing: Annotated[float, Allowed(ge=0, lt=1)] = 0.0
    """Label smoothing."""


@dataclass(frozen=True, kw_only=True)
class SupconSettings(ObjectiveSettings):
    """Settings of supervised contrastive learning."""

    batch_size: BatchSize = 128
    """Images per step."""
    learning_rate: LearningRate = 0.04
    """Peak learning rate."""
    temperature: Temperature = 0.1
    """Temperature of the loss."""
    projection_dim: ProjectionWidth = 128
    """Width of the projection head, which is thrown away after training."""


@dataclass(frozen=True, kw_only=True)
class SimclrSettings(ObjectiveSettings):
    """Settings of SimCLR, which has augmentations of its own."""

    batch_size: BatchSize = 128
    """Images per step."""
    learning_rate: LearningRate = 0.016
    """Peak learning rate."""
    temperature: Temperature = 0.5
    """Temperature of the loss."""
    projection_dim: ProjectionWidth = 128
    """Width of the projection head, which is thrown away after training."""
    colour_strength: Annotated[float, Allowed(ge=0, le=2)] = 0.5
    """Strength of the colour jitter."""
    min_crop_area: PositiveShare = 0.08
    """Smallest share of an image that a crop shows."""


@dataclass(frozen=True)
class Objective:
    """A training objective.

    Attributes:
        name: name in configs and tables.
        label: what it is called in figures and on the page.
        supervision: what it learns from: ``captions``, ``labels`` or ``images`` (nothing but images).
        main_head: the head that its runs are evaluated with by default, of `heads_table.HEADS`.
        settings: class of its settings, the keys of ``training.<name>``.
        implementation: ``module:class`` that computes the loss.
        contrastive: whether the loss compares the samples of a batch with each other.
        views: augmented views of each image in a step.
        source: where it is published.
    """

    name: str
    label: str
    supervision: str
    main_head: str
    settings: type[ObjectiveSettings]
    implementation: str
    contrastive: bool = False
    views: int = 1
    source: str = ""


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "clip",
            "CLIP",
            "captions",
            "zero_shot",
            ImageTextSettings,
            "whyrobust.training.objectives:ClipObjective",
            contrastive=True,
            source="Radford et al. 2021",
        ),
        Objective(
            "siglip",
            "SigLIP",
            "captions",
            "zero_shot",
            SiglipSettings,
            "whyrobust.training.objectives:SiglipObjective",
            contrastive=True,
            source="Zhai et al. 2023",
        ),
        Objective(
            "cross_entropy",
            "cross-entropy",
            "labels",
            "classifier",
            CrossEntropySettings,
            "whyrobust.training.objectives:CrossEntropyObjective",
            source="softmax regression on the class labels",
        ),
        Objective(
            "supcon",
            "supervised contrastive",
            "labels",
            "linear_probe",
            SupconSettings,
            "whyrobust.training.objectives:SupconObjective",
            contrastive=True,
            views=2,
            source="Khosla et al. 2020",
        ),
        Objective(
            "simclr",
            "SimCLR",
            "images",
            "linear_probe",
            SimclrSettings,
            "whyrobust.training.objectives:SimclrObjective",
            contrastive=True,
            views=2,
            source="Chen et al. 2020",
        ),
    )
}
