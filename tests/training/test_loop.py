"""One loop, repeatable bit for bit, the same images for every kind of supervision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.processes import objective_settings
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.batches import ImageOrder, ImagesInMemory
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.models import IconCnn, ModelError, build_image_encoder, build_two_towers, read_model_config
from whyrobust.training.objectives import ClipObjective, SiglipObjective, build_objective
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.text_encoder import tokenize
from whyrobust.training.weights import load_image_encoder, save_weights

PAGE = study_preprocessing(32, "white_page")
HYPER = {
    "samples_seen": 320,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "warmup_share": 0.1,
    "optimizer": "muon",
    "max_shift_share": 0.1,
    "max_zoom": 1.2,
    "flip": True,
}


@pytest.fixture(scope="module")
def model_config(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


@pytest.fixture(scope="module")
def pictures():
    """Two classes: a dark left half and a dark right half (not mirrored: flips are off where it matters)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(200, 256, (64, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(64) % 2
    pixels[labels == 0, :16] = 30
    pixels[labels == 1, 16:] = 30
    return pixels, torch.from_numpy(labels)


def run(pictures, model_config, objective, targets, seed=3, initial=None, **changes):
    losses = []
    hyper = Hyperparameters.from_mapping(HYPER | objective_settings(objective) | changes)
    settings = TrainingSettings(objective, model_config, 2, seed, hyper, ComputeSettings("cpu"))
    images = ImagesInMemory(pictures[0], PAGE)
    weights = train(images, targets, settings, lambda p: losses.append(p.loss), initial)
    return weights, losses


def test_cross_entropy_learns_and_repeats_bit_for_bit(pictures, model_config):
    weights, losses = run(pictures, model_config, "cross_entropy", pictures[1])
    again, losses_again = run(pictures, model_config, "cross_entropy", pictures[1])
    assert losses[-1] < 0.2 < losses[0]
    assert losses == losses_again
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    other, _ = run(pictures, model_config, "cross_entropy", pictures[1], seed=4)
    assert not all(torch.equal(weights[name], other[name]) for name in weights)


def test_clip_learns_and_repeats_bit_for_bit(pictures, model_config):
    captions = ["dark top" if label == 0 else "dark bottom" for label in pictures[1].tolist()]
    tokens = tokenize(captions, model_config["text_cfg"]["context_length"])
    weights, losses = run(pictures, model_config, "clip", tokens)
    again, _ = run(pictures, model_config, "clip", tokens)
    # Two captions in batches of 32: a perfect model is left with log(16) of guessing among equals.
    assert losses[-1] < losses[0] and losses[-1] > np.log(15)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_clip_loss_equals_a_double_loop(model_config):
    torch.manual_seed(0)
    objective = ClipObjective(model_config, 2).eval()
    images = torch.randn(5, 3, 32, 32)
    tokens = tokenize(["a", "red fox", "house", "a big tree", "sun"], 24)
    with torch.no_grad():
        loss = objective.loss(objective(images, tokens), tokens)
        u = objective.model.visual(images).double()
        v = objective.model.text(tokens).double()
        scale = objective.model.logit_scale.exp().double()
        total = 0.0
        for i in range(5):
            cosine = [[torch.dot(u[a], v[b]) / u[a].norm() / v[b].norm() * scale for b in range(5)] for a in range(5)]
            row = torch.stack(cosine[i])
            column = torch.stack([cosine[a][i] for a in range(5)])
            total += (torch.logsumexp(row, 0) - row[i] + torch.logsumexp(column, 0) - column[i]) / 2
    assert loss.item() == pytest.approx(total.item() / 5, abs=1e-5)


def test_every_image_is_seen_once_before_any_is_seen_again_whatever_the_supervision():
    positions = torch.cat(list(ImageOrder(10, 4, 5, seed=7).batches())).tolist()
    assert sorted(positions[:10]) == list(range(10)) and sorted(positions[10:]) == list(range(10))
    assert positions == torch.cat(list(ImageOrder(10, 4, 5, seed=7).batches())).tolist()


def test_learning_rate_rises_then_falls_to_zero():
    hyper = Hyperparameters.from_mapping(HYPER)
    rates = [hyper.learning_rate_at(step) for step in range(hyper.steps)]
    assert max(rates) == pytest.approx(hyper.learning_rate)
    assert rates.index(max(rates)) <= 1 and rates[-1] < 0.1 * max(rates)


def test_a_saved_encoder_loads_and_gives_the_same_embedding(tmp_path, model_config):
    encoder = IconCnn().eval()
    path = tmp_path / "model.safetensors"
    save_weights(path, {f"visual.trunk.{k}": v for k, v in encoder.state_dict().items()}, {"run": "x"})
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_image_encoder(path, model_config)(images), encoder(images))


def test_a_loss_that_is_not_finite_stops_the_run(pictures, model_config):
    with pytest.raises(RuntimeError, match="step"):
        run(pictures, model_config, "cross_entropy", pictures[1], learning_rate=1e30)


@pytest.mark.parametrize("objective", ["siglip", "supcon", "simclr"])
def test_every_objective_learns_and_repeats_bit_for_bit(pictures, model_config, objective):
    targets = pictures[1]
    if objective == "siglip":
        captions = ["dark top" if label == 0 else "dark bottom" for label in targets.tolist()]
        targets = tokenize(captions, model_config["text_cfg"]["context_length"])
    given = None if objective == "simclr" else targets
    changes = {"min_crop_area": 0.5, "samples_seen": 640} | objective_settings(objective, temperature=0.5)
    weights, losses = run(pictures, model_config, objective, given, **changes)
    again, _ = run(pictures, model_config, objective, given, **changes)
    assert np.mean(losses[-3:]) < losses[0]
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert any(name.startswith("visual.trunk.stages") for name in weights)
    if objective != "siglip":  # the projection head is thrown away
        assert {f"visual.trunk.{name}" for name in build_image_encoder(model_config).state_dict()} == weights.keys()


def test_siglip_loss_equals_a_double_loop(model_config):
    torch.manual_seed(0)
    objective = SiglipObjective(model_config, 2).eval()
    images, tokens = torch.randn(4, 3, 32, 32), tokenize(["a", "red fox", "house", "sun"], 24)
    with torch.no_grad():
        u, v = objective(images, tokens)
        loss = objective.loss((u, v), tokens)
        total = 0.0
        for i in range(4):
            for j in range(4):
                score = 10.0 * float(u[i] @ v[j]) - 10.0
                total += np.log1p(np.exp(-score if i == j else score))
    assert loss.item() == pytest.approx(total / 4, rel=1e-4)


def test_fine_tuning_starts_from_the_pretrained_encoder(pictures, model_config):
    pretrained, _ = run(pictures, model_config, "simclr", None)
    _, fresh = run(pictures, model_config, "cross_entropy", pictures[1], learning_rate=1e-9)
    tuned, losses = run(pictures, model_config, "cross_entropy", pictures[1], learning_rate=1e-9, initial=pretrained)
    assert losses[0] != fresh[0]
    name = "visual.trunk.stages.0.weight"
    assert torch.allclose(tuned[name], pretrained[name], atol=1e-6)
    assert tuned["classifier.weight"].shape == (2, 128)


def test_a_checkpoint_of_another_architecture_is_an_error(pictures, model_config, root):
    other = read_model_config(root / "resources" / "models" / "icon-resnet.json")
    pretrained, _ = run(pictures, other, "cross_entropy", pictures[1], samples_seen=32)
    with pytest.raises(ModelError, match=r"pretrained run are of IconResNet .* IconCnn with an embedding of 128"):
        run(pictures, model_config, "cross_entropy", pictures[1], initial=pretrained)
    narrower = {f"visual.trunk.{name}": tensor for name, tensor in IconCnn(num_classes=64).state_dict().items()}
    with pytest.raises(ModelError, match=r"embedding of 64 .* 128: 'projection.weight' is \[64, 192\]"):
        run(pictures, model_config, "cross_entropy", pictures[1], initial=narrower)
    with pytest.raises(ModelError, match="no model"):
        run(pictures, model_config, "cross_entropy", pictures[1], initial={"logit_scale": torch.ones(())})


def test_an_objective_that_is_not_known_lists_those_that_are(model_config):
    with pytest.raises(ValueError, match=f"'mae' .*{', '.join(OBJECTIVES)}"):
        build_objective("mae", model_config, 2, {})


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "simclr"])
def test_only_simclr_learns_without_targets(pictures, model_config, name):
    with pytest.raises(ValueError, match=f"'{name}' learns from targets"):
        run(pictures, model_config, name, None)


