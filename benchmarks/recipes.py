"""Recipes of the rows that ask how long training takes until a given accuracy, and training by one of them.

A recipe is what a search on held-out training images settled on (`benchmarks.search_recipes`): optimiser, learning
rate, batch and the fewest images shown after which a run reaches the accuracy. Four programs have one: ours and the
peer, for CLIP and for cross-entropy. Both sides train the default study's model on the same 5,000 icons of `studio`.
"""

from __future__ import annotations

import csv
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from benchmarks.open_clip_peer import train_with_open_clip
from benchmarks.our_training import train_with_ours
from benchmarks.pictures import draw_icons
from benchmarks.rows import CannotMeasureError
from benchmarks.throughput import Mark, Split
from benchmarks.torchvision_loop import train_on
from benchmarks.train_labels_icons import load_images

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "resources" / "models" / "icon-cnn.json"
CLASSES = ROOT / "resources" / "icons" / "classes.csv"
TABLE = Path(__file__).parent / "results" / "recipes.csv"
SIDE, SOURCE, IMAGES = 32, "studio", 5000

SEARCH = "call python -m benchmarks.search_recipes results/icons"

#: Accuracy over the images of the source's own test set that a run has to reach.
ACCURACY = {"clip": 0.30, "labels": 0.60}


@dataclass(frozen=True)
class Recipe:
    """How a program is asked to train.

    Attributes:
        task: ``clip`` or ``labels``.
        program: ``ours``, ``open_clip_train`` or ``torchvision``.
        optimizer: one that the program offers.
        learning_rate: its highest.
        batch_size: images a step.
        weight_decay: as the optimiser has it.
        samples: images shown, counted with repetition.
        augmented: whether images are shifted and zoomed at random, as the study's are, and by torchvision's loop
            mirrored too. `open_clip_train` is left to its own crops, of nine tenths of an image or more.
    """

    task: str
    program: str
    optimizer: str
    learning_rate: float
    batch_size: int
    weight_decay: float
    samples: int
    augmented: bool = True


def chosen_recipe(task: str, program: str, table: Path = TABLE) -> Recipe:
    """Return the recipe that the search settled on.

    Raises:
        CannotMeasureError: the search has not chosen one.
    """
    if not table.is_file():
        raise CannotMeasureError(f"{table} is not there: {SEARCH}")
    with table.open(encoding="utf-8", newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if (r["task"], r["program"], r["chosen"]) == (task, program, "True")]
    if len(rows) != 1:
        raise CannotMeasureError(f"{table} has {len(rows)} chosen recipes for {task} by {program}, not 1: {SEARCH}")
    (row,) = rows
    numbers = float(row["learning_rate"]), int(row["batch_size"]), float(row["weight_decay"]), int(row["samples"])
    return Recipe(task, program, row["optimizer"], *numbers, augmented=row["augmented"] == "True")


@dataclass(frozen=True)
class Icons:
    """Images ``[n, 32, 32, 3]`` with their titles and class ids; the last ``tested`` of them are tested on."""

    pixels: NDArray[np.uint8]
    titles: Sequence[str]
    labels: NDArray[np.int64]
    tested: int


def icons_of_study(results: Path) -> Icons:
    """Return the 5,000 training images of seed 0 and the source's own test set of a finished default study.

    Raises:
        CannotMeasureError: there is no such study.
    """
    import pandas as pd

    from whyrobust.data.pixel_store import read_pixels
    from whyrobust.study.class_table import read_class_names

    subset = results / "subsets" / SOURCE / f"{IMAGES}_images_seed_0.parquet"
    test = results / "decontaminated" / f"{SOURCE}_test.parquet"
    if not (subset.is_file() and test.is_file()):
        raise CannotMeasureError(f"{subset.name} of a default study is not in {subset.parent}: call make study")
    tables = [pd.read_parquet(subset), pd.read_parquet(test)]
    captions = pd.read_parquet(results / "captions" / "title" / f"{SOURCE}.parquet").set_index("uid")["title"]
    classes = read_class_names(CLASSES)
    stores = [results / "images" / f"{name}.arrow" for name in (SOURCE, f"{SOURCE}_test")]
    uids = [list(table["uid"]) for table in tables]
    return Icons(
        np.concatenate([read_pixels([store], of_store) for store, of_store in zip(stores, uids, strict=True)]),
        [*captions.loc[uids[0]], *[""] * len(uids[1])],
        np.array([classes.index(label) for table in tables for label in table["label"]], dtype=np.int64),
        len(uids[1]),
    )


