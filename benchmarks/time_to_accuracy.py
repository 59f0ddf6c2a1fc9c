"""Seconds of training until a run has a given accuracy on its source's own test set, each side by its own best recipe.

Recipes come from a search on held-out training images that was done before (`benchmarks.search_recipes`); here whole
runs are trained by them, as many at once as is fastest, and tested. A run takes the seconds that its images take at
the joint rate of the runs; loading of libraries is left out on both sides. Needs the icons of a finished default study.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from functools import partial

from benchmarks.recipes import (
    ACCURACY,
    ROOT,
    Recipe,
    chosen_recipe,
    icons_of_study,
    tiny_icons,
    train_by,
    write_icons,
)
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import Mark, Split, find_split, read_split, side_by_side

PROGRAMS = {"clip": "open_clip_train", "labels": "torchvision"}

#: Images shown in a trial of how the peer is spread over the cores.
TRIAL_SAMPLES = 5000


def recipe_of(setting: Setting, task: str, program: str) -> Recipe:
    """Return the recipe of a program; a few steps of some recipe where only a trial is wanted."""
    if setting.tiny:
        return Recipe(task, program, "muon" if program == "ours" else "adamw", 0.001, 32, 0.1, samples=256)
    return chosen_recipe(task, program)


def prepare(setting: Setting, task: str) -> None:
    """Write the icons, then find out how the peer is fastest on this machine."""
    write_icons(setting.folder, tiny_icons() if setting.tiny else icons_of_study(ROOT / "results" / "icons"))
    recipe = replace(recipe_of(setting, task, PROGRAMS[task]), samples=TRIAL_SAMPLES)
    find_split(setting, partial(rate_of, setting=setting, recipe=recipe, bf16=False), f"{task} icons")


def train(number: int, setting: Setting, recipe: Recipe, split: Split, bf16: bool) -> list[Mark]:
    """Train a run, keep its accuracy beside the data, and return the time of its steps; ``number`` is its seed."""
    marks, accuracy = train_by(recipe, setting.folder, split, number, setting.device, bf16)
    (setting.folder / f"accuracy {number}.json").write_text(json.dumps(accuracy), encoding="utf-8")
    return marks


def rate_of(split: Split, setting: Setting, recipe: Recipe, bf16: bool) -> float:
    """Return the joint rate of runs, spread over the cores in this way."""
    return side_by_side(partial(train, setting=setting, recipe=recipe, split=split, bf16=bf16), split.runs, setting)


def measure(setting: Setting, recipe: Recipe, split: Split, bf16: bool) -> Measured:
    """Measure the seconds of a run, and note its images and its accuracy, a mean over the runs."""
    for path in setting.folder.glob("accuracy *.json"):
        path.unlink()
    rate = rate_of(split, setting, recipe, bf16)
    accuracies = [json.loads(path.read_text(encoding="utf-8")) for path in setting.folder.glob("accuracy *.json")]
    notes = {"accuracy": statistics.mean(accuracies), "images shown": float(recipe.samples)}
    return Measured(recipe.samples / rate, notes)


def ours(setting: Setting, task: str, bf16: bool = False) -> Measured:
    """Measure one run per core in parallel, as a study trains; on a GPU one run."""
    runs = setting.cores if setting.device == "cpu" else 1
    return measure(setting, recipe_of(setting, task, "ours"), Split(runs, 1, 0), bf16)


def peer(setting: Setting, task: str, bf16: bool = False) -> Measured:
    """Measure the peer, spread over the cores as was fastest."""
    return measure(setting, recipe_of(setting, task, PROGRAMS[task]), read_split(setting, f"{task} icons"), bf16)


def _row(task: str, what: str, peer_name: str, cpu: float, gpu: float) -> Row:
    return Row(
        name=f"time_{task}_icons",
        what=f"{what} until {ACCURACY[task]:.2f} of the source's own test set, 32-pixel icons, fp32",
        unit="s",
        ours=partial(ours, task=task),
        peer=peer_name,
        measure_peer=partial(peer, task=task),
        aims={
            "cpu": (Aim(least=cpu), Aim(least=ACCURACY[task], figure="accuracy")),
            "cuda": (Aim(least=gpu), Aim(least=ACCURACY[task], figure="accuracy")),
        },
        better="lower",
        limit="images that must be shown, and the convolutions of each",
        prepare=partial(prepare, task=task),
        rounds=2,
    )


def _at_best(row: Row, at_best: str, peer_name: str) -> Row:
    """Return a row of a GPU, where ours has products in 16 bits, and the peer if it offers them."""
    return replace(
        row,
        name=f"{row.name}_best",
        what=row.what.replace("fp32", at_best),
        ours=partial(row.ours, bf16=True),
        peer=peer_name,
        measure_peer=row.measure_peer and partial(row.measure_peer, bf16=True),
        devices=("cuda",),
    )


CLIP = _row("clip", "CLIP", "open_clip_train at its best", 10, 20)
LABELS = _row("labels", "cross-entropy", "torchvision's loop at its best", 3, 10)

ROWS = (
    CLIP,
    _at_best(CLIP, "each at its best: bf16", "open_clip_train at its best, amp_bf16"),
    LABELS,
    _at_best(LABELS, "ours in bf16 with the fastest operations", LABELS.peer),
)
