"""Device, precision and threads that a run is computed with, and what makes a run repeatable bit for bit."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

#: NVIDIA's GPUs multiply in TF32 from this compute capability on.
TF32_CAPABILITY = (8, 0)


class DeviceError(RuntimeError):
    """A device that this machine does not have, or one that cannot compute what is asked of it."""


@dataclass(frozen=True)
class ComputeSettings:
    """What a run is computed with: it decides time, memory and rounding, not what is learnt.

    Attributes:
        device: 'cpu', 'cuda' or 'auto'.
        threads: CPU threads; they decide the order of summation, and so the rounding.
        precision: 'fp32': 32 bits throughout; 'tf32': a GPU rounds what it multiplies to the 10 bits of TF32, a CPU
            computes as for fp32; 'bf16' for autocast: products in 16 bits, weights, sums and losses in 32.
        compile: compile the image encoder with torch.compile, which takes a minute and a C++ compiler; on a GPU its
            passes are recorded where they are alike (`whyrobust.training.steps`).
        repeatable: choose operations that round the same each time, where a GPU has some; a CPU always does.
        images_at_once: views per forward pass, for batches that do not fit into memory, see
            `whyrobust.training.grad_cache`; None: the whole batch.
    """

    device: str
    threads: int = 1
    precision: str = "fp32"
    compile: bool = False
    repeatable: bool = True
    images_at_once: int | None = None

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which forward passes are computed in `precision`."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def memory_format(self, device: torch.device) -> torch.memory_format:
        """Return how images and filters lie in memory: channels last, as a CPU wants it, and a GPU for fewer bits.

        For convolutions of 32-bit numbers NVIDIA's library puts channels first, and would change the order each time.
        """
        channels_first = device.type == "cuda" and self.precision == "fp32"
        return torch.contiguous_format if channels_first else torch.channels_last

    def check(self) -> str:
        """Check that this machine can compute so, before any work is done, and return in words what it computes with.

        Raises:
            DeviceError: there is no such device, it has no products of such precision, or nothing can compile for it.
        """
        device = choose_device(self.device)
        on_gpu = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if on_gpu else "CPU"
        if on_gpu and self.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise DeviceError(
                f"training.precision is bf16, and {name} has no products in bfloat16 (NVIDIA's GPUs have them from "
                "compute capability 8.0 on): set it to fp32, or use another GPU"
            )
        if on_gpu and self.precision == "tf32" and torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
            raise DeviceError(
                f"training.precision is tf32, and {name} has no products in TF32 (NVIDIA's GPUs have them from compute "
                "capability 8.0 on): set it to fp32, or use another GPU"
            )
        if self.compile:
            _check_compilers(on_gpu)
        if not on_gpu and self.precision == "tf32":
            return f"{name}, fp32"
        return f"{name}, {self.precision}{' without TF32' if self.precision == 'fp32' and on_gpu else ''}"


def _check_compilers(on_gpu: bool) -> None:
    """Check that torch.compile finds what it calls.

    Raises:
        DeviceError: it does not.
    """
    compiler = os.environ.get("CXX", "g++")
    missing = "" if shutil.which(compiler) else f"the C++ compiler '{compiler}' is"
    if on_gpu and importlib.util.find_spec("triton") is None:
        missing = "the package triton is"
    if missing:
        raise DeviceError(
            f"training.compile is true, and {missing} not found, which torch.compile needs: install it, name another "
            "compiler in the environment variable CXX, or set training.compile to false"
        )


def choose_device(name: str) -> torch.device:
    """Return the device that ``name`` asks for; ``auto`` is a GPU if there is one.

    Raises:
        DeviceError: a GPU is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "training.device is cuda, and torch finds no GPU here: set it to auto or cpu, or install a build of torch "
            "for your GPU's driver"
        )
    return torch.device(name)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device without waiting for what the device is computing.

    A plain copy from main memory to a GPU waits until the GPU has done all that it was asked for before.
    """
    if values.device.type == device.type:
        return values
    return values.pin_memory().to(device, non_blocking=True)


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers as a tensor on a device, the same each time: sent once, not in each step."""
    return send(torch.tensor(values), device)


def allow_tf32(allowed: bool) -> None:
    """Say whether a GPU may round 32-bit numbers that it multiplies or convolves to the 10 bits of TF32.

    By default torch lets it round what it convolves, and not what it multiplies.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def make_repeatable(seed: int, threads: int, compiled: bool = False, fastest: bool = False, tf32: bool = False) -> None:
    """Seed every global generator, set the thread count and forbid operations whose result can vary between runs.

    Args:
        seed: of all generators.
        threads: CPU threads.
        compiled: whether torch's compiler is to choose repeatable operations too; importing it takes a second.
        fastest: forbid none, and let a GPU find the fastest by trial.
        tf32: whether a GPU may multiply in TF32.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    allow_tf32(tf32)
    torch.backends.cudnn.benchmark = fastest
    if fastest:
        torch.set_deterministic_debug_mode("default")
        return
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    if compiled:
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Fills uninitialised memory to expose reads of it, which takes up to a sixth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
