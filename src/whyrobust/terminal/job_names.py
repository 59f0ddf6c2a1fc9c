"""What a job of a study is about, in words, and how its time compares with that of others of its stage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from whyrobust.study.display_names import name_runs
from whyrobust.study.study import Study
from whyrobust.terminal.at_work import Job


class JobNames:
    """Names the jobs of a study."""

    def __init__(self, study: Study) -> None:
        self._study = study

    @cached_property
    def _runs(self) -> Mapping[str, str]:
        return name_runs(self._study.rows_of(self._study.runs))

    def label(self, wildcards: Mapping[str, str]) -> str:
        """Return what a job is about, by its wildcards: a run and a group of runs as figures call them."""
        values = dict(wildcards)
        run = values.get("run") or values.get("published")
        if run in self._study.runs:
            return self._runs[run]
        group = values.get("group", "")
        runs = self._study.groups.get(group, ())
        if len({self._study.runs[name].seedless for name in runs}) > 1:
            return f"{len(runs)} runs, {group}"
        if runs:
            alike = re.sub(r", seed \d+$", "", self._runs[runs[0]])
            return f"{alike}, {len(runs)} seeds" if len(runs) > 1 else self._runs[runs[0]]
        if "train_images" in values:
            values["train_images"] = f"{int(values['train_images']):,} images"
        if "seed" in values:
            values["seed"] = f"seed {values['seed']}"
        return ", ".join(value for value in values.values() if value)

    def job(
        self, number: int, stage: str, wildcards: Mapping[str, str], threads: int = 1, logs: Sequence[str] = ()
    ) -> Job:
        """Return a job of the plan; arguments as the attributes of `Job`."""
        run = self._study.runs.get(wildcards.get("run", ""))
        runs = self._study.groups.get(wildcards.get("group", ""), ())
        kind, amount = stage, float(max(1, len(runs)))
        if run is not None:
            kind = f"{stage} {run.objective} {run.supervision} {run.model}"
            amount = float(run.views_seen or run.samples_seen or 1)
        return Job(number, stage, self.label(wildcards), kind, amount, threads, tuple(logs))
