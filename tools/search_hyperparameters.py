"""Search learning rates, batch sizes, weight decay and mirroring by accuracy on held-out training drawings.

    python -m tools.search_hyperparameters results/icons

Stands outside the workflow because it is done once, by people. Every objective has the same number of trials: five
learning rates at the batch size of the config, with and without mirrored images. Augmentation is one for all
objectives, so mirroring is on where the best trials with it are better than those without, as the mean over objectives.
Then half and twice the batch size are tried at the best learning rate. A trial trains on images of all sources, equally
many of each, and is scored on drawings of the same sources that it has not seen, by the objective's main head; no test
set is opened, and its seed is no study's. For clip and cross_entropy the other optimiser and augmentation without plain
images are tried too. Then a quarter, four times and sixteen times the usual weight decay are tried, and half and twice
the learning rate at the best of these; a run that is fine-tuned has the decay of its objective. Where the best trial
with the usual decay, or the best with another, has the lowest or the highest learning rate, batch size or decay, one
beyond it is tried, until it lies inside. Batches of fewer than 64 images are shown beside, but not chosen: Muon's
update of the weights takes as long after few images as after many. Another decay than the usual one is chosen only
where its best trial is better by Fisher's exact test, which knows of the images, not of the seed. Writes one row a
trial, that of each objective marked; `at_edge` says that its learning rate, batch size or decay is the lowest or the
highest that was tried.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import fisher_exact
from torch import Tensor

from whyrobust.data.pixel_store import read_pixels
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.data.split_by_drawing import split_by_drawing
from whyrobust.data.subsets import draw_subset
from whyrobust.evaluation.embed import embed_images
from whyrobust.evaluation.heads import fit_linear_probe, score_classifier
from whyrobust.evaluation.load_run import open_run
from whyrobust.evaluation.scoring import predict
from whyrobust.evaluation.zero_shot import prompt_ensemble, score_zero_shot
from whyrobust.files import write_table
from whyrobust.study.class_table import read_class_names
from whyrobust.study.config import Config, load_config
from whyrobust.study.config_file import read_config_file
from whyrobust.study.input_files import read_prompt_sets
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.batches import ImagesInMemory
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.text_encoder import tokenize
from whyrobust.training.weights import save_weights

#: Learning rates of Muon that are tried for each objective.
LEARNING_RATES: dict[str, tuple[float, ...]] = {
    "cross_entropy": (0.005, 0.01, 0.02, 0.04, 0.08),
    "clip": (0.001, 0.002, 0.004, 0.008, 0.016),
    "siglip": (0.001, 0.002, 0.004, 0.008, 0.016),
    "supcon": (0.0025, 0.005, 0.01, 0.02, 0.04),
    "simclr": (0.001, 0.002, 0.004, 0.008, 0.016),
    "fine_tuning": (0.0025, 0.005, 0.01, 0.02, 0.04),
}

#: Not an objective: cross-entropy on an encoder that SimCLR has trained, with half of the samples each.
FINE_TUNING = "fine_tuning"

#: Learning rates of AdamW.
ADAMW: dict[str, tuple[float, ...]] = {"cross_entropy": (0.01, 0.02), "clip": (0.001, 0.002)}

#: Weight decay while other settings are searched.
USUAL_DECAY: dict[str, float] = {
    "cross_entropy": 0.05,
    "clip": 0.1,
    "siglip": 0.1,
    "supcon": 0.05,
    "simclr": 0.05,
    "fine_tuning": 0.05,
}

#: Decays that are tried besides, as multiples of it.
DECAY_MULTIPLES = (0.25, 4.0, 16.0)

#: Level of one-sided exact tests.
LEVEL = 0.05

#: Factor between neighbouring trials.
STEPS = {"learning_rate": 2, "batch_size": 2, "weight_decay": 4}

#: Objectives whose best learning rate is tried without plain images too, and the share of plain images of the others.
WITHOUT_PLAIN, PLAIN_SHARE = ("cross_entropy", "clip"), 0.5

#: Images of a step, at least, of trials that are chosen.
SMALLEST_BATCH = 64

#: Share of the drawings of each source that trials are scored on.
HELD_OUT_SHARE = 0.2

#: Images of each source that a trial is scored on, at most.
MOST_HELD_OUT = 2000


@dataclass(frozen=True)
class Trial:
    """Settings that are tried; all else is the config's."""

    objective: str
    optimizer: str
    learning_rate: float
    batch_size: int
    plain_share: float
    flip: bool
    seed: int
    weight_decay: float


