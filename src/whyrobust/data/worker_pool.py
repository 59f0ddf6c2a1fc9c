"""Work on files of strangers in processes that may die: one bad file costs itself, not the build.

Stands alone because drawing and decoding need the same: a library written in C or Rust may hang, abort or take all
memory on an input made for it, and no exception of Python can catch that. So each input is worked on in a process that
may take so much processor time and memory and no more; of one that dies it is known which input it was at, and another
takes over. A process that was killed from outside is no fault of its input, which is tried again.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

#: How often an input is tried whose process was killed from outside.
ATTEMPTS = 3

#: Chunks a process that are taken before the first of them is finished; so memory stays bounded.
CHUNKS_AHEAD = 3

#: In place of the number of a chunk.
NONE = -1

#: Signals that come from outside: of a user, a scheduler, or a system that is short of memory.
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class IsolationError(RuntimeError):
    """Processes that cannot be started, or that are killed again and again."""


@dataclass(frozen=True)
class Death:
    """What stands in place of a result: the process ended at this input, for this reason."""

    reason: str


@dataclass
class _Raised:
    error: Exception


def _serve(
    connection: Connection, function: Callable[[Any], Any], cpu_seconds: float, memory_bytes: int
) -> None:  # pragma: no cover - runs in another process
    """Answer each chunk of inputs with one result after the other, until the other side is gone."""
    import psutil

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit = psutil.Process().memory_info().vms + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        connection.send(None)
        while True:
            for item in connection.recv():
                # SIGPROF, unless it is caught, ends the process wherever it is.
                signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
                try:
                    result = function(item)
                except Exception as error:
                    result = _Raised(error)
                signal.setitimer(signal.ITIMER_PROF, 0)
                connection.send(result)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


@dataclass
class _Worker:
    """A process, and the inputs of one chunk that it has been given."""

    process: Any
    connection: Connection
    ready: bool = False
    chunk: int = NONE


@dataclass
class _Pool:
    """Processes that work through chunks of inputs, which are taken as they are needed.

    Attributes:
        inputs: of each chunk that was taken and not yielded.
        found: results so far of each chunk that was begun and not yielded.
        left: chunks whose process died, to be gone on with.
        begun: how many chunks were given to a process.
        attempts: how often a process was killed from outside, by chunk and position of its input.
    """

    function: Callable[[Any], Any]
    chunks: Iterator[list[Any]]
    cpu_seconds: float
    memory_bytes: int
    workers: list[_Worker] = field(default_factory=list)
    inputs: dict[int, list[Any]] = field(default_factory=dict)
    found: dict[int, list[Any]] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    begun: int = 0
    attempts: Counter[tuple[int, int]] = field(default_factory=Counter)

    def run(self, workers: int) -> Iterator[list[Any]]:
        """Yield the results of each chunk, in order."""
        numbered = enumerate(self.chunks)
        try:
            for number in itertools.count():
                self.inputs.update(itertools.islice(numbered, CHUNKS_AHEAD * workers - len(self.inputs)))
                if number not in self.inputs:
                    return
                if not number:
                    for _ in range(min(workers, len(self.inputs))):
                        self._start()
                while len(self.found.get(number, ())) < len(self.inputs[number]):
                    for worker in self.workers:
                        if worker.ready and worker.chunk == NONE:
                            self._give(worker)
                    by_connection = {worker.connection: worker for worker in self.workers}
                    for connection in wait(list(by_connection)):
                        self._receive(by_connection[connection])  # type: ignore[index]
                del self.inputs[number]
                yield self.found.pop(number)
        finally:
            for worker in self.workers:
                worker.connection.close()
                worker.process.kill()
                worker.process.join()

    def _start(self) -> None:
        # spawn: forking a process that already runs threads (torch, Arrow) can hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self.function, self.cpu_seconds, self.memory_bytes)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours))

    def _give(self, worker: _Worker) -> None:
        """Give a process what another left, or the next of the chunks that were taken."""
        if self.left:
            worker.chunk = self.left.pop(0)
        elif self.begun in self.inputs:
            worker.chunk = self.begun
            self.begun += 1
        else:
            return
        done = len(self.found.setdefault(worker.chunk, []))
        # That it died meanwhile is seen when its answer is waited for.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(self.inputs[worker.chunk][done:])

    def _receive(self, worker: _Worker) -> None:
        """Take one message of a process, or see that it has died."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        if isinstance(message, _Raised):
            raise message.error
        if not worker.ready:
            worker.ready = True
            return
        results = self.found[worker.chunk]
        results.append(message)
        if len(results) == len(self.inputs[worker.chunk]):
            worker.chunk = NONE

    def _replace(self, worker: _Worker) -> None:
        """Put another process in the place of one that died, and say of its input what happened."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        code: int = worker.process.exitcode or 0
        at = (worker.chunk, len(self.found.get(worker.chunk, ())))
        if code >= 0 or -code in OUTSIDE or worker.chunk == NONE:
            self.attempts[at] += 1
            if self.attempts[at] >= ATTEMPTS:
                what = "before any input" if worker.chunk == NONE else f"at {str(self.inputs[at[0]][at[1]])[:80]}"
                raise IsolationError(
                    f"a process ended {ATTEMPTS} times {what} (exit code {code}; -9: killed, often for want of "
                    "memory): see what it wrote above, or run again with fewer threads"
                )
        elif -code == signal.SIGPROF:
            self.found[worker.chunk].append(Death(f"it takes more than {self.cpu_seconds:g} s of processor time"))
        else:
            self.found[worker.chunk].append(
                Death(f"the library that reads it dies of it ({signal.Signals(-code).name})")
            )
        if worker.chunk != NONE and len(self.found[worker.chunk]) < len(self.inputs[worker.chunk]):
            self.left.append(worker.chunk)
        self._start()


def map_isolated(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: int,
    chunk: int = 256,
    cpu_seconds: float = 10.0,
    memory_bytes: int = 2**30,
) -> Iterator[list[Any]]:
    """Apply a function to items in processes that may die, and yield the results in order, chunk by chunk.

    Args:
        function: of a module, so that another process finds it; what it raises is raised here.
        items: inputs that can be sent to another process; taken as they are needed, a few chunks ahead.
        workers: number of processes; the result is the same for any number.
        chunk: items that are given to a process at a time.
        cpu_seconds: processor time that one item may take.
        memory_bytes: memory that a process may take beyond what it starts with.

    Returns:
        For each chunk the results, with a `Death` in place of each item whose process died of it.

    Raises:
        IsolationError: a process cannot be started, or is killed from outside at the same item again and again.
    """
    rest = iter(items)
    chunks = iter(lambda: list(itertools.islice(rest, chunk)), [])
    return _Pool(function, chunks, cpu_seconds, memory_bytes).run(workers)
