"""One step of a run: the gradients of a batch's loss, then the update of the weights.

`PlainStep` computes as it is asked. On a GPU a step of a small model is hundreds of operations that take a few
microseconds each, less than it takes to launch them: `RecordedStep` records those of one step (a CUDA graph) and has
the GPU repeat them, on other images. Both compute the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.batches import PreparedBatch
from whyrobust.training.device import ComputeSettings, send
from whyrobust.training.distributed import Ranks
from whyrobust.training.grad_cache import grad_cache_backward
from whyrobust.training.models import is_own_encoder, is_own_model
from whyrobust.training.objectives import Objective
from whyrobust.training.optimisers import RunOptimiser
from whyrobust.training.settings import TrainingSettings

logger = logging.getLogger("whyrobust")

Result = TypeVar("Result")

#: Makes images of a prepared batch on the device.
Finish = Callable[[PreparedBatch], Tensor]

#: Tensors that are sent together begin at multiples of this, as vectorised kernels want them.
ALIGNED_BYTES = 256

#: Steps that are computed before one is recorded: libraries choose their kernels, optimisers make their moments.
STEPS_BEFORE_RECORDING = 3


class ForwardPass:
    """The forward pass of an objective in the run's precision, on this process's share of a batch."""

    def __init__(self, objective: Objective, compute: ComputeSettings, device: torch.device, ranks: Ranks) -> None:
        self._shared = DistributedDataParallel(objective) if ranks.size > 1 else None
        self._module: nn.Module = objective if self._shared is None else self._shared
        self._compute, self._device = compute, device

    def __call__(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the features that the loss compares."""
        with self._compute.autocast(self._device):
            features: tuple[Tensor, ...] = self._module(images, targets)
        return features

    def no_sync(self) -> AbstractContextManager[None]:
        """Return a context in which gradients are not averaged over processes."""
        if self._shared is None:
            return nullcontext()
        context: AbstractContextManager[None] = self._shared.no_sync()
        return context


class Step(Protocol):
    """One step of a run after another."""

    def gradients(self, batch: PreparedBatch, finish: Finish, targets: Tensor | None) -> Tensor:
        """Compute the loss of a batch and the gradients of all weights, in place of those before; return the loss.

        Args:
            batch: in main memory.
            finish: makes images ``[views * batch, 3, size, size]`` of it on the device.
            targets: ``[batch, ...]`` in main memory, or None.
        """
        ...

    def update(self, learning_rate: float) -> None:
        """Move the weights by their gradients."""
        ...


class PlainStep:
    """A step that is computed operation by operation.

    Args:
        objective: what is trained.
        optimiser: of its weights.
        forward: the forward pass.
        views: of each image.
        images_at_once: views per forward pass; None: the whole batch.
        device: of all of it.
        memory_format: of images.
        sends_targets: whether targets are needed there. Captions stay in main memory, where the text tower looks for
            their ends, unless no shape may depend on them.
    """

    def __init__(
        self,
        objective: Objective,
        optimiser: RunOptimiser,
        forward: ForwardPass,
        views: int,
        images_at_once: int | None,
        device: torch.device,
        memory_format: torch.memory_format,
        sends_targets: bool,
    ) -> None:
        self._objective, self._optimiser, self._forward = objective, optimiser, forward
        self._views, self._images_at_once = views, images_at_once
        self._device, self._memory_format, self._sends_targets = device, memory_format, sends_targets

    def gradients(self, batch: PreparedBatch, finish: Finish, targets: Tensor | None) -> Tensor:
        """See `Step`; what is on the device already is not sent."""
        images = finish(batch.on(self._device)).contiguous(memory_format=self._memory_format)
        if targets is not None and self._sends_targets:
            targets = send(targets, self._device)
        self._optimiser.zero_grad()
        return grad_cache_backward(
            self._objective, self._forward, images, targets, self._views, self._images_at_once, self._forward.no_sync
        )

    def update(self, learning_rate: float) -> None:
        """See `Step`."""
        self._optimiser.set_rate(learning_rate)
        self.move()

    def move(self) -> None:
        """Move the weights with the learning rate that is set."""
        self._optimiser.step()
        self._objective.after_step()