@dataclass(frozen=True)
class Place:
    """Where a trial finds its data, and how much of them it takes.

    Attributes:
        results: of a study whose images, captions and decontaminated sources are there.
        config: its config file.
        sources: sources that are made of no other.
        images: training images, equally many of each source.
        samples: training images shown.
    """

    results: str
    config: str
    sources: tuple[str, ...]
    images: int
    samples: int


@dataclass(frozen=True)
class Drawn:
    """Images with their labels, titles and drawings: those that are trained on first, then the held-out ones."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    titles: tuple[str, ...]
    groups: tuple[str, ...]
    source: NDArray[np.object_]
    trained: int


def learns_by(name: str) -> str:
    """Return the objective that a trial ends with."""
    return "cross_entropy" if name == FINE_TUNING else name


def first_trials(config: Config, objectives: Sequence[str], seed: int) -> list[Trial]:
    """Return the trials of the learning rates of all objectives, with and without mirroring, taken in turns.

    Raises:
        SystemExit: an objective has no learning rates or no weight decay here to start from.
    """
    tables: dict[str, Mapping[str, object]] = {"LEARNING_RATES": LEARNING_RATES, "USUAL_DECAY": USUAL_DECAY}
    for table, rows in tables.items():
        if missing := [name for name in objectives if name not in rows]:
            raise SystemExit(f"no row for {', '.join(missing)}: add it to {table} in tools/search_hyperparameters.py")
    of_each = [
        [
            Trial(
                name,
                "muon",
                rate,
                config.training.settings_of(learns_by(name)).batch_size,
                PLAIN_SHARE,
                flip,
                seed,
                USUAL_DECAY[name],
            )
            for rate in LEARNING_RATES[name]
            for flip in (False, True)
        ]
        for name in objectives
    ]
    return [trial for turn in zip(*of_each, strict=True) for trial in turn]


def further_trials(best: Sequence[Trial]) -> list[Trial]:
    """Return the trials that follow from the best learning rate of each objective."""
    plain = [replace(trial, plain_share=0.0) for trial in best if trial.objective in WITHOUT_PLAIN]
    adamw = [
        replace(trial, optimizer="adamw", learning_rate=rate)
        for trial in best
        for rate in ADAMW.get(trial.objective, ())
    ]
    # A run that is fine-tuned has the batch size of its objective.
    sized = [trial for trial in best if trial.objective != FINE_TUNING]
    halved = [replace(trial, batch_size=trial.batch_size // 2) for trial in sized]
    return plain + adamw + halved + [replace(trial, batch_size=2 * trial.batch_size) for trial in sized]


def decay_trials(best: Sequence[Trial]) -> list[Trial]:
    """Return the trials of other decays; fine-tuning has that of its objective."""
    return [
        replace(trial, weight_decay=trial.weight_decay * multiple)
        for trial in best
        if trial.objective != FINE_TUNING
        for multiple in DECAY_MULTIPLES
    ]


def rate_trials(best: Sequence[Trial]) -> list[Trial]:
    """Return the trials of other rates at the best decay of each objective, where that is not the usual one."""
    best_of_objective = {trial.objective: trial for trial in best}
    tuned, objective = (best_of_objective.get(name) for name in (FINE_TUNING, learns_by(FINE_TUNING)))
    if tuned and objective:
        best_of_objective[FINE_TUNING] = replace(tuned, weight_decay=objective.weight_decay)
    others = [trial for trial in best_of_objective.values() if trial.weight_decay != USUAL_DECAY[trial.objective]]
    return [replace(trial, learning_rate=trial.learning_rate * factor) for trial in others for factor in (1, 0.5, 2)]


def beyond(table: pd.DataFrame) -> list[Trial]:
    """Return one trial beyond the best of each objective for each of its settings that is at an edge.

    Args:
        table: of trials, as :func:`mark` returns it.
    """
    wanted = []
    for row in table[table["chosen"] & table["at_edge"]].to_dict("records"):
        best = trial_of({str(name): value for name, value in row.items()})
        for name, step in STEPS.items():
            if name == "weight_decay" and best.objective == FINE_TUNING:
                continue
            alike = columns_alike(name)
            tried = table.loc[(table[alike] == [getattr(best, column) for column in alike]).all(axis=1), name]
            value, lowest, highest = getattr(best, name), tried.min(), tried.max()
            if lowest < highest and value in (lowest, highest) and not (value == lowest == SMALLEST_BATCH):
                further = value * step if value == highest else value / step
                wanted.append(replace(best, **{name: type(value)(further)}))
    return wanted


def columns_alike(name: str) -> list[str]:
    """Return the columns in which trials are alike that are compared for one setting."""
    return ["objective", "flip", "optimizer", *(["weight_decay"] if name == "learning_rate" else [])]


def draw(place: Place, classes: Sequence[str], side: int, seed: int) -> Drawn:
    """Return images of all sources, those that are held out by drawing last."""
    results, each = Path(place.results), place.images // len(place.sources)
    parts: tuple[list[pd.DataFrame], list[pd.DataFrame]] = ([], [])
    for source in place.sources:
        kept = pd.read_parquet(results / "decontaminated" / f"{source}.parquet").dropna(subset="label")
        titles = pd.read_parquet(results / "captions" / "title" / f"{source}.parquet", columns=["uid", "title"])
        kept = kept.merge(titles, on="uid", validate="one_to_one").assign(source=source)
        for part, side_of_split in zip(parts, split_by_drawing(kept, HELD_OUT_SHARE, seed), strict=True):
            most = each if part is parts[0] else min(MOST_HELD_OUT, len(side_of_split))
            part.append(side_of_split.set_index("uid").loc[draw_subset(side_of_split["uid"], most, seed)])
    table = pd.concat([*parts[0], *parts[1]])
    pixels = read_pixels([results / "images" / f"{source}.arrow" for source in place.sources], list(table.index))
    return Drawn(
        pixels,
        np.array([classes.index(label) for label in table["label"]], dtype=np.int64),
        tuple(table["title"]),
        tuple(table["group"]),
        table["source"].to_numpy(),
        each * len(place.sources),
    )


def carry_out(trial: Trial, place: Place) -> dict[str, Any]:
    """Train and score a trial; return its row of the table."""
    config = load_config(read_config_file(place.config))
    classes = read_class_names(config.data.classes)
    model_file = next(iter(config.models.values()))
    model = read_model_config(model_file)
    page = study_preprocessing(config.data.image_size, config.data.normalisation)
    drawn = draw(place, classes, page.size, trial.seed)
    name = learns_by(trial.objective)
    images = ImagesInMemory(drawn.pixels[: drawn.trained], page)

    def learn(objective: str, chosen: dict[str, Any], pretrained: dict[str, Tensor] | None) -> dict[str, Tensor]:
        hyper = Hyperparameters.from_mapping(config.training.hyperparameters_of(objective, False) | chosen)
        targets = {
            "captions": tokenize(drawn.titles[: drawn.trained], model["text_cfg"]["context_length"]),
            "labels": torch.from_numpy(drawn.labels[: drawn.trained]),
        }.get(OBJECTIVES[objective].supervision)
        settings = TrainingSettings(objective, model, len(classes), trial.seed, hyper, ComputeSettings("cpu"))
        return train(images, targets, settings, lambda _: None, pretrained)

    chosen = {key: value for key, value in asdict(trial).items() if key not in ("objective", "seed")}
    pretrained, samples = None, place.samples
    if trial.objective == FINE_TUNING:
        samples = place.samples // 2
        pretrained = learn("simclr", {"samples_seen": samples, "flip": trial.flip}, None)
    weights = learn(name, chosen | {"samples_seen": samples}, pretrained)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save_weights(path, weights, {"preprocessing": page.as_dict()})
        encoders = open_run(path, model_file, OBJECTIVES[name].supervision == "captions", 1, torch.device("cpu"))
    features = embed_images(encoders.image, iter(drawn.pixels), page, 512, "cpu")
    held_out = features[drawn.trained :]
    if encoders.text is not None:
        templates = next(iter(read_prompt_sets(config.prompts, Path()).values()))
        scores = score_zero_shot(held_out, prompt_ensemble(encoders.text, classes, templates))
    elif OBJECTIVES[name].main_head == "classifier":
        scores = score_classifier(held_out, weights["classifier.weight"].numpy(), weights["classifier.bias"].numpy())
    else:
        rows = slice(drawn.trained)
        groups = drawn.groups[rows]
        probe = fit_linear_probe(features[rows], drawn.labels[rows], len(classes), groups, trial.seed)
        scores = score_classifier(held_out, probe.weight, probe.bias)
    correct = predict(scores) == drawn.labels[drawn.trained :]
    of_sources = drawn.source[drawn.trained :]
    accuracies = {source: float(correct[of_sources == source].mean()) for source in place.sources}
    return {
        "objective": trial.objective,
        "source": "+".join(place.sources),
        "optimizer": trial.optimizer,
        "learning_rate": trial.learning_rate,
        "batch_size": trial.batch_size,
        "weight_decay": trial.weight_decay,
        "plain_share": trial.plain_share,
        "flip": trial.flip,
        "train_images": drawn.trained,
        "samples_seen": place.samples,
        "seed": trial.seed,
        **{f"held_out_{source}": round(accuracy, 4) for source, accuracy in accuracies.items()},
        "held_out_accuracy": round(float(np.mean(list(accuracies.values()))), 4),
        "held_out_images": len(held_out),
    }


def mirrors(table: pd.DataFrame) -> bool:
    """Return whether mirroring is on: whether the best trials with it are better, as the mean over objectives.

    Args:
        table: of trials; each objective has some with and some without mirroring.
    """
    best = table.groupby(["flip", "objective"])["held_out_accuracy"].max()
    return bool(best.groupby("flip").mean().idxmax())


def is_better(trial: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a trial has a higher accuracy than another by Fisher's exact test at `LEVEL`, not by chance alone."""
    counts = []
    for row in (trial, other):
        correct = round(row["held_out_accuracy"] * row["held_out_images"])
        counts.append([correct, row["held_out_images"] - correct])
    return float(fisher_exact(np.array(counts), alternative="greater").pvalue) <= LEVEL


