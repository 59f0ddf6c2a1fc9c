"""Cores of this machine that all studies of a user share: a job holds as many as it has threads while it works.

Snakemake counts the cores of one study only, so that two studies started with all cores would have twice as many jobs
at work. A core is a file that a job locks before it starts to work; the kernel unlocks it when the process ends in any
way. Jobs queue for them, so that one with many threads is not passed by those with one. A job that is stopped (Ctrl-Z)
keeps its cores, or its place in the queue, and those that wait for it say so. Jobs of another priority (`nice`) have
locks of their own: the system leaves to the lower one what the higher one does not use, so that neither waits for the
other.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system: cores are not shared
    fcntl = None  # type: ignore[assignment]

#: Set by the workflow to `ON` where jobs run on this machine; a user may set anything else to share no cores.
VARIABLE = "WHYROBUST_SHARE_CORES"
ON = "yes"

#: Seconds between two attempts of the first job in the queue, and between two looks for holders that are stopped.
PAUSE_SECONDS, LOOK_SECONDS = 0.2, 5.0

#: Open files whose locks this process holds until it ends.
_HELD: list[int] = []


def are_shared() -> bool:
    """Tell whether jobs of this study share cores with others."""
    return fcntl is not None and os.environ.get(VARIABLE) == ON


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def lock_folder(of: str = "cores") -> Path:
    """Return the folder of this user's locks on this machine; it is made if it does not exist.

    Args:
        of: what is locked.

    Raises:
        OSError: it cannot be made, or another user has made it, who could hold all locks or have files made elsewhere.
    """
    has_numbers = hasattr(os, "getuid")
    user = os.getuid() if has_numbers else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir(), f"whyrobust-{of}-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat().st_uid
    if has_numbers and owner != user:
        raise PermissionError(f"{folder} is of user {owner}: remove it, or set TMPDIR to a folder of your own")
    return folder


def core_locks() -> Path:
    """Return the folder of the locks of cores, one for each priority; errors as those of `lock_folder`."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0
    return lock_folder(f"cores-nice-{niceness}" if niceness else "cores")


def lock_file(path: Path, wait: bool = False, shared: bool = False) -> int | None:
    """Lock a file and return it, open; None where another process has it. Programs started later do not keep it.

    Args:
        path: of the file; it is made if it does not exist.
        wait: until no other process has it, however long that takes.
        shared: with others that lock it so; where one has it for itself, this fails or waits, and the reverse.

    Raises:
        OSError: it cannot be made or locked.
    """
    # Not filelock: every job holds cores, and its import takes 40 ms; nor has it locks that are shared.
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def hold_cores(
    count: int,
    tell_wait: Callable[[Sequence[int]], None],
    cores: Sequence[int] | None = None,
    folder: Path | None = None,
) -> None:
    """Hold so many cores until this process ends; wait while too few are free. Without `VARIABLE` none are held.

    Args:
        count: of cores; where the machine has fewer, all of them.
        tell_wait: called in another thread when this process has waited for a moment, with the numbers of those that
            keep it waiting and are stopped; and again when these change.
        cores: numbers of the cores; found by default.
        folder: of the locks; all jobs that share cores must use the same.
    """
    if not are_shared():
        return
    cores = usable_cores() if cores is None else cores
    with suppress(OSError):  # no folder for locks: cores are not shared
        folder = folder or core_locks()
        wanted, found = min(count, len(cores)), set[int]()

        def take_free() -> bool:
            for name in cores:
                is_missing = name not in found and len(found) < wanted
                handle = lock_file(folder / f"core-{name}.lock") if is_missing else None
                if handle is not None:
                    found.add(name)
                    _HELD.append(handle)
                    _sign(handle)
            return len(found) == wanted

        queue = lock_file(folder / "queue.lock")
        try:
            if queue is not None and take_free():
                return
            with _telling(tell_wait, cores, folder):
                queue = lock_file(folder / "queue.lock", wait=True) if queue is None else queue
                if queue is not None:
                    _sign(queue)
                while not take_free():
                    time.sleep(PAUSE_SECONDS)
        finally:
            if queue is not None:
                os.close(queue)


@contextmanager
def _telling(tell_wait: Callable[[Sequence[int]], None], cores: Sequence[int], folder: Path) -> Iterator[None]:
    """Tell that a block waits, if it takes longer than a moment; arguments as those of `hold_cores`."""
    is_over = threading.Event()

    def tell() -> None:
        told: list[int] | None = None
        while not is_over.wait(PAUSE_SECONDS if told is None else LOOK_SECONDS):
            stopped = stopped_holders(cores, folder)
            if stopped != told:
                told = stopped
                with suppress(OSError):  # a full disk
                    tell_wait(told)

    thread = threading.Thread(target=tell, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads are allowed: the process waits without a word
        yield
        return
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _sign(handle: int) -> None:
    """Write the number of this process into a file that it has locked."""
    with suppress(OSError):  # a full disk
        # As wide as any number: to cut a file off takes a hundred times as long.
        os.pwrite(handle, f"{os.getpid():<20}".encode(), 0)


def stopped_holders(cores: Sequence[int] | None = None, folder: Path | None = None) -> list[int]:
    """Return the numbers of the processes that hold cores, or the head of the queue, and are stopped (Ctrl-Z).

    Args:
        cores: numbers of the cores; found by default.
        folder: of the locks; as that of `hold_cores`.
    """
    import psutil

    stopped = set[int]()
    with suppress(OSError):
        folder = folder or core_locks()
        numbers = usable_cores() if cores is None else cores
        for path in _locked([folder / "queue.lock", *(folder / f"core-{number}.lock" for number in numbers)]):
            with suppress(ValueError, OSError, psutil.Error):
                holder = int(path.read_text(encoding="ascii"))
                if psutil.Process(holder).status() == psutil.STATUS_STOPPED:
                    stopped.add(holder)
    return sorted(stopped)


def how_to_go_on(stopped: Sequence[int]) -> str:
    """Return in words that processes keep others waiting and are stopped, and what to do; "" where there are none."""
    if not stopped:
        return ""
    numbers = " ".join(map(str, stopped))
    what, hold, are = ("processes", "hold", "are") if len(stopped) > 1 else ("process", "holds", "is")
    return (
        f"{what} {numbers}, which {hold} cores or the next place in the queue for them, {are} stopped (Ctrl-Z): call "
        f"fg in the terminal of that study, or kill -CONT {numbers}, or set {VARIABLE}=no for this study"
    )


def cores_in_use(cores: Sequence[int] | None = None, folder: Path | None = None) -> int:
    """Return how many cores jobs of studies of this priority hold now; arguments as those of `hold_cores`."""
    used = 0
    if not are_shared():
        return used
    with suppress(OSError):
        folder = folder or core_locks()
        numbers = usable_cores() if cores is None else cores
        for _ in _locked([folder / f"core-{number}.lock" for number in numbers]):
            used += 1
    return used


def _locked(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that some process has locked.

    Raises:
        OSError: one cannot be made or locked.
    """
    for path in paths:
        handle = lock_file(path)
        if handle is None:
            yield path
        else:
            os.close(handle)
