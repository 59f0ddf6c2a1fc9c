"""CLIP training on 32-pixel icons against open_clip's own training program.

The same model, pictures, captions and batch on both sides. The peer reads PNG files named in a csv, its fastest way of
reading from disk for pictures this small, and as many of its workers and precisions as are fastest on this machine.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.open_clip_peer import train_with_open_clip
from benchmarks.pictures import draw_icons, make_captions
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import Mark, Stopwatch, joint_rate, side_by_side

MODELS = Path(__file__).parent.parent / "resources" / "models"
SIDE, BATCH = 32, 64


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


def train_ours(number: int, setting: Setting, model: str, threads: int, samples: int) -> list[Mark]:
    """Train a run as a study does and return the time of its steps; ``number`` is its seed."""
    from whyrobust.loading import ImagesInMemory
    from whyrobust.models import read_model_config, tokenize
    from whyrobust.photographs import study_preprocessing
    from whyrobust.training import Hyperparameters, Progress, train

    config = read_model_config(MODELS / f"{model}.json")
    captions = (setting.folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    hyper = Hyperparameters(
        samples_seen=samples, batch_size=BATCH, learning_rate=1e-3, weight_decay=0.1, warmup_share=0.1, flip=True,
        max_shift_share=0.1, max_zoom=1.25,
    )  # fmt: skip
    stopwatch = Stopwatch()

    def report(progress: Progress) -> None:
        stopwatch(progress.samples)

    train(
        images=ImagesInMemory(np.load(setting.folder / "pixels.npy"), study_preprocessing(SIDE, "white_page")),
        targets=tokenize(captions, config["text_cfg"]["context_length"]),
        objective_name="clip",
        model_config=config,
        classes=2,
        hyper=hyper,
        seed=number,
        threads=threads,
        device_name=setting.device,
        report=report,
    )
    return stopwatch.marks


def ours(setting: Setting, model: str) -> Measured:
    """Measure one run a core side by side, as a study trains; on a GPU one run."""
    runs = setting.cores if setting.device == "cpu" else 1
    samples = setting.size(12_288, 512)
    return Measured(side_by_side(partial(train_ours, setting=setting, model=model, threads=1, samples=samples), runs))


def peer(setting: Setting, model: str, precision: str) -> Measured:
    """Measure the peer: one run on all cores."""
    samples = setting.size(4096, 256)
    marks = train_with_open_clip(
        model=MODELS / f"{model}.json",
        data=["--train-data", str(setting.folder / "pairs.csv"), "--dataset-type", "csv"],
        samples=samples,
        batch_size=BATCH,
        epochs=setting.size(2, 1),
        workers=setting.cores,
        threads=setting.cores,
        device=setting.device,
        precision=precision,
        folder=setting.folder / "logs",
        more=["--aug-cfg", "use_timm=False"],
    )
    return Measured(joint_rate([marks]))


ROWS = (
    Row(
        name="clip_icons",
        what="CLIP training, 32-pixel icons, fp32",
        unit="images/s",
        ours=partial(ours, model="icon-cnn"),
        peer="open_clip_train, fp32, csv",
        measure_peer=partial(peer, model="icon-cnn", precision="fp32"),
        aims={"cpu": (Aim(least=1.6),), "cuda": (Aim(least=20),)},
        prepare=prepare,
        limit="matrix products of the two towers",
    ),
)
