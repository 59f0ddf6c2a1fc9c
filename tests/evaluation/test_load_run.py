"""Runs that one job opens one after the other share no weights, and read the same prompts by towers of their own."""

from __future__ import annotations

import pytest
import torch

from whyrobust.evaluation.load_run import open_run
from whyrobust.training.models import build_two_towers, read_model_config
from whyrobust.training.text_encoder import encode_text, tokenize
from whyrobust.training.weights import open_clip_names, save_weights


@pytest.mark.parametrize("model", ["icon-cnn", "rn-tiny"])
def test_two_open_runs_of_a_model_have_their_own_weights(root, tmp_path, model):
    path = root / "resources" / "models" / f"{model}.json"
    config = read_model_config(path)
    images = torch.randn(2, 3, *[config["vision_cfg"]["image_size"]] * 2)
    prompts = ["cat", "a drawing of a dog"]
    built, opened = [], []
    for seed in range(2):
        torch.manual_seed(seed)
        built.append(build_two_towers(config).eval())
        weights = open_clip_names(built[-1].state_dict(), config)
        save_weights(tmp_path / f"{seed}.safetensors", weights, {"preprocessing": {"size": images.shape[-1]}})
        opened.append(open_run(tmp_path / f"{seed}.safetensors", path, True, 1, torch.device("cpu")))
    with torch.inference_mode():
        for towers, encoders in zip(built, opened, strict=True):
            assert torch.equal(encoders.image(images), towers.visual(images))
            wanted = encode_text(towers.text, tokenize(prompts, towers.context_length))
            assert torch.equal(encoders.text(prompts), wanted)
        assert not torch.equal(opened[0].image(images), opened[1].image(images))
