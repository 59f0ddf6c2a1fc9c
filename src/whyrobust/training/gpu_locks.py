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
    """Return the GPUs of this machine in the order of their numbers: as NVIDIA's UUIDs, else as numbers.

    UUIDs name the same GPU in every job, also where each sees its own GPUs only and calls the first one 0.
    """
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
        return listed.stdout.split()
    except (OSError, subprocess.CalledProcessError):
        import torch

        # Counted without initialising CUDA, which would fix the GPUs that this process sees.
        return [str(number) for number in range(torch.cuda.device_count())]


def visible_gpus(machine: Sequence[str], chosen: str | None) -> list[str]:
    """Return the GPUs that a job may choose from.

    Args:
        machine: all of the machine's, in the order of their numbers.
        chosen: value of CUDA_VISIBLE_DEVICES, numbers or UUIDs between commas; None where it is not set. As CUDA
            does, whatever follows a negative number is ignored.
    """
    if chosen is None:
        return list(machine)
    found: list[str] = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        if name.startswith("-"):
            break
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
    before = os.environ.get(VISIBLE)
    if before is not None and os.environ.get(HELD) == before:
        yield before.split(",")
        return
    names = visible_gpus(machine_gpus() if machine is None else machine, before)
    if device == "auto" and not names:
        yield []
        return
    if len(names) < count:
        given = "this machine has" if before is None else f"{VISIBLE}={before} gives this job"
        raise GpuError(
            f"{count} GPUs are asked for and {given} {len(names)}: ask for fewer, or set training.device to cpu"
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
    logger.info("GPUs: %s", ", ".join(own))
    try:
        yield own
    finally:
        locks.close()
        del os.environ[HELD]
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def hold_gpus(device: str, count: int = 1) -> list[str]:
    """Give this process GPUs of its own until it ends; arguments, result and errors as those of `own_gpus`."""
    return _HELD_BY_PROCESS.enter_context(own_gpus(device, max(1, count)))
