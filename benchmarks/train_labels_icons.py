"""Cross-entropy on 32-pixel icons against the loop that torchvision's users write.

The same model, pictures, labels, batch and optimiser on both sides. The peer is an ``ImageFolder`` of PNG files with
torchvision's transforms in the workers of a DataLoader, trained in fp32 as torchvision's own reference script does on
a CPU, or with torch's autocast.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.our_training import train_with_ours
from benchmarks.pictures import draw_icons
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import Mark, Split, find_split, measure_at_best, side_by_side
from benchmarks.torchvision_loop import train_on

if TYPE_CHECKING:
    import torch

MODEL = Path(__file__).parent.parent / "resources" / "models" / "icon-cnn.json"
SIDE, BATCH, CLASSES = 32, 128, 70

#: Name the trials of how the peer is spread over the cores, by its precision.
WORK = {"fp32": "labels icons", "bf16": "labels icons bf16"}


def prepare(setting: Setting) -> None:
    """Draw the pictures; write them as an image folder, and as the array that a study holds."""
    pixels = draw_icons(setting.size(4096, 512), SIDE, seed=0)
    labels = np.arange(len(pixels)) % CLASSES
    np.save(setting.folder / "pixels.npy", pixels)
    np.save(setting.folder / "labels.npy", labels)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        path = setting.folder / "images" / f"{label:02}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def train_ours(number: int, setting: Setting, samples: int, precision: str) -> list[Mark]:
    """Train a run on one thread as a study does and return the time of its steps; ``number`` is its seed."""
    import torch

    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.training.batches import ImagesInMemory
    from whyrobust.training.device import ComputeSettings

    marks, _ = train_with_ours(
        images=ImagesInMemory(np.load(setting.folder / "pixels.npy"), study_preprocessing(SIDE, "white_page")),
        targets=torch.from_numpy(np.load(setting.folder / "labels.npy")),
        objective="cross_entropy",
        model=MODEL,
        samples=samples,
        batch_size=BATCH,
        seed=number,
        # A GPU rounds the same each time, or is at its best.
        compute=ComputeSettings(setting.device, threads=1, precision=precision, repeatable=precision == "fp32"),
    )
    return marks


def ours(setting: Setting, precision: str) -> Measured:
    """Measure one run per core in parallel, as a study trains; on a GPU one run, five times as long."""
    runs, samples = (setting.cores, 32_768) if setting.device == "cpu" else (1, 163_840)
    run = partial(train_ours, setting=setting, samples=setting.size(samples, 512), precision=precision)
    return Measured(side_by_side(run, runs, setting))


def prepare_with_peer(setting: Setting, precision: str) -> None:
    """Write the pictures, then find out how the peer is fastest on this machine."""
    prepare(setting)
    find_split(setting, partial(rate_of_peer, setting=setting, epochs=1, precision=precision), WORK[precision])


def load_images(
    folder: Path, batch: int, workers: int, device: str, augmented: bool = True
) -> torch.utils.data.DataLoader[Any]:
    """Return the loader of torchvision's users: an ``ImageFolder`` of icons with random shifts, zooms and flips.

    Args:
        folder: with a folder for each class.
        batch: images a step.
        workers: processes that read and change images.
        device: cpu or cuda.
        augmented: whether images are changed at random.
    """
    import torch
    from torchvision import datasets, transforms

    at_random = [
        # The reference's random crop and flip; white is what lies around an icon.
        transforms.RandomAffine(0, translate=(0.1, 0.1), scale=(0.8, 1.25), fill=255,
                                interpolation=transforms.InterpolationMode.BILINEAR),
        transforms.RandomHorizontalFlip(),
    ]  # fmt: skip
    change = transforms.Compose(
        [
            *(at_random if augmented else []),
            transforms.ToTensor(),
            transforms.Normalize((1.0, 1.0, 1.0), (0.5, 0.5, 0.5)),
        ]
    )
    return torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder), change), batch, shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0, pin_memory=device == "cuda",
    )  # fmt: skip


def train_peer(number: int, setting: Setting, split: Split, epochs: int, precision: str) -> list[Mark]:
    """Train a run by the reference loop and return the time of its steps; ``number`` is its seed."""
    import torch

    torch.manual_seed(number)
    torch.set_num_threads(split.threads)
    loader = load_images(setting.folder / "images", BATCH, split.workers, setting.device)
    batches = itertools.chain.from_iterable(loader for _ in range(epochs))
    marks, _ = train_on(batches, CLASSES, setting.device, precision=precision)
    return marks


def rate_of_peer(split: Split, setting: Setting, epochs: int, precision: str) -> float:
    """Return the joint rate of the peer's runs."""
    run = partial(train_peer, setting=setting, split=split, epochs=epochs, precision=precision)
    return side_by_side(run, split.runs, setting)


def peer(setting: Setting, precision: str) -> Measured:
    """Measure the reference loop, spread over the cores as was fastest."""
    rate = partial(rate_of_peer, setting=setting, epochs=setting.size(2, 1), precision=precision)
    return measure_at_best(setting, rate, WORK[precision])


ICONS = Row(
    name="labels_icons",
    what="cross-entropy training, 32-pixel icons, fp32",
    unit="images/s",
    ours=partial(ours, precision="fp32"),
    peer="torchvision, ImageFolder and DataLoader",
    measure_peer=partial(peer, precision="fp32"),
    aims={"cpu": (Aim(least=3),), "cuda": (Aim(least=20),)},
    prepare=partial(prepare_with_peer, precision="fp32"),
    limit="the model's convolutions",
    rounds=2,
)

ROWS = (
    ICONS,
    replace(
        ICONS,
        name="labels_icons_bf16",
        what="cross-entropy training, 32-pixel icons, bf16 on both sides",
        ours=partial(ours, precision="bf16"),
        peer="torchvision, ImageFolder and DataLoader, autocast",
        measure_peer=partial(peer, precision="bf16"),
        prepare=partial(prepare_with_peer, precision="bf16"),
        devices=("cpu",),
    ),
    replace(
        ICONS,
        name="labels_icons_best",
        what="cross-entropy training, 32-pixel icons, ours in bf16 with the fastest operations",
        ours=partial(ours, precision="bf16"),
        devices=("cuda",),
    ),
)
