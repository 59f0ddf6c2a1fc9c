"""CLIP training on 32-pixel icons against open_clip's own training program.

The same model, pictures, captions and batch on both sides. The peer reads PNG files named in a csv, its fastest way of
reading from disk for pictures this small; a trial finds how it is best spread over the cores.
"""

from __future__ import annotations

import csv
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.open_clip_peer import train_with_open_clip
from benchmarks.our_training import train_with_ours
from benchmarks.pictures import draw_icons, make_captions
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import Mark, Split, find_split, measure_at_best, side_by_side

MODELS = Path(__file__).parent.parent / "resources" / "models"
SIDE, BATCH = 32, 64

#: Names the trial of how the peer is spread over the cores; the first row with this peer makes it for all.
WORK = "clip icons"


def prepare(setting: Setting) -> None:
    """Draw the pictures; write them as PNG files with a csv, and as the array that a study holds."""
    count = setting.size(4096, 256)
    pixels, captions = draw_icons(count, SIDE, seed=0), make_captions(count, seed=1)
    np.save(setting.folder / "pixels.npy", pixels)
    (setting.folder / "captions.txt").write_text("\n".join(captions), encoding="utf-8")
    (setting.folder / "png").mkdir()
    with (setting.folder / "pairs.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t")
        writer.writerow(["filepath", "title"])
        for number, (picture, caption) in enumerate(zip(pixels, captions, strict=True)):
            path = setting.folder / "png" / f"{number}.png"
            Image.fromarray(picture).save(path)
            writer.writerow([path, caption])


def prepare_with_peer(setting: Setting, model: str, precision: str) -> None:
    """Do that, then find out how the peer is fastest on this machine."""
    prepare(setting)
    find_split(
        setting,
        lambda split: rate_of_peer(setting, split, model, precision, samples=1536, epochs=1),
        WORK,
    )


def train_ours(number: int, setting: Setting, model: str, samples: int, precision: str) -> list[Mark]:
    """Train a run on one thread as a study does and return the time of its steps; ``number`` is its seed."""
    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.training.batches import ImagesInMemory
    from whyrobust.training.device import ComputeSettings
    from whyrobust.training.models import read_model_config
    from whyrobust.training.text_encoder import tokenize

    description = MODELS / f"{model}.json"
    captions = (setting.folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    marks, _ = train_with_ours(
        images=ImagesInMemory(np.load(setting.folder / "pixels.npy"), study_preprocessing(SIDE, "white_page")),
        targets=tokenize(captions, read_model_config(description)["text_cfg"]["context_length"]),
        objective="clip",
        model=description,
        samples=samples,
        batch_size=BATCH,
        seed=number,
        # A GPU rounds the same each time, or is at its best.
        compute=ComputeSettings(setting.device, threads=1, precision=precision, repeatable=precision == "fp32"),
    )
    return marks


def ours(setting: Setting, model: str, precision: str) -> Measured:
    """Measure one run per core in parallel, as a study trains; on a GPU one run."""
    runs, samples = (setting.cores, 12_288) if setting.device == "cpu" else (1, 61_440)
    samples = setting.size(samples, 512)
    run = partial(train_ours, setting=setting, model=model, samples=samples, precision=precision)
    return Measured(side_by_side(run, runs, setting))


def train_peer(
    number: int, setting: Setting, split: Split, model: str, precision: str, samples: int, epochs: int
) -> list[Mark]:
    """Train a run with the peer and return the time of its steps."""
    return train_with_open_clip(
        model=MODELS / f"{model}.json",
        data=["--train-data", str(setting.folder / "pairs.csv"), "--dataset-type", "csv"],
        samples=samples,
        batch_size=BATCH,
        epochs=epochs,
        workers=split.workers,
        threads=split.threads,
        device=setting.device,
        precision=precision,
        folder=Path(tempfile.mkdtemp(prefix=f"logs-{number}-", dir=setting.folder)),
    )


def rate_of_peer(setting: Setting, split: Split, model: str, precision: str, samples: int, epochs: int) -> float:
    """Return the images per second of the peer, of all its runs together."""
    run = partial(
        train_peer, setting=setting, split=split, model=model, precision=precision, samples=samples, epochs=epochs
    )
    return side_by_side(run, split.runs, setting)


def peer(setting: Setting, model: str, precision: str) -> Measured:
    """Measure the peer, spread over the cores as was fastest."""
    samples, epochs = setting.size(4096, 256), 1
    return measure_at_best(
        setting,
        lambda split: rate_of_peer(setting, split, model, precision, samples, epochs),
        WORK,
    )


ROWS = (
    Row(
        name="clip_icons",
        what="CLIP training, 32-pixel icons, fp32",
        unit="images/s",
        ours=partial(ours, model="icon-cnn", precision="fp32"),
        peer="open_clip_train, fp32, csv",
        measure_peer=partial(peer, model="icon-cnn", precision="fp32"),
        aims={"cpu": (Aim(least=1.6),), "cuda": (Aim(least=20),)},
        prepare=partial(prepare_with_peer, model="icon-cnn", precision="fp32"),
        limit="the image tower's convolutions",
        rounds=2,
    ),
    Row(
        name="clip_icons_best",
        what="CLIP training, 32-pixel icons, each at its best: bf16",
        unit="images/s",
        ours=partial(ours, model="icon-cnn", precision="bf16"),
        peer="open_clip_train, amp_bf16, csv",
        measure_peer=partial(peer, model="icon-cnn", precision="amp_bf16"),
        aims={"cpu": (Aim(least=3),), "cuda": (Aim(least=20),)},
        prepare=partial(prepare_with_peer, model="icon-cnn", precision="amp_bf16"),
        limit="the image tower's convolutions, and the many small operations between them",
        rounds=2,
    ),
)
