"""Locks on GPUs, so that every job has GPUs of its own that no other job of this user is using.

Snakemake counts GPUs but assigns none, so that on a machine with several of them every job would take the first. A job
locks free ones before torch initialises CUDA; where a scheduler has chosen some (CUDA_VISIBLE_DEVICES), among those.
"""

from __future__ import annotations

import logging
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from whyrobust.cores import lock_folder

#: The variable in which schedulers tell CUDA which GPUs a process may see.
VISIBLE = "CUDA_VISIBLE_DEVICES"

#: The variable in which CUDA is told how GPUs are numbered; by itself it puts the fastest first, nvidia-smi does not.
ORDER, ORDER_OF_NVIDIA_SMI = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"

#: A GPU, or a slice of one (MIG), in what `nvidia-smi -L` lists.
LISTED_GPU, LISTED_SLICE = re.compile(r"^GPU \d+: .*\(UUID: (GPU-\S+)\)"), re.compile(r"^\s+MIG .*\(UUID: (MIG-\S+)\)")

#: Set for processes that a job starts itself (torch's workers): they share its GPUs and lock none.
HELD = "WHYROBUST_HELD_GPUS"

#: Seconds between two attempts to lock a GPU.
PAUSE_SECONDS = 1.0

logger = logging.getLogger("whyrobust")

#: Locks of `hold_gpus`, held until this process ends.
_HELD_BY_PROCESS = ExitStack()


class GpuError(RuntimeError):
    """The machine, or a scheduler's share of it, has fewer GPUs than a job needs; the message has both numbers."""


def machine_gpus() -> list[str]:
    """Return the GPUs of this machine in the order of nvidia-smi's numbers: as NVIDIA's UUIDs, else as numbers.

    UUIDs name the same GPU in every job, also where each sees its own GPUs only and calls the first one 0.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
        return listed_gpus(listed.stdout)
    except (OSError, subprocess.CalledProcessError):
        import torch

        # Counted without initialising CUDA, which would fix the GPUs that this process sees.
        return [str(number) for number in range(torch.cuda.device_count())]


def listed_gpus(listing: str) -> list[str]:
    """Return the UUIDs of what ``nvidia-smi -L`` lists: of a GPU that is divided (MIG), of its slices in its place."""
    found: list[list[str]] = []
    for line in listing.splitlines():
        if gpu := LISTED_GPU.match(line):
            found.append([gpu[1]])
        elif (part := LISTED_SLICE.match(line)) and found:
            found[-1].append(part[1])
    return [name for gpu, *slices in found for name in slices or [gpu]]


def visible_gpus(machine: Sequence[str], chosen: str | None) -> list[str]:
    """Return the GPUs that a job may choose from.

    Args:
        machine: all of the machine's, in the order of their numbers.
        chosen: value of CUDA_VISIBLE_DEVICES, numbers or UUIDs between commas; None where it is not set. As CUDA
            does, whatever follows a negative number is ignored.

    Raises:
        GpuError: there are numbers that do not say which GPUs they mean.
    """
    if chosen is None:
        return list(machine)
    found: list[str] = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        if name.startswith("-"):
            break
        if name.isdecimal() and len(machine) > 1 and any(each.startswith("MIG-") for each in machine):
            raise GpuError(
                f"{VISIBLE}={chosen} gives numbers, and GPUs of this machine are divided into slices (MIG): give the "
                "UUIDs of slices, as nvidia-smi -L lists them"
            )
        if name.isdecimal() and os.environ.get(ORDER, ORDER_OF_NVIDIA_SMI) != ORDER_OF_NVIDIA_SMI:
            raise GpuError(
                f"{VISIBLE}={chosen} gives numbers, and {ORDER}={os.environ[ORDER]} gives them another order than "
                "nvidia-smi's: unset it, or give the UUIDs of GPUs, as nvidia-smi -L lists them"
            )
        found.append(machine[int(name)] if name.isdecimal() and int(name) < len(machine) else name)
    return list(dict.fromkeys(found))


def _lock_of(name: str, folder: Path) -> FileLock:
    """Return the lock of a GPU: the kernel releases it when the process that holds it ends, however it ends."""
    return FileLock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock", thread_local=False)


def _take_free(names: Sequence[str], count: int, folder: Path) -> tuple[list[str], ExitStack] | None:
    """Lock the first ``count`` free GPUs, all or none; return their names and the stack that releases them."""
    taken: list[str] = []
    with ExitStack() as stack:
        for name in names:
            try:
                stack.enter_context(_lock_of(name, folder).acquire(timeout=0))
            except Timeout:
                continue
            taken.append(name)
            if len(taken) == count:
                return taken, stack.pop_all()
    return None


@contextmanager
def own_gpus(
    device: str, count: int = 1, machine: Sequence[str] | None = None, folder: Path | None = None,
    pause_seconds: float = PAUSE_SECONDS,
) -> Iterator[list[str]]:  # fmt: skip
    """Give this process, and what it starts, GPUs of its own for a block; wait while too few are free.

    All are locked at once or none, so that jobs which need several cannot deadlock.

    Args:
        device: 'cpu' takes none; 'auto' takes some where there are any; 'cuda' needs them.
        count: how many.
        machine: the machine's GPUs; found by default.
        folder: of the locks; all jobs that share GPUs must use the same.
        pause_seconds: between two attempts.

    Yields:
        the names of the GPUs, as now set in CUDA_VISIBLE_DEVICES; empty if none are used.

    Raises:
        GpuError: there are fewer than ``count``.
        OSError: the folder of the locks cannot be made, or is another user's.
    """
    if device == "cpu":
        yield []
        return
    before = {name: os.environ.get(name) for name in (VISIBLE, HELD, ORDER)}
    chosen = before[VISIBLE]
    if chosen is not None and before[HELD] == chosen:
        yield chosen.split(",")
        return
    names = visible_gpus(machine_gpus() if machine is None else machine, chosen)
    if device == "auto" and not names:
        yield []
        return
    if len(names) < count:
        given = "this machine has" if chosen is None else f"{VISIBLE}={chosen} gives this job"
        raise GpuError(
            f"{count} GPUs are asked for and {given} {len(names)}: ask for fewer, or set training.device to cpu"
        )
    if count > 1 and any(name.startswith("MIG-") for name in names):
        raise GpuError(
            f"{count} GPUs are asked for, and those of this machine are divided into slices (MIG), of which CUDA shows "
            "a job one: ask for one"
        )
    locks_folder = folder or lock_folder("gpus")
    found = _take_free(names, count, locks_folder)
    if found is None:
        logger.info("waiting for %d free GPUs of %s", count, ", ".join(names))
    while found is None:
        # At random times: two jobs in step that both want all GPUs would lock some each for ever.
        time.sleep(pause_seconds * random.uniform(0.5, 1.5))
        found = _take_free(names, count, locks_folder)
    own, locks = found
    os.environ[VISIBLE] = os.environ[HELD] = ",".join(own)
    os.environ[ORDER] = ORDER_OF_NVIDIA_SMI
    logger.info("GPUs: %s", ", ".join(own))
    try:
        yield own
    finally:
        locks.close()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def environment_elsewhere() -> dict[str, str]:
    """Return this process's environment for one on another machine, where the GPUs of this one are not."""
    ours = (VISIBLE, HELD) if HELD in os.environ else ()
    return {name: value for name, value in os.environ.items() if name not in ours}


def hold_gpus(device: str, count: int = 1) -> list[str]:
    """Give this process GPUs of its own until it ends; arguments, result and errors as those of `own_gpus`."""
    return _HELD_BY_PROCESS.enter_context(own_gpus(device, max(1, count)))
