"""The share of false negatives against a loop over all pairs."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

import whyrobust.training.job
from whyrobust.training.batches import ImageOrder
from whyrobust.training.false_negatives import false_negative_share, number_labels


@pytest.mark.parametrize("said", [torch.arange(23) % 4, torch.tensor([[n % 3, n % 2, 0] for n in range(23)])])
def test_the_share_is_that_of_all_pairs_within_a_batch(said):
    order = ImageOrder(23, 6, 9, seed=2)
    same = pairs = 0
    for positions in order.batches():
        for first in range(6):
            for second in range(first):
                pairs += 1
                same += int(said[positions[first]].tolist() == said[positions[second]].tolist())
    assert 0 < false_negative_share(order.batches(), said) < 1
    assert false_negative_share(order.batches(), said) == pytest.approx(same / pairs)


def test_all_alike_none_alike_and_batches_of_one():
    batches = [torch.arange(8), torch.arange(8).flip(0)]
    assert false_negative_share(batches, torch.zeros(8, 3)) == 1
    assert false_negative_share(batches, torch.arange(8)) == 0
    assert false_negative_share([torch.tensor([3])], torch.arange(8)) == 0


def test_images_without_a_label_are_like_none():
    numbers = number_labels(["cat", None, "dog", "cat", None])
    assert numbers[0] == numbers[3]
    assert len(set(numbers.tolist())) == 4


@pytest.mark.parametrize(("captions", "level"), [(8, logging.INFO), (2, logging.WARNING)])
def test_many_false_negatives_are_a_warning(caplog, monkeypatch, captions, level):
    monkeypatch.setattr(whyrobust.training.job, "image_order", lambda *_: ImageOrder(8, 4, 2, seed=0))
    job = SimpleNamespace(run={"supervision": "captions"})
    settings = SimpleNamespace(objective="clip")
    with caplog.at_level(logging.INFO, "whyrobust"):
        share = whyrobust.training.job.count_false_negatives(job, None, torch.arange(8) % captions, settings)
    assert (share > 0) == (captions < 8)
    assert [record.levelno for record in caplog.records] == [level]
