"""Cross-entropy from JPEGs at 64 pixels against the loop that torchvision's users write.

The same model, files, labels, batch and optimiser on both sides. Ours trains from the store of pixels that a study
makes once; the peer is an ``ImageFolder`` with ``RandomResizedCrop`` in the workers of a DataLoader, their number found
by a trial. JPEGs of 12 megapixels have a row of training and one of the first pass, in which the store is made.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.our_training import train_with_ours
from benchmarks.pictures import draw_photograph
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import Mark, Split, find_split, measure_at_best, side_by_side
from benchmarks.torchvision_loop import train_on

if TYPE_CHECKING:
    from whyrobust.training.batches import DecodedOnce

MODEL = Path(__file__).parent.parent / "resources" / "models" / "icon-cnn.json"
SIDE, BATCH, CLASSES, MIN_AREA = 64, 128, 20, 0.35

#: Pictures that are drawn; the files are copies of them.
DRAWN = 8


def write_folder(folder: Path, images: int, width: int, height: int) -> None:
    """Write JPEGs in class folders; a few are drawn, each written several times, since drawing takes long."""
    generator = np.random.default_rng(0)
    drawn = [io.BytesIO() for _ in range(DRAWN)]
    for content in drawn:
        draw_photograph(width, height, generator).save(content, "JPEG", quality=90)
    for number in range(images):
        path = folder / f"{number % CLASSES:02}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[number % DRAWN].getvalue())


def work_of(width: int) -> str:
    """Return the name of the trial of how the peer is spread over the cores."""
    return f"photographs of {width} pixels"


def prepare(setting: Setting, images: int, width: int, height: int, trial_samples: int) -> None:
    """Write the files, then find out how the peer is fastest on this machine."""
    work = work_of(width)
    if setting.tiny:
        images, width, height = 256, 80, 60
    write_folder(setting.folder / "images", images, width, height)
    find_split(setting, partial(rate_of_peer, setting=setting, samples=trial_samples), work)


def prepare_large(setting: Setting) -> None:
    """Write the files of 12 megapixels."""
    images, width, height = (128, 80, 60) if setting.tiny else (300, 4000, 3000)
    write_folder(setting.folder / "images", images, width, height)


def write_store(folder: Path, names: list[str], side: int, workers: int) -> Path:
    """Write the index of image files and their store, as the stages of a study do; return the store's path.

    Args:
        folder: where both are written.
        names: paths of the files, which are the uids too.
        side: of the images that a model sees, in pixels.
        workers: threads that decode.
    """
    import pyarrow as pa

    from whyrobust.data.archives import LOCATION_SCHEMA, content_hash
    from whyrobust.data.decoded_store import write_decoded
    from whyrobust.data.photo_store import PhotoStore, index_of, write_photographs
    from whyrobust.study.decoded_photographs import stored_side

    columns = {"uid": names, "file": names, "offset": [0] * len(names), "length": [-1] * len(names)}
    index, store = folder / "index.arrow", folder / "store.arrow"
    contents = [content_hash(Path(name).read_bytes()) for name in names]
    write_photographs(index, index_of(pa.table(columns, LOCATION_SCHEMA), contents), border=0)
    write_decoded(store, PhotoStore.open(index), stored_side(side, MIN_AREA), 1e12, workers)
    return store


def make_store(setting: Setting) -> Path:
    """Write the store of the row's files; return its path."""
    return write_store(setting.folder, files_of(setting), SIDE, setting.cores)


def files_of(setting: Setting) -> list[str]:
    """Return the paths of the files, sorted; the folder of each is its class."""
    return sorted(str(path) for path in (setting.folder / "images").glob("*/*.jpg"))


def open_images(store: Path, names: list[str], side: int, workers: int) -> DecodedOnce:
    """Return stored images as a run of a study reads them, cropped by some threads to squares of a side."""
    from whyrobust.data.decoded_store import open_decoded
    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.training.batches import DecodedOnce

    return DecodedOnce(open_decoded([store], names), study_preprocessing(side, "clip"), workers, gpu_bytes=20e9)


def open_store(setting: Setting) -> DecodedOnce:
    """Return the images of the row; a run on a CPU has one thread."""
    workers = 1 if setting.device == "cpu" else setting.cores
    return open_images(setting.folder / "store.arrow", files_of(setting), SIDE, workers)