def tiny_icons() -> Icons:
    """Return a few generated icons, to see that a recipe runs."""
    return Icons(draw_icons(192, SIDE, seed=0), [f"picture {n % 9}" for n in range(192)], np.arange(192) % 70, 64)


def write_icons(folder: Path, icons: Icons) -> None:
    """Write what both sides read: arrays, and PNG files in folders of their classes with a csv of their titles."""
    np.savez(folder / "icons.npz", pixels=icons.pixels, labels=icons.labels, tested=icons.tested)
    (folder / "titles.txt").write_text("\n".join(" ".join(title.split()) for title in icons.titles), encoding="utf-8")
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t")
        writer.writerow(["filepath", "title"])
        for number in range(len(icons.labels) - icons.tested):
            path = folder / "images" / f"{icons.labels[number]:03}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(icons.pixels[number]).save(path)
            writer.writerow([path, " ".join(icons.titles[number].split())])


def read_icons(folder: Path) -> Icons:
    """Return what `write_icons` wrote."""
    arrays = np.load(folder / "icons.npz")
    titles = (folder / "titles.txt").read_text(encoding="utf-8").split("\n")
    return Icons(arrays["pixels"], titles, arrays["labels"], int(arrays["tested"]))


def train_by(
    recipe: Recipe, folder: Path, split: Split, seed: int, device: str, bf16: bool = False
) -> tuple[list[Mark], float]:
    """Train a run as a recipe says; return the time of its steps, and its accuracy on the images tested on.

    Args:
        recipe: how.
        folder: where `write_icons` wrote.
        split: threads and workers of the run; ours has no workers.
        seed: of the run.
        device: cpu or cuda.
        bf16: whether to compute products in 16 bits, where the program offers that, and ours by a GPU's fastest
            operations.
    """
    train = {
        "ours": partial(_train_ours, bf16=bf16),
        "open_clip_train": partial(_train_open_clip, bf16=bf16),
        "torchvision": _train_torchvision,
    }
    return train[recipe.program](recipe, folder, split, seed, device)


def _train_ours(
    recipe: Recipe, folder: Path, split: Split, seed: int, device: str, bf16: bool
) -> tuple[list[Mark], float]:
    import torch

    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.study.config import load_config
    from whyrobust.training.batches import ImagesInMemory
    from whyrobust.training.device import ComputeSettings
    from whyrobust.training.models import read_model_config
    from whyrobust.training.text_encoder import tokenize

    icons, objective = read_icons(folder), "clip" if recipe.task == "clip" else "cross_entropy"
    count = len(icons.labels) - icons.tested
    context = read_model_config(MODEL)["text_cfg"]["context_length"]
    config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    hyper = config.training.hyperparameters_of(objective, False) | {
        "optimizer": recipe.optimizer, "learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay,
    }  # fmt: skip
    if not recipe.augmented:
        hyper |= {"plain_share": 1.0}
    marks, weights = train_with_ours(
        images=ImagesInMemory(icons.pixels[:count], study_preprocessing(SIDE, "white_page")),
        targets=tokenize(icons.titles[:count], context) if recipe.task == "clip"
        else torch.from_numpy(icons.labels[:count]),
        objective=objective,
        model=MODEL,
        samples=recipe.samples,
        batch_size=recipe.batch_size,
        seed=seed,
        compute=ComputeSettings(device, split.threads, "bf16" if bf16 else "fp32", repeatable=not bf16),
        classes=int(icons.labels.max()) + 1,
        **{name: value for name, value in hyper.items() if name not in ("samples_seen", "batch_size")},
    )  # fmt: skip
    return marks, _accuracy(weights, icons, recipe.task)


