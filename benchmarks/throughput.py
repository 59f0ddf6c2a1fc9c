"""Images per second of a training that has settled, told from the times at which its steps ended.

Stands alone because both sides of every training row are measured so: what a run does before its first steps (imports,
workers that start, compilation) is left out on both.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.rows import Measured, Setting
from whyrobust.files import write_json

#: A step that ended: seconds of the system's steady clock, which all processes share, and images shown so far.
Mark = tuple[float, int]


def rate(marks: Sequence[Mark], after: float, before: float) -> float:
    """Return the images per second between the first and the last step that ended within ``after`` to ``before``."""
    inside = [mark for mark in marks if after <= mark[0] <= before]
    if len(inside) < 2:
        raise ValueError(f"{len(inside)} steps ended within {before - after:.2f} s: make the measurement longer")
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def joint_rate(runs: Sequence[Sequence[Mark]], warm_up_share: float = 0.25) -> float:
    """Return the images per second of runs side by side, together, while all of them were under way and warm.

    Args:
        runs: marks of each run.
        warm_up_share: share of each run's steps that is not counted.
    """
    after = max(marks[int(len(marks) * warm_up_share)][0] for marks in runs)
    before = min(marks[-1][0] for marks in runs)
    return sum(rate(marks, after, before) for marks in runs)


def side_by_side(run: Callable[[int], list[Mark]], count: int, setting: Setting) -> float:
    """Return the joint rate of ``count`` runs in processes of their own; ``run`` gets the number of the run.

    A single run has this process. A tiny run is over before another one has begun, so there is one.
    """
    if setting.tiny or count == 1:
        return joint_rate([run(0)])
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as executor:
        return joint_rate(list(executor.map(run, range(count))))


@dataclass(frozen=True)
class Split:
    """How a program that trains is spread over the cores.

    Attributes:
        runs: side by side.
        threads: of each run.
        workers: processes of each run that read and change pictures.
    """

    runs: int
    threads: int
    workers: int


def possible_splits(cores: int, device: str) -> list[Split]:
    """Return the splits that somebody who knows the machine would try."""
    if device == "cuda":
        return [Split(1, cores, cores)]
    return [Split(1, cores, cores), Split(1, 1, cores), Split(cores, 1, 1), Split(1, cores, 1)]


def choose_split(path: Path, trial: Callable[[Split], float], splits: Sequence[Split]) -> None:
    """Write the split with the highest rate in a trial, so that the peer is measured at its best on this machine."""
    best = max(splits, key=trial) if len(splits) > 1 else splits[0]
    write_json(path, asdict(best))


def split_path(setting: Setting, work: str) -> Path:
    """Return where it is kept how a peer is spread over the cores: beside the folders of the rows, which share it."""
    return setting.folder.parent / f"split {work}.json"


def read_split(setting: Setting, work: str) -> Split:
    """Return the split that `find_split` wrote."""
    return Split(**json.loads(split_path(setting, work).read_text(encoding="utf-8")))


def find_split(setting: Setting, rate_of: Callable[[Split], float], work: str) -> None:
    """Find by trial how a peer is fastest on this machine, unless another row has done so.

    Args:
        setting: of the row.
        rate_of: rate of the peer at a split.
        work: what the peer does; rows with the same name share the trial.
    """
    path = split_path(setting, work)
    if path.exists():
        return
    splits = [Split(1, 1, 1)] if setting.tiny else possible_splits(setting.cores, setting.device)
    choose_split(path, rate_of, splits)


def measure_at_best(setting: Setting, rate_of: Callable[[Split], float], work: str) -> Measured:
    """Measure the peer of a row, spread over the cores as was fastest."""
    split = read_split(setting, work)
    return Measured(rate_of(split), {f"{name} of the peer": float(value) for name, value in asdict(split).items()})


class Stopwatch:
    """Collects marks; call it after each step with the images shown so far."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def __call__(self, samples: int) -> None:
        """Note that a step has ended."""
        self.marks.append((time.perf_counter(), samples))