@pytest.mark.parametrize("objective", [ClipObjective, SiglipObjective])
@pytest.mark.parametrize("scale", [-50.0, 50.0])
def test_the_learnt_temperature_is_kept_within_bounds_and_the_loss_finite(model_config, objective, scale):
    torch.manual_seed(0)
    built = objective(model_config, 2).eval()
    torch.nn.init.constant_(built.model.logit_scale, scale)
    built.after_step()
    assert 0 <= built.model.logit_scale.item() <= math.log(100) + 1e-6
    tokens = tokenize(["a", "b", "c"], 24)
    assert torch.isfinite(built.loss(built(torch.randn(3, 3, 32, 32), tokens), tokens))


@pytest.mark.parametrize("name", ["icon-cnn", "icon-resnet"])
def test_one_encoder_for_one_and_two_towers(root, name):
    config = read_model_config(root / "resources" / "models" / f"{name}.json")
    encoder = build_image_encoder(config)
    towers = build_two_towers(config)
    assert {k: v.shape for k, v in encoder.state_dict().items()} == {
        k: v.shape for k, v in towers.visual.trunk.state_dict().items()
    }
    assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, 128)


def test_runs_of_other_supervision_see_the_same_images_in_the_same_order(pictures, model_config, monkeypatch):
    """Told by a mark in each picture, read before it is augmented; clip's batches are half as large."""
    marked = np.full_like(pictures[0], 255)
    marked[:] = (4 * np.arange(64))[:, None, None, None].astype(np.uint8)
    seen: dict[str, list[int]] = {}

    def keep(name):
        def look(plain, *_):
            seen.setdefault(name, []).extend(((plain[:, 0, 16, 16] * 0.5 + 1) * 255 / 4).round().int().tolist())
            return plain

        return look

    tokens = tokenize(["x"] * 64, model_config["text_cfg"]["context_length"])
    targets = {"cross_entropy": pictures[1], "supcon": pictures[1], "clip": tokens, "siglip": tokens, "simclr": None}
    for name, target in targets.items():
        monkeypatch.setattr("whyrobust.training.batches.move_drawings", keep(name))
        monkeypatch.setattr("whyrobust.training.batches.simclr_view", keep(name))
        run((marked, None), model_config, name, target, samples_seen=160, batch_size=16 if name == "clip" else 32)
    for name in ("supcon", "simclr"):  # two views of every batch
        batches = np.array(seen[name]).reshape(-1, 2, 32)
        assert (batches[:, 0] == batches[:, 1]).all()
        seen[name] = batches[:, 0].ravel().tolist()
    assert seen["cross_entropy"] == seen["supcon"] == seen["clip"] == seen["siglip"] == seen["simclr"]
    assert sorted(seen["clip"][:64]) == list(range(64))
