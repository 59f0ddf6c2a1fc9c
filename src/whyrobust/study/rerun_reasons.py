"""Why finished work would be done again, in words: Snakemake names rules and "params", which say little.

`Planned` is what a plan says about one of its jobs; `explain` puts a plan in a line.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Stages that a line names, before it counts the others.
STAGES_NAMED = 3

#: Names of a job's versions that are no package, and what another value of them means.
OTHER_VERSIONS = {"code": "the code is another", "inputs": "files that it reads were changed"}


@dataclass(frozen=True)
class Planned:
    """A job that a plan has.

    Attributes:
        stage: its rule.
        is_there: whether all that it makes is there, so that it would be done again.
        is_lost: whether the records have it as done or failed, and some of what it makes is not there.
        has_failed: whether it failed the last time, as its log says; the records do not tell.
        has_record: whether the records say how what is there was made.
        is_forced: whether the command asks for it.
        was_stopped: whether it was stopped half way.
        has_newer_inputs: whether a file that it reads was written after it.
        has_other_inputs: whether it reads other files.
        before: those of its parameters that are others today, as Python writes them.
        now: what they are today.
    """

    stage: str
    is_there: bool = False
    is_lost: bool = False
    has_failed: bool = False
    has_record: bool = True
    is_forced: bool = False
    was_stopped: bool = False
    has_newer_inputs: bool = False
    has_other_inputs: bool = False
    before: frozenset[str] = frozenset()
    now: frozenset[str] = frozenset()

    def causes(self) -> list[str]:
        """Return why it is done again, in words; nothing where it only depends on what is done again."""
        causes = _changes_of_parameters(self.before, self.now)
        if self.has_other_inputs:
            causes.append("it reads other files")
        if self.has_newer_inputs:
            causes.append("a file that it reads is newer")
        if self.was_stopped:
            causes.append("it was stopped half way")
        return ["the command asks for it"] if self.is_forced else causes


def _changes_of_parameters(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """Return in words how parameters differ; the versions of code, packages and given files are one of them."""
    before, now = list(before), list(now)
    old, new = _versions_among(before), _versions_among(now)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    causes = [OTHER_VERSIONS[name] for name in names if name in OTHER_VERSIONS]
    causes += [
        f"{name} is {new.get(name, 'no longer used')}, was {old.get(name, 'not used')}"
        for name in names
        if name not in OTHER_VERSIONS
    ]
    if len(before) > bool(old) or len(now) > bool(new):
        causes.insert(0, "its settings are others")
    return causes


def _versions_among(parameters: Iterable[str]) -> dict[str, Any]:
    for text in parameters:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, dict) and "code" in value:
            return value
    return {}


def explain(jobs: Sequence[Planned], folder: str) -> list[str]:
    """Return what a plan does again and why, and what is wrong with the results that it finds: a line each.

    Args:
        jobs: of the plan.
        folder: of the results.

    Returns:
        Nothing for a plan that only makes what was never made.
    """
    again = [job for job in jobs if job.is_there]
    lines = []
    failed = Counter(job.stage for job in jobs if job.is_lost and job.has_failed)
    if failed:
        lines.append(f"{_count_stages(failed)} failed the last time (the logs say why), and would be tried again")
    lost = Counter(job.stage for job in jobs if job.is_lost and not job.has_failed)
    if lost:
        lines.append(
            f"{folder} lacks files of {_count_stages(lost)}: deleted, or lost by a kill while they were made. "
            "They are made again; put back what was deleted by mistake"
        )
    by_cause: dict[str, Counter[str]] = {}
    for job in again:
        causes = job.causes()
        if causes:
            by_cause.setdefault(" and ".join(causes), Counter())[job.stage] += 1
    if again:
        reasons = [f"{_count_stages(stages)}, since {cause}" for cause, stages in by_cause.items()]
        dependent = len(again) - sum(sum(stages.values()) for stages in by_cause.values())
        if dependent:
            reasons.append(f"{dependent} that depend on what is made anew")
        lines.append(f"{len(again)} finished jobs would be done again: {'; '.join(reasons)}")
    if again and not all(job.has_record for job in again):
        lines.append(
            f"nothing tells how {sum(not job.has_record for job in again)} of them were made: if {folder} was copied, "
            "copy .snakemake/metadata from beside it too, and what has not changed stays as it is"
        )
    return lines


def _count_stages(stages: Mapping[str, int]) -> str:
    """Return the names of stages with how many jobs each has, the last ones as a number."""
    named = [f"{count} of {stage}" if count > 1 else stage for stage, count in list(stages.items())[:STAGES_NAMED]]
    rest = sum(list(stages.values())[STAGES_NAMED:])
    return ", ".join(named) + (f" and {rest} more" if rest else "")
