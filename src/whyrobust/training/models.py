"""Architectures: image encoders for small pictures, and two-tower models built around an image encoder with open_clip.

open_clip and timm take seconds to import, so they are imported only for encoders and towers of theirs; with one of
`IMAGE_ENCODERS` and CLIP's text tower torch is enough. `whyrobust.training.weights` reads and writes their weights.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.training.small_convolutions import Convolution
from whyrobust.training.text_encoder import TextTower


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
                Convolution(width, channel, 3, stride=2, padding=1),
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
            Convolution(width, channel, 3, stride=2, padding=1),
            nn.BatchNorm2d(channel),
            nn.ReLU(inplace=True),
            Convolution(channel, channel, 3, padding=1),
            nn.BatchNorm2d(channel),
        )
        self.shortcut = nn.Sequential(Convolution(width, channel, 1, stride=2), nn.BatchNorm2d(channel))

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[batch, channel, side / 2, side / 2]`` of ``[batch, width, side, side]``."""
        return nn.functional.relu(self.body(images) + self.shortcut(images))


class IconResNet(nn.Module):
    """A small residual network for 32- to 64-pixel pictures, so that standard models are not of one architecture.

    The stages and shapes of `IconCnn`, with a residual block instead of each convolution after the first.
    """

    def __init__(self, num_classes: int = 128, channels: Sequence[int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        stem = [Convolution(3, channels[0], 3, stride=2, padding=1), nn.BatchNorm2d(channels[0]), nn.ReLU()]
        blocks = [ResidualBlock(width, channel) for width, channel in itertools.pairwise(channels)]
        self.stages = nn.Sequential(*stem, *blocks)
        self.num_features = channels[-1]
        self.num_classes = num_classes
        self.projection = nn.Linear(channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``[batch, num_classes]`` of images ``[batch, 3, size, size]``."""
        features: Tensor = self.projection(self.stages(images).mean(dim=(2, 3)))
        return features


class AveragePool(nn.AvgPool2d):
    """torch's average pool, but squares of 2 x 2 on a GPU with channels last are averaged by a mean.

    torch has no fast kernel for that case: forward and backward took a fifth of a step of ResNet-50.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return what torch's pool returns of ``[batch, channels, height, width]``, but for rounding."""
        last = _is_on_gpu(images) and images.is_contiguous(memory_format=torch.channels_last)
        is_of_squares = (self.kernel_size, self.stride, self.padding, self.divisor_override) == (2, 2, 0, None)
        has_halves = images.shape[-2] % 2 == images.shape[-1] % 2 == 0
        # A compiler writes a kernel of its own.
        if last and is_of_squares and has_halves and not torch.compiler.is_compiling():
            return mean_of_two_by_two(images)
        return super().forward(images)


def _is_on_gpu(images: Tensor) -> bool:
    return images.is_cuda


def mean_of_two_by_two(images: Tensor) -> Tensor:
    """Return the means of squares of 2 x 2 pixels, ``[batch, channels, height / 2, width / 2]``, channels last.

    Args:
        images: ``[batch, channels, height, width]``, channels last, of even height and width.
    """
    batch, channels, height, width = images.shape
    squares = images.permute(0, 2, 3, 1).view(batch, height // 2, 2, width // 2, 2, channels)
    return squares.mean(dim=(2, 4)).permute(0, 3, 1, 2)


def quicken_average_pools(model: nn.Module) -> None:
    """Put `AveragePool` in the place of torch's average pools, with the same settings.

    A pool of single pixels, which open_clip's ResNets have where nothing is made smaller, is left out: torch computes
    it for what it is given.
    """
    for module in model.modules():
        for name, pool in module.named_children():
            if type(pool) is not nn.AvgPool2d:
                continue
            if (pool.kernel_size, pool.stride, pool.padding, pool.divisor_override) == (1, 1, 0, None):
                setattr(module, name, nn.Identity())
                continue
            quick = AveragePool(
                pool.kernel_size,
                pool.stride,
                pool.padding,
                pool.ceil_mode,
                pool.count_include_pad,
                pool.divisor_override,
            )
            setattr(module, name, quick)


IMAGE_ENCODERS: dict[str, type[IconCnn] | type[IconResNet]] = {"icon_cnn": IconCnn, "icon_resnet": IconResNet}


def register_image_encoders() -> None:
    """Register `IMAGE_ENCODERS` with timm by name, so that open_clip can build its vision tower from them."""
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
    """Read a model description in open_clip's JSON format.

    Raises:
        ModelError: it lacks one of ``embed_dim``, ``vision_cfg`` and ``text_cfg``.
    """
    config: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    if missing:
        raise ModelError(
            f"model description {path} lacks {', '.join(sorted(missing))}: see resources/models/ for complete ones"
        )
    return config


def is_own_encoder(config: Mapping[str, Any]) -> bool:
    """Whether the image encoder of a model description is one of `IMAGE_ENCODERS`, which need torch alone."""
    return config["vision_cfg"].get("timm_model_name") in IMAGE_ENCODERS


def build_image_encoder(config: Mapping[str, Any]) -> nn.Module:
    """Build the image encoder of a model description; its embedding has ``embed_dim`` numbers.

    Raises:
        ModelError: open_clip cannot build it.
    """
    if is_own_encoder(config):
        return IMAGE_ENCODERS[config["vision_cfg"]["timm_model_name"]](num_classes=config["embed_dim"])
    encoder: nn.Module = build_two_towers(config).visual
    return encoder


def encoder_of(model: Any, config: Mapping[str, Any]) -> nn.Module:  # noqa: ANN401 - open_clip is untyped
    """Return the image encoder inside an open_clip model: the module that `build_image_encoder` builds."""
    encoder: nn.Module = model.visual.trunk if is_own_encoder(config) else model.visual
    return encoder


#: Settings of a description that `TwoTowers` follows; with any other, open_clip builds the model.
OWN_SETTINGS = {"embed_dim", "vision_cfg", "text_cfg", "custom_text", "init_logit_scale", "init_logit_bias"}
OWN_VISION_SETTINGS = {"timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "image_size"}
OWN_TEXT_SETTINGS = {"context_length", "vocab_size", "width", "heads", "layers"}


def is_own_model(config: Mapping[str, Any]) -> bool:
    """Whether a model description asks for one of `IMAGE_ENCODERS` beside a text tower of CLIP's build."""
    vision = config["vision_cfg"]
    return (
        is_own_encoder(config)
        and not vision.get("timm_model_pretrained")
        and vision.get("timm_proj", "linear") is None
        and vision.get("timm_pool", "avg") == "avg"
        and set(config) <= OWN_SETTINGS
        and set(vision) <= OWN_VISION_SETTINGS
        and set(config["text_cfg"]) <= OWN_TEXT_SETTINGS
    )


class ImageTower(nn.Module):
    """An image encoder under the name that open_clip gives to encoders of timm."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``[batch, embed_dim]`` of images ``[batch, 3, size, size]``."""
        features: Tensor = self.trunk(images)
        return features


class TwoTowers(nn.Module):
    """An image encoder of `IMAGE_ENCODERS` and CLIP's text tower: open_clip's CustomTextCLIP without its imports.

    Weights have the same names, and the same initial values from the same seed.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.visual = ImageTower(build_image_encoder(config))
        self.text = TextTower(config["embed_dim"], **config["text_cfg"])
        self.context_length = self.text.context_length
        self.logit_scale = nn.Parameter(torch.ones([]) * config.get("init_logit_scale", math.log(1 / 0.07)))
        bias = config.get("init_logit_bias")
        self.logit_bias = None if bias is None else nn.Parameter(torch.ones([]) * bias)


def build_two_towers(config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Build a model with an image and a text tower from a model description in open_clip's format.

    The text tower is always a module of its own, as in open_clip's CustomTextCLIP; `weights.open_clip_names` gives
    weights the names that the description asks for.

    Raises:
        ModelError: open_clip cannot build it.
    """
    if is_own_model(config):
        return TwoTowers(config)
    import open_clip

    register_image_encoders()
    try:
        model = open_clip.CustomTextCLIP(**{name: value for name, value in config.items() if name != "custom_text"})
    except (TypeError, RuntimeError, KeyError) as error:
        raise ModelError(f"open_clip cannot build the described model: {error}") from error
    quicken_average_pools(model)
    return model
