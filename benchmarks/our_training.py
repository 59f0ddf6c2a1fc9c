"""This project's training loop with a clock on its steps.

Stands alone because all training rows call it, each with its own pictures and targets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.throughput import Mark, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from whyrobust.training.batches import BatchSettings, PreparedBatch, TrainingImages
    from whyrobust.training.device import ComputeSettings


class ClockedImages:
    """Training images that note when the loop takes a batch: when it is done with the one before."""

    def __init__(self, images: TrainingImages, batch_size: int) -> None:
        self.images, self.batch_size, self.stopwatch = images, batch_size, Stopwatch()

    def __len__(self) -> int:
        return len(self.images)

    def disk_order(self) -> Tensor:
        """See `whyrobust.training.batches.TrainingImages`."""
        return self.images.disk_order()

    def finish(self, batch: PreparedBatch, settings: BatchSettings) -> Tensor:
        """See `whyrobust.training.batches.TrainingImages`."""
        return self.images.finish(batch, settings)

    def batches(self, *arguments: Any) -> Iterator[PreparedBatch]:  # noqa: ANN401 - passed on as they are
        """See `whyrobust.training.batches.TrainingImages`."""
        for number, batch in enumerate(self.images.batches(*arguments)):
            self.stopwatch(number * self.batch_size)
            yield batch


def train_with_ours(
    images: TrainingImages,
    targets: Tensor,
    objective: str,
    model: Path,
    samples: int,
    batch_size: int,
    seed: int,
    compute: ComputeSettings,
    classes: int = 0,
    **hyper: Any,  # noqa: ANN401 - hyper-parameters
) -> tuple[list[Mark], dict[str, Tensor]]:
    """Train a run and return the time of its steps, and its weights.

    Args:
        images: of the run.
        targets: class ids or caption tokens.
        objective: its name.
        model: model description.
        samples: images shown.
        batch_size: images per step.
        seed: of the run.
        compute: device, precision and threads.
        classes: how many there are; 0: as the targets say.
        hyper: further hyper-parameters, of `whyrobust.training.settings.Hyperparameters.from_mapping`.
    """
    from whyrobust.training.loop import train
    from whyrobust.training.models import read_model_config
    from whyrobust.training.settings import Hyperparameters, TrainingSettings

    given = {"learning_rate": 1e-3, "weight_decay": 0.1, "warmup_share": 0.1, "optimizer": "adamw", "flip": True,
             "max_shift_share": 0.1, "max_zoom": 1.25, "samples_seen": samples,
             "batch_size": batch_size} | hyper  # fmt: skip
    settings = TrainingSettings(
        objective,
        read_model_config(model),
        classes=classes or (int(targets.max()) + 1 if objective == "cross_entropy" else 2),
        seed=seed,
        hyperparameters=Hyperparameters.from_mapping(given),
        compute=compute,
    )
    clocked = ClockedImages(images, batch_size)
    weights = train(clocked, targets, settings, lambda _: None)
    return clocked.stopwatch.marks, weights
