"""Several processes that share a batch learn what one process learns from it; so does one that takes it in parts."""

from __future__ import annotations

import dataclasses
import socket

import pytest
import torch

from tests.processes import (
    HYPER,
    in_ranks,
    loss_and_gradients,
    made_up_pictures,
    samples_shown,
    train_made_up,
    train_shared,
)
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.batches import ImageOrder
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks, ShareError
from whyrobust.training.models import read_model_config

#: A transformer has no batch norm: parts of a batch then give the very gradient of the whole.
VIT = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def icon_cnn(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


#: What two processes are asked: starting them takes most of the time, so they are started once for all.
TWO_STEPS = dataclasses.replace(HYPER, samples_seen=6 * 16)


@pytest.fixture(scope="module")
def in_two(icon_cnn, tmp_path_factory):
    """What two processes that talk by Gloo return for each question."""
    questions = {("gradients", name): (loss_and_gradients, (name, icon_cnn, 8, None)) for name in OBJECTIVES}
    questions |= {("parts", name): (loss_and_gradients, (name, VIT, 8, 2)) for name in ("clip", "simclr")}
    questions |= {("train", name): (train_shared, (name, icon_cnn, TWO_STEPS)) for name in ("clip", "cross_entropy")}
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torch.multiprocessing.spawn(in_ranks, (2, port, str(folder), questions), nprocs=2)
    answers = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
    return {question: [answer[question] for answer in answers] for question in questions}


def assert_same(found, expected):
    loss, gradients, buffers = found
    assert loss == pytest.approx(expected[0], abs=1e-5)
    assert gradients.keys() == expected[1].keys() and len(gradients) > 5
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[1][name], rtol=1e-5, atol=1e-5), name
    for name, buffer in buffers.items():
        assert torch.allclose(buffer, expected[2][name], rtol=1e-5, atol=1e-5), name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_have_the_loss_and_the_gradients_of_one(name, icon_cnn, in_two):
    expected = loss_and_gradients(SINGLE_PROCESS, name, icon_cnn, 8, None)
    first, second = in_two["gradients", name]
    # The loss that a process sees may be of its own samples; the mean is the batch's.
    assert (first[0] + second[0]) / 2 == pytest.approx(expected[0], abs=1e-5)
    for found in (first, second):
        assert_same((expected[0], *found[1:]), expected)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("images_at_once", [2, 6])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(name, images_at_once):
    assert_same(
        loss_and_gradients(SINGLE_PROCESS, name, VIT, 8, images_at_once),
        loss_and_gradients(SINGLE_PROCESS, name, VIT, 8, None),
    )


@pytest.mark.parametrize("name", ["clip", "simclr"])
def test_parts_and_processes_together(name, in_two):
    expected = loss_and_gradients(SINGLE_PROCESS, name, VIT, 8, None)
    first, second = in_two["parts", name]
    assert (first[0] + second[0]) / 2 == pytest.approx(expected[0], abs=1e-5)
    for found in (first, second):
        assert_same((expected[0], *found[1:]), expected)


def test_parts_with_batch_norm_update_running_statistics_once(icon_cnn):
    _, gradients, buffers = loss_and_gradients(SINGLE_PROCESS, "clip", icon_cnn, 8, 4)
    assert gradients.keys() == loss_and_gradients(SINGLE_PROCESS, "clip", icon_cnn, 8, None)[1].keys()
    counted = {int(value) for name, value in buffers.items() if name.endswith("num_batches_tracked")}
    assert counted == {2}, "two parts are two batches for a batch norm, whatever the passes"


def test_every_sample_is_seen_by_one_process_once():
    images = made_up_pictures()
    order = list(ImageOrder(40, 8, 10, seed=7).batches())
    alone = samples_shown(SINGLE_PROCESS, images, order)
    shares = [samples_shown(Ranks(rank, 2, rank), images, order) for rank in range(2)]
    for whole, first, second in zip(alone, *shares, strict=True):
        # Views come one after the other: 8 images once, then again.
        views = [torch.cat([first[:4], second[:4]]), torch.cat([first[4:], second[4:]])]
        assert torch.equal(torch.cat(views), whole)


@pytest.mark.parametrize("name", ["clip", "cross_entropy"])
def test_a_run_by_two_processes_ends_where_a_run_by_one_does(name, icon_cnn, in_two):
    losses: list[float] = []
    alone = train_made_up(
        made_up_pictures(), name, icon_cnn, lambda progress: losses.append(progress.loss), hyper=TWO_STEPS
    )
    (first, seen), (second, _) = in_two["train", name]
    assert seen == pytest.approx(losses, rel=1e-3)
    assert first.keys() == alone.keys()
    for weight in alone:
        assert torch.equal(first[weight], second[weight]), "both processes hold the same weights"
    # A step of AdamW is as long for a rounding error as for a gradient, so few steps and a wide margin.
    far = max((first[w].float() - alone[w].float()).abs().max().item() for w in alone if "running_var" not in w)
    assert far < 3 * TWO_STEPS.learning_rate


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ShareError, match="resource gpu"):
        Ranks(0, 3, 0).share(8)