def best_of(trials: Sequence[Mapping[str, Any]], usual: float) -> Mapping[str, Any]:
    """Return the best trial with the usual decay, or that with another decay if it is better.

    Args:
        trials: of one objective.
        usual: its usual decay.
    """
    best = [
        max(of_decay, key=lambda row: row["held_out_accuracy"])
        for is_usual in (True, False)
        if (of_decay := [row for row in trials if (row["weight_decay"] == usual) == is_usual])
    ]
    return best[-1] if len(best) == 1 or is_better(best[-1], best[0]) else best[0]


def mark(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the table of trials, sorted, with ``at_edge`` and ``chosen``, the best trial of each objective.

    All that are chosen mirror images, or none does (:func:`mirrors`), and have batches of `SMALLEST_BATCH` or more.
    """
    order = ["objective", "flip", "optimizer", "plain_share", "weight_decay", "batch_size", "learning_rate", "seed"]
    table = pd.DataFrame(rows).sort_values(order, ignore_index=True)
    table["at_edge"] = False
    for name in STEPS:
        tried = table.groupby(columns_alike(name))[name]
        lowest, highest = tried.transform("min"), tried.transform("max")
        at_end = (table[name] == lowest) | (table[name] == highest)
        table["at_edge"] |= at_end & (lowest < highest)
    possible = table[(table["flip"] == mirrors(table)) & (table["batch_size"] >= SMALLEST_BATCH)]
    found: dict[str, Mapping[Any, Any]] = {}
    # What is fine-tuned comes last: it has the decay of its objective.
    for name in sorted(set(possible["objective"]), key=lambda name: name == FINE_TUNING):
        rows_of = possible[possible["objective"] == name].reset_index().to_dict("records")
        of_objective = found.get(learns_by(name))
        if of_objective is not None:
            same = [row for row in rows_of if row["weight_decay"] == of_objective["weight_decay"]]
            found[name] = max(same or rows_of, key=lambda row: row["held_out_accuracy"])
        else:
            found[name] = best_of(rows_of, USUAL_DECAY[name])
    table["chosen"] = table.index.isin([row["index"] for row in found.values()])
    return table


def trial_of(row: Mapping[str, Any]) -> Trial:
    """Return the trial of a row of the table."""
    return Trial(**{field.name: row[field.name] for field in fields(Trial)})


def usual_decay(rows: Sequence[dict[str, Any]], is_usual: bool = True) -> list[dict[str, Any]]:
    """Return the trials with the usual weight decay, or those with another."""
    return [row for row in rows if (row["weight_decay"] == USUAL_DECAY[row["objective"]]) == is_usual]


def chosen_of(rows: Sequence[dict[str, Any]]) -> list[Trial]:
    """Return the trials that `mark` chooses."""
    best = mark(rows).query("chosen").to_dict("records")
    return [trial_of({str(name): value for name, value in row.items()}) for row in best]


def search(place: Place, objectives: Sequence[str], seed: int, jobs: int, output: Path) -> pd.DataFrame:
    """Carry out all trials, several at a time, and write the table after each.

    Args:
        place: of the data.
        objectives: to search.
        seed: of the trials; one that no study uses.
        jobs: trials at a time.
        output: the table; trials that it has are not repeated.
    """
    config = load_config(read_config_file(place.config))
    rows: list[dict[str, Any]] = []
    if output.exists():
        rows = pd.read_csv(output).drop(columns=["at_edge", "chosen"]).to_dict("records")  # type: ignore[assignment]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:

        def finish(wanted: Sequence[Trial]) -> None:
            done = {trial_of(row) for row in rows}
            waiting = [executor.submit(carry_out, trial, place) for trial in wanted if trial not in done]
            for future in as_completed(waiting):
                rows.append(future.result())
                print(rows[-1], flush=True)
                write_table(output, mark(rows))

        finish(first_trials(config, objectives, seed))
        # The best of these alone: what another start of this command added changes nothing here.
        first = set(first_trials(config, objectives, seed))
        finish(further_trials(chosen_of([row for row in rows if trial_of(row) in first])))
        while outward := beyond(mark(usual_decay(rows))):
            finish(outward)
        finish(decay_trials(chosen_of(usual_decay(rows))))
        others = usual_decay(rows, is_usual=False)
        while wanted := set(rate_trials(chosen_of(others)) + beyond(mark(others))) - set(map(trial_of, rows)):
            finish(sorted(wanted, key=str))
            others = usual_decay(rows, is_usual=False)
        # What is fine-tuned has no other decay but a chosen one.
        finish(rate_trials(chosen_of(rows)))
        while outward := beyond(mark(rows)):
            finish(outward)
    return mark(rows)


def main() -> None:
    """Read the command line and search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="results of a study with images, captions and decontaminated sources")
    parser.add_argument("--config", default="config.yaml")
    parser.add_argument("--sources", nargs="+", default=["studio", "web"])
    names = [*OBJECTIVES, FINE_TUNING]
    parser.add_argument("--objectives", nargs="+", default=names, choices=names)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/results/hyperparameters.csv"))
    given = parser.parse_args()
    place = Place(given.results, given.config, tuple(given.sources), given.images, given.samples)
    search(place, given.objectives, given.seed, given.jobs, given.output)


if __name__ == "__main__":
    main()
