"""Checkpoints of a run during training: stop at any moment, continue from there, end with the same weights.

`TrainingState` is all that a run needs to continue, which is more than its weights: the optimiser's moments, the state
of every random generator, and the losses so far. `Checkpoints` writes it to a file, which names the run that it belongs
to, so that one of other settings is never continued. `stop_requests` turns signals into a stop between two steps.
"""

from __future__ import annotations

import logging
import pickle
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from whyrobust.files import atomic_path
from whyrobust.training.distributed import Ranks
from whyrobust.training.objectives import Objective
from whyrobust.training.optimisers import RunOptimiser

logger = logging.getLogger("whyrobust")

#: Exit code of a job that was asked to stop and wrote a checkpoint: "temporary failure" of sysexits.h, try again.
STOPPED_EXIT_CODE = 75

#: Signals that ask for a stop: of a scheduler whose time is up or that wants the machine back, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(RuntimeError):
    """A run that was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class Progress:
    """A step that was taken, for the progress bar and the table of steps."""

    step: int
    samples: int
    loss: float
    learning_rate: float
    images_per_second: float


@dataclass
class TrainingState:
    """The state of a run between two steps.

    Attributes:
        objective: model and loss.
        optimiser: with its moments.
        generator: on the CPU, of the augmentation of whole batches.
        steps_done: optimiser steps taken.
        progress: of each step.
        seconds_before: training time before the run was last continued.
    """

    objective: Objective
    optimiser: RunOptimiser
    generator: torch.Generator
    steps_done: int = 0
    progress: list[Progress] = field(default_factory=list)
    seconds_before: float = 0.0
    _continued_at: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Training time so far, without the time between a stop and continuing."""
        return self.seconds_before + time.perf_counter() - self._continued_at

    def as_dict(self) -> dict[str, Any]:
        """Return tensors, numbers and plain containers that hold the whole state."""
        on_gpu = next(self.objective.parameters()).is_cuda
        return {
            "done": self.steps_done,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if on_gpu else None,
            "progress": [astuple(values) for values in self.progress],
            "seconds": self.seconds,
        }

    def restore(self, saved: Mapping[str, Any], ranks: Ranks) -> None:
        """Bring the run to a saved state."""
        self.objective.load_state_dict(saved["objective"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.generator.set_state(saved["generator"])
        self.steps_done = saved["done"]
        self.progress = [Progress(*values) for values in saved["progress"]]
        self.seconds_before, self._continued_at = saved["seconds"], time.perf_counter()
        if ranks.size > 1:
            # Only the first process's random state was saved; the others must not repeat it.
            torch.manual_seed(torch.initial_seed() + 1_000_003 * self.steps_done)
        else:
            torch.set_rng_state(saved["random"])
            if saved["random_cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(saved["random_cuda"])


@dataclass
class Checkpoints:
    """Where and how often a run writes a checkpoint.

    Attributes:
        path: of the file; None: none is written.
        identity: of the run: what decides its weights. A checkpoint of another identity is ignored.
        minutes: between two checkpoints; 0: not by time.
        steps: between two checkpoints; 0: not by step.
    """

    path: Path | None = None
    identity: str = ""
    minutes: float = 0
    steps: int = 0
    _last: float = field(default_factory=time.monotonic)

    def is_due_by_step(self, step: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return self.path is not None and self.steps > 0 and step % self.steps == 0

    def is_due_by_time(self) -> bool:
        """Whether the last checkpoint, or the start, is so long ago that one is due."""
        return self.path is not None and self.minutes > 0 and time.monotonic() - self._last >= 60 * self.minutes

    def write(self, state: dict[str, Any]) -> None:
        """Write the state of a run, whole or not at all; it replaces the checkpoint before.

        Raises:
            OSError: there is no room for it; the error names the file.
        """
        if self.path is None:
            return
        # Into an open file: given its name, torch keeps to itself what the file system said.
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            try:
                torch.save({"identity": self.identity, "state": state}, file)
            except RuntimeError as error:
                # Of a full disk torch says "unexpected pos"; what the file said is behind that.
                if isinstance(refused := error.__context__, OSError):
                    raise OSError(refused.errno, refused.strerror) from error
                raise
        self._last = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """Return the state to continue from, on the CPU; None: start from the beginning, there is none of this run."""
        if self.path is None or not self.path.exists():
            return None
        try:
            # weights_only: tensors, numbers and plain containers, no code.
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            identity, state = found["identity"], found["state"]
        except (RuntimeError, EOFError, OSError, KeyError, TypeError, pickle.UnpicklingError) as error:
            logger.warning("the checkpoint %s cannot be read (%s): the run starts from the beginning", self.path, error)
            return None
        if identity != self.identity:
            logger.warning(
                "the checkpoint %s is of other settings or other data: the run starts from the beginning", self.path
            )
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
    """Note signals of `STOP_SIGNALS` instead of dying by them; a second Ctrl-C acts as it always does.

    A scheduler and a launcher may both send SIGTERM: the second must not keep the first from being obeyed. Outside the
    main thread, where Python accepts no signal handlers, nothing is noted.
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
