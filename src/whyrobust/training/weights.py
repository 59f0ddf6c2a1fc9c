"""Weights on disk: reading, writing and naming them, those of runs and of published models.

A run's weights are a safetensors file (numbers and no code) under open_clip's names, with metadata of the run as JSON
in its header. `open_clip_config` describes the file to open_clip; `read_published` brings a published model into this
form.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whyrobust.data.preprocessing import Preprocessing
from whyrobust.files import atomic_path
from whyrobust.training.models import (
    IMAGE_ENCODERS,
    ModelError,
    build_image_encoder,
    build_two_towers,
    is_own_encoder,
    is_own_model,
    read_model_config,
)

#: Prefixes of an image encoder's weights in a checkpoint: of `IMAGE_ENCODERS`, which open_clip wraps as a timm trunk,
#: and of open_clip's own encoders.
OWN_ENCODER_PREFIX, ENCODER_PREFIX = "visual.trunk.", "visual."

#: Modules of the text tower that are at the top level of open_clip's CLIP class (its own conversion has the same list).
TEXT_TOWER_MODULES = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")

#: Of the text tower's tokens.
VOCABULARY = "text.token_embedding.weight"

#: Key of the run's metadata in the header of a weights file.
METADATA_KEY = "facts"


def save_weights(path: Path | str, weights: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write weights as safetensors, whole or not at all, with ``metadata`` as JSON in the header."""
    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            temporary,
            metadata={METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)},
        )


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Read the metadata in the header of a weights file, without its tensors.

    Raises:
        ModelError: the file cannot be read, or has no metadata: this program did not write it.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="numpy") as handle:
            text = (handle.metadata() or {}).get(METADATA_KEY, "")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    try:
        metadata: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ModelError(
            f"{path} has no metadata of a run in its header: it was not written by train_run, train the run again"
        ) from error
    return metadata


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        ModelError: it is no safetensors file, or is truncated.
    """
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    return weights


def _unreadable(path: Path | str, error: Exception) -> ModelError:
    return ModelError(f"{path} cannot be read as weights ({error}): delete it and run again")


# --- Names of weights ---------------------------------------------------------------------------------------


def open_clip_names(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of two towers under the names of the class that open_clip builds from the description."""
    if config.get("custom_text"):
        return dict(weights)
    return {name.removeprefix("text."): tensor for name, tensor in weights.items()}


def own_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `open_clip_names`."""
    return {
        f"text.{name}" if name.split(".")[0] in TEXT_TOWER_MODULES else name: tensor for name, tensor in weights.items()
    }


def export_encoder_weights(encoder: nn.Module, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of an image encoder under open_clip's names."""
    prefix = OWN_ENCODER_PREFIX if is_own_encoder(config) else ENCODER_PREFIX
    return {prefix + name: tensor for name, tensor in encoder.state_dict().items()}


