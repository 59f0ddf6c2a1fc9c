"""The short way through the text tower against open_clip's own code: features and every gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.training.models import build_two_towers, tokenize
from whyrobust.training.text_encoder import encode_tokens, is_plain

CONTEXT = 16


def build_tower(**text_cfg):
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2} | text_cfg
    return build_two_towers({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}).text


def features_and_gradients(tower, encode, tokens):
    tower.zero_grad()
    features = encode(tokens)
    # A sum of squares would hide which caption is which.
    (features * torch.arange(1.0, 1 + features.numel()).view_as(features).sin()).sum().backward()
    return features.detach(), {name: p.grad.clone() for name, p in tower.named_parameters()}


def assert_as_open_clip(tower, captions):
    tokens = tokenize(captions, CONTEXT).long()
    features, gradients = features_and_gradients(tower, lambda t: encode_tokens(tower, t), tokens)
    wanted, wanted_gradients = features_and_gradients(tower, tower, tokens)
    torch.testing.assert_close(features, wanted, atol=2e-5, rtol=1e-4)
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_features_and_gradients_are_open_clips(layers):
    tower = build_tower(layers=layers)
    assert is_plain(tower)
    assert_as_open_clip(tower, ["cat", "a house with a garden", "", "!!! wow !!", "x " * 50])


@pytest.fixture(scope="module")
def tower():
    return build_tower()


@settings(max_examples=25)
@given(captions=st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_any_text_has_the_features_of_open_clips_code(tower, captions):
    assert_as_open_clip(tower, captions)


@pytest.mark.parametrize("changes", [{"ls_init_value": 0.1}, {"mlp_ratio": 2.0}])
def test_other_blocks_of_the_same_build_go_the_short_way_too(changes):
    tower = build_tower(**changes)
    assert is_plain(tower)
    assert_as_open_clip(tower, ["one", "two and three"])


@pytest.mark.parametrize(
    "changes",
    [{"embed_cls": True}, {"pool_type": "last"}, {"no_causal_mask": True}, {"proj_bias": True}, {"qk_norm": True}],
)
def test_towers_of_another_build_go_through_open_clips_code(changes):
    tower = build_tower(**changes).eval()
    assert not is_plain(tower)
    tokens = tokenize(
        ["a cat", "a house with a garden, and a dog that sleeps in the sun all day long, and more"], CONTEXT
    )
    with torch.no_grad():
        torch.testing.assert_close(encode_tokens(tower, tokens), tower(tokens))
