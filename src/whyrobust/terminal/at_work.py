"""What is known of a study that runs: its stages, the jobs at work, and how long the rest takes.

Times come from this call alone: those of the jobs that ended, and the rates of those at work.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whyrobust.job_note import Note, read_note

#: A warning in a job's log, as `whyrobust.logs.start_log` has it.
_WARNING = re.compile(r"^[\d-]+ [\d:,]+ WARNING (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """A job of the plan.

    Attributes:
        number: Snakemake's.
        stage: name of its stage.
        label: what the job is about, in words.
        kind: jobs of one kind take time in proportion to their amount.
        amount: of work, in any unit that jobs of one kind have in common.
        threads: that it uses.
        logs: its log; none of a job that Snakemake does itself.
    """

    number: int
    stage: str
    label: str = ""
    kind: str = ""
    amount: float = 1.0
    threads: int = 1
    logs: Sequence[str] = ()


@dataclass
class JobAtWork:
    """A job that runs.

    Attributes:
        job: of the plan.
        began: when, in seconds of a monotonic clock.
        works_since: the same, without the time that it waited before it worked.
        note: how far it is, as it says itself.
        read: bytes of its log that were looked through for warnings.
    """

    job: Job
    began: float
    works_since: float = field(init=False)
    note: Note | None = None
    read: int = 0
    _logs_before: dict[str, tuple[int, int] | None] = field(init=False)

    def __post_init__(self) -> None:
        """Remember its logs as they are: what is in them is of an earlier call."""
        self.works_since = self.began
        self._logs_before = {log: _state(log) for log in self.job.logs}

    def own_logs(self) -> list[Path]:
        """Return those of its logs that it has written to since it began, as it does before it works."""
        return [Path(log) for log in self.job.logs if _state(log) != self._logs_before[log]]

    def seconds_left(self, now: float, expected: float | None) -> float | None:
        """Return the seconds until it ends: at its own rate, else by what is expected of such jobs."""
        if self.note is not None and self.note.seconds_left is not None:
            return self.note.seconds_left
        return None if expected is None else max(0.0, expected - (now - self.works_since))


def _state(log: str) -> tuple[int, int] | None:
    """Return when a file was last written, in nanoseconds, and its size; None where there is none."""
    try:
        found = Path(log).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@dataclass
class StudyAtWork:
    """What is known of a study that runs.

    Attributes:
        name: of the study.
        cores: that its jobs may use together; None where that is not known.
        began: when, in seconds of a monotonic clock.
        waiting: jobs that have not started, by their numbers.
        at_work: jobs that run.
        failed: those that failed and have not been done since, by their numbers.
        planned: jobs of each stage, in the order of the stages.
        done: those that ended.
    """

    name: str
    cores: int | None
    began: float
    waiting: dict[int, Job] = field(default_factory=dict)
    at_work: dict[int, JobAtWork] = field(default_factory=dict)
    failed: dict[int, JobAtWork] = field(default_factory=dict)
    planned: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    _known: set[int] = field(default_factory=set)
    _spent: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def plan(self, jobs: Iterable[Job]) -> None:
        """Take the jobs of the plan, in the order of their stages; those that are known already stay as they are."""
        for job in jobs:
            if job.number not in self._known:
                self._known.add(job.number)
                self.waiting[job.number] = job
                self.planned[job.stage] += 1

    def start(self, number: int, now: float) -> None:
        """Take note that a job starts."""
        job = self.waiting.pop(number, None)
        if job is not None:
            self.at_work[number] = JobAtWork(job, now)

    def finish(self, number: int, now: float) -> None:
        """Take note that a job has ended."""
        ended = self.at_work.pop(number, None)
        job = ended.job if ended else self.waiting.pop(number, None)
        if job is None:
            return
        self.done[job.stage] += 1
        self.failed.pop(number, None)
        if ended:
            spent = self._spent[job.kind or job.stage]
            spent[0] += now - ended.works_since
            spent[1] += job.amount

    def fail(self, number: int) -> None:
        """Take note that a job has failed; it waits again, since Snakemake may try it once more."""
        failed = self.at_work.pop(number, None)
        if failed is not None:
            self.waiting[number] = failed.job
            self.failed[number] = failed

    def read_notes(self, now: float) -> list[tuple[Job, str]]:
        """Read how far the jobs at work are, and return the warnings that came to their logs since the last time."""
        found = []
        for running in list(self.at_work.values()):
            for log in running.own_logs():
                running.note = read_note(log)
            if running.note is not None and running.note.waits_for:
                running.works_since = now
            found += [(running.job, warning) for warning in self.new_warnings(running)]
        return found

    def new_warnings(self, running: JobAtWork) -> list[str]:
        """Return the warnings that came to the log of a job since the last time."""
        found: list[str] = []
        for log in running.own_logs():
            try:
                with log.open("rb") as handle:
                    handle.seek(running.read)
                    text = handle.read()
            except OSError:
                continue
            whole = text[: text.rfind(b"\n") + 1]
            running.read += len(whole)
            found += _WARNING.findall(whole.decode("utf-8", errors="replace"))
        return found

    def expected_seconds(self, job: Job) -> float | None:
        """Return the seconds that a job takes, by those of its kind that ended or are at work; None without any."""
        spent, amount = self._spent[job.kind or job.stage]
        if amount:
            return spent / amount * job.amount
        for running in self.at_work.values():
            note = running.note
            alike = (running.job.kind, running.job.stage) == (job.kind, job.stage)
            if alike and note and note.per_second and note.total:
                return note.total / note.per_second / running.job.amount * job.amount
        return None

    def seconds_left(self, now: float) -> tuple[float, float]:
        """Return the seconds until the study ends, and the share of the jobs left that could be counted.

        Work is spread over the cores; a single job at work takes its own time all the same. Without a number of cores
        nothing is counted.
        """
        if self.cores is None:
            return 0.0, 0.0
        cores = self.cores
        at_work = [
            (running.job.threads, running.seconds_left(now, self.expected_seconds(running.job)))
            for running in self.at_work.values()
        ]
        times = at_work + [(job.threads, self.expected_seconds(job)) for job in self.waiting.values()]
        work = sum(min(threads, cores) * (seconds or 0.0) for threads, seconds in times)
        longest = max((seconds or 0.0 for _, seconds in at_work), default=0.0)
        known = sum(seconds is not None for _, seconds in times)
        return max(work / cores, longest), known / len(times) if times else 0.0
