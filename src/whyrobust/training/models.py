"""Models: the image encoder for small pictures and the two-tower models built around it with open_clip.

Stands alone because every objective and every head shares these definitions. open_clip and timm take seconds to
import, so they are imported only where a text tower is needed; a run that learns from labels needs torch alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whyrobust.files import atomic_path
from whyrobust.training.text_encoder import encode_tokens

#: White is 0 after normalisation, so that padding with zeros adds more of the white page.
PIXEL_MEAN = (1.0, 1.0, 1.0)
PIXEL_STD = (0.5, 0.5, 0.5)

#: Prefixes of an image encoder's weights in a checkpoint: of `IMAGE_ENCODERS`, which open_clip sees as a timm trunk,
#: and of open_clip's own.
OWN_ENCODER_PREFIX, ENCODER_PREFIX = "visual.trunk.", "visual."


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
    """Return the image encoder inside an open_clip model, the part that `build_image_encoder` builds."""
    encoder: nn.Module = model.visual.trunk if is_own_encoder(config) else model.visual
    return encoder


def build_two_towers(config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Build an open_clip model with an image and a text tower from a model description.

    The text tower is always a module of its own (open_clip's CustomTextCLIP); `open_clip_names` gives weights the names
    that the description asks for.
    """
    import open_clip

    register_image_encoders()
    try:
        return open_clip.CustomTextCLIP(**{name: value for name, value in config.items() if name != "custom_text"})
    except (TypeError, RuntimeError, KeyError) as error:
        raise ModelError(f"open_clip cannot build the described model: {error}") from error


#: Parts of the text tower that stand at the top of open_clip's CLIP class (its own conversion has the same list).
TEXT_TOWER_PARTS = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")


def open_clip_names(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of two towers under the names of the class that open_clip builds from the description."""
    if config.get("custom_text"):
        return dict(weights)
    return {name.removeprefix("text."): tensor for name, tensor in weights.items()}


def own_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `open_clip_names`."""
    return {
        f"text.{name}" if name.split(".")[0] in TEXT_TOWER_PARTS else name: tensor for name, tensor in weights.items()
    }


def normalise_pixels(pixels: Tensor, mean: Sequence[float] = PIXEL_MEAN, std: Sequence[float] = PIXEL_STD) -> Tensor:
    """Turn uint8 images ``[n, size, size, 3]`` into normalised floats ``[n, 3, size, size]``, as torchvision does."""
    # Rows of pixels, not single ones: loops over three channels are too short for the processor's wide registers.
    rows = pixels.float().div_(255.0).flatten(2)
    centre = torch.tensor(mean, device=pixels.device).repeat(pixels.shape[2])
    spread = torch.tensor(std, device=pixels.device).repeat(pixels.shape[2])
    return rows.sub_(centre).div_(spread).view(pixels.shape).permute(0, 3, 1, 2)


def encode_text(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return text features ``[n, embed_dim]`` of padded tokens ``[n, context]``: open_clip's, without its padding."""
    return encode_tokens(model.text, tokens)


def tokenize(captions: Sequence[str], context_length: int, at_a_time: int = 10_000) -> Tensor:
    """Return open_clip's byte-pair tokens, int32 ``[n, context_length]``; longer captions are cut.

    Half the memory of open_clip's own 8-byte tokens, and some captions at a time, since it holds lists of numbers
    between: 8 million captions of 77 tokens take 2.5 GB. Of a caption its first 32 characters a token are read:
    byte-pair merging takes time by the square of a word's length, hours for a word of a million letters.
    """
    tokenizer = _tokenizer()
    tokens = torch.empty((len(captions), context_length), dtype=torch.int32)
    for start in range(0, len(captions), at_a_time):
        part = [caption[: 32 * context_length] for caption in captions[start : start + at_a_time]]
        tokens[start : start + len(part)] = tokenizer(part, context_length)
    return tokens


@cache
def _tokenizer() -> Callable[[list[str], int], Tensor]:
    """Return open_clip's tokenizer, which takes a tenth of a second to make, whatever the context length."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer: Callable[[list[str], int], Tensor] = SimpleTokenizer()
    return tokenizer


def save_weights(path: Path | str, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write weights as safetensors, with ``facts`` as JSON in its header."""
    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            temporary,
            metadata={"facts": json.dumps(dict(facts), sort_keys=True)},
        )


def read_facts(path: Path | str) -> dict[str, Any]:
    """Read the facts in the header of a weights file.

    Raises:
        ModelError: the file cannot be read, or has no facts: this program did not write it.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="numpy") as handle:
            text = (handle.metadata() or {}).get("facts", "")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    try:
        facts: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ModelError(
            f"{path} has no facts in its header: it was not written by a run, train the run again"
        ) from error
    return facts


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, a format that holds numbers and no code.

    Raises:
        ModelError: it is none, or was cut off.
    """
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    return weights


def _unreadable(path: Path | str, error: Exception) -> ModelError:
    return ModelError(f"{path} cannot be read as weights ({error}): delete it and run again")


def encoder_prefix(config: Mapping[str, Any]) -> str:
    """Return what the names of an image encoder's weights start with in a checkpoint."""
    return OWN_ENCODER_PREFIX if is_own_encoder(config) else ENCODER_PREFIX


def image_encoder_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the image encoder's weights of a checkpoint of any objective, by the encoder's own names."""
    own = any(name.startswith(OWN_ENCODER_PREFIX + "stages.") for name in weights)
    prefix = OWN_ENCODER_PREFIX if own else ENCODER_PREFIX
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def load_image_encoder(path: Path | str, config: Mapping[str, Any]) -> nn.Module:
    """Load the image encoder of a run, for any objective."""
    encoder = build_image_encoder(config)
    load_weights(encoder, image_encoder_weights(read_weights(path)), f"{path}")
    return encoder.eval()


def load_two_towers(path: Path | str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Load the open_clip model of a run trained on captions."""
    weights = own_names(read_weights(path))
    # SigLIP has a bias, CLIP has none; what it starts from does not matter, since it is loaded.
    bias = {"init_logit_bias": 0.0} if "logit_bias" in weights else {}
    model = build_two_towers(dict(config) | bias)
    load_weights(model, weights, f"{path}")
    return model.eval()


def open_clip_config(config: Mapping[str, Any], preprocessing: Mapping[str, Any], siglip: bool) -> dict[str, Any]:
    """Return what stands in ``open_clip_config.json`` beside a run's weights.

    With it ``open_clip.create_model_and_transforms("local-dir:<folder of the run>")`` loads model and preprocessing.

    Args:
        config: model description.
        preprocessing: of `photographs.Preprocessing.as_dict`.
        siglip: whether the model has a bias.
    """
    return {
        "model_cfg": dict(config) | ({"init_logit_bias": 0.0} if siglip else {}),
        "preprocess_cfg": {key: preprocessing[key] for key in ("mean", "std", "interpolation", "resize_mode")},
    }


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
