"""Opening a run for evaluation: its image encoder, its text encoder and its preprocessing.

Runs trained here and published open_clip models are opened by the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.data.preprocessing import Preprocessing
from whyrobust.training.models import ModelError, encoder_of, read_model_config
from whyrobust.training.text_encoder import encode_text, tokenize
from whyrobust.training.weights import (
    load_image_encoder,
    load_two_towers,
    load_weights,
    read_metadata,
    read_weights,
    register_model,
)


@dataclass(frozen=True)
class Encoders:
    """The encoders that a run is evaluated with.

    Attributes:
        image: images ``[n, 3, size, size]`` -> embeddings ``[n, dim]``.
        text: texts -> embeddings ``[n, dim]``; None without a text tower.
        preprocessing: of the images that ``image`` takes.
    """

    image: nn.Module
    text: Callable[[Sequence[str]], Tensor] | None
    preprocessing: Preprocessing


class _ImageTower(nn.Module):
    """The image side of an open_clip model; in some classes it is more than ``model.visual``."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - open_clip is untyped
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.encode_image(images)
        return features


def open_run(
    weights: Path | str, description: Path | str | None, with_text: bool, threads: int, device: torch.device
) -> Encoders:
    """Open a run from its weights.

    Args:
        weights: safetensors file with the run's metadata in its header.
        description: model description of a run trained here; None for a published model, whose metadata hold its own.
        with_text: whether the text tower is needed.
        threads: CPU threads.
        device: where the encoders are put.

    Raises:
        ModelError: the weights cannot be read, or do not fit the description.
    """
    torch.set_num_threads(threads)
    metadata = read_metadata(weights)
    preprocessing = Preprocessing(**metadata["preprocessing"])
    if "open_clip_model" in metadata:
        name = register_model(metadata["open_clip_model"], metadata["description"])
        return _open_published(weights, name, preprocessing, device)
    if description is None:
        raise ModelError(f"{weights} is of a run trained here: pass its model description")
    config = read_model_config(description)
    if not with_text:
        return Encoders(load_image_encoder(weights, config).to(device), None, preprocessing)
    towers = load_two_towers(weights, config).to(device)

    def encode(texts: Sequence[str]) -> Tensor:
        return encode_text(towers.text, _tokens_of(tuple(texts), towers.context_length))

    return Encoders(encoder_of(towers, config), encode, preprocessing)


# The runs of a job are asked the same prompts. Kept are those of the 1,000 classes of ImageNet in 80 templates, as
# tensors of inference mode: for forward passes alone.
@lru_cache(maxsize=160)
def _tokens_of(texts: tuple[str, ...], context_length: int) -> Tensor:
    return tokenize(texts, context_length)


def _open_published(weights: Path | str, name: str, preprocessing: Preprocessing, device: torch.device) -> Encoders:
    import open_clip

    model = open_clip.create_model(name, pretrained=None, load_weights=False, device=device)
    load_weights(model, read_weights(weights), f"{weights}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)

    def encode(texts: Sequence[str]) -> Tensor:
        features: Tensor = model.encode_text(tokenizer(list(texts)).to(device))
        return features

    return Encoders(_ImageTower(model), encode, preprocessing)
