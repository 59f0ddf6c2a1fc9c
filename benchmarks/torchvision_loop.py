"""The loop that torchvision's users write, as the peer of the rows that train on labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.throughput import Mark, Stopwatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def train_on(
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: int,
    device: str,
    optimizer: str = "adamw",
    learning_rate: float = 0.01,
    steps: int = 0,
    weight_decay: float = 0.05,
    precision: str = "fp32",
) -> tuple[list[Mark], torch.nn.Module]:
    """Train the default study's model and return the time of its steps, and the model.

    Args:
        batches: images ``[n, 3, size, size]`` with their class ids ``[n]``.
        classes: how many there are.
        device: cpu or cuda.
        optimizer: ``adamw`` or ``sgd``, with Nesterov's momentum, as torchvision's reference offers them.
        learning_rate: its highest.
        steps: of the schedule, that of the reference: a tenth of linear warm-up, then a cosine; 0: a constant rate.
        weight_decay: of all weights.
        precision: ``fp32``, or ``bf16`` for products in 16 bits by torch's autocast.
    """
    import torch

    from whyrobust.training.models import IconCnn

    model = torch.nn.Sequential(IconCnn(128), torch.nn.Linear(128, classes)).to(device)
    optimiser: torch.optim.Optimizer
    if optimizer == "adamw":
        optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    else:
        optimiser = torch.optim.SGD(
            model.parameters(), learning_rate, momentum=0.9, weight_decay=weight_decay, nesterov=True
        )
    schedulers = torch.optim.lr_scheduler
    scheduler = None
    if steps:
        warmup = max(1, steps // 10)
        rise = schedulers.LinearLR(optimiser, 0.01, total_iters=warmup)
        fall = schedulers.CosineAnnealingLR(optimiser, max(1, steps - warmup))
        scheduler = schedulers.SequentialLR(optimiser, [rise, fall], [warmup])
    stopwatch, shown = Stopwatch(), 0
    model.train()
    for batch, labels in batches:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            scores = model(batch.to(device, non_blocking=True))
        loss = torch.nn.functional.cross_entropy(scores.float(), labels.to(device, non_blocking=True))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if scheduler:
            scheduler.step()
        shown += len(labels)
        stopwatch(shown)
    if device == "cuda":
        torch.cuda.synchronize()
    return stopwatch.marks, model
