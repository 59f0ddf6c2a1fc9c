"""Whether the batches of a run mix the classes of its subset, or follow the order on the disk.

Archives often lie class by class (ImageNet's tar does). Blocks of adjacent images, which spare a slow disk its seeks,
then make batches of few classes, and a model learns the order of a file: cross-entropy on icons fell from 55 to 20 %.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from whyrobust.training.batches import ImageOrder

#: Batches that the entropy is measured in, the first of a run.
BATCHES_MEASURED = 32

#: Smallest entropy of the labels in a batch, as a share of that in batches which are shuffled freely.
LEAST_ENTROPY_SHARE = 0.95


class OrderError(ValueError):
    """Batches that hold far fewer classes than the subset: the order of the files would decide the result."""


def label_entropy(batches: Iterable[Tensor], labels: Tensor) -> float:
    """Return the entropy of the labels within a batch in nats, the mean over the first batches.

    Args:
        batches: positions ``[batch]`` of the images of each step.
        labels: class id of each image ``[n]``.
    """
    entropies = []
    for positions in itertools.islice(batches, BATCHES_MEASURED):
        _, counts = torch.unique(labels[positions], return_counts=True)
        shares = counts.double() / len(positions)
        entropies.append(float(-(shares * shares.log()).sum()))
    return sum(entropies) / len(entropies)


def check_order(order: ImageOrder, labels: Tensor) -> None:
    """Check that the batches of a run mix the classes of its subset as batches that are shuffled freely do.

    Args:
        order: in which the images are shown.
        labels: class id of each image ``[n]``; images that share no class have a number each.

    Raises:
        OrderError: the entropy of the labels in a batch is less than `LEAST_ENTROPY_SHARE` of that.
    """
    found = label_entropy(order.batches(), labels)
    free = label_entropy(replace(order, shuffle_block_images=1, disk_order=None).batches(), labels)
    if found < LEAST_ENTROPY_SHARE * free:
        raise OrderError(
            f"batches of {order.batch_size} images hold labels of {found:.2f} nats where batches that are shuffled "
            f"freely have {free:.2f}: the files lie class by class, and blocks of training.shuffle_block_images "
            f"{order.shuffle_block_images} keep them so; set it to 1, or use smaller blocks and a larger "
            f"training.shuffle_window_blocks than {order.shuffle_window_blocks}"
        )
