"""What share of a study's wall time goes into anything but training, drawing and embedding.

Read from what Snakemake kept of a finished study, when each job began and ended; nothing is run. A moment at which
several jobs ran is shared out among them evenly; one at which none ran, while Snakemake planned, is not work.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Aim, CannotMeasureError, Measured, Row, Setting

ROOT = Path(__file__).parent.parent
STUDY = "icons"

#: The stages that a study is for. Fitting heads embeds training images too, and is not counted for that.
WORK = ("train_run", "build_images", "embed_test_sets")


@dataclass(frozen=True)
class Job:
    """A job that ended.

    Attributes:
        rule: its rule.
        began: seconds since 1970.
        ended: seconds since 1970.
        log: path of its log.
    """

    rule: str
    began: float
    ended: float
    log: str


def read_jobs(folder: Path, study: str) -> list[Job]:
    """Return the jobs of a study from Snakemake's metadata in the folder where it was run.

    Raises:
        CannotMeasureError: the study was not run there to its end.
    """
    if not (folder / "results" / study / "report.html").is_file():
        raise CannotMeasureError(f"no finished study '{study}' in {folder.name}: call make study, then this row again")
    jobs: dict[str, Job] = {}
    for at, _, names in os.walk(folder / ".snakemake" / "metadata"):
        for name in names:
            record = json.loads(Path(at, name).read_text(encoding="utf-8"))
            log = next(iter(record["log"]), "")
            if log.startswith(f"results/{study}/") and record["endtime"] and not record["incomplete"]:
                jobs[log] = Job(record["rule"], record["starttime"], record["endtime"], log)
    if not jobs:
        raise CannotMeasureError(
            f"Snakemake has no record of the jobs of '{study}': delete results/{study}, run it anew"
        )
    return list(jobs.values())


def moments(jobs: Iterable[Job]) -> Iterator[tuple[float, list[Job]]]:
    """Yield the stretches of time between which jobs begin or end: seconds, and the jobs under way."""
    jobs = list(jobs)
    times = sorted({job.began for job in jobs} | {job.ended for job in jobs})
    for begin, end in itertools.pairwise(times):
        yield end - begin, [job for job in jobs if job.began <= begin and end <= job.ended]


def share_of_other(jobs: list[Job]) -> float:
    """Return the share of the wall time, from 0 to 1, that is not for the stages in `WORK`."""
    wall = max(job.ended for job in jobs) - min(job.began for job in jobs)
    work = sum(
        seconds * sum(job.rule in WORK for job in running) / len(running)
        for seconds, running in moments(jobs)
        if running
    )
    return 1 - work / wall


def seconds_of_starting(jobs: list[Job], folder: Path) -> float:
    """Return the seconds that training jobs took for anything but their steps: imports, reading, writing.

    Raises:
        CannotMeasureError: the log of a run does not say how long its steps took.
    """
    total = 0.0
    for job in jobs:
        if job.rule == "train_run":
            found = re.search(
                r"(\d+) samples seen, .*?(\d+) images per second", (folder / job.log).read_text(encoding="utf-8")
            )
            if not found:
                raise CannotMeasureError(f"{job.log} does not say how many images per second were trained on")
            total += job.ended - job.began - int(found[1]) / int(found[2])
    return total


def ours(setting: Setting) -> Measured:
    """Measure the default study in this folder, or a made-up one where only a trial is wanted."""
    if setting.tiny:
        jobs = [Job("train_run", 0.0, 8.0, ""), Job("draw_figures", 6.0, 10.0, "")]
        return Measured(share_of_other(jobs))
    jobs = read_jobs(ROOT, STUDY)
    seconds = sum(job.ended - job.began for job in jobs)
    wall = max(job.ended for job in jobs) - min(job.began for job in jobs)
    return Measured(
        share_of_other(jobs),
        {"minutes": wall / 60, "share of starting to train": seconds_of_starting(jobs, ROOT) / seconds},
    )


ROWS = (
    Row(
        name="study_share",
        what="default study, share of wall time that is not training, drawing or embedding",
        unit="of 1",
        ours=ours,
        better="lower",
        aims={"cpu": (Aim(most=0.15, figure="ours"),)},
        limit="0",
        rounds=1,
        devices=("cpu",),
    ),
)
