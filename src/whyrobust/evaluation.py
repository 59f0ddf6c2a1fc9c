"""Evaluation: embeddings of test images and prompts, class scores, predictions and accuracies.

Stands alone because a run is embedded once and scored many times: everything after the embeddings is plain
numpy, so that a new prompt set or another way of counting costs no forward pass.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class EvaluationError(ValueError):
    """Scores or labels that do not fit together."""


def read_class_names(path: Path | str) -> list[str]:
    """Return the names of the classes; a class's id is its position in the table."""
    with Path(path).open(encoding="utf-8", newline="") as handle:
        return [row["class"] for row in csv.DictReader(handle)]


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


def predict(scores: Floats, allowed: Sequence[int] | None = None) -> NDArray[np.int64]:
    """Return the class id with the highest score of each image; of equal scores the lowest id.

    Args:
        scores: ``[images, classes]``.
        allowed: class ids that may be predicted, for a test set which covers only some classes.

    Raises:
        EvaluationError: a score that is not a number, or no allowed class.
    """
    if np.isnan(scores).any():
        raise EvaluationError(f"{int(np.isnan(scores).any(axis=1).sum())} images have a score that is not a number")
    if allowed is None:
        return np.argmax(scores, axis=1).astype(np.int64)
    ids = np.array(sorted(allowed), dtype=np.int64)
    if not len(ids):
        raise EvaluationError("no class may be predicted: the test set covers none of the study's classes")
    chosen: NDArray[np.int64] = ids[np.argmax(scores[:, ids], axis=1)]
    return chosen


def embed_images(
    weights: str,
    model_config: Mapping[str, object],
    pixels: NDArray[np.uint8],
    batch_size: int,
    threads: int,
    device: str,
) -> Floats:
    """Return the embeddings ``[n, embed_dim]`` of uint8 images ``[n, size, size, 3]`` by the run in ``weights``."""
    import torch

    from whyrobust.models import load_image_encoder, normalise_pixels
    from whyrobust.training import pick_device

    torch.set_num_threads(threads)
    place = pick_device(device)
    encoder = load_image_encoder(weights, model_config).to(place)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(np.array(pixels[start : start + batch_size])).to(place)
            parts.append(encoder(normalise_pixels(batch)).float().cpu().numpy())
    return np.concatenate(parts)


def embed_prompts(
    weights: str,
    model_config: Mapping[str, object],
    prompts: Sequence[Sequence[str]],
    threads: int,
    device: str,
) -> Floats:
    """Return text features ``[classes, prompts, dim]`` of a run with a text tower, not normalised."""
    import torch

    from whyrobust.models import encode_text, load_two_towers, tokenize
    from whyrobust.training import pick_device

    torch.set_num_threads(threads)
    place = pick_device(device)
    model = load_two_towers(weights, model_config).to(place)
    flat = [prompt for of_class in prompts for prompt in of_class]
    tokens = tokenize(flat, model.context_length).to(place)
    with torch.inference_mode():
        features = torch.cat([encode_text(model, part) for part in torch.split(tokens, 512)])
    array: Floats = features.float().cpu().numpy().reshape(len(prompts), -1, features.shape[-1])
    return array
