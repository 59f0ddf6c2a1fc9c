"""The plan of a study: which models are trained, which heads they are evaluated with, and how both are named.

Light, since planning 10,000 runs may import neither torch nor pandas. What is known of a run is looked up in its `Run`,
never parsed back out of its name. `whyrobust.study.comparisons` pairs the planned runs.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from whyrobust.study.heads_table import HEADS
from whyrobust.study.objectives_table import OBJECTIVES

if TYPE_CHECKING:
    from whyrobust.study.comparisons import Comparison

#: ``fitted_on`` of a head that was fitted on the run's own subset.
OWN = "own"

#: What tells the heads of a run apart.
HEAD_FIELDS = ("head", "prompts", "fitted_on")


class PlanError(ValueError):
    """A plan that cannot be carried out; the message is one line that names the config key."""


@dataclass(frozen=True, order=True)
class Run:
    """One trained or published model.

    Attributes:
        run: its name.
        source: training source.
        train_images: images of its subset.
        seed: decides the subset, the initial weights, order and augmentation.
        objective: what it is trained by.
        supervision: ``captions``, ``labels`` or ``images`` (nothing but images).
        caption: caption variant, empty without captions.
        labels: ``annotated`` or ``text_match``, empty without labels.
        pretrained_by: objective of the run that it starts from, empty where it starts from random weights.
        pretrained_run: name of that run.
        model: name of its model description.
        samples_seen: training images shown, with repetition, in this run's own stage.
        views_seen: augmented images shown, with repetition, those of the run that it starts from included: an
            objective that compares two views of each image sees twice as many as samples.
        standard: whether the baseline is fitted to it.
        evaluated: whether it is scored; a run that others only start from is not.
        published: whether its weights come from elsewhere; such a run is evaluated, not trained.
    """

    run: str
    source: str
    train_images: int
    seed: int
    objective: str
    supervision: str
    caption: str
    labels: str
    pretrained_by: str
    pretrained_run: str
    model: str
    samples_seen: int
    views_seen: int
    standard: bool
    evaluated: bool
    published: bool = False

    @property
    def has_text_tower(self) -> bool:
        """Whether class names can be read by this run."""
        return self.supervision == "captions"

    @property
    def seedless(self) -> str:
        """What this run and those that differ from it in their seed alone are called.

        A published model has none beside it, nor has a run whose name was shortened.
        """
        return self.run if self.published else self.run.removesuffix(_seed_ending(self.seed))

    def as_row(self) -> dict[str, str | int | bool]:
        """Return the run as one row of ``runs.csv``; its fields are plain values, so nothing is copied deeply."""
        return dict(vars(self))


def _seed_ending(seed: int) -> str:
    """Return how the name of a trained run ends; what is before it, others of its kind share."""
    return f"-seed_{seed}"


RUN_COLUMNS = tuple(field.name for field in fields(Run))

#: Fields of a run that say what is done with it once it is trained: another value trains nothing again.
AFTER_TRAINING = frozenset({"standard", "evaluated", "published"})


def largest_subsets(runs: Iterable[Run]) -> dict[str, int]:
    """Return the largest training set that runs ask of each source."""
    largest: dict[str, int] = {}
    for run in runs:
        largest[run.source] = max(run.train_images, largest.get(run.source, 0))
    return largest


@dataclass(frozen=True)
class Head:
    """A way to compute class scores from a run.

    Attributes:
        head: ``zero_shot``, ``classifier``, ``nearest_mean`` or ``linear_probe``.
        prompts: prompt set of a zero-shot head, else empty.
        fitted_on: ``own`` or the source of the images that the head was fitted on, else empty.
        main: whether the run is shown and compared by this head where a comparison names none.
    """

    head: str
    prompts: str
    fitted_on: str
    main: bool


#: Longest name of a run: file names, with what is put around them while they are written, have 255 characters at most.
LONGEST_NAME = 200


def shorten_name(name: str) -> str:
    """Return a name that is too long as its beginning with a checksum of the whole; others as they are."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def name_pattern(names: Iterable[str]) -> str:
    """Return a regular expression that matches these names and nothing else; an empty one for no names.

    Names are split at hyphens and equal endings are written once, so that each value of a grid occurs once: Snakemake
    matches the expression for every file, and 10,000 names in full would be a megabyte.
    """
    listed = sorted(set(names))
    return _endings_pattern([re.split(r"(?<=-)", name) for name in listed]) if listed else ""


