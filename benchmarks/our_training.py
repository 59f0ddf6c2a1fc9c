"""This project's training loop with a clock on its steps.

Stands alone because all training rows call it, each with its own pictures and targets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.throughput import Mark, Stopwatch

if TYPE_CHECKING:
    from torch import Tensor

    from whyrobust.loading import TrainingImages


def train_with_ours(
    images: TrainingImages,
    targets: Tensor,
    objective: str,
    model: Path,
    samples: int,
    batch_size: int,
    seed: int,
    threads: int,
    device: str,
    **hyper: Any,  # noqa: ANN401 - fields of Hyperparameters
) -> list[Mark]:
    """Train a run and return the time of its steps.

    Args:
        images: of the run.
        targets: class ids or caption tokens.
        objective: its name.
        model: model description.
        samples: images shown.
        batch_size: images a step.
        seed: of the run.
        threads: of torch.
        device: 'cpu' or 'cuda'.
        hyper: further fields of `whyrobust.training.Hyperparameters`, beside those that the config gives.
    """
    from whyrobust.models import read_model_config
    from whyrobust.training import Hyperparameters, Progress, train

    settings = {"learning_rate": 1e-3, "weight_decay": 0.1, "warmup_share": 0.1, "flip": True, "max_shift_share": 0.1,
                "max_zoom": 1.25} | hyper  # fmt: skip
    stopwatch = Stopwatch()

    def report(progress: Progress) -> None:
        stopwatch(progress.samples)

    train(
        images=images,
        targets=targets,
        objective_name=objective,
        model_config=read_model_config(model),
        classes=int(targets.max()) + 1 if objective == "cross_entropy" else 2,
        hyper=Hyperparameters(samples_seen=samples, batch_size=batch_size, **settings),
        seed=seed,
        threads=threads,
        device_name=device,
        report=report,
    )
    return stopwatch.marks
