"""Average pools of open_clip's residual networks, which are computed as means on a GPU, and weights of encoders."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.models import (
    IMAGE_ENCODERS,
    AveragePool,
    ModelError,
    build_two_towers,
    mean_of_two_by_two,
    quicken_average_pools,
    read_model_config,
)
from whyrobust.training.objectives import build_objective
from whyrobust.training.weights import load_image_encoder, save_weights


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
def test_means_of_squares_are_torchs_average_pool(number):
    images = torch.rand(3, 5, 6, 10).to(number).contiguous(memory_format=torch.channels_last)
    results = []
    for pool in (mean_of_two_by_two, nn.AvgPool2d(2)):
        given = images.clone().requires_grad_()
        means = pool(given)
        (means * torch.arange(15, dtype=number).view(3, 5)[..., None, None]).sum().backward()
        assert means.is_contiguous(memory_format=torch.channels_last)
        assert given.grad.is_contiguous(memory_format=torch.channels_last)
        results.append((means.detach(), given.grad))
    for ours, torchs in zip(*results, strict=True):
        assert torch.allclose(ours, torchs, rtol=1e-2 if number is torch.bfloat16 else 1e-6)


SQUARE = {"kernel_size": 2}


@pytest.mark.parametrize(
    ("settings", "shape", "on_gpu", "channels_last"),
    [
        (SQUARE, (2, 3, 6, 6), False, True),
        (SQUARE, (2, 3, 6, 6), True, False),
        (SQUARE, (2, 3, 7, 6), True, True),
        (SQUARE, (2, 3, 6, 7), True, True),
        ({"kernel_size": 3}, (2, 3, 6, 6), True, True),
        ({"kernel_size": 2, "stride": 1}, (2, 3, 6, 6), True, True),
        ({"kernel_size": 2, "padding": 1}, (2, 3, 6, 6), True, True),
        ({"kernel_size": 2, "divisor_override": 3}, (2, 3, 6, 6), True, True),
        # As timm's ResNets have them.
        ({"kernel_size": 2, "ceil_mode": True, "count_include_pad": False}, (2, 3, 7, 7), True, True),
    ],
)
def test_all_else_is_pooled_by_torch(settings, shape, on_gpu, channels_last, monkeypatch):
    monkeypatch.setattr("whyrobust.training.models._is_on_gpu", lambda images: on_gpu)
    monkeypatch.setattr("whyrobust.training.models.mean_of_two_by_two", None)
    images = torch.rand(shape)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    model = nn.Sequential(nn.AvgPool2d(**settings))
    expected = model(images)
    quicken_average_pools(model)
    assert type(model[0]) is AveragePool
    assert torch.equal(model(images), expected)


def test_a_compiler_is_left_to_write_its_own_pool(monkeypatch):
    monkeypatch.setattr("whyrobust.training.models._is_on_gpu", lambda images: True)
    monkeypatch.setattr("whyrobust.training.models.mean_of_two_by_two", None)
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    images = torch.rand(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    assert torch.equal(AveragePool(2)(images), nn.AvgPool2d(2)(images))


def test_residual_networks_have_the_pools_and_the_weights_of_open_clip(root, monkeypatch):
    config = read_model_config(root / "resources" / "models" / "rn-tiny.json")
    torch.manual_seed(0)
    ours = build_two_towers(config).visual
    torch.manual_seed(0)
    theirs = open_clip.CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"}).visual
    pools = [module for module in ours.modules() if isinstance(module, nn.AvgPool2d)]
    assert pools and {type(pool) for pool in pools} == {AveragePool} and all(pool.kernel_size == 2 for pool in pools)
    size = config["vision_cfg"]["image_size"]
    images = torch.rand(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    ours, theirs = (tower.eval().to(memory_format=torch.channels_last) for tower in (ours, theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours(images), theirs(images))
    by_means = []

    def counted(images):
        by_means.append(images)
        return mean_of_two_by_two(images)

    monkeypatch.setattr("whyrobust.training.models._is_on_gpu", lambda images: True)
    monkeypatch.setattr("whyrobust.training.models.mean_of_two_by_two", counted)
    assert torch.allclose(ours(images), theirs(images), atol=1e-5)
    assert len(by_means) == len(pools)


OBJECTIVE_SETTINGS = {"supcon": {"projection_dim": 8, "temperature": 0.1}}


@pytest.mark.parametrize("name", IMAGE_ENCODERS)
@pytest.mark.parametrize("objective", [name for name, row in OBJECTIVES.items() if row.supervision != "images"])
def test_a_run_of_every_own_encoder_is_read_back(name, objective, root, tmp_path):
    """Whatever its weights are called, in a run on labels as in one on captions."""
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    config = config | {"vision_cfg": config["vision_cfg"] | {"timm_model_name": name}}
    trained = build_objective(objective, config, 3, OBJECTIVE_SETTINGS.get(objective, {}))
    save_weights(tmp_path / "model.safetensors", trained.checkpoint_weights(), {})
    read = load_image_encoder(tmp_path / "model.safetensors", config).state_dict()
    assert read.keys() == trained.encoder.state_dict().keys()
    assert all(torch.equal(read[key], tensor) for key, tensor in trained.encoder.state_dict().items())


class OtherNames(nn.Module):
    """An encoder whose modules are called as in neither of the project's."""

    def __init__(self, num_classes: int = 128) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, num_classes, 4)

    def forward(self, images):
        """Return embeddings."""
        return self.body(images).mean(dim=(2, 3))


def test_weights_of_an_encoder_may_have_any_names(monkeypatch, root, tmp_path):
    monkeypatch.setitem(IMAGE_ENCODERS, "other_names", OtherNames)
    test_a_run_of_every_own_encoder_is_read_back("other_names", "cross_entropy", root, tmp_path)
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    with pytest.raises(ModelError, match="are of OtherNames and do not fit IconCnn"):
        load_image_encoder(tmp_path / "model.safetensors", config)