def show_once(images: DecodedOnce) -> int:
    """Crop every image once, without a model; return how many were shown."""
    import torch

    from whyrobust.training.augmentation import Augmentation
    from whyrobust.training.batches import BatchSettings, ImageOrder

    order = ImageOrder(len(images), BATCH, -(-len(images) // BATCH), 0)
    settings = BatchSettings(1, Augmentation(flip=True, min_crop_area=MIN_AREA), 0, torch.device("cpu"))
    batches = images.batches(order.batches(), settings, torch.Generator())
    return sum(len(images.finish(batch, settings)) for batch in batches)


def train_ours(number: int, setting: Setting, samples: int, precision: str) -> list[Mark]:
    """Train a run on one thread as a study does and return the time of its steps; ``number`` is its seed."""
    import torch

    from whyrobust.training.device import ComputeSettings

    marks, _ = train_with_ours(
        images=open_store(setting),
        targets=torch.tensor([int(Path(name).parent.name) for name in files_of(setting)]),
        objective="cross_entropy",
        model=MODEL,
        samples=samples,
        batch_size=BATCH,
        seed=number,
        # A GPU rounds the same each time, or is at its best.
        compute=ComputeSettings(setting.device, 1, precision, repeatable=precision == "fp32"),
        min_crop_area=MIN_AREA,
    )
    return marks


def ours(setting: Setting, precision: str = "fp32") -> Measured:
    """Measure one run per core in parallel, as a study trains; on a GPU one run. Note what the store takes."""
    began = time.perf_counter()
    store = make_store(setting)
    made = time.perf_counter() - began
    runs = setting.cores if setting.device == "cpu" else 1
    samples = setting.size(16_384 if setting.device == "cpu" else 65_536, 512)
    rate = side_by_side(partial(train_ours, setting=setting, samples=samples, precision=precision), runs, setting)
    return Measured(rate, {"store_seconds": made, "store_mb": store.stat().st_size / 1e6})


def folder_of_crops(setting: Setting, *more: Any) -> Any:  # noqa: ANN401 - torchvision is untyped
    """Return the ``ImageFolder`` of random crops and flips as tensors; ``more`` changes come last."""
    from torchvision import datasets, transforms

    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE, (MIN_AREA, 1), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            *more,
        ]
    )
    return datasets.ImageFolder(str(setting.folder / "images"), change)


def train_peer(number: int, setting: Setting, split: Split, samples: int) -> list[Mark]:
    """Train a run by the reference loop and return the time of its steps; ``number`` is its seed."""
    import torch
    from torchvision import transforms

    from whyrobust.data.preprocessing import CLIP_MEAN, CLIP_STD

    torch.manual_seed(number)
    torch.set_num_threads(split.threads)
    images = folder_of_crops(setting, transforms.Normalize(CLIP_MEAN, CLIP_STD))
    chosen = torch.utils.data.RandomSampler(images, num_samples=samples)
    loader = torch.utils.data.DataLoader(
        images, BATCH, sampler=chosen, num_workers=split.workers, drop_last=True, pin_memory=setting.device == "cuda"
    )
    marks, _ = train_on(loader, CLASSES, setting.device)
    return marks


def rate_of_peer(split: Split, setting: Setting, samples: int) -> float:
    """Return the joint rate of the peer's runs."""
    return side_by_side(partial(train_peer, setting=setting, split=split, samples=samples), split.runs, setting)


def peer(setting: Setting, samples: int, width: int) -> Measured:
    """Measure the reference loop, spread over the cores as was fastest."""
    rate_of = partial(rate_of_peer, setting=setting, samples=setting.size(samples, 512))
    return measure_at_best(setting, rate_of, work_of(width))


def first_pass_ours(setting: Setting) -> Measured:
    """Measure the seconds in which the store is made and every image is cropped once, by one thread per core."""
    import torch

    torch.set_num_threads(1)
    began = time.perf_counter()
    store = make_store(setting)
    shown = show_once(open_images(store, files_of(setting), SIDE, setting.cores))
    return Measured(time.perf_counter() - began, {"images": float(shown)})


def first_pass_peer(setting: Setting) -> Measured:
    """Measure the seconds in which a DataLoader with a worker per core shows every image once."""
    import torch

    began = time.perf_counter()
    loader = torch.utils.data.DataLoader(folder_of_crops(setting), BATCH, shuffle=True, num_workers=setting.cores)
    shown = sum(len(batch) for batch, _ in loader)
    return Measured(time.perf_counter() - began, {"images": float(shown)})


def _row(name: str, what: str, picture: Sequence[int], peer_samples: int, aim: float, limit: str) -> Row:
    images, width, height = picture
    return Row(
        name=name,
        what=what,
        unit="images/s",
        ours=ours,
        peer="torchvision, ImageFolder and DataLoader",
        measure_peer=partial(peer, samples=peer_samples, width=width),
        aims={"cpu": (Aim(least=aim),), "cuda": (Aim(least=5),)},
        prepare=partial(
            prepare, images=images, width=width, height=height, trial_samples=min(6 * BATCH, peer_samples // 2)
        ),
        limit=limit,
        rounds=2,
    )


SMALL = _row(
    "photographs_64", "cross-entropy training at 64 pixels from JPEGs of 227 pixels, fp32", (1187, 302, 227),
    6_144, 2.5, "the model's convolutions: on a CPU nine tenths of a step",
)  # fmt: skip

ROWS = (
    SMALL,
    _row("photographs_12mp", "the same from 12-megapixel JPEGs, after the first pass", (300, 4000, 3000),
         768, 10, "the model's convolutions: on a CPU nine tenths of a step"),
    Row(
        name="photographs_first_pass",
        what="300 JPEGs of 12 megapixels shown once, the store made on the way",
        unit="s",
        ours=first_pass_ours,
        peer="torchvision, ImageFolder and DataLoader",
        measure_peer=first_pass_peer,
        aims={"cpu": (Aim(least=1),)},
        better="lower",
        prepare=prepare_large,
        limit="libjpeg, which decodes an eighth of each side",
        devices=("cpu",),
        rounds=2,
    ),
    replace(
        SMALL,
        name="photographs_64_tf32",
        what="cross-entropy training at 64 pixels from JPEGs of 227 pixels, convolutions in TF32 on both sides",
        ours=partial(ours, precision="tf32"),
        limit="the model's convolutions",
        devices=("cuda",),
    ),
)  # fmt: skip
