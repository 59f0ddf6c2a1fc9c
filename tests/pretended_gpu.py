"""A GPU that is not there: tensors on it have a shape and no values, so that whatever waits for values is found.

torch's fake tensors check the devices and types of each operation as a GPU does. Tensors in main memory stay real: the
loop computes orders, boxes and tokens there.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whyrobust.training import loop, steps
from whyrobust.training.device import constant
from whyrobust.training.objectives import Objective


class PretendedGpu(TorchDispatchMode):
    """Leaves tensors on ``cuda`` to torch's fake tensors, and notes each copy that waits for the GPU.

    Attributes:
        waits: the lines of the package that waited.
        recording: whether work is being recorded, to be repeated: then main memory is not read at all, since the
            recording would read it again when something else lies there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.recording = False
        self._pinned: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute one of torch's operations."""
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device = torch.device(kwargs.get("device") or "cpu")
        if name == "_pin_memory":
            self._pinned.add(tensors[0].data_ptr())
            return tensors[0]
        if name == "is_pinned":
            return tensors[0].data_ptr() in self._pinned
        from_gpu = any(tensor.device.type == "cuda" for tensor in tensors)
        if name == "_to_copy" and kwargs.get("device") and (device.type == "cuda") != from_gpu:
            pinned = not from_gpu and tensors[0].data_ptr() in self._pinned
            if self.recording or not (pinned and kwargs.get("non_blocking")):
                here = [frame for frame in traceback.extract_stack() if "/src/whyrobust/" in frame.filename]
                self.waits += [f"{here[-1].filename.rpartition('/')[2]}: {here[-1].line}" if here else name]
        if name == "_fused_adamw_" and isinstance(kwargs["lr"], Tensor):
            return None  # of this form torch does not know what it is without values
        if device.type == "cuda" or from_gpu:
            return function(*args, **kwargs)
        with unset_fake_temporarily():
            return function(*args, **kwargs)


@contextmanager
def pretended_gpu(patch: pytest.MonkeyPatch, recorded: bool = False) -> Iterator[PretendedGpu]:
    """Let the training loop find a GPU, for runs whose losses and weights nobody reads.

    What waits before the second step is not noted. torch has no backward pass on a GPU without its driver: each weight
    gets a gradient of zeros. Nor is anything recorded: where it would be, it is done each time.
    """
    built: list[Objective] = []
    build = loop.build_objective

    def build_and_keep(*given: Any) -> Objective:
        built.append(build(*given))
        return built[-1]

    def backward(_: Tensor) -> None:
        for weight in built[-1].parameters():
            weight.grad = torch.zeros_like(weight)

    def gradients(_: Tensor, inputs: list[Tensor], **options: Any) -> tuple[Tensor, ...]:
        return tuple(torch.zeros_like(each) for each in inputs)

    gpu = PretendedGpu()

    def record(work: Callable[[], Any]) -> Callable[[], Any]:
        def repeat() -> Any:
            gpu.recording = True
            result = work()
            gpu.recording = False
            return result

        return repeat

    patch.setattr(steps, "record", record)
    patch.setattr(loop, "is_recorded", lambda *given: recorded)
    patch.setattr(loop, "own_stream", lambda *given: nullcontext())
    # Of another run, these would be of another pretence.
    constant.cache_clear()
    patch.setattr(loop, "build_objective", build_and_keep)
    patch.setattr(loop, "choose_device", lambda name: torch.device("cuda"))
    patch.setattr(loop, "_final_weights", lambda *given: {})
    patch.setattr(loop, "LossReader", lambda *given: _Unread(gpu))
    patch.setattr(Tensor, "backward", backward)
    patch.setattr(torch.autograd, "grad", gradients)
    patch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    patch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    # Of autocast, which is off where there is no GPU.
    patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    with FakeTensorMode(allow_non_fake_inputs=True), gpu:
        yield gpu
    constant.cache_clear()


class _Unread:
    """In place of the reader of losses: notes that a step was taken."""

    is_due = False

    def __init__(self, gpu: PretendedGpu) -> None:
        self._gpu, self._taken = gpu, 0

    def add(self, step: int, learning_rate: float, loss: Tensor) -> None:
        if not self._taken:
            self._gpu.waits.clear()
        self._taken += 1
        assert loss.device.type == "cuda"

    def read(self, stop: bool) -> bool:
        return stop
