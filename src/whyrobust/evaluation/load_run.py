"""Opening a run for evaluation: its image encoder, its text encoder and how it wants its images.

Stands alone so that runs trained here and published open_clip models are embedded by the same code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.data.photo_store import Preprocessing
from whyrobust.training.models import (
    ModelError,
    encode_text,
    load_image_encoder,
    load_two_towers,
    load_weights,
    read_facts,
    read_model_config,
    read_weights,
    tokenize,
)


@dataclass(frozen=True)
class Encoders:
    """What a run is evaluated by.

    Attributes:
        image: images ``[n, 3, size, size]`` -> embeddings ``[n, dim]``.
        text: texts -> embeddings ``[n, dim]``; None without a text tower.
        preprocessing: what ``image`` wants.
    """

    image: nn.Module
    text: Callable[[Sequence[str]], Tensor] | None
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Published:
    """A published model as it is stored: weights, preprocessing and the description that open_clip reads back."""

    weights: Mapping[str, Tensor]
    preprocessing: Preprocessing
    open_clip_config: Mapping[str, Any]


class _ImageTower(nn.Module):
    """The image side of an open_clip model; some classes have more to it than ``model.visual``."""

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
        weights: safetensors file with facts in its header.
        description: model description of a run trained here; None for a published model, which names its own.
        with_text: whether the text tower is needed.
        threads: CPU threads.
        device: where the encoders are put.
    """
    torch.set_num_threads(threads)
    facts = read_facts(weights)
    preprocessing = Preprocessing(**facts["preprocessing"])
    if "open_clip_model" in facts:
        return _open_published(weights, facts["open_clip_model"], preprocessing, device)
    if description is None:
        raise ModelError(f"{weights} is of a run trained here: give its model description")
    config = read_model_config(description)
    encoder = load_image_encoder(weights, config).to(device)
    if not with_text:
        return Encoders(encoder, None, preprocessing)
    towers = load_two_towers(weights, config).to(device)

    def encode(texts: Sequence[str]) -> Tensor:
        return encode_text(towers, tokenize(texts, towers.context_length).to(device))

    return Encoders(encoder, encode, preprocessing)


def _open_published(weights: Path | str, name: str, preprocessing: Preprocessing, device: torch.device) -> Encoders:
    import open_clip

    name = _known_name(name)
    model = open_clip.create_model(name, pretrained=None, load_weights=False, device=device)
    load_weights(model, read_weights(weights), f"{weights}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)

    def encode(texts: Sequence[str]) -> Tensor:
        features: Tensor = model.encode_text(tokenizer(list(texts)).to(device))
        return features

    return Encoders(_ImageTower(model), encode, preprocessing)


def _known_name(name: str) -> str:
    """Return the name by which open_clip knows a model; a model description is made known to it first.

    Raises:
        ModelError: there is no such model.
    """
    import open_clip

    path = Path(name)
    if path.suffix == ".json":
        if not path.is_file():
            raise ModelError(f"there is no model description {name}")
        if open_clip.get_model_config(path.stem) is None:
            open_clip.add_model_config(path)
        return path.stem
    if open_clip.get_model_config(name) is None:
        raise ModelError(
            f"open_clip knows no model '{name}': choose one of open_clip.list_models(), or give a description"
        )
    return name


def read_published(name: str, weights: str) -> Published:
    """Read a published open_clip model.

    Args:
        name: open_clip's name of the architecture, for example ``RN50``, or the path of a model description.
        weights: a file, or one of open_clip's tags, which it downloads.

    Raises:
        ModelError: open_clip does not know the architecture or the tag, or the file does not fit. Pickled files are
            read by torch's safe loader only, so a file that would run code is refused.
    """
    import open_clip

    name = _known_name(name)
    if not Path(weights).is_file() and weights not in open_clip.list_pretrained_tags_by_model(name):
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ModelError(
            f"weights '{weights}' of '{name}' are no file and no tag that open_clip knows: its tags are {known}"
        )
    try:
        model = open_clip.create_model(name, pretrained=weights, weights_only=True)
    except Exception as error:
        raise ModelError(f"open_clip cannot load '{name}' with weights '{weights}': {error}") from error
    how = model.visual.preprocess_cfg
    size = how["size"][0] if isinstance(how["size"], list | tuple) else how["size"]
    preprocessing = Preprocessing(
        size=int(size), mean=how["mean"], std=how["std"], interpolation=how["interpolation"],
        resize_mode=how["resize_mode"],
    )  # fmt: skip
    config = {"model_cfg": copy.deepcopy(open_clip.get_model_config(name)), "preprocess_cfg": preprocessing.as_dict()}
    return Published({key: value.clone() for key, value in model.state_dict().items()}, preprocessing, config)
