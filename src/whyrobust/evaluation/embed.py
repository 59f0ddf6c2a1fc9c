"""Embeddings of images by a trained encoder, and their files: after one forward pass per image all is plain numpy."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from whyrobust.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor, nn

    from whyrobust.data.preprocessing import Preprocessing

Floats = NDArray[np.float32]


class EvaluationError(ValueError):
    """Images, scores or labels that do not fit together."""


def normalise(vectors: Floats) -> Floats:
    """Scale each row to length 1; a row of zeros stays zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def embed_images(
    encoder: nn.Module,
    images: Iterable[Floats | NDArray[np.uint8]],
    preprocessing: Preprocessing,
    batch_size: int,
    device: str,
) -> Floats:
    """Return the embeddings ``[n, embed_dim]`` of images.

    Args:
        encoder: normalised images ``[n, 3, size, size]`` -> embeddings; on the device already.
        images: uint8 ``[size, size, 3]`` each; of another side than ``preprocessing.size`` they are resized.
        preprocessing: of the encoder.
        batch_size: images per forward pass.
        device: 'cpu', 'cuda' or 'auto': where the encoder is.

    Raises:
        EvaluationError: there are no images.
    """
    return embed_batches(encoder, normalised_batches(images, preprocessing, batch_size, device))


def normalised_batches(
    images: Iterable[Floats | NDArray[np.uint8]], preprocessing: Preprocessing, batch_size: int, device: str
) -> Iterator[Tensor]:
    """Yield the batches ``[n, 3, size, size]`` that `embed_images` shows an encoder, which has the same arguments."""
    import torch

    from whyrobust.training.augmentation import normalise_pixels
    from whyrobust.training.device import choose_device

    target, size = choose_device(device), preprocessing.size
    waiting = iter(images)
    while batch := list(itertools.islice(waiting, batch_size)):
        pixels = torch.from_numpy(np.stack(batch)).to(target)
        normalised = normalise_pixels(pixels, preprocessing.mean, preprocessing.std)
        if normalised.shape[-1] != size:
            normalised = torch.nn.functional.interpolate(
                normalised, size=(size, size), mode=preprocessing.interpolation, antialias=True, align_corners=False
            )
        yield normalised


class KeptBatches:
    """Batches that the runs of a job are shown one after the other, made once for all as long as there is room.

    Attributes:
        room: bytes that may still be kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._kept: dict[Hashable, list[Tensor]] = {}

    def batches_of(self, name: Hashable, needed: int, make: Callable[[], Iterator[Tensor]]) -> Iterable[Tensor]:
        """Return what was kept by a name, else what is made, which is kept if there is room for it.

        Args:
            name: of images, and of how they are prepared.
            needed: bytes of all batches.
            make: makes the batches.
        """
        if name not in self._kept:
            if needed > self.room:
                return make()
            self.room -= needed
            self._kept[name] = list(make())
        return self._kept[name]


def embed_batches(encoder: nn.Module, batches: Iterable[Tensor]) -> Floats:
    """Return the embeddings ``[n, embed_dim]`` of batches of normalised images ``[n, 3, size, size]``.

    Raises:
        EvaluationError: there are none.
    """
    import torch

    from whyrobust.training.device import allow_tf32

    allow_tf32(False)
    with torch.inference_mode():
        parts = [encoder(batch).float().cpu().numpy() for batch in batches]
    if not parts:
        raise EvaluationError("there are no images to embed: the test set or subset is empty")
    return np.concatenate(parts)


def save_embeddings(path: Path | str, arrays: Mapping[str, Floats], facts: Mapping[str, float | None]) -> None:
    """Write the embeddings of a run, whole or not at all.

    Args:
        path: safetensors file.
        arrays: ``images.<test set>``, ``prompts.<prompt set>``, ``fitting.<source>`` and ``classifier.*``.
        facts: numbers about the run's training, for ``runs.csv``, by column.
    """
    with atomic_path(path) as temporary:
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, temporary, metadata={"facts": json.dumps(dict(facts))})


def read_embeddings(path: Path | str) -> tuple[dict[str, Floats], dict[str, float | None]]:
    """Return the arrays and the facts of `save_embeddings`."""
    with safe_open(str(path), framework="numpy") as file:
        facts: dict[str, float | None] = json.loads(file.metadata()["facts"])
    return load_file(path), facts