def extract_encoder_weights(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Undo `export_encoder_weights` for a checkpoint of any objective: its image encoder's weights alone."""
    prefix = OWN_ENCODER_PREFIX if is_own_encoder(config) else ENCODER_PREFIX
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


# --- Weights into models ------------------------------------------------------------------------------------


def load_image_encoder(path: Path | str, config: Mapping[str, Any]) -> nn.Module:
    """Return the image encoder of a run of any objective, in evaluation mode."""
    encoder: nn.Module = _load(build_image_encoder, config, extract_encoder_weights(read_weights(path), config), path)
    return encoder


def load_two_towers(path: Path | str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Return the open_clip model of a run trained on captions, in evaluation mode."""
    weights = own_names(read_weights(path))
    # SigLIP has a bias, CLIP has none; its initial value does not matter, since it is loaded.
    bias = {"init_logit_bias": 0.0} if "logit_bias" in weights else {}
    return _load(build_two_towers, dict(config) | bias, weights, path)


def _load(
    build: Callable[[Mapping[str, Any]], Any],
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    path: Path | str,
) -> Any:  # noqa: ANN401 - open_clip is untyped
    """Return a model with weights, in evaluation mode.

    To draw initial values for a vocabulary takes as long as the forward pass of a thousand icons, so models of our own
    are copied from the first of their description, but for its parameters. They take the vocabulary as it lies in the
    file, of which few rows are looked up, and copies of all else: products may round by where their factors are.
    """
    if not is_own_model(config):
        model = build(config)
        load_weights(model, weights, f"{path}")
        return model.eval()
    first = _first_built(build, json.dumps(config))
    model = copy.deepcopy(first, {id(parameter): parameter for parameter in first.parameters()})
    taken = {name: tensor if name == VOCABULARY else tensor.clone() for name, tensor in weights.items()}
    load_weights(model, taken, f"{path}", as_they_are=True)
    return model.eval()


@lru_cache(maxsize=2)
def _first_built(build: Callable[[Mapping[str, Any]], Any], config: str) -> Any:  # noqa: ANN401
    return build(json.loads(config))


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str, as_they_are: bool = False) -> None:
    """Load weights into a model.

    Args:
        model: that they are for.
        weights: by the names of the model.
        origin: what they are of, for messages.
        as_they_are: the model takes the tensors themselves, instead of copying their values into its own.

    Raises:
        ModelError: they are of another architecture; the message names both, and the first weight that differs.
    """
    difference = _first_difference(weights, model.state_dict())
    if difference:
        raise ModelError(
            f"weights of {origin} are of {_architecture(weights)} and do not fit {_architecture(model.state_dict())}: "
            f"{difference}; use a run with the same model and embed_dim"
        )
    model.load_state_dict(weights, assign=as_they_are)


def _architecture(weights: Mapping[str, Tensor]) -> str:
    """Describe the architecture that weights are of, by their names, and where they tell the embedding's width."""
    if not weights:
        return "no model"
    for encoder in IMAGE_ENCODERS.values():
        with torch.device("meta"):
            names = encoder().state_dict().keys()
        if weights.keys() == names:
            projection = weights.get("projection.weight")
            width = "" if projection is None else f" with an embedding of {projection.shape[0]}"
            return f"{encoder.__name__}{width}"
    return f"another model with {len(weights)} weights"


def _first_difference(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return the first weight that is missing, of another shape or not wanted; "" where all fit."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"'{name}' {list(tensor.shape)} is missing"
        if found[name].shape != tensor.shape:
            return f"'{name}' is {list(found[name].shape)} instead of {list(tensor.shape)}"
    for name, tensor in found.items():
        if name not in wanted:
            return f"'{name}' {list(tensor.shape)} is not wanted"
    return ""


# --- open_clip's description, and published models ----------------------------------------------------------


def open_clip_config(
    config: Mapping[str, Any], preprocessing: Mapping[str, Any], has_logit_bias: bool
) -> dict[str, Any]:
    """Return the content of ``open_clip_config.json`` beside a run's weights.

    With it ``open_clip.create_model_and_transforms("local-dir:<folder of the run>")`` loads model and preprocessing.

    Args:
        config: model description.
        preprocessing: of `Preprocessing.as_dict`.
        has_logit_bias: whether the model has a bias beside its temperature, as SigLIP's have.
    """
    return {
        "model_cfg": dict(config) | ({"init_logit_bias": 0.0} if has_logit_bias else {}),
        "preprocess_cfg": {key: preprocessing[key] for key in ("mean", "std", "interpolation", "resize_mode")},
    }


@dataclass(frozen=True)
class PublishedModel:
    """A published model as it is stored: weights, preprocessing and the description that open_clip reads back.

    Attributes:
        name: of the architecture, or of the file that describes it; with the description what `register_model` takes.
        weights: by the names of open_clip's class.
        preprocessing: of its images.
        open_clip_config: content of ``open_clip_config.json`` beside the weights.
    """

    name: str
    weights: Mapping[str, Tensor]
    preprocessing: Preprocessing
    open_clip_config: Mapping[str, Any]


#: Kinds of number that weights may be stored as; others (int8, float8) need a scale that the file does not say.
NUMBERS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def register_model(name: str, config: Mapping[str, Any]) -> str:
    """Return the name by which open_clip builds a model description.

    That is ``name`` where open_clip knows the very same description by it, else a name that no other description has:
    a file may be called like a model that open_clip brings. The name given is part of it, since open_clip chooses the
    tokenizer of some models by their names.
    """
    import open_clip

    if open_clip.get_model_config(name) == config:
        return name
    text = json.dumps(dict(config), sort_keys=True)
    own = f"{name}-described-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if open_clip.get_model_config(own) is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{own}.json"
            path.write_text(text, encoding="utf-8")
            open_clip.add_model_config(path)
    return own


def _published_description(model: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the description of a published model, which is named or described by a file (.json).

    Raises:
        ModelError: there is no such model.
    """
    import open_clip

    path = Path(model)
    if path.suffix == ".json":
        if not path.is_file():
            raise ModelError(f"there is no model description {model}")
        return path.stem, read_model_config(path)
    if ":" in model or open_clip.get_model_config(model) is None:
        raise ModelError(
            f"open_clip knows no model '{model}': choose one of open_clip.list_models(), or give a description"
        )
    return model, open_clip.get_model_config(model)


def read_published(model: str, weights: str) -> PublishedModel:
    """Read a published open_clip model.

    Args:
        model: open_clip's name of the architecture, for example ``RN50``, or the path of a model description.
        weights: a file, or one of open_clip's tags, which it downloads.

    Raises:
        ModelError: open_clip does not know the architecture or the tag, the file does not fit, or its numbers are not
            those of a model (see `_check_numbers`). Pickled files are read by torch's safe loader only, so a file that
            would run code is refused.
    """
    import open_clip

    stem, description = _published_description(model)
    name, path = register_model(stem, description), Path(weights)
    if not path.is_file() and weights not in open_clip.list_pretrained_tags_by_model(name):
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ModelError(
            f"weights '{weights}' of '{model}' are no file and no tag that open_clip knows: its tags are {known}"
        )
    # As an absolute path no file is taken for a tag.
    origin = str(path.resolve()) if path.is_file() else weights
    try:
        built = open_clip.create_model(name, pretrained=origin, weights_only=True).eval()
        stored = _stored_weights(built, path) if path.is_file() else {}
    except Exception as error:
        raise ModelError(
            f"open_clip cannot load '{model}' with weights '{weights}': {type(error).__name__}: {error}"
        ) from error
    given = built.visual.preprocess_cfg
    size = given["size"][0] if isinstance(given["size"], list | tuple) else given["size"]
    preprocessing = Preprocessing(
        size=int(size), mean=given["mean"], std=given["std"], interpolation=given["interpolation"],
        resize_mode=given["resize_mode"],
    )  # fmt: skip
    _check_numbers(built.state_dict(), stored, f"weights '{weights}' of '{model}'")
    _check_embeddings(built, preprocessing.size, f"weights '{weights}' of '{model}'")
    config = {"model_cfg": description, "preprocess_cfg": preprocessing.as_dict()}
    copied = {key: value.clone() for key, value in built.state_dict().items()}
    return PublishedModel(stem, copied, preprocessing, config)


def _stored_weights(model: Any, path: Path) -> dict[str, Tensor]:  # noqa: ANN401 - open_clip is untyped
    """Return the weights of a file by the names of a model, in the kind of number that they are stored in."""
    from open_clip.convert import convert_state_dict
    from open_clip.factory import load_state_dict

    if path.suffix in (".npz", ".npy"):  # open_clip reads these array by array
        return {}
    stored: dict[str, Tensor] = convert_state_dict(model, load_state_dict(str(path), weights_only=True))
    return stored


def _check_numbers(weights: Mapping[str, Tensor], stored: Mapping[str, Tensor], origin: str) -> None:
    """Check that weights are numbers that training can have made: finite, and no matrix of one value alone.

    Args:
        weights: as a model holds them.
        stored: the same as a file holds them, empty where that is not known.
        origin: what they are, for messages.

    Raises:
        ModelError: the first weight that is another kind of number, is not finite, or is one value throughout.
    """
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            continue
        if name in stored and stored[name].dtype not in NUMBERS:
            kind = str(stored[name].dtype).removeprefix("torch.")
            raise ModelError(
                f"{origin}: '{name}' holds {kind} numbers: give the weights as float32, float16 or bfloat16"
            )
        if not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{origin}: '{name}' has {count:,} of {tensor.numel():,} numbers that are not finite: the file is "
                "damaged, or its training diverged; give other weights"
            )
        if sum(side > 1 for side in tensor.shape) > 1 and bool(tensor.amin() == tensor.amax()):
            raise ModelError(
                f"{origin}: '{name}' is {tensor.flatten()[0].item()} throughout: these are no trained weights; give "
                "others"
            )


def _check_embeddings(model: Any, size: int, origin: str) -> None:  # noqa: ANN401 - open_clip is untyped
    """Check that a model tells pictures apart.

    Raises:
        ModelError: two pictures of noise have one embedding, or one that is not finite.
    """
    noise = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        # Of length 1, as cosine similarity takes them.
        embeddings: Tensor = model.encode_image(noise, normalize=True)
    if not torch.isfinite(embeddings).all():
        raise ModelError(f"{origin} give an embedding that is not finite: give other weights")
    if torch.equal(embeddings[0], embeddings[1]):
        raise ModelError(f"{origin} give every picture the same embedding: these are no trained weights; give others")
