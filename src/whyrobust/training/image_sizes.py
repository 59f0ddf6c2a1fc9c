"""Images of another size than a model is made for: its positional embedding is interpolated to their grid.

The weights stay those of the full size, of which the interpolated ones are a linear function, so that optimiser,
checkpoints and processes that share a batch know nothing of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.study.training_settings import PIXELS_A_CELL
from whyrobust.training.device import send


def encode_images(encoder: nn.Module, images: Tensor) -> Tensor:
    """Return embeddings ``[batch, embed_dim]`` of images ``[batch, 3, side, side]``, whatever their side.

    Args:
        encoder: of `whyrobust.training.models.build_image_encoder`. One without a positional embedding takes images of
            any size by itself.
        images: normalised; their side is filled by the encoder's patches.
    """
    found = _positional_embedding(encoder)
    features: Tensor
    if found is None:
        features = encoder(images)
        return features
    name, weight, cell = found
    side = images.shape[-1] // cell
    if len(weight) == side**2 + 1:
        features = encoder(images)
    else:
        features = torch.func.functional_call(encoder, {name: interpolate_positions(weight, side)}, (images,))
    return features


def _positional_embedding(encoder: nn.Module) -> tuple[str, Tensor, int] | None:
    """Return the name and the weight ``[1 + side^2, width]`` of a positional embedding and the pixels of a cell.

    Those of open_clip's residual networks and vision transformers are known; None for encoders without one.
    """
    known: Any = encoder
    if hasattr(known, "attnpool"):
        return "attnpool.positional_embedding", known.attnpool.positional_embedding, PIXELS_A_CELL
    if hasattr(known, "positional_embedding"):
        return "positional_embedding", known.positional_embedding, known.patch_size[0]
    return None


def interpolate_positions(weight: Tensor, side: int) -> Tensor:
    """Return a positional embedding ``[1 + old^2, width]`` on another grid, ``[1 + side^2, width]``.

    The first row, of no place, is kept; the grid is interpolated as in open_clip's ``resize_pos_embed``: bicubic, with
    antialiasing. As a product with a constant matrix, since torch has no repeatable gradient of that on a GPU.
    """
    old = round((len(weight) - 1) ** 0.5)
    # In full precision under autocast too.
    with torch.autocast(weight.device.type, enabled=False):
        grid = send(_interpolation(old, side).to(weight.dtype), weight.device) @ weight[1:]
    return torch.cat([weight[:1], grid])


@lru_cache(maxsize=8)
def _interpolation(old: int, new: int) -> Tensor:
    """Return the matrix ``[new^2, old^2]`` that interpolates a grid, from the grids that are 1 in one place."""
    units = torch.eye(old**2).view(1, old**2, old, old)
    resized = nn.functional.interpolate(units, size=(new, new), mode="bicubic", antialias=True, align_corners=False)
    return resized.view(old**2, new**2).T.contiguous()
