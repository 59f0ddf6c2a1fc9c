"""Search the recipes of the rows on time until a given accuracy, on held-out training images.

    python -m benchmarks.search_recipes results/icons

The peers have the same trials in the same order: learning rates of each optimiser at batches of 64 images, then half
and twice the learning rate and the batch of the best, and a quarter and four times its weight decay, until it has worse
neighbours on all sides. Ours has what the config says instead, which another search of the same kind chose for longer
runs (docs/results/hyperparameters.csv).
Then each tries its best without augmentation, and numbers of images shown at the best of all. `open_clip_train` crops a
little, and has no other augmentation to leave out. The chosen recipe shows the fewest images after which the accuracy
is reached, and not by chance, since the row asks for it on other drawings. Accuracies are of drawings of `studio` that
the trial was not trained on; the test set is not opened, and the seed is no study's. Writes a row a trial to
benchmarks/results/recipes.csv; trials that it has are not repeated.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy.stats import binomtest

from benchmarks.recipes import (
    ACCURACY,
    CLASSES,
    IMAGES,
    ROOT,
    SOURCE,
    TABLE,
    Icons,
    Recipe,
    read_icons,
    train_by,
    write_icons,
)
from benchmarks.throughput import Split
from tools.search_hyperparameters import LEVEL, STEPS, Place, draw
from whyrobust.files import write_table
from whyrobust.study.class_table import read_class_names
from whyrobust.study.config import load_config

#: Images shown in the trials of rates, batches and optimisers, and those tried afterwards.
SAMPLES, LADDER = 10_000, (5_000, 7_500, 12_500, 15_000, 20_000, 30_000)

#: Tried one after the other while the accuracy is not reached.
FURTHER = (45_000, 60_000, 90_000)
BATCH = 64

#: What each peer is tried with.
RATES = {
    "open_clip_train": {"adamw": (0.0005, 0.001, 0.002, 0.004), "timm/muon": (0.002, 0.008)},
    "torchvision": {"adamw": (0.001, 0.002, 0.005, 0.01, 0.02), "sgd": (0.05, 0.2)},
}

#: Weight decay of their first trials.
DECAYS = {"open_clip_train": {"adamw": 0.1, "timm/muon": 0.1}, "torchvision": {"adamw": 0.05, "sgd": 0.0005}}
PROGRAMS = {"labels": "torchvision", "clip": "open_clip_train"}
SEED = 100

Row = dict[str, Any]


def trial(recipe: Recipe, folder: Path) -> Row:
    """Carry out a trial on one thread and return its row."""
    workers = 1 if recipe.program == "open_clip_train" else 0
    _, accuracy = train_by(recipe, folder, Split(1, 1, workers), SEED, "cpu")
    images = read_icons(folder).tested
    return asdict(recipe) | {"seed": SEED, "held_out_images": images, "held_out_accuracy": round(accuracy, 4)}


def is_of(recipe: Recipe, row: Row) -> bool:
    """Whether a row is of this recipe."""
    return all(row[name] == value for name, value in asdict(recipe).items())


def best_of(rows: Sequence[Row]) -> Recipe:
    """Return the recipe with the highest accuracy."""
    best = max(rows, key=lambda row: row["held_out_accuracy"])
    return Recipe(**{name: best[name] for name in Recipe.__dataclass_fields__})


def reaches(row: Row, accuracy: float) -> bool:
    """Whether a trial has an accuracy, and not by chance: by the exact binomial test, one-sided, at `LEVEL`."""
    images = row["held_out_images"]
    correct = round(row["held_out_accuracy"] * images)
    return float(binomtest(correct, images, accuracy, alternative="greater").pvalue) <= LEVEL


def sufficient(rows: Sequence[Row], accuracy: float) -> Recipe:
    """Return the recipe that reaches an accuracy with the fewest images, or the best where none does."""
    enough = [row for row in rows if reaches(row, accuracy)]
    return best_of([min(enough, key=lambda row: row["samples"])] if enough else rows)


def beyond(rows: Sequence[Row]) -> list[Recipe]:
    """Return the neighbours of the best trial that are missing, on both sides of each of its settings."""
    best, wanted = best_of(rows), []
    for name, step in STEPS.items():
        value = getattr(best, name)
        tried = [row[name] for row in rows if is_of(replace(best, **{name: row[name]}), row)]
        if max(tried) == value:
            wanted.append(replace(best, **{name: value * step}))
        if min(tried) == value:
            wanted.append(replace(best, **{name: type(value)(value / step)}))
    return wanted


def search(task: str, program: str, carry_out: Callable[[list[Recipe]], list[Row]]) -> list[Row]:
    """Carry out the trials of one program and return their rows, the chosen one marked."""
    rows: list[Row] = []
    if program == "ours":
        config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
        hyper = config.training.hyperparameters_of("clip" if task == "clip" else "cross_entropy", False)
        numbers = hyper["learning_rate"], hyper["batch_size"], hyper["weight_decay"]
        rows += carry_out([Recipe(task, program, hyper["optimizer"], *numbers, SAMPLES)])
    else:
        rates, augmented = RATES[program], program != "open_clip_train"
        trials = [
            Recipe(task, program, name, rate, BATCH, DECAYS[program][name], SAMPLES, augmented)
            for name in rates
            for rate in rates[name]
        ]
        rows += carry_out(trials)
        while outward := beyond(rows):
            rows += carry_out(outward)
    best = best_of(rows)
    if best.augmented:
        rows += carry_out([replace(best, augmented=False)])
        best = best_of(rows)
    # It trains for whole epochs.
    counts = [count for count in LADDER if program != "open_clip_train" or count % IMAGES == 0]
    rows += carry_out([replace(best, samples=count) for count in counts])
    for count in FURTHER:
        if any(reaches(row, ACCURACY[task]) for row in rows):
            break
        rows += carry_out([replace(best, samples=count)])
    chosen = sufficient([row for row in rows if is_of(replace(best, samples=row["samples"]), row)], ACCURACY[task])
    return [row | {"chosen": is_of(chosen, row)} for row in rows]


def main() -> None:
    """Read the command line, search, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="results of a default study")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=TABLE)
    arguments = parser.parse_args()
    place = Place(arguments.results, str(ROOT / "config.yaml"), (SOURCE,), IMAGES, SAMPLES)
    drawn = draw(place, read_class_names(CLASSES), 32, SEED)
    known: list[Any] = pd.read_csv(arguments.output).to_dict("records") if arguments.output.is_file() else []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_icons(Path(folder), Icons(drawn.pixels, drawn.titles, drawn.labels, len(drawn.labels) - drawn.trained))
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:

            def carry_out(recipes: list[Recipe]) -> list[Row]:
                waiting = [recipe for recipe in recipes if not any(is_of(recipe, row) for row in known)]
                for row in executor.map(partial(trial, folder=Path(folder)), waiting):
                    print(row, flush=True)
                    known.append(row)
                    write_table(arguments.output, pd.DataFrame(known))
                return [row for recipe in recipes for row in known if is_of(recipe, row)]

            for task, peer in PROGRAMS.items():
                for program in ("ours", peer):
                    rows += search(task, program, carry_out)
    write_table(arguments.output, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
