"""CLIP training of ResNet-50 at 224 pixels from JPEGs against open_clip's own training program on WebDataset.

Both sides read the same tar shard of JPEGs as large as Flickr's; a few steps are enough, since a step takes seconds.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks.open_clip_peer import train_with_open_clip
from benchmarks.our_training import train_with_ours
from benchmarks.pictures import draw_photograph, make_captions
from benchmarks.rows import Aim, Measured, Row, Setting
from benchmarks.throughput import joint_rate

if TYPE_CHECKING:
    from whyrobust.training.batches import TrainingImages

MODELS = Path(__file__).parent.parent / "resources" / "models"
WIDTH, HEIGHT = 500, 375

#: What takes a step's time with products in fewer bits than 32.
SMALL_PRODUCTS = "convolutions, and the batch norms and pools between them"
MOST_WORDS, MIN_AREA = 12, 0.9


def scale(setting: Setting) -> tuple[str, int, int]:
    """Return the model, the side of its images and the images per step."""
    if setting.tiny:
        return "rn-tiny", 64, 8
    return "rn50", 224, 16 if setting.device == "cpu" else 256


def steps(setting: Setting) -> int:
    """Return the steps of a measurement."""
    return setting.size(6 if setting.device == "cpu" else 28, 6)


def count_images(setting: Setting) -> int:
    """Return how many images there are: one batch for each reader of the peer, at least, on a CPU those of all steps.

    A GPU is shown them again: they take longer to write than to learn from.
    """
    return scale(setting)[2] * (steps(setting) if setting.device == "cpu" else shards(setting))


def shards(setting: Setting) -> int:
    """Return the number of shards: each can have one reader, and on a CPU decoding is a small part of a step."""
    return 1 if setting.device == "cpu" else setting.cores


def shard_paths(setting: Setting) -> list[Path]:
    """Return the paths of the shards, in the order of their images."""
    return [setting.folder / f"{number:05}.tar" for number in range(shards(setting))]


def prepare(setting: Setting) -> None:
    """Write shards of JPEGs with captions, as img2dataset does, and the captions as a text file."""
    generator = np.random.default_rng(0)
    captions = make_captions(count_images(setting), 1, MOST_WORDS)
    distinct = [io.BytesIO() for _ in range(min(len(captions), setting.size(64, 8)))]
    for content in distinct:
        draw_photograph(WIDTH, HEIGHT, generator).save(content, "JPEG", quality=90)
    parts = np.array_split(np.arange(len(captions)), shards(setting))
    for path, numbers in zip(shard_paths(setting), parts, strict=True):
        with tarfile.open(path, "w") as archive:
            for number in numbers:
                picture = distinct[number % len(distinct)].getvalue()
                for ending, content in (("jpg", picture), ("txt", captions[number].encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    (setting.folder / "captions.txt").write_text("\n".join(captions), encoding="utf-8")


def ours(setting: Setting, precision: str) -> Measured:
    """Measure one run on all cores, which also decode; on a GPU it reads a store of pixels, as a study's run does."""
    from whyrobust.data.archives import LOCATION_SCHEMA, content_hash, list_tar, read_bytes
    from whyrobust.data.decoded_store import open_decoded, write_decoded
    from whyrobust.data.photo_store import PhotoStore, index_of, open_locations, write_photographs
    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.study.decoded_photographs import stored_side
    from whyrobust.training.batches import DecodedOnce, PhotographsOnDisk
    from whyrobust.training.device import ComputeSettings
    from whyrobust.training.models import read_model_config
    from whyrobust.training.text_encoder import tokenize

    model, size, batch = scale(setting)
    captions = (setting.folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    pictures = [member for path in shard_paths(setting) for member in list_tar(path) if member.is_image]
    names = [member.name for member in pictures]
    places = [(member.file, member.offset, member.length) for member in pictures]
    columns = dict(zip(("uid", "file", "offset", "length"), (names, *zip(*places, strict=True)), strict=True))
    contents = [content_hash(read_bytes(*place)) for place in places]
    index = setting.folder / "index.arrow"
    write_photographs(index, index_of(pa.table(columns, LOCATION_SCHEMA), contents), border=0)
    context, how = (
        read_model_config(MODELS / f"{model}.json")["text_cfg"]["context_length"],
        study_preprocessing(size, "clip"),
    )
    images: TrainingImages = PhotographsOnDisk(open_locations([index], names), how, setting.cores)
    if setting.device == "cuda":
        store = setting.folder / "store.arrow"
        write_decoded(store, PhotoStore.open(index), stored_side(size, MIN_AREA), 1e12, setting.cores)
        images = DecodedOnce(open_decoded([store], names), how, setting.cores, gpu_bytes=20e9)
    marks, _ = train_with_ours(
        images=images,
        targets=tokenize(captions, context),
        objective="clip",
        model=MODELS / f"{model}.json",
        samples=batch * steps(setting),
        batch_size=batch,
        seed=0,
        # A GPU rounds the same each time, or is at its best.
        compute=ComputeSettings(setting.device, setting.cores, precision, repeatable=precision == "fp32"),
        min_crop_area=MIN_AREA,
    )
    return Measured(joint_rate([marks]))


def peer(setting: Setting, precision: str) -> Measured:
    """Measure the peer on the same shard: one run, one worker per core."""
    model, _, batch = scale(setting)
    marks = train_with_open_clip(
        model=MODELS / f"{model}.json",
        data=["--train-data", "::".join(map(str, shard_paths(setting))), "--dataset-type", "webdataset"],
        samples=batch * steps(setting),
        batch_size=batch,
        epochs=1,
        workers=shards(setting),
        threads=setting.cores,
        device=setting.device,
        precision=precision,
        folder=Path(tempfile.mkdtemp(prefix="logs-", dir=setting.folder)),
        log_every=1,
    )
    return Measured(joint_rate([marks]))


FP32 = Row(
    name="clip_resnet50",
    what="CLIP training, ResNet-50 at 224 from JPEG, fp32",
    unit="images/s",
    ours=partial(ours, precision="fp32"),
    peer="open_clip_train, fp32, WebDataset",
    measure_peer=partial(peer, precision="fp32"),
    aims={"cpu": (Aim(least=1.1),), "cuda": (Aim(least=1.3),)},
    prepare=prepare,
    limit="the image tower's convolutions",
    rounds=2,
)

ROWS = (
    FP32,
    replace(
        FP32,
        name="clip_resnet50_tf32",
        what="CLIP training, ResNet-50 at 224 from JPEG, products in TF32 on both sides",
        ours=partial(ours, precision="tf32"),
        limit=SMALL_PRODUCTS,
        devices=("cuda",),
    ),
    replace(
        FP32,
        name="clip_resnet50_best",
        what="CLIP training, ResNet-50 at 224 from JPEG, each at its best: bf16",
        ours=partial(ours, precision="bf16"),
        peer="open_clip_train, amp_bf16, WebDataset",
        measure_peer=partial(peer, precision="amp_bf16"),
        limit=SMALL_PRODUCTS,
        devices=("cuda",),
    ),
)
