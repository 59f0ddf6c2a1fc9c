"""Smaller images first: against open_clip's own interpolation, and what each step of a run is shown."""

from __future__ import annotations

import copy
import dataclasses

import open_clip
import pytest
import torch
import yaml
from open_clip.model import resize_pos_embed

from tests.processes import HYPER, batch_of, loss_and_gradients, made_up_pictures, objective_settings, train_made_up
from whyrobust.study.config import load_config
from whyrobust.study.input_files import check_files
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.training_settings import ProgressiveResizing
from whyrobust.training import steps
from whyrobust.training.distributed import SINGLE_PROCESS
from whyrobust.training.image_sizes import encode_images, interpolate_positions
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import Hyperparameters
from whyrobust.training.text_encoder import cut_captions, tokenize

VIT = {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
RESNET = {"image_size": 128, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}


def encoder_of_size(vision, side):
    described = {"embed_dim": 32, "vision_cfg": vision | {"image_size": side}, "text_cfg": TEXT}
    torch.manual_seed(0)
    return open_clip.CustomTextCLIP(**described).visual.eval()


@pytest.mark.parametrize(("vision", "side"), [(VIT, 32), (VIT, 48), (RESNET, 64), (RESNET, 96)])
def test_a_model_on_smaller_images_is_open_clips_model_of_that_size_with_interpolated_positions(vision, side):
    whole, smaller = encoder_of_size(vision, vision["image_size"]), encoder_of_size(vision, side)
    pooling = "attnpool." if hasattr(whole, "attnpool") else ""
    weights = whole.state_dict()
    weight = weights[f"{pooling}positional_embedding"]
    weight.copy_(torch.randn(weight.shape))
    grid = round((len(smaller.state_dict()[f"{pooling}positional_embedding"]) - 1) ** 0.5)
    # open_clip interpolates those of vision transformers alone; the grid is the same.
    renamed = {"visual.positional_embedding": weight.clone()}
    resize_pos_embed(renamed, type("Model", (), {"visual": type("Visual", (), {"grid_size": grid})}))
    expected = renamed["visual.positional_embedding"]
    assert len(expected) == grid**2 + 1 < len(weight)
    torch.testing.assert_close(interpolate_positions(weight, grid), expected)
    smaller.load_state_dict(weights | {f"{pooling}positional_embedding": expected})
    images = torch.randn(2, 3, side, side)
    torch.testing.assert_close(encode_images(whole, images), smaller(images))


@pytest.mark.parametrize("vision", [VIT, RESNET])
def test_at_full_size_nothing_is_interpolated(vision):
    whole = encoder_of_size(vision, vision["image_size"])
    images = torch.randn(2, 3, vision["image_size"], vision["image_size"])
    assert torch.equal(encode_images(whole, images), whole(images))


def test_the_gradient_of_smaller_images_is_that_of_the_interpolation():
    weight = torch.randn(17, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: interpolate_positions(w, 2), weight)


@pytest.mark.parametrize("name", ["cross_entropy", "clip", "simclr"])
def test_every_objective_learns_from_smaller_images_in_parts_of_a_batch_too(name, root):
    config = read_model_config(root / "resources" / "models" / "rn-tiny.json")
    loss, gradients, _ = loss_and_gradients(SINGLE_PROCESS, name, config, 4, None, side=32)
    key = next(key for key in gradients if key.endswith("attnpool.positional_embedding"))
    assert loss > 0 and gradients[key].shape == (5, 512) and gradients[key].abs().sum() > 0
    # Batch norms take their statistics from a part, so the loss is that of the parts: finite and near.
    in_parts, _, _ = loss_and_gradients(SINGLE_PROCESS, name, config, 4, 4, side=32)
    assert in_parts == pytest.approx(loss, rel=0.5)


def test_captions_are_cut_as_if_they_had_been_tokenised_to_that_length():
    captions = [
        "a red fox",
        "a big tree beside a small house under the sun, seen from the hill",
        "",
        "one two three four",
    ]
    expected = torch.zeros(4, 20, dtype=torch.int32)
    expected[:, :6] = tokenize(captions, 6)
    tokens = tokenize(captions, 20)
    before = tokens.clone()
    assert torch.equal(cut_captions(tokens, 6), expected)
    assert torch.equal(tokens, before)
    assert torch.equal(cut_captions(tokens[[0, 2]], 6), tokens[[0, 2]])


def test_the_first_steps_have_smaller_images_and_shorter_captions_and_the_others_neither(root, monkeypatch):
    config = copy.deepcopy(read_model_config(root / "resources" / "models" / "icon-cnn.json"))
    hyper = dataclasses.replace(HYPER, samples_seen=16 * 8, progressive_resizing=ProgressiveResizing(
        share=0.7, image_size=24, context_length=4
    ))  # fmt: skip
    shown = []
    backward = steps.grad_cache_backward

    def noting(objective, forward, images, targets, *others):
        shown.append((images.shape[-1], int((targets != 0).sum(dim=1).max())))
        return backward(objective, forward, images, targets, *others)

    monkeypatch.setattr(steps, "grad_cache_backward", noting)
    longest = int((batch_of("clip", 1, 40, config)[1] != 0).sum(dim=1).max())
    assert longest > 4
    train_made_up(made_up_pictures(), "clip", config, lambda _: None, hyper=hyper)
    assert hyper.resized_steps == 6
    assert shown == [(24, 4)] * 6 + [(32, longest)] * 2


def test_the_order_of_images_does_not_depend_on_their_size(root, monkeypatch):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    shown = []
    backward = steps.grad_cache_backward

    def noting(objective, forward, images, targets, *others):
        shown.append(targets.tolist())
        return backward(objective, forward, images, targets, *others)

    monkeypatch.setattr(steps, "grad_cache_backward", noting)
    plain = dataclasses.replace(HYPER, samples_seen=16 * 8)
    resized = dataclasses.replace(plain, progressive_resizing=ProgressiveResizing(share=0.5, image_size=16))
    for hyper in (plain, resized):
        train_made_up(made_up_pictures(), "cross_entropy", config, lambda _: None, hyper=hyper)
    assert shown[:8] == shown[8:]


def test_hyperparameters_of_a_study_have_the_smaller_images_only_where_they_are_set(root):
    given = yaml.safe_load((root / "config" / "paper-small.yaml").read_text(encoding="utf-8"))
    training = load_config(given).training
    flat = training.hyperparameters_of("clip", False) | {"samples_seen": 1000}
    assert flat["progressive_resizing"] == {"share": 0.9, "image_size": 112, "context_length": 32}
    hyper = Hyperparameters.from_mapping(flat)
    assert hyper.progressive_resizing == training.progressive_resizing and not hyper.objective
    del given["training"]["progressive_resizing"]
    flat = load_config(given).training.hyperparameters_of("clip", False)
    assert "progressive_resizing" not in flat
    assert Hyperparameters.from_mapping(flat | {"samples_seen": 1000}).resized_steps == 0
    assert set(objective_settings("clip")) == set()


@pytest.mark.parametrize(
    ("resizing", "message"),
    [
        ({"image_size": 224}, "image_size is 224, where data.image_size is 224: give a smaller one"),
        ({"context_length": 77}, "context_length is 77, where resources/models/rn50.json has 77"),
        ({"image_size": 112}, "the patches of resources/models/vit-b-32.json, 32 pixels wide, do not fill"),
        ({"image_size": 16}, "image_size is 16: resources/models/rn50.json needs 32 or more"),
        ({"share": 1.0}, "training.progressive_resizing.share is 1.0"),
    ],
)
def test_sizes_that_cannot_be_trained_on_are_errors_before_any_work(resizing, message, root):
    given = yaml.safe_load((root / "config" / "paper.yaml").read_text(encoding="utf-8"))
    given["training"]["progressive_resizing"] = {"share": 0.9, "image_size": 64} | resizing
    with pytest.raises(ConfigError) as error:
        check_files(load_config(given), root, data_is_there=False)
    assert message in str(error.value)
