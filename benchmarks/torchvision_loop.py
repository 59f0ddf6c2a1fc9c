"""The loop that torchvision's users write, as the peer of the rows that train on labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.throughput import Mark, Stopwatch

if TYPE_CHECKING:
    from torch import Tensor


def train_on(batches: Iterable[tuple[Tensor, Tensor]], classes: int, device: str) -> list[Mark]:
    """Train the default study's model in fp32 and return the time of its steps.

    Args:
        batches: images ``[n, 3, size, size]`` with their class ids ``[n]``.
        classes: how many there are.
        device: cpu or cuda.
    """
    import torch

    from whyrobust.training.models import IconCnn

    model = torch.nn.Sequential(IconCnn(128), torch.nn.Linear(128, classes)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.05)
    stopwatch, shown = Stopwatch(), 0
    model.train()
    for batch, labels in batches:
        loss = torch.nn.functional.cross_entropy(
            model(batch.to(device, non_blocking=True)), labels.to(device, non_blocking=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        shown += len(labels)
        stopwatch(shown)
    if device == "cuda":
        torch.cuda.synchronize()
    return stopwatch.marks
