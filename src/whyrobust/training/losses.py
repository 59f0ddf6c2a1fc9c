"""Contrastive losses that open_clip does not have: supervised contrastive and SimCLR's NT-Xent.

Stands alone because a loss is a formula that can be checked by itself; the tests compare each with a plain double loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, equation 2, L_out).

    For every anchor: minus the mean over its positives (other views of all images with its label) of the log share
    that the positive has of the softmax over everything but the anchor; then the mean over anchors.

    Args:
        features: ``[n, dim]``, of any length; they are normalised here.
        labels: ``[n]``; views of one image share its label.
        temperature: divides the cosines, above 0.

    Raises:
        ValueError: no anchor has a positive: show at least two views of each image.
    """
    unit = nn.functional.normalize(features.float(), dim=-1)
    scores = unit @ unit.T / temperature
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    counts = positive.sum(dim=1)
    if not bool((counts > 0).any()):
        raise ValueError(f"none of {len(labels)} anchors has a positive: show at least two views of each image")
    # The diagonal is left out of the softmax; a finite number keeps 0 times it from becoming NaN.
    log_share = nn.functional.log_softmax(scores.masked_fill(itself, torch.finfo(scores.dtype).min), dim=1)
    per_anchor = -(log_share * positive).sum(dim=1) / counts.clamp(min=1)
    return per_anchor[counts > 0].mean()


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return SimCLR's normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1).

    Every view has to find the other view of its image among all other views of the batch. It is the supervised
    contrastive loss where each image is a class of its own.

    Args:
        first: features of one view of each image ``[n, dim]``.
        second: of the other view, in the same order.
        temperature: divides the cosines, above 0.
    """
    own = torch.arange(len(first), device=first.device)
    return supervised_contrastive(torch.cat([first, second]), torch.cat([own, own]), temperature)
