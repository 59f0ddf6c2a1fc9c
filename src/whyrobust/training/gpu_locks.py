"""Locks on GPUs, so that every job has GPUs of its own, or its share of one, that no other job of this user is using.

Snakemake counts GPUs but assigns none, so that on a machine with several of them every job would take the first. A job
locks free ones before torch initialises CUDA; where a scheduler has chosen some (CUDA_VISIBLE_DEVICES), among those.

Of a GPU that four jobs may share, each takes a quarter; jobs of several studies, which may say different numbers, share
it as long as their parts make no more than one GPU. Files are locked, which the kernel unlocks when a process ends:
``GPU.lock`` by the job that has a GPU whole, and together by all that have a part of it; ``GPU.part-2-of-4.lock`` by
the job that has that part. ``GPU.wanted-...-of-4.lock`` is a place in the queue, of a job that waits for a quarter:
those that come later and need less do not pass it, or it might wait as long as there are any.
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
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from whyrobust.cores import lock_file, lock_folder

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
    listing, problem = _ask_nvidia_smi()
    if not problem:
        return listed_gpus(listing)
    import torch

    # Counted without initialising CUDA, which would fix the GPUs that this process sees.
    return [str(number) for number in range(torch.cuda.device_count())]


def _ask_nvidia_smi() -> tuple[str, str]:
    """Return what ``nvidia-smi -L`` lists, and in words why it cannot, "" where it can."""
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return "", "there is no nvidia-smi that can be run"
    if asked.returncode:
        said = " ".join(f"{asked.stdout} {asked.stderr}".split())
        return "", f"nvidia-smi says: {said}" if said else f"nvidia-smi ends with code {asked.returncode}"
    return asked.stdout, ""


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


def describe_too_few(count: int, machine: Sequence[str], chosen: str | None) -> str:
    """Return in words that a job which needs GPUs finds too few, and what to do; "" where there are enough.

    Args:
        count: how many it needs.
        machine: the machine's.
        chosen: value of CUDA_VISIBLE_DEVICES, None where it is not set.

    Raises:
        GpuError: as `visible_gpus`.
    """
    names = visible_gpus(machine, chosen)
    if not machine:
        why = _ask_nvidia_smi()[1] or "nvidia-smi lists none"
        return (
            f"training.device is cuda, and this machine has no GPU ({why}): set it to cpu or auto, or run where there "
            "is one, on a cluster with its profile (docs/cluster.md)"
        )
    if not names:
        return (
            f"training.device is cuda, and {VISIBLE}={chosen} gives its jobs no GPU: unset the variable, or set "
            "training.device to cpu or auto"
        )
    if len(names) < count:
        given = "this machine has" if chosen is None else f"{VISIBLE}={chosen} gives this job"
        return f"a job asks for {count} GPUs, and {given} {len(names)}: ask for fewer, or set training.device to cpu"
    return ""


def why_no_job_can_start(count: int) -> str:
    """Return in words that jobs on this machine find too few GPUs, before the first of them; "" where they may not.

    Args:
        count: the most that one of them needs.
    """
    try:
        return describe_too_few(count, machine_gpus(), os.environ.get(VISIBLE))
    except GpuError as error:
        return str(error)
    except ImportError:  # torch is in the environments of jobs alone, and nvidia-smi cannot say
        return ""


@contextmanager
def _locked(path: Path, wait: bool = False, shared: bool = False) -> Iterator[bool]:
    """Lock a file for a block, as `whyrobust.cores.lock_file` does, and tell whether that worked."""
    handle = lock_file(path, wait, shared)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _is_locked(path: Path) -> bool:
    """Tell whether a process has locked a file; asked in turn, since for that moment it is locked here."""
    with _locked(path) as is_free:
        return not is_free


@dataclass
class _Request:
    """What a job asks for, and its place in the queue.

    Attributes:
        names: GPUs that it may choose from.
        count: of those it needs.
        parts: of one GPU, of which it needs one; 1 for whole GPUs.
        folder: of the locks.
        queued: files that say for which GPUs it waits, locked.
        since: when it came, in nanoseconds; with the number of the process, which no other has at that time.
    """

    names: Sequence[str]
    count: int
    parts: int
    folder: Path
    queued: ExitStack
    since: str = field(default_factory=lambda: f"{time.time_ns()}-{os.getpid()}")

    def _file(self, name: str, what: str = "") -> Path:
        """Return a file that is locked for a GPU; its name has no dot but before ``what`` and at the end."""
        return self.folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}{what}.lock"

    def _taken(self, name: str) -> Fraction:
        """Return how much of a GPU jobs have."""
        with _locked(self._file(name), shared=True) as is_shared:
            if not is_shared:
                return Fraction(1)
            parts = self.folder.glob(self._file(name, ".part-*-of-*").name)
            return sum((Fraction(1, _parts_of(path)) for path in parts if _is_locked(path)), Fraction(0))

    def _is_kept_for_another(self, name: str) -> bool:
        """Tell whether a job that came earlier, and needs more of a GPU than this one, waits for it."""
        for path in self.folder.glob(self._file(name, ".wanted-*").name):
            if not _is_locked(path):
                path.unlink(missing_ok=True)  # of a job that was killed
                continue
            came = int(path.name.split(".wanted-")[1].split("-")[0])
            if _parts_of(path) < self.parts and came < int(self.since.split("-")[0]):
                return True
        return False

    def _take(self, name: str) -> ExitStack | None:
        """Lock a GPU, or a part of it, of which enough is free; return what releases it, None where a job has it."""
        with ExitStack() as stack:
            if not stack.enter_context(_locked(self._file(name), shared=self.parts > 1)):
                return None
            if self.parts == 1:
                return stack.pop_all()
            for part in range(1, self.parts + 1):
                if stack.enter_context(_locked(self._file(name, f".part-{part}-of-{self.parts}"))):
                    return stack.pop_all()
        return None

    def take(self) -> tuple[list[str], ExitStack] | None:
        """Lock all or none, those first of which least is taken; return their names and what releases them.

        Where too few are free, the job queues for those of which least is taken. One job at a time looks and takes.
        """
        with _locked(self.folder / "turn.lock", wait=True), ExitStack() as stack:
            self.queued.close()
            taken = {name: self._taken(name) for name in self.names}
            by_room, own = sorted(self.names, key=lambda name: taken[name]), list[str]()
            for name in by_room:
                if taken[name] + Fraction(1, self.parts) > 1 or self._is_kept_for_another(name):
                    continue
                if locks := self._take(name):
                    stack.enter_context(locks)
                    own.append(name)
                if len(own) == self.count:
                    return own, stack.pop_all()
            for name in by_room[: self.count]:
                place = self._file(name, f".wanted-{self.since}-of-{self.parts}")
                self.queued.callback(place.unlink, missing_ok=True)
                self.queued.enter_context(_locked(place))
        return None


def _parts_of(path: Path) -> int:
    """Return into how many parts a GPU is divided, by the name of a file of one, or of a job that waits for one."""
    return int(path.stem.rpartition("-of-")[2])


@contextmanager
def own_gpus(
    device: str, count: int = 1, machine: Sequence[str] | None = None, folder: Path | None = None,
    pause_seconds: float = PAUSE_SECONDS, runs_per_gpu: int = 1,
) -> Iterator[list[str]]:  # fmt: skip
    """Give this process, and what it starts, GPUs of its own, or its share of one, for a block; wait for them.

    All are locked at once or none, so that jobs which need several cannot deadlock. A job takes the GPU of which least
    is taken: jobs share one where no other is free.

    Args:
        device: 'cpu' takes none; 'auto' takes some where there are any; 'cuda' needs them.
        count: how many; several are taken whole.
        machine: the machine's GPUs; found by default.
        folder: of the locks; all jobs that share GPUs must use the same.
        pause_seconds: between two attempts.
        runs_per_gpu: jobs like this one that may share a GPU.

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
    machine = machine_gpus() if machine is None else machine
    names = visible_gpus(machine, chosen)
    if device == "auto" and not names:
        yield []
        return
    if problem := describe_too_few(count, machine, chosen):
        raise GpuError(problem)
    if count > 1 and any(name.startswith("MIG-") for name in names):
        raise GpuError(
            f"{count} GPUs are asked for, and those of this machine are divided into slices (MIG), of which CUDA shows "
            "a job one: ask for one"
        )
    parts = runs_per_gpu if count == 1 else 1
    with ExitStack() as queued:
        request = _Request(names, count, parts, folder or lock_folder("gpus"), queued)
        found = request.take()
        if found is None:
            what = "free GPUs" if parts == 1 else f"place beside {parts - 1} other jobs on a GPU"
            logger.info("waiting for %d %s of %s", count, what, ", ".join(names))
        while found is None:
            # At random times, so that jobs do not ask in step.
            time.sleep(pause_seconds * random.uniform(0.5, 1.5))
            found = request.take()
    own, locks = found
    os.environ[VISIBLE] = os.environ[HELD] = ",".join(own)
    os.environ[ORDER] = ORDER_OF_NVIDIA_SMI
    logger.info("GPUs: %s%s", ", ".join(own), "" if parts == 1 else f", shared by up to {parts} jobs")
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


def hold_gpus(device: str, count: int = 1, runs_per_gpu: int = 1) -> list[str]:
    """Give this process GPUs, or its share of one, until it ends; arguments, result and errors as of `own_gpus`."""
    return _HELD_BY_PROCESS.enter_context(own_gpus(device, max(1, count), runs_per_gpu=runs_per_gpu))
