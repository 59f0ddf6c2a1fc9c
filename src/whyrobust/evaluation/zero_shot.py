"""Zero-shot classification by prompt ensembles: class names x prompt templates -> one direction per class.

Every template is filled with every class name, each prompt is embedded by the text tower, and the normalised features
of a class's prompts are averaged and normalised again (Radford et al. 2021, section 3.1.4). A class's score is the
cosine of an image's features with its direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from whyrobust.evaluation.embed import EvaluationError, Floats, normalise

if TYPE_CHECKING:
    from torch import Tensor

#: Where a template takes the class name.
CLASS_PLACEHOLDER = "{class}"


def fill_templates(classes: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Return the prompts of each class: every template with the class name in place of ``{class}``.

    Raises:
        EvaluationError: a template has no ``{class}``.
    """
    for template in templates:
        if CLASS_PLACEHOLDER not in template:
            raise EvaluationError(
                f"prompt '{template}' has no {CLASS_PLACEHOLDER}: write it where the class name belongs"
            )
    return [[template.replace(CLASS_PLACEHOLDER, name) for template in templates] for name in classes]


def embed_prompts(
    encode: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]], batch_size: int = 512
) -> Floats:
    """Return text features ``[classes, prompts, dim]``, not normalised.

    Args:
        encode: texts -> features ``[n, dim]``.
        prompts: of each class, equally many.
        batch_size: texts per forward pass.
    """
    import torch

    flat = [prompt for of_class in prompts for prompt in of_class]
    with torch.inference_mode():
        parts = [encode(flat[start : start + batch_size]).float().cpu() for start in range(0, len(flat), batch_size)]
    features = torch.cat(parts).numpy()
    array: Floats = features.reshape(len(prompts), -1, features.shape[-1])
    return array


def average_prompts(prompt_features: Floats) -> Floats:
    """Return one direction per class ``[classes, dim]`` from prompt features ``[classes, prompts, dim]``.

    Normalise each prompt, average the prompts of a class, normalise the mean (Radford et al. 2021, section 3.1.4;
    open_clip's ``build_zero_shot_classifier``).
    """
    return normalise(normalise(prompt_features).mean(axis=1))


def prompt_ensemble(
    encode: Callable[[Sequence[str]], Tensor], classes: Sequence[str], templates: Sequence[str]
) -> Floats:
    """Return the zero-shot direction of each class ``[classes, dim]``, the mean over all templates.

    Args:
        encode: texts -> features ``[n, dim]``.
        classes: names as they appear in prompts.
        templates: prompts with ``{class}``.
    """
    return average_prompts(embed_prompts(encode, fill_templates(classes, templates)))


def score_zero_shot(image_features: Floats, class_directions: Floats) -> Floats:
    """Return cosines ``[images, classes]`` of image features ``[images, dim]`` with directions ``[classes, dim]``."""
    return normalise(image_features) @ class_directions.T