def _endings_pattern(endings: Sequence[Sequence[str]]) -> str:
    by_first: dict[str, list[Sequence[str]]] = {}
    for ending in endings:
        if ending:
            by_first.setdefault(ending[0], []).append(ending[1:])
    by_rest: dict[str, list[str]] = {}
    for first, rests in by_first.items():
        by_rest.setdefault(_endings_pattern(rests), []).append(re.escape(first))
    branches = [f"(?:{'|'.join(firsts)}){rest}" for rest, firsts in by_rest.items()]
    if any(not ending for ending in endings):
        branches.append("")
    return f"(?:{'|'.join(branches)})" if branches != [""] else ""


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 - a config value
    """Return a value of the config, or the list of values that is given in its place, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def expand_grid(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the listed values of ``entry``, in the order written."""
    keys = list(entry)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(as_list(entry[k]) for k in keys))]


def _check_supervision(values: Mapping[str, Any], key: str) -> None:
    """Check that captions and labels fit the objective."""
    objective = values["objective"]
    needed = OBJECTIVES[objective].supervision
    for field, kind, what in (("caption", "captions", "name a variant"), ("labels", "labels", "name their kind")):
        if needed == kind and not values[field]:
            raise PlanError(f"{key}.{field} is missing: objective '{objective}' learns from {kind}, {what}")
        if needed != kind and values[field]:
            raise PlanError(
                f"{key}.{field} is '{values[field]}': objective '{objective}' learns from {needed}, remove the key"
            )


def _make_run(values: Mapping[str, Any], key: str, pretrained: Run | None = None) -> Run:
    supervision = OBJECTIVES[values["objective"]].supervision
    complete = {"caption": "", "labels": "annotated" if supervision == "labels" else ""} | dict(values)
    _check_supervision(complete, key)
    parts = [
        complete["objective"],
        complete["caption"] or complete["labels"] or supervision,
        complete["source"],
        f"{complete['train_images']}_images",
        complete["model"],
        f"{complete['samples_seen']}_samples",
    ]
    if pretrained is not None:
        parts += ["after", pretrained.objective, pretrained.caption or pretrained.labels or pretrained.supervision]
        parts += [pretrained.source, f"{pretrained.train_images}_images", f"{pretrained.samples_seen}_samples"]
    return Run(
        run=shorten_name("-".join(parts) + _seed_ending(complete["seed"])),
        supervision=supervision,
        pretrained_by=pretrained.objective if pretrained else "",
        pretrained_run=pretrained.run if pretrained else "",
        views_seen=complete["samples_seen"] * OBJECTIVES[complete["objective"]].views
        + (pretrained.views_seen if pretrained else 0),
        standard=False,
        evaluated=True,
        **complete,
    )


def plan_runs(
    grids: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    model: str,
    samples_seen: int,
    standard: Mapping[str, Any],
) -> list[Run]:
    """Expand the grids of a study into its runs; a run that several grids ask for is planned once.

    Args:
        grids: each maps a field of a run to a value or a list of values. ``pretrain`` maps fields of the run that
            it starts from to values; what it leaves out (source, images, model) is as in the grid.
        seeds: seeds of a grid that names none.
        model: model of a grid that names none.
        samples_seen: training samples of a grid that names none.
        standard: field -> value or list of values that makes a run one of the standard models.

    Returns:
        The runs; one that others start from comes before them.

    Raises:
        PlanError: a grid whose captions or labels do not fit its objective.
    """
    runs: dict[str, Run] = {}
    for position, grid in enumerate(grids):
        key = f"config key runs[{position}]"
        defaults = {"seed": list(seeds), "model": model, "samples_seen": samples_seen}
        first_stage = grid.get("pretrain")
        for values in expand_grid(defaults | {name: value for name, value in grid.items() if name != "pretrain"}):
            pretrained = None
            if first_stage is not None:
                shared = {name: values[name] for name in ("source", "train_images", "seed", "model")}
                shared["samples_seen"] = samples_seen
                pretrained = replace(_make_run(shared | dict(first_stage), f"{key}.pretrain"), evaluated=False)
                runs.setdefault(pretrained.run, pretrained)
            run = _make_run(values, key, pretrained)
            runs[run.run] = replace(run, standard=matches(run.as_row(), {"pretrained_by": ""} | dict(standard)))
    return list(runs.values())


