"""Several processes that train one run together, on torch's distributed package.

Stands alone because it is all that knows of other processes: the loop, the objectives and the images ask it for their
own share of a batch and for what the others have. A batch is the same whether one process learns from it or eight:
features are gathered with their gradients, and batch norms take their statistics from the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

#: How long a process waits for the others before it gives up: longer than the slowest read of a batch.
PATIENCE = timedelta(minutes=30)


class ShareError(ValueError):
    """A batch that cannot be shared out evenly."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train one run.

    Attributes:
        rank: number of this process, from 0.
        size: how many processes there are.
        local: number of this process on its machine, which is the number of its GPU there.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0

    def own(self, batch: int) -> slice:
        """Return which samples of a batch are this process's.

        Raises:
            ShareError: the batch is not a multiple of the processes.
        """
        if batch % self.size:
            raise ShareError(
                f"a batch of {batch} images cannot be shared by {self.size} processes: "
                "choose a batch_size that is a multiple of the resource gpu of train_run"
            )
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def own_views(self, batch: int, views: int) -> Tensor:
        """Return which of ``views * batch`` images, view by view, are views of this process's samples."""
        return torch.arange(views * batch).view(views, batch)[:, self.own(batch)].flatten()


#: A process that trains a run by itself.
ALONE = Ranks()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, by NCCL on GPUs and by Gloo on processors; leave them at the end.

    Args:
        device: 'cpu' or 'cuda'; on 'cuda' this process takes the GPU of its local number.
    """
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(ranks.local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """The rows of all processes; a row's gradient is the sum of what all processes have for it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.own = slice(dist.get_rank() * len(rows), (dist.get_rank() + 1) * len(rows))
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed[ctx.own]


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of its gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        summed = values.contiguous().clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def gather(features: Tensor, ranks: Ranks) -> Tensor:
    """Return the rows of all processes, ``[size * n, ...]`` of ``[n, ...]``, in the order of the processes.

    Gradients flow back to the process that a row came from, summed over all that used it. With the mean over processes
    that DistributedDataParallel takes, the gradient of a loss over all rows is the one that a single process has.
    """
    if ranks.size == 1:
        return features
    gathered: Tensor = _Gather.apply(features.contiguous())
    return gathered


def mean_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """Return the mean of a tensor over all processes, without a gradient."""
    if ranks.size > 1:
        dist.all_reduce(values)
        values /= ranks.size
    return values


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, for processors: torch's own SyncBatchNorm is for GPUs alone."""

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised ``[batch, channels, height, width]``; statistics are of the batches of all processes."""
        if not self.training:
            return super().forward(images)
        pixels = images.numel() // images.shape[1] * dist.get_world_size()
        mean: Tensor = _Sum.apply(images.sum(dim=(0, 2, 3))) / pixels
        centred = images - mean.view(1, -1, 1, 1)
        variance: Tensor = _Sum.apply(centred.square().sum(dim=(0, 2, 3))) / pixels
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
                share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                # As torch does: the running variance is the unbiased one, the batch is normalised by the biased one.
                self.running_var.lerp_(variance * pixels / (pixels - 1), share)
        normalised = centred * torch.rsqrt(variance + self.eps).view(1, -1, 1, 1)
        if self.affine:
            normalised = normalised * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised


def share_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """Return the module with batch norms that take their statistics from all processes; weights keep their names."""
    if device.type != "cpu":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    if isinstance(module, nn.BatchNorm2d):
        shared = SharedBatchNorm2d(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        ).to(next(iter(module.state_dict().values())).dtype)
        shared.load_state_dict(module.state_dict())
        shared.train(module.training)
        return shared
    for name, child in module.named_children():
        setattr(module, name, share_batch_norms(child, device))
    return module
