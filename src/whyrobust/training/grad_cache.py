"""GradCache: the gradient of a contrastive batch that does not fit into memory at once.

A contrastive loss compares every image of a batch with every other, so the gradients of parts of a batch do not add up
to the gradient of the batch: ordinary gradient accumulation would train with another loss. Source: Gao, Zhang, Han and
Callan 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (arXiv 2101.06983), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from whyrobust.training.objectives import Objective

#: Images and targets -> features, a tuple of ``[n, ...]``.
Forward = Callable[[Tensor, Tensor | None], tuple[Tensor, ...]]


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Restore a module's buffers, such as the running statistics of batch norms, when the block ends."""
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


def grad_cache_backward(
    objective: Objective,
    forward: Forward,
    images: Tensor,
    targets: Tensor | None,
    views: int,
    images_at_once: int | None,
    no_sync: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Tensor:
    """Add the gradient of a batch's loss to the parameters' ``grad`` and return the loss, without a gradient.

    First the features of all parts without a graph, then the loss over all of them and its gradient with respect to the
    features, then a forward and backward pass per part, driven by the gradients of its features. The gradient is that
    of the whole batch, but batch norms take their statistics from a part, as they would with a smaller batch. It costs
    one more forward pass, and needs memory for one part.

    Args:
        objective: what is trained; its loss is the mean over the whole batch.
        forward: the objective's forward pass, as a wrapper of torch or autocast runs it.
        images: ``[views * batch, 3, size, size]``, view by view.
        targets: ``[batch, ...]``, or None.
        views: of each image.
        images_at_once: views per forward pass, rounded down to whole samples, one at least; None: the whole batch.
        no_sync: a context in which gradients of a backward pass are not yet averaged over processes.
    """
    batch = len(images) // views
    samples = batch if images_at_once is None else max(1, images_at_once // views)
    if samples >= batch:
        loss = objective.loss(forward(images, targets), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    by_view = _by_view(images, views)
    parts = [slice(start, min(start + samples, batch)) for start in range(0, batch, samples)]

    def features_of(part: slice) -> tuple[Tensor, ...]:
        # Not flattened, which would give up that channels are last.
        return forward(torch.cat([view[part] for view in by_view]), None if targets is None else targets[part])

    states, found = [], []
    with torch.no_grad(), buffers_kept(objective):
        for part in parts:
            states.append(_random_state(images.device))
            found.append(features_of(part))
    cached = tuple(
        torch.cat([_by_view(feature, views) for feature in same], dim=1).flatten(0, 1).requires_grad_()
        for same in zip(*found, strict=True)
    )
    loss = objective.loss(cached, targets)
    # Parameters of the loss itself, such as CLIP's temperature, get their gradient with the last part, in one pass.
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [*cached, *parameters], allow_unused=True)
    of_features, of_parameters = gradients[: len(cached)], gradients[len(cached) :]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        with nullcontext() if last else no_sync():
            _set_random_state(states[number], images.device)
            # A sum whose gradient with respect to the features is the cached one.
            terms = [
                (feature * _part(gradient, views, part)).sum()
                for feature, gradient in zip(features_of(part), of_features, strict=True)
            ]
            if last:
                terms += [
                    (parameter * gradient).sum()
                    for parameter, gradient in zip(parameters, of_parameters, strict=True)
                    if gradient is not None
                ]
            torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _by_view(features: Tensor, views: int) -> Tensor:
    """Return ``[views, n, ...]`` of features that come view by view, ``[views * n, ...]``."""
    return features.view(views, -1, *features.shape[1:])


def _part(gradient: Tensor, views: int, part: slice) -> Tensor:
    """Return the rows of a part of the samples, view by view."""
    return _by_view(gradient, views)[:, part].flatten(0, 1)
