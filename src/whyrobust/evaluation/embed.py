"""Evaluation: embeddings of test images and prompts, class scores, predictions and accuracies.

Stands alone because a run is embedded once and scored many times: everything after the embeddings is plain
numpy, so that a new prompt set or another way of counting costs no forward pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from whyrobust.data.photo_store import Preprocessing

Floats = NDArray[np.float32]


class EvaluationError(ValueError):
    """Scores or labels that do not fit together."""


def fill_prompts(classes: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Return, for each class, its prompts: every template with the class name put in for ``{class}``."""
    for template in templates:
        if "{class}" not in template:
            raise EvaluationError(f"prompt '{template}' has no {{class}}: write where the class name goes")
    return [[template.replace("{class}", name) for template in templates] for name in classes]


def normalise(vectors: Floats) -> Floats:
    """Scale each row to length 1; a row of zeros stays zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def combine_prompts(prompt_features: Floats) -> Floats:
    """Return one direction a class ``[classes, dim]`` from prompt features ``[classes, prompts, dim]``.

    Each prompt is normalised, the prompts of a class are averaged and the mean is normalised again (Radford et
    al. 2021, section 3.1.4; open_clip's ``build_zero_shot_classifier``).
    """
    return normalise(normalise(prompt_features).mean(axis=1))


def score_zero_shot(image_features: Floats, class_directions: Floats) -> Floats:
    """Return cosines ``[images, classes]`` of image features ``[images, dim]`` with directions ``[classes, dim]``."""
    return normalise(image_features) @ class_directions.T


def score_classifier(image_features: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return the linear layer's scores ``[images, classes]``."""
    return image_features @ weight.T + bias


def predict(scores: Floats, answers: Sequence[Sequence[int]] | None = None) -> NDArray[np.int64]:
    """Return the answer with the highest score of each image; of equal scores the first.

    Args:
        scores: ``[images, classes]``.
        answers: what may be predicted: class ids, of which each answer takes the highest score (so that a hit on any of
            them counts, as ObjectNet is scored). None: every class is an answer.

    Returns:
        Positions in ``answers``, ``[images]``.

    Raises:
        EvaluationError: a score that is not a number, or nothing that may be predicted.
    """
    if np.isnan(scores).any():
        raise EvaluationError(f"{int(np.isnan(scores).any(axis=1).sum())} images have a score that is not a number")
    if answers is None:
        return np.argmax(scores, axis=1).astype(np.int64)
    if not len(answers) or not all(len(answer) for answer in answers):
        raise EvaluationError("no class may be predicted: the test set covers none of the study's classes")
    if all(len(answer) == 1 for answer in answers):
        return np.argmax(scores[:, [answer[0] for answer in answers]], axis=1).astype(np.int64)
    best = np.stack([scores[:, list(answer)].max(axis=1) for answer in answers], axis=1)
    return np.argmax(best, axis=1).astype(np.int64)


def embed_images(
    encoder: nn.Module, images: Iterable[Floats | NDArray[np.uint8]], how: Preprocessing, batch_size: int, device: str
) -> Floats:
    """Return the embeddings ``[n, embed_dim]`` of images by an encoder.

    Args:
        encoder: turns normalised images ``[n, 3, size, size]`` into embeddings, on the device already.
        images: uint8 ``[size, size, 3]`` each; of another side than ``how.size`` they are resized.
        how: the encoder's preprocessing.
        batch_size: images at a time.
        device: where the encoder is.
    """
    import torch

    from whyrobust.training.loop import pick_device
    from whyrobust.training.models import normalise_pixels

    place = pick_device(device)
    parts: list[Floats] = []
    waiting = iter(images)
    with torch.inference_mode():
        while batch := list(itertools.islice(waiting, batch_size)):
            pixels = normalise_pixels(torch.from_numpy(np.stack(batch)).to(place), how.mean, how.std)
            if pixels.shape[-1] != how.size:
                pixels = torch.nn.functional.interpolate(
                    pixels, size=(how.size, how.size), mode=how.interpolation, antialias=True, align_corners=False
                )
            parts.append(encoder(pixels).float().cpu().numpy())
    if not parts:
        raise EvaluationError("there is no image to embed")
    return np.concatenate(parts)


def embed_prompts(
    encode: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]], batch_size: int = 512
) -> Floats:
    """Return text features ``[classes, prompts, dim]``, not normalised.

    Args:
        encode: turns texts into features ``[n, dim]``.
        prompts: of each class, equally many.
        batch_size: texts at a time.
    """
    import torch

    flat = [prompt for of_class in prompts for prompt in of_class]
    with torch.inference_mode():
        parts = [encode(flat[start : start + batch_size]).float().cpu() for start in range(0, len(flat), batch_size)]
    features = torch.cat(parts).numpy()
    array: Floats = features.reshape(len(prompts), -1, features.shape[-1])
    return array
