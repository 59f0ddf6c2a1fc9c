"""Average pools of open_clip's residual networks, which are computed as means on a GPU."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from whyrobust.training.models import AveragePool, build_two_towers, mean_of_squares, read_model_config


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
def test_means_of_squares_are_torchs_average_pool(number):
    images = torch.rand(3, 5, 6, 10).to(number).contiguous(memory_format=torch.channels_last)
    results = []
    for pool in (mean_of_squares, nn.AvgPool2d(2)):
        given = images.clone().requires_grad_()
        means = pool(given)
        (means * torch.arange(15, dtype=number).view(3, 5)[..., None, None]).sum().backward()
        assert means.is_contiguous(memory_format=torch.channels_last)
        assert given.grad.is_contiguous(memory_format=torch.channels_last)
        results.append((means.detach(), given.grad))
    for ours, torchs in zip(*results, strict=True):
        assert torch.allclose(ours, torchs, rtol=1e-2 if number is torch.bfloat16 else 1e-6)


@pytest.mark.parametrize(
    ("shape", "device_is_gpu", "size"),
    [((2, 3, 6, 6), False, 2), ((2, 3, 7, 6), True, 2), ((2, 3, 6, 7), True, 2), ((2, 3, 6, 6), True, 3)],
)
def test_all_else_is_pooled_by_torch(shape, device_is_gpu, size, monkeypatch):
    monkeypatch.setattr("whyrobust.training.models._is_on_gpu", lambda images: device_is_gpu)
    monkeypatch.setattr("whyrobust.training.models.mean_of_squares", None)
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    assert torch.equal(AveragePool(size)(images), nn.AvgPool2d(size)(images))


def test_residual_networks_have_the_pools_and_the_weights_of_open_clip(root, monkeypatch):
    config = read_model_config(root / "resources" / "models" / "rn-tiny.json")
    torch.manual_seed(0)
    ours = build_two_towers(config).visual
    torch.manual_seed(0)
    theirs = open_clip.CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"}).visual
    pools = [type(module) for module in ours.modules() if isinstance(module, nn.AvgPool2d) and module.kernel_size == 2]
    assert pools and set(pools) == {AveragePool}
    size = config["vision_cfg"]["image_size"]
    images = torch.rand(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    ours, theirs = (tower.eval().to(memory_format=torch.channels_last) for tower in (ours, theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours(images), theirs(images))
    monkeypatch.setattr("whyrobust.training.models._is_on_gpu", lambda images: True)
    assert torch.allclose(ours(images), theirs(images), atol=1e-5)