def _train_open_clip(
    recipe: Recipe, folder: Path, split: Split, seed: int, device: str, bf16: bool
) -> tuple[list[Mark], float]:
    import torch

    icons = read_icons(folder)
    count, logs = len(icons.labels) - icons.tested, Path(tempfile.mkdtemp(prefix="logs-", dir=folder))
    epochs = max(1, round(recipe.samples / count))
    marks = train_with_open_clip(
        model=MODEL,
        data=["--train-data", str(folder / "pairs.csv"), "--dataset-type", "csv"],
        samples=count,
        batch_size=recipe.batch_size,
        epochs=epochs,
        workers=split.workers,
        threads=split.threads,
        device=device,
        precision="amp_bf16" if bf16 else "fp32",
        folder=logs,
        more=[
            "--lr", str(recipe.learning_rate), "--opt", recipe.optimizer, "--seed", str(seed),
            "--wd", str(recipe.weight_decay),
            # timm's optimisers are not made without.
            "--eps", "1e-8",
            "--warmup", str(max(1, recipe.samples // recipe.batch_size // 10)),
            "--image-mean", "1", "1", "1", "--image-std", "0.5", "0.5", "0.5",
        ],
    )  # fmt: skip
    (path,) = logs.glob(f"*/checkpoints/epoch_{epochs}.pt")
    weights = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return marks, _accuracy(weights, icons, "clip")


def _train_torchvision(recipe: Recipe, folder: Path, split: Split, seed: int, device: str) -> tuple[list[Mark], float]:
    import torch

    from whyrobust.data.preprocessing import WHITE_PAGE_MEAN, WHITE_PAGE_STD
    from whyrobust.training.augmentation import normalise_pixels

    torch.manual_seed(seed)
    torch.set_num_threads(split.threads)
    icons = read_icons(folder)
    loader = load_images(folder / "images", recipe.batch_size, split.workers, device, recipe.augmented)
    steps = max(2, recipe.samples // recipe.batch_size)
    # The classes of an ImageFolder are its folders, in the order of their names.
    present = np.unique(icons.labels[: len(icons.labels) - icons.tested])
    marks, model = train_on(
        itertools.islice(_again(loader), steps),
        len(present),
        device,
        recipe.optimizer,
        recipe.learning_rate,
        steps,
        recipe.weight_decay,
    )
    tested = torch.from_numpy(icons.pixels[-icons.tested :])
    with torch.no_grad():
        scores = model.eval().cpu()(normalise_pixels(tested, WHITE_PAGE_MEAN, WHITE_PAGE_STD))
    answers = present[scores.argmax(dim=1).numpy()]
    return marks, float((answers == icons.labels[-icons.tested :]).mean())


def _again(loader: torch.utils.data.DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _accuracy(weights: dict[str, torch.Tensor], icons: Icons, task: str) -> float:
    """Return the accuracy over images of a run, by its main head as the default study scores it."""
    import torch

    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.evaluation.embed import embed_images
    from whyrobust.evaluation.heads import score_classifier
    from whyrobust.evaluation.load_run import open_run
    from whyrobust.evaluation.scoring import predict
    from whyrobust.evaluation.zero_shot import prompt_ensemble, score_zero_shot
    from whyrobust.study.class_table import read_prompt_names
    from whyrobust.training.weights import save_weights

    page = study_preprocessing(SIDE, "white_page")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save_weights(path, weights, {"preprocessing": page.as_dict()})
        encoders = open_run(path, MODEL, task == "clip", 1, torch.device("cpu"))
    features = embed_images(encoders.image, iter(icons.pixels[-icons.tested :]), page, 256, "cpu")
    if task == "clip":
        assert encoders.text is not None
        prompts = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["prompts"]
        directions = prompt_ensemble(encoders.text, list(read_prompt_names(CLASSES)), next(iter(prompts.values())))
        scores = score_zero_shot(features, directions)
    else:
        weight, bias = (weights[f"classifier.{name}"].cpu().numpy() for name in ("weight", "bias"))
        scores = score_classifier(features, weight, bias)
    return float((predict(scores) == icons.labels[-icons.tested :]).mean())
