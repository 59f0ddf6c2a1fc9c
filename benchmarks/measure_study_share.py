"""What share of a study's core time is steps of training.

Read from what Snakemake kept of a finished study, when each job began and ended, and from the logs of its runs, how
long their steps took; nothing is run. Core time is wall time times cores: a core that waits counts too.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Aim, CannotMeasureError, Measured, Row, Setting

ROOT = Path(__file__).parent.parent
STUDY = "icons"


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


def seconds_of_steps(jobs: Iterable[Job], folder: Path) -> float:
    """Return the seconds that steps of training took, on one core each, in all runs.

    Raises:
        CannotMeasureError: the log of a run does not say how many images per second its steps took.
    """
    total = 0.0
    for job in jobs:
        if job.rule == "train_run":
            log = (folder / job.log).read_text(encoding="utf-8")
            found = re.search(r"(\d+) samples seen, .*?(\d+) images per second", log)
            if not found:
                raise CannotMeasureError(f"{job.log} does not say how many images per second were trained on")
            total += int(found[1]) / int(found[2])
    return total


def core_seconds(jobs: Iterable[Job], cores: int) -> float:
    """Return the wall time from the first job's begin to the last one's end, times the cores."""
    jobs = list(jobs)
    return cores * (max(job.ended for job in jobs) - min(job.began for job in jobs))


def seconds_by_rule(jobs: Iterable[Job]) -> dict[str, float]:
    """Return the seconds that the jobs of each rule took, the longest rule first."""
    total: Counter[str] = Counter()
    for job in jobs:
        total[job.rule] += job.ended - job.began
    return dict(total.most_common())


def ours(setting: Setting) -> Measured:
    """Measure the default study in this folder, or a made-up one where only a trial is wanted."""
    if setting.tiny:
        (setting.folder / "log.txt").write_text("64 samples seen, 1 processes, 16 images per second", encoding="utf-8")
        jobs, folder = [Job("train_run", 0.0, 8.0, "log.txt"), Job("draw_figures", 6.0, 10.0, "")], setting.folder
    else:
        jobs, folder = read_jobs(ROOT, STUDY), ROOT
    whole, steps = core_seconds(jobs, setting.cores), seconds_of_steps(jobs, folder)
    seconds = seconds_by_rule(jobs)
    seconds["starting to train"] = seconds.pop("train_run") - steps
    shares = {f"share of {what}": spent / whole for what, spent in seconds.items() if spent >= 0.01 * whole}
    models = sum(job.rule == "train_run" for job in jobs)
    return Measured(steps / whole, {"minutes": whole / setting.cores / 60, "models": models} | shares)


ROWS = (
    Row(
        name="study_share",
        what="default study, share of its core time that is steps of training",
        unit="of 1",
        ours=ours,
        aims={"cpu": (Aim(least=0.65, figure="ours"),)},
        limit="1",
        rounds=1,
        devices=("cpu",),
    ),
)
