"""Runs are read by other software, open_clip and clip_benchmark: both ways, for every image-text objective."""

from __future__ import annotations

import open_clip
import pytest
import torch
from clip_benchmark.models import load_clip

from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.files import write_json
from whyrobust.training.models import read_model_config
from whyrobust.training.objectives import ClipObjective, SiglipObjective
from whyrobust.training.weights import open_clip_config, save_weights


@pytest.fixture(scope="module", params=["clip", "siglip"])
def run(request, root, tmp_path_factory):
    """A run of random weights, written as `train_run` writes it."""
    path = root / "resources" / "models" / "rn-tiny.json"
    config = read_model_config(path)
    if open_clip.get_model_config("rn-tiny") is None:
        open_clip.add_model_config(path)
    torch.manual_seed(1)
    objective = {"clip": ClipObjective, "siglip": SiglipObjective}[request.param](config, 2)
    folder = tmp_path_factory.mktemp("run")
    save_weights(folder / "model.safetensors", objective.checkpoint_weights(), {})
    preprocessing = study_preprocessing(64, "clip").as_dict()
    has_logit_bias = request.param == "siglip"
    write_json(folder / "open_clip_config.json", open_clip_config(config, preprocessing, has_logit_bias))
    return request.param, folder, objective.eval()


def assert_same(model, objective, tokens):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.eval().encode_image(images), objective.model.encode_image(images))
        assert torch.equal(model.encode_text(tokens), objective.model.encode_text(tokens))
    assert torch.equal(model.logit_scale, objective.model.logit_scale)
    if objective.model.logit_bias is not None:
        assert torch.equal(model.logit_bias, objective.model.logit_bias)


TOKENS = open_clip.get_tokenizer("ViT-B-32")(["a cat", "two dogs in the garden"], 32)


def test_by_its_folder(run):
    _, folder, objective = run
    assert_same(open_clip.create_model(f"local-dir:{folder}"), objective, TOKENS)
    model, preprocess, tokenizer = load_clip("open_clip", f"local-dir:{folder}", "", None, "cpu")
    assert_same(model, objective, tokenizer(["a cat", "two dogs in the garden"]))
    assert preprocess.transforms[-1].mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_by_its_weights_and_the_name_of_the_architecture(run):
    name, folder, objective = run
    weights = str(folder / "model.safetensors")
    if name == "siglip":
        assert_same(open_clip.create_model("rn-tiny", pretrained=weights, init_logit_bias=0), objective, TOKENS)
        with pytest.raises(AttributeError):  # open_clip's CLIP has no bias to load into
            open_clip.create_model("rn-tiny", pretrained=weights)
        return
    assert_same(open_clip.create_model("rn-tiny", pretrained=weights), objective, TOKENS)
    model, _, tokenizer = load_clip("open_clip", "rn-tiny", weights, None, "cpu")
    assert_same(model, objective, tokenizer(["a cat", "two dogs in the garden"]))


@pytest.mark.parametrize("name, file", [("RN50", "rn50"), ("ViT-B-32", "vit-b-32")])
def test_the_models_of_the_paper_are_open_clips_of_that_name(root, name, file):
    assert read_model_config(root / "resources" / "models" / f"{file}.json") == open_clip.get_model_config(name)
