"""The gradient of a batch, also of one that does not fit into memory at once.

Stands alone because a contrastive loss compares every image of a batch with every other: gradients of parts of a batch
do not add up to the gradient of the batch, so that the usual accumulation would train with another loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

#: From images and targets to their features, a tuple of ``[n, ...]``; from features and targets to the mean loss.
FeaturesOf = Callable[[Tensor, Tensor | None], tuple[Tensor, ...]]
LossOf = Callable[[tuple[Tensor, ...], Tensor | None], Tensor]


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Leave a module's buffers, such as the running statistics of batch norms, as they were before the block."""
    before = [buffer.clone() for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), before, strict=True):
            buffer.copy_(value)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


def backward(
    module: nn.Module,
    features_of: FeaturesOf,
    loss_of: LossOf,
    images: Tensor,
    targets: Tensor | None,
    views: int,
    images_at_once: int | None,
    unsynced: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Tensor:
    """Add the gradient of a batch's loss to the parameters and return the loss, without a gradient.

    In parts as GradCache does (Gao et al. 2021, section 3): the features of all parts without a graph, the loss over
    all of them and its gradient by each feature, then each part once more, driven by the gradients of its features. The
    gradient is that of the whole batch; batch norms take their statistics from a part, as they would with a smaller
    batch. It takes one more forward pass, and memory for one part.

    Args:
        module: what is trained.
        features_of: a forward pass over images and targets.
        loss_of: the mean loss from the features of the whole batch.
        images: ``[views * batch, 3, size, size]``, view by view.
        targets: ``[batch, ...]``, or None.
        views: of each image.
        images_at_once: views that one forward pass takes, rounded down to whole samples, one at least; None: all.
        unsynced: a context in which the gradients of a backward pass are not yet shared with other processes.
    """
    batch = len(images) // views
    samples = batch if images_at_once is None else max(1, images_at_once // views)
    if samples >= batch:
        loss = loss_of(features_of(images, targets), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    by_view = _by_view(images, views)
    parts = [slice(start, min(start + samples, batch)) for start in range(0, batch, samples)]

    def forward(part: slice) -> tuple[Tensor, ...]:
        return features_of(by_view[:, part].flatten(0, 1), None if targets is None else targets[part])

    states, found = [], []
    with torch.no_grad(), buffers_kept(module):
        for part in parts:
            states.append(_random_state(images.device))
            found.append(forward(part))
    cached = tuple(
        torch.cat([_by_view(feature, views) for feature in same], dim=1).flatten(0, 1).requires_grad_()
        for same in zip(*found, strict=True)
    )
    loss = loss_of(cached, targets)
    # What the loss itself has to learn, as CLIP's temperature, gets its gradient with the last part, in one pass.
    own = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [*cached, *own], allow_unused=True)
    of_features, of_loss = gradients[: len(cached)], gradients[len(cached) :]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        with nullcontext() if last else unsynced():
            _set_random_state(states[number], images.device)
            features = forward(part)
            driven = torch.stack(
                [
                    (feature * _part(gradient, views, part)).sum()
                    for feature, gradient in zip(features, of_features, strict=True)
                ]
                + [
                    (parameter * gradient).sum()
                    for parameter, gradient in zip(own, of_loss, strict=True)
                    if last and gradient is not None
                ]
            ).sum()
            driven.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _by_view(features: Tensor, views: int) -> Tensor:
    """Return ``[views, n, ...]`` of features that come view by view, ``[views * n, ...]``."""
    return features.view(views, -1, *features.shape[1:])


def _part(gradient: Tensor, views: int, part: slice) -> Tensor:
    return _by_view(gradient, views)[:, part].flatten(0, 1)
