"""Settings of a training run, and the learning rate that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from whyrobust.study.training_settings import ProgressiveResizing
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.device import ComputeSettings


@dataclass(frozen=True)
class Hyperparameters:
    """Hyper-parameters of a run; docs/config.md explains each.

    Attributes:
        samples_seen: training images shown, counted with repetition.
        batch_size: images per step.
        learning_rate: peak learning rate.
        weight_decay: on weight matrices and filters only.
        warmup_share: share of the steps with a rising learning rate.
        optimizer: ``muon`` or ``adamw``, see `whyrobust.training.optimisers`.
        augmentation: of the training images.
        objective: the objective's own settings, keyword arguments of its class (`study.objectives_table`).
        progressive_resizing: smaller images and shorter captions in the first steps; None: all steps are alike.
    """

    samples_seen: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_share: float
    optimizer: str
    augmentation: Augmentation
    objective: Mapping[str, Any] = field(default_factory=dict)
    progressive_resizing: ProgressiveResizing | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Hyperparameters:
        """Return hyper-parameters from one flat mapping, as the config merges it for a run."""
        own = {item.name for item in fields(cls)} - {"augmentation", "objective", "progressive_resizing"}
        of_augmentation = {item.name for item in fields(Augmentation)} - {"strong"}
        resizing = values.get("progressive_resizing")
        known = own | of_augmentation | {"progressive_resizing"}
        return cls(
            **{name: value for name, value in values.items() if name in own},
            augmentation=Augmentation(**{name: value for name, value in values.items() if name in of_augmentation}),
            objective={name: value for name, value in values.items() if name not in known},
            progressive_resizing=None if resizing is None else ProgressiveResizing(**resizing),
        )

    @property
    def steps(self) -> int:
        """Optimiser steps of a run; the last batch is filled up, so that all steps have the same size."""
        return math.ceil(self.samples_seen / self.batch_size)

    @property
    def resized_steps(self) -> int:
        """Steps with smaller images, the first of the run."""
        return 0 if self.progressive_resizing is None else round(self.progressive_resizing.share * self.steps)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then half a cosine down to 0."""
        warmup = max(1, round(self.warmup_share * self.steps))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def total_decay(self) -> float:
        """Factor by which weight decay has shrunk, at the end of a run, an embedding that never had a gradient."""
        return math.prod(1 - self.learning_rate_at(step) * self.weight_decay for step in range(self.steps))


@dataclass(frozen=True)
class TrainingSettings:
    """All settings of a run but its images and targets.

    Attributes:
        objective: name of a row of `study.objectives_table.OBJECTIVES`.
        model_config: open_clip model description.
        classes: number of classes of the study.
        seed: decides initial weights, order and augmentation.
        hyperparameters: of the run.
        compute: device, precision and threads.
        shuffle_block_images: see `whyrobust.training.batches.ImageOrder`.
        shuffle_window_blocks: see there.
    """

    objective: str
    model_config: Mapping[str, Any]
    classes: int
    seed: int
    hyperparameters: Hyperparameters
    compute: ComputeSettings
    shuffle_block_images: int = 1
    shuffle_window_blocks: int = 1
