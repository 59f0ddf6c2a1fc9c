"""Checkpoints of a run that is being trained: stop at any moment, go on from there, end with the same weights.

Stands alone because what a run needs to go on is more than its weights: the optimiser's moments, the state of every
random generator, and what was reported so far. A checkpoint names the run that it belongs to, so that one left over
from other settings is never taken up.
"""

from __future__ import annotations

import logging
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from whyrobust.files import atomic_path

logger = logging.getLogger("whyrobust")

#: What a job ends with after it was asked to stop and wrote a checkpoint: "temporary failure" of sysexits.h, try again.
STOPPED_EXIT_CODE = 75

#: What asks for a stop: a scheduler whose time is up or that wants the machine back, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(RuntimeError):
    """A run that was asked to stop; its checkpoint is written."""


@dataclass
class Checkpoints:
    """Where and how often a run leaves a checkpoint.

    Attributes:
        path: of the file; None: none is written.
        identity: of the run: what decides its weights. Another identity's checkpoint is not taken up.
        minutes: between two checkpoints; None: not by time.
        steps: between two checkpoints; None: not by step.
    """

    path: Path | None = None
    identity: str = ""
    minutes: float | None = None
    steps: int | None = None
    _last: float = field(default_factory=time.monotonic)

    def is_due_by_step(self, step: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return self.path is not None and self.steps is not None and step % self.steps == 0

    def is_due_by_time(self) -> bool:
        """Whether the last checkpoint, or the begin, is so long ago that one is due."""
        return self.path is not None and self.minutes is not None and time.monotonic() - self._last >= 60 * self.minutes

    def write(self, state: dict[str, Any]) -> None:
        """Write the state of a run, whole or not at all; it replaces the one before."""
        if self.path is None:
            return
        with atomic_path(self.path) as temporary:
            torch.save({"identity": self.identity, "state": state}, temporary)
        self._last = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """Return the state to go on from, on the CPU; None: start anew, since there is none for this run."""
        if self.path is None or not self.path.exists():
            return None
        try:
            # weights_only: tensors, numbers and plain containers, no code.
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            identity, state = found["identity"], found["state"]
        except (RuntimeError, EOFError, OSError, KeyError, TypeError, pickle.UnpicklingError) as error:
            logger.warning("the checkpoint %s cannot be read (%s): the run starts anew", self.path, error)
            return None
        if identity != self.identity:
            logger.warning("the checkpoint %s is of other settings or other data: the run starts anew", self.path)
            return None
        return dict(state)

    def remove(self) -> None:
        """Remove the checkpoint of a run whose weights are saved."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass
class StopRequest:
    """Whether this process was asked to stop."""

    asked: bool = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note signals of `STOP_SIGNALS` instead of dying by them; a second Ctrl-C acts as it always did.

    A scheduler and a launcher may both send SIGTERM: the second must not keep the first from being obeyed. Outside the
    main thread, where Python takes no signals, nothing is noted.
    """
    request = StopRequest()
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.asked = True
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    try:
        for number in STOP_SIGNALS:
            before[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:
        before.clear()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