class RecordedInputs:
    """What a recording reads: tensors on the GPU that always lie in the same place, filled by one copy.

    Args:
        values: in main memory, of the shapes and types to come.
        device: the GPU.
    """

    def __init__(self, values: Sequence[Tensor], device: torch.device) -> None:
        whole = send(self._packed(values), device)
        self._whole = whole
        #: On the GPU, in the order of the values.
        self.values: list[Tensor] = []
        for value, part in zip(values, torch.split(whole, [_padded_bytes(value) for value in values]), strict=True):
            self.values.append(part[: value.nbytes].view(value.dtype).view(value.shape))

    @staticmethod
    def _packed(values: Sequence[Tensor]) -> Tensor:
        """Return the bytes of all values, each from a multiple of `ALIGNED_BYTES` on."""
        packed = torch.empty(sum(_padded_bytes(value) for value in values), dtype=torch.uint8)
        start = 0
        for value in values:
            packed[start : start + value.nbytes] = value.contiguous().view(-1).view(torch.uint8)
            start += _padded_bytes(value)
        return packed

    def fill(self, values: Sequence[Tensor]) -> None:
        """Send other values of the same shapes."""
        packed = self._packed(values)
        self._whole.copy_(packed.pin_memory() if self._whole.is_cuda else packed, non_blocking=True)


def _padded_bytes(value: Tensor) -> int:
    return -(-value.nbytes // ALIGNED_BYTES) * ALIGNED_BYTES


class RecordedStep:
    """A step that is recorded once and repeated: all batches have the shapes of the first.

    Args:
        plain: the step that is recorded.
        optimiser: of the weights, which reads the learning rate on the GPU.
        device: the GPU.
    """

    def __init__(self, plain: PlainStep, optimiser: RunOptimiser, device: torch.device) -> None:
        self._plain, self._optimiser, self._device = plain, optimiser, device
        self._steps_taken = 0
        self._inputs: RecordedInputs | None = None
        self._repeat_gradients: Callable[[], Tensor]
        self._repeat_move: Callable[[], None] | None = None

    def gradients(self, batch: PreparedBatch, finish: Finish, targets: Tensor | None) -> Tensor:
        """See `Step`."""
        if self._steps_taken < STEPS_BEFORE_RECORDING:
            return self._plain.gradients(batch, finish, targets)
        values = [batch.images, batch.random] if targets is None else [batch.images, batch.random, targets]
        if self._inputs is None:
            self._inputs = RecordedInputs(values, self._device)
            images, random, *said = self._inputs.values
            kept = PreparedBatch(images, random)
            self._repeat_gradients = record(lambda: self._plain.gradients(kept, finish, said[0] if said else None))
        self._inputs.fill(values)
        # A copy: the next step overwrites the loss, which is read some steps later.
        return self._repeat_gradients().clone()

    def update(self, learning_rate: float) -> None:
        """See `Step`."""
        self._steps_taken += 1
        if self._steps_taken <= STEPS_BEFORE_RECORDING:
            self._plain.update(learning_rate)
            return
        self._optimiser.set_rate(learning_rate)
        if self._repeat_move is None:
            self._repeat_move = record(self._plain.move)
            logger.info("steps are recorded on the GPU and repeated")
        self._repeat_move()


def record(work: Callable[[], Result]) -> Callable[[], Result]:
    """Record what a function asks of the GPU, without computing it; return a function that has the GPU compute it.

    The result is what the function returned, with values of the last repetition.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        result = work()

    def repeat() -> Result:
        graph.replay()
        return result

    return repeat


def is_recorded(settings: TrainingSettings, device: torch.device, ranks: Ranks) -> bool:
    """Whether the steps of a run are recorded: of this project's small models, not compiled, where steps are alike.

    A larger model computes more a launch, and the padding of its captions would be computed too.
    """
    captioned = OBJECTIVES[settings.objective].supervision == "captions"
    is_own = is_own_model if captioned else is_own_encoder
    return has_like_steps(settings, device, ranks) and is_own(settings.model_config) and not settings.compute.compile


def has_like_steps(settings: TrainingSettings, device: torch.device, ranks: Ranks) -> bool:
    """Whether one GPU computes all steps of a run, each with one forward pass on equally many images of one size."""
    return (
        device.type == "cuda"
        and ranks.size == 1
        and settings.compute.images_at_once is None
        and settings.hyperparameters.progressive_resizing is None
    )


def compile_encoder(encoder: nn.Module, settings: TrainingSettings, device: torch.device, ranks: Ranks) -> None:
    """Have torch compile an image encoder when it is first called; where steps are alike, its passes are recorded.

    torch records a compiled forward and backward pass as a CUDA graph each and repeats them, so that the GPU does not
    wait for kernels to be launched.
    """
    encoder.compile(mode="reduce-overhead" if has_like_steps(settings, device, ranks) else "default")


@contextmanager
def own_stream(device: torch.device, recorded: bool) -> Iterator[None]:
    """Run a block on a stream of its own, which waits for the work asked for before; later work waits for the block.

    CUDA records no work of the default stream.
    """
    if not recorded:
        yield
        return
    before = torch.cuda.current_stream(device)
    own = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    own.wait_stream(before)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        before.wait_stream(own)
