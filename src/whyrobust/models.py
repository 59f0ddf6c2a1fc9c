"""Models: the image encoder for small pictures and the two-tower models built around it with open_clip.

Stands alone because every objective and every head shares these definitions. open_clip and timm take seconds to
import, so they are imported only where a text tower is needed; a run that learns from labels needs torch alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whyrobust.files import atomic_path

#: White is 0 after normalisation, so that padding with zeros adds more of the white page.
PIXEL_MEAN = 1.0
PIXEL_STD = 0.5

#: Prefix of the image encoder's weights inside an open_clip model whose vision tower comes from timm.
IMAGE_ENCODER_PREFIX = "visual.trunk."


class ModelError(ValueError):
    """A model description or checkpoint that does not fit."""


class IconCnn(nn.Module):
    """A plain convolutional network for 32- to 64-pixel pictures: four stride-2 stages, mean pooling, a projection.

    The stride-2 first layer keeps it fast on a CPU; without shortcuts there is nothing to tune. Images are
    ``[batch, 3, size, size]``, the result is ``[batch, num_classes]``, here the embedding.
    """

    def __init__(self, num_classes: int = 128, channels: Sequence[int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channel in channels:
            layers += [
                nn.Conv2d(width, channel, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channel),
                nn.ReLU(inplace=True),
            ]
            width = channel
        self.stages = nn.Sequential(*layers)
        self.num_features = width
        self.num_classes = num_classes
        self.projection = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``[batch, num_classes]`` of images ``[batch, 3, size, size]``."""
        features: Tensor = self.projection(self.stages(images).mean(dim=(2, 3)))
        return features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (He et al. 2016); the first halves the side."""

    def __init__(self, width: int, channel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, channel, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channel),
            nn.ReLU(inplace=True),
            nn.Conv2d(channel, channel, 3, padding=1, bias=False),
            nn.BatchNorm2d(channel),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(width, channel, 1, stride=2, bias=False), nn.BatchNorm2d(channel))

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[batch, channel, side / 2, side / 2]`` of ``[batch, width, side, side]``."""
        return nn.functional.relu(self.body(images) + self.shortcut(images))


