"""A recorded step learns what a plain one learns; here on a processor, where a recording is work that is done again."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tests.processes import CLASSES, HYPER, batch_of, made_up_pictures, objective_settings
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.training_settings import ProgressiveResizing
from whyrobust.training import loop, steps
from whyrobust.training.device import ComputeSettings
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import TrainingSettings

GPU = torch.device("cuda")
RESIZING = ProgressiveResizing(share=0.5, image_size=16, context_length=4)


@pytest.fixture(scope="module")
def icon_cnn(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


def settings_of(name, config, **compute):
    hyper = dataclasses.replace(HYPER, samples_seen=40 * 16, objective=objective_settings(name))
    return TrainingSettings(name, config, CLASSES, 3, hyper, ComputeSettings("cpu", **compute))


def trained(name, config):
    """Return the losses and the weights of a short run."""
    images, losses = made_up_pictures(), []
    targets = batch_of(name, 1, len(images), config)[1]
    weights = loop.train(images, targets, settings_of(name, config), lambda progress: losses.append(progress.loss))
    return torch.tensor(losses), weights


def do_again(work):
    """Stand in for a recording: each time, the result is where it was the first time."""
    kept = []

    def repeat():
        result = work()
        if result is None:
            return None
        kept.append(result)
        return kept[0].copy_(result)

    return repeat


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_recorded_run_is_the_plain_run(name, icon_cnn, monkeypatch):
    reader, optimiser = loop.LossReader, loop.RunOptimiser
    # As on a GPU: losses are read some steps after they were computed.
    monkeypatch.setattr(loop, "LossReader", lambda *given: reader(*given[:-1], True))
    losses, weights = trained(name, icon_cnn)
    monkeypatch.setattr(loop, "is_recorded", lambda *given: True)
    monkeypatch.setattr(loop, "own_stream", lambda *given: nullcontext())
    # A processor has no recorded optimiser.
    monkeypatch.setattr(
        loop, "RunOptimiser", lambda objective, name, decay, recorded: optimiser(objective, name, decay)
    )
    monkeypatch.setattr(steps, "record", do_again)
    again, same = trained(name, icon_cnn)
    assert torch.equal(losses, again)
    assert weights.keys() == same.keys()
    assert all(torch.equal(tensor, same[key]) for key, tensor in weights.items())


def test_small_models_on_one_gpu_are_recorded_and_nothing_else(icon_cnn, root):
    large = read_model_config(root / "resources" / "models" / "rn-tiny.json")
    clip, labels = settings_of("clip", icon_cnn), settings_of("cross_entropy", icon_cnn)
    assert steps.is_recorded(clip, GPU, SINGLE_PROCESS) and steps.is_recorded(labels, GPU, SINGLE_PROCESS)
    assert not steps.is_recorded(clip, torch.device("cpu"), SINGLE_PROCESS)
    assert not steps.is_recorded(clip, GPU, Ranks(0, 2))
    assert not steps.is_recorded(settings_of("clip", large), GPU, SINGLE_PROCESS)
    for compute in ({"images_at_once": 4}, {"compile": True}):
        assert not steps.is_recorded(settings_of("clip", icon_cnn, **compute), GPU, SINGLE_PROCESS)
    growing = dataclasses.replace(clip.hyperparameters, progressive_resizing=RESIZING)
    assert not steps.is_recorded(dataclasses.replace(clip, hyperparameters=growing), GPU, SINGLE_PROCESS)


def test_a_compiled_encoder_is_recorded_where_its_passes_are_alike(icon_cnn, monkeypatch):
    modes = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: modes.append(mode))
    settings = settings_of("clip", icon_cnn, compile=True)
    steps.compile_encoder(nn.Linear(1, 1), settings, GPU, SINGLE_PROCESS)
    steps.compile_encoder(nn.Linear(1, 1), settings, torch.device("cpu"), SINGLE_PROCESS)
    steps.compile_encoder(nn.Linear(1, 1), settings, GPU, Ranks(0, 2))
    in_parts = settings_of("clip", icon_cnn, compile=True, images_at_once=4)
    steps.compile_encoder(nn.Linear(1, 1), in_parts, GPU, SINGLE_PROCESS)
    growing = dataclasses.replace(settings.hyperparameters, progressive_resizing=RESIZING)
    growing = dataclasses.replace(settings, hyperparameters=growing)
    steps.compile_encoder(nn.Linear(1, 1), growing, GPU, SINGLE_PROCESS)
    assert modes == ["reduce-overhead", *["default"] * 4]


def test_the_learning_rate_of_a_recording_can_change():
    """A recording repeats numbers that it found in main memory: the rate is a tensor that is filled anew."""
    layer = nn.Linear(4, 3)
    optimiser = loop.RunOptimiser(layer, "muon", 0.0, recorded=True)

    def rates():
        return [group["lr"] for part in optimiser._parts for group in part.param_groups]

    optimiser.set_rate(0.5)
    read_by_recording = rates()
    optimiser.set_rate(0.25)
    assert len(read_by_recording) == 3 and all(rate.item() == 0.25 for rate in read_by_recording)
    # A run that continues from a checkpoint has other groups; it may be one that was not recorded.
    plain = loop.RunOptimiser(layer, "muon", 0.0)
    optimiser.load_state_dict(plain.state_dict())
    assert all(group["capturable"] for group in optimiser._parts[0].param_groups)
    plain.load_state_dict(optimiser.state_dict())
    assert not any(group["capturable"] for group in plain._parts[0].param_groups)
    optimiser.set_rate(0.125)
    assert all(rate is read_by_recording[0] for rate in rates()) and read_by_recording[0].item() == 0.125
