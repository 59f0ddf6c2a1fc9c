"""The packed text tower against open_clip's own code, and training on the used part of the vocabulary against all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import ImagesInMemory
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.models import build_two_towers, read_model_config
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.text_encoder import (
    UsedEmbedding,
    _encode_padded,
    encode_text,
    is_clip_tower,
    longest_caption,
    narrow_vocabulary,
    tokenize,
    used_tokens,
)

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
    features, gradients = features_and_gradients(tower, lambda t: encode_text(tower, t), tokens)
    wanted, wanted_gradients = features_and_gradients(tower, tower, tokens)
    torch.testing.assert_close(features, wanted, atol=2e-5, rtol=1e-4)
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_features_and_gradients_are_open_clips(layers):
    tower = build_tower(layers=layers)
    assert is_clip_tower(tower)
    assert_as_open_clip(tower, ["cat", "a house with a garden", "", "!!! wow !!", "x " * 50])


@pytest.fixture(scope="module")
def tower():
    return build_tower()


@settings(max_examples=25)
@given(captions=st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_any_text_has_the_features_of_open_clips_code(tower, captions):
    assert_as_open_clip(tower, captions)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("columns", [CONTEXT, None])
def test_captions_with_their_padding_have_the_same_features_and_gradients(layers, columns):
    """As tokens on a GPU are computed: whole, or cut after the longest caption."""
    tower = build_tower(layers=layers)
    tokens = tokenize(["cat", "a house with a garden", "", "!!! wow !!"], CONTEXT)
    assert longest_caption(tokens) == 7 < CONTEXT
    assert longest_caption(tokens[:1]) == 3
    tokens = tokens[:, : columns or longest_caption(tokens)].long()
    features, gradients = features_and_gradients(tower, lambda t: _encode_padded(tower, t, t.argmax(dim=1)), tokens)
    wanted, wanted_gradients = features_and_gradients(tower, lambda t: encode_text(tower, t), tokens)
    torch.testing.assert_close(features, wanted, atol=2e-5, rtol=1e-4)
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("changes", [{"ls_init_value": 0.1}, {"mlp_ratio": 2.0}])
def test_other_blocks_of_the_same_build_go_the_short_way_too(changes):
    tower = build_tower(**changes)
    assert is_clip_tower(tower)
    assert_as_open_clip(tower, ["one", "two and three"])


@pytest.mark.parametrize(
    "changes",
    [{"embed_cls": True}, {"pool_type": "last"}, {"no_causal_mask": True}, {"proj_bias": True}, {"qk_norm": True}],
)
def test_towers_of_another_build_go_through_open_clips_code(changes):
    tower = build_tower(**changes).eval()
    assert not is_clip_tower(tower)
    tokens = tokenize(
        ["a cat", "a house with a garden, and a dog that sleeps in the sun all day long, and more"], CONTEXT
    )
    with torch.no_grad():
        torch.testing.assert_close(encode_text(tower, tokens), tower(tokens))


VOCABULARY_HYPER = Hyperparameters(
    160, 16, 3e-3, weight_decay=0.5, warmup_share=0.2, optimizer="muon", augmentation=Augmentation(flip=True)
)


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8))
def test_used_tokens_are_those_that_occur_and_have_their_rows(captions):
    whole = nn.Embedding(10, 4)
    tokens = torch.tensor(captions, dtype=torch.int32)
    used = used_tokens(tokens, 10)
    assert used.tolist() == sorted({token for caption in captions for token in caption})
    part = UsedEmbedding(whole, used)
    assert torch.equal(part(tokens), whole(tokens))
    assert torch.equal(part.whole(1.0), whole.weight)


def test_a_token_that_was_not_expected_is_an_error():
    with pytest.raises(IndexError):
        UsedEmbedding(nn.Embedding(10, 4), torch.tensor([1, 2]))(torch.tensor([3]))


def test_a_vocabulary_that_is_mostly_used_stays_whole():
    tower = nn.Module()
    tower.token_embedding = nn.Embedding(4, 2)
    narrow_vocabulary(tower, torch.tensor([[0, 1, 3]]))
    assert type(tower.token_embedding) is nn.Embedding


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_all_weights_are_those_of_training_on_the_whole_vocabulary(root, monkeypatch, objective):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
    tokens = tokenize([f"a {colour} house" for colour in ("red", "blue", "green")] * 16, 24)

    def weights():
        images = ImagesInMemory(pixels, study_preprocessing(32, "white_page"))
        settings = TrainingSettings(objective, config, 2, 0, VOCABULARY_HYPER, ComputeSettings("cpu"))
        return train(images, tokens, settings, lambda _: None)

    part = weights()
    monkeypatch.setattr("whyrobust.training.text_encoder.MAX_NARROWED_SHARE", 0.0)
    whole = weights()
    assert part.keys() == whole.keys() and VOCABULARY_HYPER.total_decay < 0.995
    for name, tensor in whole.items():
        torch.testing.assert_close(part[name], tensor, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("caption", "plain"),
    [
        ("a cat <end_of_text> and a dog", "a cat and a dog"),
        ("<start_of_text> a cat <START_OF_TEXT>", "a cat"),
        ("a cat &lt;end_of_text&gt; and a dog <end_of_text>", "a cat and a dog"),
        ("<end_of_text>", ""),
        ("a cat ! <end_of_text> ! a dog", "a cat ! ! a dog"),
    ],
)
def test_a_caption_has_one_end_wherever_it_says_so_itself(caption, plain):
    tokens, others = tokenize([caption, "two dogs"], 16), tokenize([plain, "two dogs"], 16)
    assert tokens.tolist() == others.tolist()
    assert (tokens == tokens.max()).sum(dim=1).tolist() == [1, 1]


def test_a_cut_caption_has_one_end_too():
    (tokens,) = tokenize(["dog <end_of_text> " * 40], 8)
    (dogs,) = tokenize(["dog " * 3], 8)
    assert int((tokens == tokens.max()).sum()) == 1 and tokens[:4].tolist() == dogs[:4].tolist()
