"""Contrastive losses that open_clip does not have: supervised contrastive and SimCLR's NT-Xent."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, equation 2, L_out).

    For every anchor: minus the mean, over its positives (other views of all images with its label), of the positive's
    log probability in the softmax over everything but the anchor; then the mean over anchors that have a positive.

    Args:
        features: ``[n, dim]``; they are normalised here.
        labels: ``[n]``; views of one image share its label.
        temperature: divides the cosine similarities, above 0.

    Returns:
        The loss; on a GPU not a number if no anchor has a positive, which only a wait would tell.

    Raises:
        ValueError: no anchor has a positive: show at least two views of each image.
    """
    # In 32 bits at least, whatever autocast made of the features.
    unit = nn.functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
    scores = unit @ unit.T / temperature
    self_pair = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    positive = (labels[:, None] == labels[None, :]) & ~self_pair
    counts = positive.sum(dim=1)
    has_positive = counts > 0
    if labels.device.type == "cpu" and not bool(has_positive.any()):
        raise ValueError(f"none of {len(labels)} anchors has a positive: show at least two views of each image")
    # The diagonal is left out of the softmax by a finite number, since 0 times infinity would be NaN below.
    log_probability = nn.functional.log_softmax(scores.masked_fill(self_pair, torch.finfo(scores.dtype).min), dim=1)
    per_anchor = -(log_probability * positive).sum(dim=1) / counts.clamp(min=1)
    return per_anchor.where(has_positive, 0.0).sum() / has_positive.sum()


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return SimCLR's normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1).

    Every view is classified as the other view of its image among all other views of the batch: the supervised
    contrastive loss with each image as a class of its own.

    Args:
        first: features of one view of each image ``[n, dim]``.
        second: of the other view, in the same order.
        temperature: divides the cosine similarities, above 0.
    """
    own = torch.arange(len(first), device=first.device)
    return supervised_contrastive(torch.cat([first, second]), torch.cat([own, own]), temperature)
