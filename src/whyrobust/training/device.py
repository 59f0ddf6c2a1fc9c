"""Device, precision and threads that a run is computed with, and what makes a run repeatable bit for bit."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch


class DeviceError(RuntimeError):
    """A device that this machine does not have."""


@dataclass(frozen=True)
class ComputeSettings:
    """What a run is computed with: it decides time, memory and rounding, not what is learnt.

    Attributes:
        device: 'cpu', 'cuda' or 'auto'.
        threads: CPU threads; they decide the order of summation, and so the rounding.
        precision: 'fp32', or 'bf16' for autocast: products in 16 bits, weights, sums and losses in 32.
        compile: compile the image encoder with torch.compile, which takes a minute and a C++ compiler.
        images_at_once: views per forward pass, for batches that do not fit into memory, see
            `whyrobust.training.grad_cache`; None: the whole batch.
    """

    device: str
    threads: int = 1
    precision: str = "fp32"
    compile: bool = False
    images_at_once: int | None = None

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which forward passes are computed in `precision`."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


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


def make_repeatable(seed: int, threads: int, compiled: bool = False) -> None:
    """Seed every global generator, set the thread count and forbid operations whose result can vary between runs.

    Args:
        seed: of all generators.
        threads: CPU threads.
        compiled: whether torch's compiler is to choose repeatable operations too; importing it takes a second.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    if compiled:
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Fills uninitialised memory to expose reads of it, which takes up to a sixth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
