"""Batches that mix the classes of a subset, and batches that follow files which lie class by class."""

from __future__ import annotations

import math

import pytest
import torch

from whyrobust.training.batches import ImageOrder
from whyrobust.training.order_checks import OrderError, check_order, label_entropy

CLASSES, EACH = 50, 40
#: Places sorted by class, while the subset itself is shuffled.
LABELS = (torch.arange(CLASSES * EACH) // EACH)[
    torch.randperm(CLASSES * EACH, generator=torch.Generator().manual_seed(4))
]
BY_CLASS = torch.argsort(LABELS, stable=True)

#: As shards of shuffled pairs are.
RANDOM = torch.randperm(CLASSES * EACH, generator=torch.Generator().manual_seed(9))


def order_of(block, window, disk_order=BY_CLASS):
    return ImageOrder(CLASSES * EACH, 100, 40, seed=1, shuffle_block_images=block, shuffle_window_blocks=window,
                      disk_order=disk_order)  # fmt: skip


def test_the_entropy_is_that_of_the_shares_of_the_classes():
    assert label_entropy([torch.tensor([0, 1, 2, 3])], torch.tensor([5, 5, 7, 8])) == pytest.approx(1.5 * math.log(2))
    assert label_entropy([torch.tensor([0, 1]), torch.tensor([2, 3])], torch.tensor([5, 5, 7, 8])) == pytest.approx(
        math.log(2) / 2
    )


def test_blocks_of_files_that_lie_class_by_class_are_refused_with_what_to_set():
    with pytest.raises(OrderError, match=r"hold labels of 2\.06 nats .* have 3\.64.*set it to 1"):
        check_order(order_of(32, 4), LABELS)


@pytest.mark.parametrize("order", [
    order_of(1, 1, None),
    order_of(32, 1000),  # a window that reaches over the whole file
    order_of(32, 4, RANDOM),
])  # fmt: skip
def test_orders_that_mix_the_classes_pass(order):
    check_order(order, LABELS)
