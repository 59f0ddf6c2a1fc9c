"""CLIP training of ResNet-50 at 224 pixels from JPEGs against open_clip's own training program on WebDataset.

Both sides read the same tar shard of JPEGs as large as Flickr's; a few steps are enough, since a step takes seconds.
"""

from __future__ import annotations

import io
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.open_clip_peer import train_with_open_clip
from benchmarks.our_training import train_with_ours
from benchmarks.pictures import draw_photograph, make_captions
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import joint_rate

MODELS = Path(__file__).parent.parent / "resources" / "models"
WIDTH, HEIGHT = 500, 375
MOST_WORDS = 12


def scale(setting: Setting) -> tuple[str, int, int]:
    """Return the model, the side of its images and the images per step."""
    if setting.tiny:
        return "rn-tiny", 64, 8
    return "rn50", 224, 16 if setting.device == "cpu" else 256


def steps(setting: Setting) -> int:
    """Return the steps of a measurement."""
    return setting.size(6 if setting.device == "cpu" else 60, 6)


def prepare(setting: Setting) -> None:
    """Write one shard of JPEGs with captions, as img2dataset does, and the captions as a text file."""
    _, _, batch = scale(setting)
    generator = np.random.default_rng(0)
    captions = make_captions(batch * steps(setting), 1, MOST_WORDS)
    distinct = [io.BytesIO() for _ in range(min(len(captions), setting.size(64, 8)))]
    for content in distinct:
        draw_photograph(WIDTH, HEIGHT, generator).save(content, "JPEG", quality=90)
    with tarfile.open(setting.folder / "00000.tar", "w") as archive:
        for number, caption in enumerate(captions):
            picture = distinct[number % len(distinct)].getvalue()
            for ending, content in (("jpg", picture), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    (setting.folder / "captions.txt").write_text("\n".join(captions), encoding="utf-8")


def ours(setting: Setting, precision: str) -> Measured:
    """Measure one run on all cores, which also decode."""
    from whyrobust.data.archives import LOCATION_SCHEMA, content_hash, list_tar, read_bytes
    from whyrobust.data.photo_store import index_of, open_locations, write_photographs
    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.training.batches import PhotographsOnDisk
    from whyrobust.training.device import ComputeSettings
    from whyrobust.training.models import read_model_config
    from whyrobust.training.text_encoder import tokenize

    model, size, batch = scale(setting)
    captions = (setting.folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    pictures = [member for member in list_tar(setting.folder / "00000.tar") if member.is_image]
    names = [member.name for member in pictures]
    places = [(member.file, member.offset, member.length) for member in pictures]
    columns = dict(zip(("uid", "file", "offset", "length"), (names, *zip(*places, strict=True)), strict=True))
    contents = [content_hash(read_bytes(*place)) for place in places]
    index = setting.folder / "index.arrow"
    write_photographs(index, index_of(pa.table(columns, LOCATION_SCHEMA), contents), border=0)
    context = read_model_config(MODELS / f"{model}.json")["text_cfg"]["context_length"]
    marks, _ = train_with_ours(
        images=PhotographsOnDisk(open_locations([index], names), study_preprocessing(size, "clip"), setting.cores),
        targets=tokenize(captions, context),
        objective="clip",
        model=MODELS / f"{model}.json",
        samples=batch * steps(setting),
        batch_size=batch,
        seed=0,
        compute=ComputeSettings(setting.device, threads=setting.cores, precision=precision),
        min_crop_area=0.9,
    )
    return Measured(joint_rate([marks]))


def peer(setting: Setting, precision: str) -> Measured:
    """Measure the peer on the same shard: one run, one worker per core."""
    model, _, batch = scale(setting)
    marks = train_with_open_clip(
        model=MODELS / f"{model}.json",
        data=["--train-data", str(setting.folder / "00000.tar"), "--dataset-type", "webdataset"],
        samples=batch * steps(setting),
        batch_size=batch,
        epochs=1,
        # One shard can have one reader; decoding is a small part of a step.
        workers=1 if setting.device == "cpu" else setting.cores,
        threads=setting.cores,
        device=setting.device,
        precision=precision,
        folder=setting.folder / "logs",
        log_every=1,
    )
    return Measured(joint_rate([marks]))


ROWS = (
    Row(
        name="clip_resnet50",
        what="CLIP training, ResNet-50 at 224 from JPEG, fp32",
        unit="images/s",
        ours=partial(ours, precision="fp32"),
        peer="open_clip_train, fp32, WebDataset",
        measure_peer=partial(peer, precision="fp32"),
        aims={"cpu": (Aim(least=1.1),), "cuda": (Aim(least=1.3),)},
        prepare=prepare,
        limit="matrix products of the two towers",
        rounds=2,
    ),
)