class IconResNet(nn.Module):
    """A small residual network for 32- to 64-pixel pictures, so that standard models are not of one architecture.

    The stages and shapes of `IconCnn`, with a residual block in place of each convolution after the first.
    """

    def __init__(self, num_classes: int = 128, channels: Sequence[int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, channels[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()]
        blocks = [ResidualBlock(width, channel) for width, channel in itertools.pairwise(channels)]
        self.stages = nn.Sequential(*stem, *blocks)
        self.num_features = channels[-1]
        self.num_classes = num_classes
        self.projection = nn.Linear(channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``[batch, num_classes]`` of images ``[batch, 3, size, size]``."""
        features: Tensor = self.projection(self.stages(images).mean(dim=(2, 3)))
        return features


IMAGE_ENCODERS: dict[str, type[IconCnn] | type[IconResNet]] = {"icon_cnn": IconCnn, "icon_resnet": IconResNet}


def register_image_encoders() -> None:
    """Make our image encoders known to timm by name, so that open_clip builds its vision tower from them."""
    from timm.models import is_model, register_model

    for name, encoder in IMAGE_ENCODERS.items():
        if not is_model(name):
            register_model(_timm_entry(name, encoder))


def _timm_entry(name: str, encoder: type[IconCnn] | type[IconResNet]) -> Callable[..., nn.Module]:
    """Return the function by which timm builds an encoder; timm takes the model's name from the function's."""

    def build(pretrained: bool = False, num_classes: int = 128, **_: Any) -> nn.Module:  # noqa: ANN401 - timm's own
        if pretrained:
            raise ModelError(f"model '{name}' has no pretrained weights: set timm_model_pretrained to false")
        return encoder(num_classes=num_classes)

    build.__name__, build.__module__ = name, __name__
    return build


def read_model_config(path: Path | str) -> dict[str, Any]:
    """Read a model description in open_clip's JSON format."""
    config: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    if missing:
        raise ModelError(f"model description {path} lacks {', '.join(sorted(missing))}")
    return config


def build_image_encoder(config: Mapping[str, Any]) -> nn.Module:
    """Build the image encoder of a model description; its embedding has ``embed_dim`` numbers."""
    name = config["vision_cfg"].get("timm_model_name")
    if name not in IMAGE_ENCODERS:
        raise ModelError(f"image encoder '{name}' is not known: choose one of {', '.join(sorted(IMAGE_ENCODERS))}")
    return IMAGE_ENCODERS[name](num_classes=config["embed_dim"])


def build_two_towers(config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Build an open_clip model with an image and a text tower from a model description."""
    import open_clip

    register_image_encoders()
    return open_clip.CustomTextCLIP(**config)


def normalise_pixels(pixels: Tensor) -> Tensor:
    """Turn uint8 images ``[n, size, size, 3]`` into normalised floats ``[n, 3, size, size]``."""
    images = pixels.permute(0, 3, 1, 2).float().div_(255.0)
    return images.sub_(PIXEL_MEAN).div_(PIXEL_STD)


def encode_text(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return text features ``[n, embed_dim]`` of padded tokens ``[n, context]``.

    Columns that are padding in every row are cut off first. The result is the same, since attention is causal
    and the features are read at the end-of-text token; the time is shorter, since most captions have few words.
    """
    longest = int((tokens != 0).sum(dim=1).max())
    tower: Any = model.text
    whole_mask = tower.attn_mask
    tower.attn_mask = whole_mask[:longest, :longest]
    try:
        features: Tensor = tower(tokens[:, :longest])
    finally:
        tower.attn_mask = whole_mask
    return features


def tokenize(captions: Sequence[str], context_length: int) -> Tensor:
    """Return open_clip's byte-pair tokens ``[n, context_length]``; longer captions are cut."""
    from open_clip.tokenizer import SimpleTokenizer

    tokens: Tensor = SimpleTokenizer(context_length=context_length)(list(captions))
    return tokens


def save_weights(path: Path | str, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write weights as safetensors, with ``facts`` as JSON in its header."""
    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            temporary,
            metadata={"facts": json.dumps(dict(facts), sort_keys=True)},
        )


def read_facts(path: Path | str) -> dict[str, Any]:
    """Read the facts in the header of a weights file."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as handle:
        facts: dict[str, Any] = json.loads((handle.metadata() or {}).get("facts", "{}"))
    return facts


def image_encoder_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the image encoder's weights of a checkpoint of any objective, by the encoder's own names."""
    return {
        name.removeprefix(IMAGE_ENCODER_PREFIX): tensor
        for name, tensor in weights.items()
        if name.startswith(IMAGE_ENCODER_PREFIX)
    }


def load_image_encoder(path: Path | str, config: Mapping[str, Any]) -> nn.Module:
    """Load the image encoder of a run, for any objective."""
    encoder = build_image_encoder(config)
    load_weights(encoder, image_encoder_weights(load_file(path)), f"{path}")
    return encoder.eval()


def load_two_towers(path: Path | str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Load the open_clip model of a run trained on captions."""
    weights = load_file(path)
    # SigLIP has a bias, CLIP has none; what it starts from does not matter, since it is loaded.
    bias = {"init_logit_bias": 0.0} if "logit_bias" in weights else {}
    model = build_two_towers(dict(config) | bias)
    load_weights(model, weights, f"{path}")
    return model.eval()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load weights into a model.

    Raises:
        ModelError: they are of another architecture; the message names both, and the first weight that differs.
    """
    difference = _first_difference(weights, model.state_dict())
    if difference:
        raise ModelError(
            f"weights of {origin} are of {_architecture(weights)} and do not fit {_architecture(model.state_dict())}: "
            f"{difference}; use a run with the same model and embed_dim"
        )
    model.load_state_dict(weights)


def _architecture(weights: Mapping[str, Tensor]) -> str:
    """Return in words what model weights are of, told by their names and the width of the embedding."""
    if not weights:
        return "no model"
    for encoder in IMAGE_ENCODERS.values():
        with torch.device("meta"):
            names = encoder().state_dict().keys()
        if weights.keys() == names:
            return f"{encoder.__name__} with an embedding of {weights['projection.weight'].shape[0]}"
    return f"another model with {len(weights)} weights"


def _first_difference(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return the first weight that is missing, of another shape or not wanted; nothing where all fit."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"'{name}' {list(tensor.shape)} is missing"
        if found[name].shape != tensor.shape:
            return f"'{name}' is {list(found[name].shape)} instead of {list(tensor.shape)}"
    for name, tensor in found.items():
        if name not in wanted:
            return f"'{name}' {list(tensor.shape)} is not wanted"
    return ""