def plan_pretrained(entries: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Return one run for each published model that is evaluated beside the trained ones.

    Args:
        entries: each with ``name, model, weights, trained_on, train_images``.

    Raises:
        PlanError: a name comes twice.
    """
    runs: dict[str, Run] = {}
    for position, entry in enumerate(entries):
        name = f"published-{entry['name']}"
        if name in runs:
            raise PlanError(
                f"config key pretrained[{position}].name is '{entry['name']}', which comes twice: rename one"
            )
        runs[name] = Run(
            run=name, source=entry["trained_on"], train_images=entry["train_images"], seed=0, objective="clip",
            supervision="captions", caption="", labels="", pretrained_by="", pretrained_run="", model=entry["model"],
            samples_seen=0, views_seen=0, standard=False, evaluated=True, published=True,
        )  # fmt: skip
    return list(runs.values())


def matches(values: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Tell whether ``values`` has, for every field of ``condition``, the value or one of the values asked for."""
    return all(values[key] in as_list(allowed) for key, allowed in condition.items())


def plan_heads(run: Run, prompt_sets: Sequence[str], fitted_heads: Sequence[Mapping[str, Any]]) -> list[Head]:
    """Return the heads of a run, its main head first.

    Args:
        run: the run.
        prompt_sets: names of the prompt sets; the first is the main one.
        fitted_heads: each with ``head``, ``fitted_on`` (a value or a list) and ``where``, a condition on runs.
    """
    heads: list[tuple[str, str, str]] = []
    if not run.evaluated:
        return []
    main = OBJECTIVES[run.objective].main_head
    if main == "zero_shot":
        heads += [("zero_shot", prompts, "") for prompts in prompt_sets]
    else:
        heads.append((main, "", OWN if HEADS[main].fitted else ""))
    for entry in fitted_heads:
        # The images that a published model was trained on are not here, so nothing is fitted on them.
        if not run.published and matches(run.as_row(), entry.get("where", {})):
            heads += [(entry["head"], "", images) for images in as_list(entry["fitted_on"])]
    return [Head(*head, main=number == 0) for number, head in enumerate(dict.fromkeys(heads))]


@dataclass(frozen=True)
class Plan:
    """What a study does.

    Attributes:
        runs: trained and published models; one that others start from comes before them.
        heads: the heads that each run is evaluated with, by its name, the main head first.
        comparisons: the comparisons.
        components: for every training source, the sources that its images come from and that are made of no other.
    """

    runs: tuple[Run, ...]
    heads: Mapping[str, tuple[Head, ...]]
    comparisons: tuple[Comparison, ...]
    components: Mapping[str, tuple[str, ...]]


def evaluated_rows(runs: Sequence[Run], heads: Mapping[str, Sequence[Head]]) -> list[dict[str, Any]]:
    """Return one row per run and head, with the fields of both.

    Args:
        runs: the runs.
        heads: heads of each run, by its name.
    """
    return [row | vars(head) for run in runs for row in [run.as_row()] for head in heads[run.run]]


def files_of_runs(groups: Mapping[str, Sequence[str]], folders: Sequence[str]) -> dict[str, str]:
    """Return the safetensors file of each run, by run, from the folder of each group, in the order of the groups."""
    return {
        run: f"{folder}/{run}.safetensors"
        for runs, folder in zip(groups.values(), folders, strict=True)
        for run in runs
    }
