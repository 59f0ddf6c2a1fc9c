"""The optimisers of runs: Muon for weight matrices and filters with AdamW for all else, or AdamW alone.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) moves a weight matrix by the orthogonal matrix
nearest to its momentum, which Newton-Schulz iterations approximate. `timm.optim.Muon` is the reference, and the tests
compare with it; its iterations are in bfloat16, which a CPU computes five times slower than what is done here, and timm
takes two seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.training.light_imports import AdamW, keep_compiler_out

#: AdamW's betas; the second as CLIP's (Radford et al. 2021, table 19).
ADAM_BETAS = (0.9, 0.98)

#: Muon's momentum, of the Nesterov kind, as its author recommends.
MUON_MOMENTUM = 0.95

#: Coefficients of x, x^3 and x^5 in each Newton-Schulz iteration (timm's "quintic"): singular values of 0.01 and above
#: end near 1.
NEWTON_SCHULZ = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)

#: Below this norm a momentum counts as zero.
SMALLEST_NORM = 1e-7

#: Parts of the names of matrices that are AdamW's: embeddings, whose rows are looked up and not multiplied, and the
#: layer of class scores. Muon's author leaves both to AdamW.
ADAM_NAMES = ("embedding", "classifier")


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return the matrix ``[m, n]`` with singular values near 1 and the same singular vectors, but for rounding.

    Newton-Schulz iterations ``X <- a X + b (X X') X + c (X X')^2 X`` of the matrix divided by its Frobenius norm. All
    are polynomials in ``X X'`` times ``X``, so only the polynomial is iterated, on the shorter side: three times faster
    than iterating on ``X`` for the filters of a convolution.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    start = wide / wide.norm().clamp(min=SMALLEST_NORM)
    gram = start @ start.T
    polynomial = total = _polynomial(gram, *NEWTON_SCHULZ[0])
    for coefficients in NEWTON_SCHULZ[1:]:
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram, *coefficients)
        total = polynomial @ total
    result: Tensor = total @ start
    return result if matrix.shape[0] <= matrix.shape[1] else result.T


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """Return a I + b G + c G^2 of a symmetric matrix G."""
    result = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    result.diagonal().add_(a)
    return result


class Muon(torch.optim.Optimizer):
    """Muon on weights of two or more dimensions; filters ``[out, in, ...]`` are matrices ``[out, in * ...]``.

    Steps have the size of AdamW's, 0.2 times the learning rate for each weight as root mean square (Liu et al. 2025,
    arXiv 2502.16982, equation 4), so one learning rate serves both.
    """

    def __init__(self, weights: list[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move each weight that has a gradient; ``closure`` is not used."""
        for group in self.param_groups:
            moved = [weight for weight in group["params"] if weight.grad is not None]
            branches = _branches(moved)
            for weight, branch in zip(moved, branches, strict=True):
                if branch:
                    branch.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(branch):
                    self._move(weight, weight.grad, group["lr"], group["weight_decay"])
            for branch in filter(None, branches):
                torch.cuda.current_stream().wait_stream(branch)

    def _move(self, weight: Tensor, gradient: Tensor, learning_rate: float | Tensor, weight_decay: float) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MUON_MOMENTUM)
        update = orthogonalise(gradient.lerp(momentum, MUON_MOMENTUM).flatten(1))
        scale = 0.2 * max(update.shape) ** 0.5
        weight.mul_(1 - learning_rate * weight_decay)
        # Not `alpha=`, which refuses a step that overflows: weights that are ruined are found and named by the loop.
        weight.sub_(update.reshape(weight.shape) * (learning_rate * scale))


def _branches(weights: Sequence[Tensor]) -> Sequence[torch.cuda.Stream | None]:
    """Return a stream for the work on each weight, so that a GPU does all of it side by side; None: do it in turn.

    Only where the work is recorded (`whyrobust.training.steps`): launched one by one, operations as small as these are
    over before the next is launched.
    """
    if not (weights and weights[0].is_cuda and torch.cuda.is_current_stream_capturing()):
        return [None] * len(weights)
    return [torch.cuda.Stream() for _ in weights]  # type: ignore[no-untyped-call]


class RunOptimiser:
    """The optimisers of a run as one: each updates weights of its own.

    Args:
        objective: what is trained.
        name: ``muon`` or ``adamw``.
        weight_decay: of matrices and filters, not of biases, norms and the logit scale (as in open_clip).
        recorded: whether steps are recorded on a GPU and replayed: the learning rate is then a number on the GPU, since
            a recording repeats those of main memory.

    Raises:
        ValueError: there is no such optimiser.
    """

    def __init__(self, objective: nn.Module, name: str, weight_decay: float, recorded: bool = False) -> None:
        if name not in ("muon", "adamw"):
            raise ValueError(f"optimizer '{name}' is not known: choose muon or adamw")
        trained = [
            (weight_name, weight) for weight_name, weight in objective.named_parameters() if weight.requires_grad
        ]
        decayed = [(weight_name, weight) for weight_name, weight in trained if weight.ndim >= 2]
        for_muon = [weight for weight_name, weight in decayed if name == "muon" and is_for_muon(weight_name, weight)]
        by_muon = {id(weight) for weight in for_muon}
        groups = [
            {"params": [weight for _, weight in decayed if id(weight) not in by_muon], "weight_decay": weight_decay},
            {"params": [weight for _, weight in trained if weight.ndim < 2], "weight_decay": 0.0},
        ]
        keep_compiler_out()
        # The learning rate is set before each step.
        self._rate = torch.zeros((), device=trained[0][1].device) if recorded else None
        adam = AdamW(groups, lr=0.0, betas=ADAM_BETAS, fused=True, capturable=recorded)
        # torch warns of steps that are not recorded; the first ones are not.
        adam._warned_capturable_if_run_uncaptured = True
        self._parts: list[torch.optim.Optimizer] = [adam]
        if for_muon:
            self._parts.append(Muon(for_muon, 0.0, weight_decay))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def set_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the steps to come."""
        if self._rate is not None:
            self._rate.fill_(learning_rate)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate if self._rate is None else self._rate

    def step(self) -> None:
        """Take a step."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the moments of all weights."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, saved: list[dict[str, Any]]) -> None:
        """Bring the moments to a saved state."""
        for part, state in zip(self._parts, saved, strict=True):
            part.load_state_dict(state)
        # A checkpoint may be of a run whose steps were recorded, and this one's are not, or the other way round.
        for group in self._parts[0].param_groups:
            group["capturable"] = self._rate is not None


def is_for_muon(name: str, weight: Tensor) -> bool:
    """Whether Muon updates a weight: a matrix, or filters, of a layer that is no embedding and gives no class scores.

    Filters of one input channel each (depthwise) make no matrix of several columns a channel, and go to AdamW.
    """
    return weight.ndim >= 2 and min(weight.shape[:2]) > 1 and not any(part in name for part in ADAM_NAMES)
