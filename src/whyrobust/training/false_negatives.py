"""False negatives of a contrastive run: samples of a batch that the loss takes for different though they say the same.

Two images with the same caption are pushed apart by CLIP's and SigLIP's losses, two images of one class by SimCLR's;
supervised contrastive learning has none. The more there are, the more a comparison of losses is one of false negatives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

#: Batches that the share is counted in: the first of a run, since it is the same throughout.
MOST_BATCHES = 1000


def false_negative_share(batches: Iterable[Tensor], said: Tensor) -> float:
    """Return the share of all pairs of samples within a batch that say the same, counted in the first batches.

    Args:
        batches: positions ``[batch]`` of the images of each step.
        said: what each image says: caption tokens ``[n, context]``, or class ids ``[n]``.
    """
    same = pairs = 0
    for positions in itertools.islice(batches, MOST_BATCHES):
        _, counts = torch.unique(said[positions], dim=0, return_counts=True)
        same += int((counts * (counts - 1)).sum())
        pairs += len(positions) * (len(positions) - 1)
    return same / pairs if pairs else 0.0


def number_labels(labels: Sequence[str | None]) -> Tensor:
    """Return a number for each label ``[n]``; an image without one has a number of its own."""
    number_of: dict[object, int] = {}
    named = [(position,) if label is None else label for position, label in enumerate(labels)]
    return torch.tensor([number_of.setdefault(name, len(number_of)) for name in named])
