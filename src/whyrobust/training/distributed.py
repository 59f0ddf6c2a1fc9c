"""Several processes that train one run together, on torch's distributed package.

The loop, the objectives and the batches ask this module for a process's share of a batch and for the features of the
other processes. A batch is the same whether one process learns from it or eight: features are gathered with their
gradients, and batch norms take their statistics from the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as with_gradients
from torch import Tensor, nn

#: How long a process waits for the others in a collective operation: longer than the slowest read of a batch.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)


class ShareError(ValueError):
    """A batch that cannot be shared evenly."""


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among those that train one run.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        local: rank among the processes on this machine, which is the number of its GPU there.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """Return the positions in a batch of this process's samples.

        Raises:
            ShareError: the batch is not a multiple of the number of processes.
        """
        if batch_size % self.size:
            raise ShareError(
                f"a batch of {batch_size} images cannot be shared evenly by {self.size} processes: choose a batch_size "
                "that is a multiple of the resource gpu (device cpu: processes) of train_run"
            )
        each = batch_size // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def share_of_views(self, batch_size: int, views: int) -> Tensor:
        """Return the positions of this process's samples among ``views * batch_size`` images, view by view."""
        return torch.arange(views * batch_size).view(views, batch_size)[:, self.share(batch_size)].flatten()


#: A run trained by one process.
SINGLE_PROCESS = Ranks()


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, by NCCL on GPUs and by Gloo on CPUs; leave them at the end.

    Args:
        device: 'cpu' or 'cuda'; on 'cuda' this process takes the GPU of its local rank.
    """
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(ranks.local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=COLLECTIVE_TIMEOUT)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def gather(features: Tensor, ranks: Ranks) -> Tensor:
    """Return the rows of all processes, ``[size * n, ...]`` of ``[n, ...]``, ordered by rank.

    Gradients flow back to the process that a row came from, summed over all that used it. With the mean over processes
    that DistributedDataParallel takes, the gradient of a loss over all rows is the one that a single process has.
    """
    if ranks.size == 1:
        return features
    return torch.cat(with_gradients.all_gather(features))  # type: ignore[no-untyped-call]


def mean_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """Return the mean of a tensor over all processes, in place and without a gradient."""
    if ranks.size > 1:
        dist.all_reduce(values)
        values /= ranks.size
    return values


def _sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, through which gradients flow back."""
    total: Tensor = with_gradients.all_reduce(values)  # type: ignore[no-untyped-call]
    return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes on CPUs, where torch's SyncBatchNorm raises an error."""

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised ``[batch, channels, height, width]``; statistics are of the batches of all processes."""
        if not self.training:
            return super().forward(images)
        pixels = images.numel() // images.shape[1] * dist.get_world_size()
        mean = _sum_over_ranks(images.sum(dim=(0, 2, 3))) / pixels
        centred = images - mean.view(1, -1, 1, 1)
        variance = _sum_over_ranks(centred.square().sum(dim=(0, 2, 3))) / pixels
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                # As in torch: the running variance is unbiased, the batch is normalised by the biased one.
                self.running_var.lerp_(variance * pixels / (pixels - 1), momentum)
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
