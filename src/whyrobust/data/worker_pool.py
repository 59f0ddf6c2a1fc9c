"""Process untrusted files in killable workers: a bad file is skipped, the build goes on.

A library in C or Rust may hang, abort or exhaust memory on a malicious input, which no Python exception catches. So
each input is processed in a worker with limits on processor time and memory. If a worker dies, its current input is
marked as failed and a new worker goes on; if it was killed from outside, the input is tried again.

Results are sent a chunk at a time, since each message wakes the parent, which takes a core from a worker. If a worker
dies, what it had made of its chunk is made again, so chunks are small.

pebble lacks four of these promises: when a worker dies its whole chunk is lost (chunks of one item cost 0.09 ms of
processor time each, here it is 0.02), all inputs are taken at once, its limit is on wall-clock time, so that results
would depend on the machine's load, and work that was killed from outside is not tried again.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ctypes import c_int
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from operator import itemgetter
from typing import Any

#: Attempts at an input whose worker is killed from outside.
ATTEMPTS = 3

#: Chunks per worker that are read ahead of the first unfinished one, which bounds memory.
CHUNKS_AHEAD = 24

#: Number of a worker's chunk while it has none.
NO_CHUNK = -1

#: Signals from outside: from a user, a scheduler, or the kernel when memory runs out.
OUTSIDE_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class IsolationError(RuntimeError):
    """Workers that cannot be started, or that are killed repeatedly."""


@dataclass(frozen=True)
class Death:
    """Returned instead of a result: the worker died while it processed this input, for this reason."""

    reason: str


@dataclass
class _Raised:
    error: Exception


def _serve(
    connection: Connection, at_work: c_int, function: Callable[[Any], Any], cpu_seconds: float, memory_bytes: int
) -> None:  # pragma: no cover - runs in another process
    """Send back the results of each chunk, by position, until the connection is closed.

    The position at work is in shared memory, where the parent still finds it when this process has died.
    """
    import psutil

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit = psutil.Process().memory_info().vms + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        connection.send(None)
        while True:
            results = {}
            for position, item in connection.recv():
                at_work.value = position
                # SIGPROF kills the process wherever it is, since nothing handles the signal.
                signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
                try:
                    results[position] = function(item)
                except Exception as error:
                    results[position] = _Raised(error)
                signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(results)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


@dataclass
class _Worker:
    """A worker process, the chunk of inputs that it was given, and the position in it that is at work."""

    process: Any
    connection: Connection
    at_work: c_int
    ready: bool = False
    chunk: int = NO_CHUNK


@dataclass
class _Pool:
    """Workers that process chunks of inputs, which are read as they are needed.

    Attributes:
        inputs: of each chunk that was read and not yielded.
        found: results so far, by position, of each chunk that was begun and not yielded.
        left: chunks whose worker died before their end.
        begun: how many chunks were given to a worker.
        attempts: how often a worker was killed from outside, by chunk and position of its input.
    """

    function: Callable[[Any], Any]
    chunks: Iterator[list[Any]]
    cpu_seconds: float
    memory_bytes: int
    workers: list[_Worker] = field(default_factory=list)
    inputs: dict[int, list[Any]] = field(default_factory=dict)
    found: dict[int, dict[int, Any]] = field(default_factory=dict)
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
                        if worker.ready and worker.chunk == NO_CHUNK:
                            self._give(worker)
                    by_connection = {worker.connection: worker for worker in self.workers}
                    for connection in wait(list(by_connection)):
                        self._receive(by_connection[connection])  # type: ignore[index]
                del self.inputs[number]
                yield [result for _, result in sorted(self.found.pop(number).items(), key=itemgetter(0))]
        finally:
            for worker in self.workers:
                worker.connection.close()
                worker.process.kill()
                worker.process.join()

    def _start(self) -> None:
        # spawn: forking a process that already runs threads (torch, Arrow) can hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        at_work = context.RawValue(c_int)
        arguments = (theirs, at_work, self.function, self.cpu_seconds, self.memory_bytes)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours, at_work))

    def _give(self, worker: _Worker) -> None:
        """Give a worker an unfinished chunk of a dead worker, or the next chunk that was read."""
        if self.left:
            worker.chunk = self.left.pop(0)
        elif self.begun in self.inputs:
            worker.chunk = self.begun
            self.begun += 1
        else:
            return
        found = self.found.setdefault(worker.chunk, {})
        left = [(position, item) for position, item in enumerate(self.inputs[worker.chunk]) if position not in found]
        worker.at_work.value = left[0][0]
        # If it died meanwhile, `_receive` notices.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(left)

    def _receive(self, worker: _Worker) -> None:
        """Receive one message of a worker, or notice that it died."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        if not worker.ready:
            worker.ready = True
            return
        for result in message.values():
            if isinstance(result, _Raised):
                raise result.error
        self.found[worker.chunk].update(message)
        worker.chunk = NO_CHUNK

    def _replace(self, worker: _Worker) -> None:
        """Replace a worker that died, and record why its input failed."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        code: int = worker.process.exitcode or 0
        at = (worker.chunk, worker.at_work.value)
        if code >= 0 or -code in OUTSIDE_SIGNALS or worker.chunk == NO_CHUNK:
            self.attempts[at] += 1
            if self.attempts[at] >= ATTEMPTS:
                what = "before any input" if worker.chunk == NO_CHUNK else f"at {str(self.inputs[at[0]][at[1]])[:80]}"
                raise IsolationError(
                    f"a process ended {ATTEMPTS} times {what} (exit code {code}; -9: killed, often for want of "
                    "memory): see what it wrote above, or run again with fewer threads"
                )
        elif -code == signal.SIGPROF:
            self.found[at[0]][at[1]] = Death(f"it takes more than {self.cpu_seconds:g} s of processor time")
        else:
            self.found[at[0]][at[1]] = Death(f"the library that reads it dies of it ({signal.Signals(-code).name})")
        if worker.chunk != NO_CHUNK and len(self.found[worker.chunk]) < len(self.inputs[worker.chunk]):
            self.left.append(worker.chunk)
        self._start()


def map_isolated(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: int,
    chunk: int = 16,
    cpu_seconds: float = 10.0,
    memory_bytes: int = 2**30,
) -> Iterator[list[Any]]:
    """Apply a function to items in killable workers, and yield the results in order, chunk by chunk.

    Args:
        function: of a module, so that workers can import it; its exceptions are raised here.
        items: inputs that can be pickled; read as they are needed, a few chunks ahead.
        workers: number of processes; the result is the same for any number.
        chunk: items that a worker is given at a time, whose results it sends at once.
        cpu_seconds: limit of the processor time of one item.
        memory_bytes: limit of the memory of a worker beyond what it starts with.

    Returns:
        The results of each chunk, with a `Death` for each item whose worker died of it.

    Raises:
        IsolationError: a worker cannot be started, or is killed from outside repeatedly at the same item.
    """
    rest = iter(items)
    chunks = iter(lambda: list(itertools.islice(rest, chunk)), [])
    return _Pool(function, chunks, cpu_seconds, memory_bytes).run(workers)
