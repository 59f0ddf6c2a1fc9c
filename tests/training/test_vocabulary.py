"""Training on the used part of the vocabulary against training on all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from whyrobust.data.photo_store import study_preprocessing
from whyrobust.training.batches import ImagesInMemory
from whyrobust.training.loop import Computing, Hyperparameters, shrinkage, train
from whyrobust.training.models import read_model_config, tokenize
from whyrobust.training.vocabulary import UsedEmbedding, narrow_vocabulary, used_tokens

HYPER = Hyperparameters(
    samples_seen=160, batch_size=16, learning_rate=3e-3, weight_decay=0.5, warmup_share=0.2, flip=True
)  # fmt: skip


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
        return train(
            ImagesInMemory(pixels, study_preprocessing(32, "white_page")),
            tokens,
            objective,
            config,
            2,
            HYPER,
            0,
            Computing("cpu"),
            lambda _: None,
        )

    part = weights()
    monkeypatch.setattr("whyrobust.training.vocabulary.WORTHWHILE_SHARE", 0.0)
    whole = weights()
    assert part.keys() == whole.keys() and shrinkage(HYPER) < 0.995
    for name, tensor in whole.items():
        torch.testing.assert_close(part[name], tensor, rtol=1e-5, atol=1e-7)
