"""The plan of a study: which models are trained and which of them are compared.

Stands alone because the workflow needs it before any work is done (to build the DAG) and the analysis needs it
afterwards (to pair runs), and because it must stay light: planning 10,000 runs may not import torch or pandas.
Facts about a run are looked up here, never parsed back out of a file name.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

SUPERVISION_OF_OBJECTIVE = {"clip": "captions", "cross_entropy": "labels"}
HEAD_OF_OBJECTIVE = {"clip": "zero_shot", "cross_entropy": "classifier"}

#: What both runs of a compared pair must share, unless the comparison itself changes it.
MATCHED_FIELDS = (
    "source",
    "train_images",
    "seed",
    "objective",
    "supervision",
    "caption",
    "model",
    "samples_seen",
)


class PlanError(ValueError):
    """A plan that cannot be carried out; the message is one line that names the place in the config."""


@dataclass(frozen=True, order=True)
class Run:
    """One trained model.

    ``caption`` is the caption variant, empty where the run learns from labels. ``standard`` marks the runs
    that the baseline is fitted to.
    """

    run: str
    source: str
    train_images: int
    seed: int
    objective: str
    supervision: str
    caption: str
    model: str
    samples_seen: int
    standard: bool

    @property
    def head(self) -> str:
        """The head that reads class scores off this run."""
        return HEAD_OF_OBJECTIVE[self.objective]

    def as_row(self) -> dict[str, str | int | bool]:
        """Return the run as one row of ``runs.csv``."""
        return asdict(self)


RUN_COLUMNS = tuple(field.name for field in fields(Run))


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - a config value
    return list(value) if isinstance(value, list | tuple) else [value]


def expand_grid(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the listed values of ``entry``, in the order written."""
    keys = list(entry)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(_as_list(entry[k]) for k in keys))]


def plan_runs(
    grids: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    model: str,
    samples_seen: int,
    standard: Mapping[str, Any],
) -> list[Run]:
    """Expand the grids of a study into its runs; a run that several grids ask for is planned once.

    Args:
        grids: each maps a field of a run to a value or a list of values.
        seeds: seeds of a grid that names none.
        model: model of a grid that names none.
        samples_seen: training samples of a grid that names none.
        standard: field -> value or list of values that makes a run one of the standard models.

    Raises:
        PlanError: a grid whose caption does not fit its objective.
    """
    runs: dict[str, Run] = {}
    for position, grid in enumerate(grids):
        defaults = {"seed": list(seeds), "model": model, "samples_seen": samples_seen, "caption": ""}
        for values in expand_grid(defaults | dict(grid)):
            supervision = SUPERVISION_OF_OBJECTIVE[values["objective"]]
            where = f"config key runs[{position}].caption"
            if supervision == "captions" and not values["caption"]:
                raise PlanError(
                    f"{where} is missing: objective '{values['objective']}' learns from captions, name a variant"
                )
            if supervision == "labels" and values["caption"]:
                raise PlanError(
                    f"{where} is '{values['caption']}': objective '{values['objective']}' learns from labels, "
                    "remove the key"
                )
            values["supervision"] = supervision
            values["standard"] = matches(values, standard)
            name = "-".join(
                str(part)
                for part in (
                    values["objective"],
                    values["caption"] or supervision,
                    values["source"],
                    f"{values['train_images']}_images",
                    values["model"],
                    f"{values['samples_seen']}_samples",
                    f"seed_{values['seed']}",
                )
            )
            runs[name] = Run(run=name, **values)
    return list(runs.values())


def matches(values: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether ``values`` has, for every field of ``condition``, the value or one of the values asked for."""
    return all(values[key] in _as_list(allowed) for key, allowed in condition.items())


@dataclass(frozen=True)
class Contrast:
    """One controlled comparison of a cause: pairs of runs that differ as said and are equal in all else."""

    cause: str
    contrast: str
    start: Mapping[str, Any]
    end: Mapping[str, Any]
    where: Mapping[str, Any]
    holds_fixed: str

    @property
    def changed(self) -> frozenset[str]:
        """Fields in which the two sides may differ; supervision follows from the objective."""
        changed = set(self.start) | set(self.end)
        return frozenset(changed | ({"supervision"} if "objective" in changed else set()))

    @property
    def matched(self) -> tuple[str, ...]:
        """Fields in which the two sides of a pair are equal."""
        return tuple(name for name in MATCHED_FIELDS if name not in self.changed)


def plan_contrasts(causes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Contrast]:
    """Return the comparisons of every cause, in the order written."""
    return [
        Contrast(
            cause=cause,
            contrast=entry["contrast"],
            start=entry["from"],
            end=entry["to"],
            where=entry.get("where", {}),
            holds_fixed=entry["holds_fixed"],
        )
        for cause, entries in causes.items()
        for entry in entries
    ]


def count_pairs(contrast: Contrast, runs: Sequence[Run]) -> int:
    """Return how many pairs of planned runs a comparison has."""
    rows = [run.as_row() for run in runs]
    key = {
        side: {
            tuple(row[name] for name in contrast.matched)
            for row in rows
            if matches(row, contrast.where) and matches(row, condition)
        }
        for side, condition in (("start", contrast.start), ("end", contrast.end))
    }
    return len(key["start"] & key["end"])
