"""Which runs one job embeds, one after the other: a process that imports torch costs as much as a small model's passes.

A job waits for all of its runs. Where runs are added, those that follow in the plan move to other groups: they are
taken from finished work, or where none is kept embedded again. So runs of dear models, and runs that heads are fitted
for, which others wait for, are with those that differ in their seed alone; runs of small models are with others of
their objective.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from whyrobust.study.heads_table import FITTED_HEADS
from whyrobust.study.input_files import read_description
from whyrobust.study.plan import Head, Run

#: Image encoders of ``timm_model_name`` whose passes over the test sets of a study take seconds on one core.
SMALL_ENCODERS = frozenset({"icon_cnn", "icon_resnet"})

#: Runs that a job has at most, unless more of them differ in their seed alone. In the default study 15 took 19
#: seconds; with more, jobs that end last leave other cores idle for longer than starts take (docs/dev/optimisation.md).
MOST_RUNS = 16


def small_models(models: Mapping[str, Path | str], root: Path) -> set[str]:
    """Return the names of the models that are small, of the files that describe models by name, relative to a root."""
    encoders = {name: read_description(name, root / path)["vision_cfg"] for name, path in models.items()}
    return {name for name, encoder in encoders.items() if encoder.get("timm_model_name") in SMALL_ENCODERS}


def group_runs(
    runs: Iterable[Run], heads: Mapping[str, Sequence[Head]], small: Collection[str]
) -> dict[str, list[str]]:
    """Return the names of the scored runs by the name of their group, in the order of the plan.

    The runs of a group are of one model and one objective.

    Args:
        runs: of a study.
        heads: of each run, by its name.
        small: names of the models that are small.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if run.evaluated:
            alike.setdefault(run.seedless, []).append(run)
    groups: dict[str, list[str]] = {}
    of_kinds: dict[str, list[str]] = {}
    for seedless, members in alike.items():
        names, first = [run.run for run in members], members[0]
        fitted = any(head.head in FITTED_HEADS for name in names for head in heads[name])
        if fitted or first.published or first.model not in small:
            groups[seedless] = names
            continue
        kind = f"{first.objective}-{first.model}"
        of_kind = of_kinds.setdefault(kind, [])
        if not of_kind or len(groups[of_kind[-1]]) + len(names) > MOST_RUNS:
            of_kind.append(f"{kind}-{len(of_kind) + 1}")
        groups.setdefault(of_kind[-1], []).extend(names)
    return groups


def runs_that_are_there(groups: Mapping[str, Iterable[str]], runs: Collection[str]) -> dict[str, list[str]]:
    """Return the groups of a study as they are in a part of it: without the runs, and the groups, that it lacks."""
    found = {group: [name for name in names if name in runs] for group, names in groups.items()}
    return {group: names for group, names in found.items() if names}
