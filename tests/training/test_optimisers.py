"""Muon against its formulas written out, and against timm's; which weights are its own."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import timm.optim.muon
import torch
from torch import nn

from whyrobust.training.models import read_model_config
from whyrobust.training.objectives import build_objective
from whyrobust.training.optimisers import ADAM_BETAS, NEWTON_SCHULZ, Muon, RunOptimiser, orthogonalise

SHAPES = [(5, 3), (3, 7), (4, 4), (6, 3, 2, 2), (3, 5, 3, 3)]


def written_out(matrix):
    """Newton-Schulz on the matrix itself, in float64 and without torch."""
    x = matrix / np.sqrt((matrix**2).sum())
    for a, b, c in NEWTON_SCHULZ:
        square = x @ x.T
        x = a * x + b * square @ x + c * square @ square @ x
    return x


@pytest.mark.parametrize("shape", [(5, 3), (3, 7), (4, 4), (40, 9), (1, 6)])
def test_orthogonalised_as_the_iterations_written_out(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    found = orthogonalise(torch.from_numpy(matrix).float())
    assert found.numpy() == pytest.approx(written_out(matrix), abs=2e-5)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.7 and values.max() < 1.3
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    assert found.numpy() == pytest.approx(left @ right, abs=0.35), "near the nearest orthogonal matrix"


def test_nothing_to_move_moves_nothing():
    assert not orthogonalise(torch.zeros(3, 5)).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_three_steps_as_written_out(shape):
    rng = np.random.default_rng(1)
    start, gradients = rng.normal(size=shape), rng.normal(size=(3, *shape))
    weight = nn.Parameter(torch.from_numpy(start).float())
    optimiser = Muon([weight], learning_rate=0.03, weight_decay=0.2)
    expected, momentum = start.copy(), np.zeros(shape)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient).float()
        optimiser.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = (0.05 * gradient + 0.95 * momentum).reshape(shape[0], -1)
        step = written_out(ahead) * 0.2 * np.sqrt(max(ahead.shape))
        expected = expected * (1 - 0.03 * 0.2) - 0.03 * step.reshape(shape)
    assert weight.detach().numpy() == pytest.approx(expected, abs=2e-5)


def test_steps_are_those_of_timms_muon_in_single_precision(monkeypatch):
    in_single = functools.partial(timm.optim.muon.zeropower_via_newtonschulz, dtype=torch.float32)
    monkeypatch.setattr("timm.optim.muon.zeropower_via_newtonschulz", in_single)
    generator = torch.Generator().manual_seed(0)
    shapes = [(64, 20), (8, 32), (16, 6, 3, 3)]
    ours, theirs = ([nn.Parameter(torch.ones(shape) / 8) for shape in shapes] for _ in range(2))
    own = Muon(ours, 0.01, 0.1)
    reference = timm.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, nesterov=True)
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        own.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def moved_by(root, objective, name):
    """Return the names of the weights that each optimiser updates in a step."""
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    built = build_objective(objective, config, 5, {})
    names = {id(weight): key for key, weight in built.named_parameters()}
    parts = RunOptimiser(built, name, 0.1)._parts
    found = [{names[id(w)]: g["weight_decay"] for g in part.param_groups for w in g["params"]} for part in parts]
    assert sum(map(len, found)) == len(names), "each weight has one optimiser"
    return {type(part).__name__: weights for part, weights in zip(parts, found, strict=True)}


def test_embeddings_the_classifier_biases_and_norms_are_adamws(root):
    labels, captions = (moved_by(root, name, "muon") for name in ("cross_entropy", "clip"))
    assert set(labels["Muon"]) == {f"image_encoder.stages.{n}.weight" for n in (0, 3, 6, 9)} | {
        "image_encoder.projection.weight"
    }
    assert labels["AdamW"]["classifier.weight"] == 0.1 and labels["AdamW"]["classifier.bias"] == 0
    assert {"model.text.token_embedding.weight", "model.text.positional_embedding"} <= set(captions["AdamW"])
    assert captions["AdamW"]["model.logit_scale"] == 0
    block = "model.text.transformer.resblocks.0."
    assert {f"{block}attn.in_proj_weight", f"{block}mlp.c_fc.weight", "model.text.text_projection"} <= set(
        captions["Muon"]
    )
    assert set(captions["Muon"].values()) == {0.1}
    assert set(moved_by(root, "clip", "adamw")) == {"AdamW"}


def test_depthwise_filters_make_no_matrix_and_are_adamws():
    depthwise = nn.Conv2d(8, 8, 3, groups=8)
    (alone,) = RunOptimiser(depthwise, "muon", 0.1)._parts
    assert isinstance(alone, torch.optim.AdamW)


def test_adamw_is_torchs_with_decay_of_matrices_alone():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    other = nn.Linear(4, 3)
    other.load_state_dict(layer.state_dict())
    own = RunOptimiser(layer, "adamw", 0.3)
    groups = [{"params": [other.weight], "weight_decay": 0.3}, {"params": [other.bias], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=ADAM_BETAS)
    for _ in range(3):
        for each in (layer, other):
            each.zero_grad()
            (each(torch.ones(2, 4)) ** 2).sum().backward()
        own.set_rate(0.01)
        own.step()
        reference.step()
    torch.testing.assert_close(layer.weight, other.weight)
    torch.testing.assert_close(layer.bias, other.bias)


def test_an_optimiser_that_is_not_known_is_an_error():
    with pytest.raises(ValueError, match="'sgd' is not known: choose muon or adamw"):
        RunOptimiser(nn.Linear(2, 2), "sgd", 0.0)
