"""What a step keeps on a GPU, counted on tensors without data: against real tensors, and as it must grow."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whyrobust.training.device import ComputeSettings
from whyrobust.training.footprint import (
    BYTES_A_PARAMETER,
    Footprint,
    FootprintError,
    check_gpu_memory,
    inputs_without_values,
    measure_footprint,
)
from whyrobust.training.models import build_image_encoder, read_model_config

ONE = Footprint(image_bytes=100, text_bytes=30, image_parameters=10, parameters=25)


def test_an_encoder_keeps_on_meta_what_it_keeps_of_real_images(root):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    encoder, kept, side = build_image_encoder(config).train(), {}, config["vision_cfg"]["image_size"]
    owned = {tensor.data_ptr() for tensor in (*encoder.parameters(), *encoder.buffers())}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = encoder(torch.zeros(8, 3, side, side))
    real = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in owned) / 8
    del found
    assert isinstance(encoder, nn.Module)
    assert measure_footprint(config, "fp32").image_bytes == pytest.approx(real, rel=0.02)
    # Not exactly half: the maps of poolings are of whole numbers.
    assert measure_footprint(config, "bf16").image_bytes == pytest.approx(real / 2, rel=0.05)


def test_a_step_keeps_views_and_captions_of_the_images_at_once():
    assert ONE.of_step("cross_entropy", 8, None) == 8 * 100 + 10 * BYTES_A_PARAMETER
    assert ONE.of_step("clip", 8, None) == 8 * 130 + 25 * BYTES_A_PARAMETER
    assert ONE.of_step("clip", 8, None, filled=0.5) == 8 * 115 + 25 * BYTES_A_PARAMETER
    assert ONE.of_step("simclr", 8, None) == 8 * 200 + 10 * BYTES_A_PARAMETER
    assert ONE.of_step("simclr", 8, 5) == 2 * 200 + 10 * BYTES_A_PARAMETER
    assert ONE.of_step("clip", 8, 64) == ONE.of_step("clip", 8, None)


def test_what_does_not_fit_is_refused_with_a_setting_that_does():
    with pytest.raises(FootprintError, match=r"set training\.images_at_once to 5 or less") as said:
        ONE.check("simclr", 8, None, available=800)
    assert "a step of simclr with 8 images" in str(said.value)
    ONE.check("simclr", 8, 5, available=800)
    with pytest.raises(FootprintError, match="take a smaller model"):
        ONE.check("simclr", 8, 1, available=100)


@pytest.mark.parametrize("model", ["rn50", "vit-b-32"])
def test_the_papers_models_fit_an_80_gb_gpu_as_configured_and_not_in_fp32_at_once(root, model):
    config = read_model_config(root / "resources" / "models" / f"{model}.json")
    half = measure_footprint(config, "bf16")
    for objective in ("cross_entropy", "clip", "siglip", "supcon", "simclr"):
        half.check(objective, 1024, 1024, available=80e9)
    if model == "rn50":
        with pytest.raises(FootprintError):
            measure_footprint(config, "fp32").check("cross_entropy", 1024, None, available=80e9)


def test_the_gpu_of_a_run_is_asked_and_padding_does_not_count(root, monkeypatch):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    tokens = torch.zeros(4, config["text_cfg"]["context_length"], dtype=torch.long)
    check_gpu_memory(config, "clip", 10**9, ComputeSettings("cpu"), tokens)  # nothing is checked on a CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    whole, encoder = (measure_footprint(config, "fp32").of_step("clip", 512, None, filled) for filled in (1.0, 0.0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: ((whole + encoder) / 2, 80e9))
    assert check_gpu_memory(config, "clip", 512, ComputeSettings("cuda"), tokens) == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1.5 * encoder + 2e9, 80e9))
    assert check_gpu_memory(config, "clip", 512, ComputeSettings("cuda"), tokens) == pytest.approx(1e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: ((whole + encoder) / 2, 80e9))
    with pytest.raises(FootprintError, match="of GPU memory or more"):
        check_gpu_memory(config, "clip", 512, ComputeSettings("cuda"), tokens + 1)
    tokens[0] = 1  # one caption without padding
    check_gpu_memory(config, "clip", 512, ComputeSettings("cuda"), tokens)
    with pytest.raises(FootprintError, match="of GPU memory or more"):
        check_gpu_memory(config, "clip", 512, ComputeSettings("cuda"), tokens, padded=True)


def test_a_run_counts_on_its_share_of_a_gpu_and_on_no_more_than_is_free(root, monkeypatch):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    needed = measure_footprint(config, "fp32").of_step("simclr", 512, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def room(free, whole, runs_per_gpu):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, whole))
        given = (config, "simclr", 512, ComputeSettings("cuda"), None)
        return check_gpu_memory(*given, runs_per_gpu=runs_per_gpu)

    # Half of what a step leaves, if it needs half as much again as is counted.
    assert room(4 * needed, 4 * needed, 1) == pytest.approx(1.25 * needed)
    assert room(4 * needed, 4 * needed, 2) == pytest.approx(0.25 * needed), "the others are about to take the rest"
    assert room(2 * needed, 8 * needed, 2) == pytest.approx(0.25 * needed), "something has taken more than its share"
    with pytest.raises(FootprintError, match=r"lower training\.runs_per_gpu: 5 runs"):
        room(4 * needed, 4 * needed, 5)
    with pytest.raises(FootprintError) as found:
        room(needed / 2, 8 * needed, 4)
    assert "runs_per_gpu" not in str(found.value), "something else has taken the memory"


def test_a_description_without_side_and_context_has_those_of_open_clip(root):
    described = read_model_config(root / "resources" / "models" / "vit-b-32.json")
    del described["vision_cfg"]["image_size"], described["text_cfg"]["context_length"]
    images, texts = inputs_without_values(described, 2)
    assert (images.shape, texts.shape) == ((2, 3, 224, 224), (2, 77))
