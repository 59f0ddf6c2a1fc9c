"""Rates that docs/scaling.md's estimate rests on, measured on this machine: work done in a second of one core.

    python -m benchmarks.measure_rates

Writes benchmarks/results/rates.json. Each rate is the median of several rounds by the processor time of one process,
so that what else the machine does hardly counts. Photographs are drawn noise of 500x375 pixels with the bytes that
photographs of this size have (about 100 kB); texts are as long as Flickr's.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image, ImageFilter

from benchmarks.train_photographs import BATCH, MIN_AREA, open_images, show_once, write_store
from whyrobust.data.captions import assemble_captions
from whyrobust.data.decoding import decode
from whyrobust.data.fingerprints import fingerprint_drawings, fingerprint_photograph
from whyrobust.data.label_matcher import LabelMatcher, read_classes
from whyrobust.data.merge_slices import find_repeats, merge_records
from whyrobust.data.near_duplicates import best_matches
from whyrobust.data.photo_store import index_of, write_photographs
from whyrobust.data.preprocessing import study_preprocessing, training_crop
from whyrobust.data.readers.webdataset import PairLayout, read_webdataset
from whyrobust.data.records import read_records
from whyrobust.data.subsets import draw_subset
from whyrobust.data.svg import draw_svg
from whyrobust.data.text_labels import match_records
from whyrobust.evaluation.embed import embed_images
from whyrobust.evaluation.heads import fit_linear_probe
from whyrobust.evaluation.load_run import open_run
from whyrobust.files import write_json
from whyrobust.report.provenance import machine
from whyrobust.study.config import load_config
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.batches import ImagesInMemory
from whyrobust.training.checkpoints import Progress
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.text_encoder import tokenize
from whyrobust.training.weights import save_weights

COMMAND = "python -m benchmarks.measure_rates"
RESULT = Path("benchmarks/results/rates.json")
PAIRS, ROUNDS, PHOTO_SIDE = 4_000, 3, 224
ICON_MODEL = "resources/models/icon-cnn.json"


def rate_of(count: float, work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return how much is done in a second of processor time: the median of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return count / statistics.median(seconds)


def seconds_to_start() -> float:
    """Return the processor time of a process that does nothing but load what a job of a model loads."""
    ours = "whyrobust.evaluation.load_run, whyrobust.training.loop"
    libraries = f"import open_clip, pandas, pyarrow.parquet, snakemake.script, {ours}"
    seconds = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", libraries], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)


def photograph(generator: np.random.Generator) -> bytes:
    """Return a JPEG of 500x375 pixels: soft noise with a grain, about 100 kB."""
    small = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    grain = generator.normal(0, 14, (375, 500, 1))
    pixels = np.clip(np.asarray(small.filter(ImageFilter.GaussianBlur(3))) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_pairs(path: Path, generator: np.random.Generator) -> None:
    """Write a shard of tiny pictures with a title, a description and tags as long as Flickr's."""
    words = [name for names in read_classes("resources/imagenet/classes.csv", shared="ambiguous")["name"]
             for name in str(names).split()]  # fmt: skip
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    with tarfile.open(path, "w") as archive:
        for number in range(PAIRS):
            text = [words[at] for at in generator.integers(0, len(words), 50)]
            facts = {"title": " ".join(text[:6]), "description": " ".join(text[6:42]), "tags": ",".join(text[42:])}
            for ending, content in (("jpg", buffer.getvalue()), ("json", json.dumps(facts).encode())):
                info = tarfile.TarInfo(f"{number:09d}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def measure_pairs(folder: Path, generator: np.random.Generator) -> dict[str, float]:
    """Measure what is done with records: reading, captions, labels in text, joining, drawing; and their bytes."""
    shard, records, places = folder / "0.tar", folder / "records.parquet", folder / "locations.parquet"
    write_pairs(shard, generator)
    fields = {name: name for name in ("title", "description", "tags")}
    rates = {
        "pairs_read": rate_of(
            PAIRS, lambda: read_webdataset([shard], PairLayout(fields=fields)).write("set", records, places)
        )
    }  # fmt: skip
    table = read_records(records)
    rates["captions_made"] = rate_of(PAIRS, lambda: assemble_captions(table, ["title_description_tags"], ""))
    classes = read_classes("resources/imagenet/classes.csv", shared="ambiguous")
    matcher = LabelMatcher(classes, None, shared="ambiguous")
    rates["texts_matched"] = rate_of(PAIRS, lambda: match_records(table, matcher, list(fields), "single"))

    def join() -> None:
        merge_records([records], find_repeats([records]), folder / "joined.parquet")

    rates["records_joined"] = rate_of(PAIRS, join)
    rates["uids_drawn"] = rate_of(100_000, lambda: draw_subset(map(str, range(100_000)), 50_000, 0))
    located = pq.read_table(places)
    write_photographs(folder / "images.arrow", index_of(located, range(len(located))), 0)
    rates["bytes_a_record"] = records.stat().st_size / PAIRS
    rates["bytes_a_location"] = places.stat().st_size / PAIRS
    rates["bytes_an_index_row"] = (folder / "images.arrow").stat().st_size / PAIRS
    return rates


def measure_pictures(generator: np.random.Generator) -> dict[str, float]:
    """Measure decoding for the check of a data set and for training, comparing thumbnails, and drawing icons."""
    files = [photograph(generator) for _ in range(60)]
    how = study_preprocessing(PHOTO_SIDE, "clip")
    thumbnails = np.stack([fingerprint_photograph(decode(content, at_least=64)) for content in files])
    fingerprints = np.tile(thumbnails, (100, 1, 1))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="none" stroke="#000" stroke-width="2" '
        'd="M3 12l9-9l9 9M5 10v10h14V10M10 20v-6h4v6M{x} 8h2"/></svg>'
    )
    drawings = [svg.format(x=3 + number % 14) for number in range(1000)]
    torch.set_num_threads(1)
    return {
        "pictures_checked": rate_of(
            len(files), lambda: [fingerprint_photograph(decode(c, at_least=64)) for c in files]
        ),
        "pictures_cropped": rate_of(
            len(files), lambda: [training_crop(decode(c), how, MIN_AREA, True, generator) for c in files]
        ),
        "thumbnails_compared": rate_of(len(fingerprints) ** 2, lambda: best_matches(fingerprints, fingerprints)),
        "icons_drawn": rate_of(
            len(drawings), lambda: fingerprint_drawings(np.stack([draw_svg(one, 32) for one in drawings]))
        ),
    }


def measure_store(folder: Path, generator: np.random.Generator) -> dict[str, float]:
    """Measure decoding photographs once, and cropping stored ones for training, an epoch of them at a time."""
    names = [str(folder / f"{number}.jpg") for number in range(BATCH)]
    for name in names:
        Path(name).write_bytes(photograph(generator))
    torch.set_num_threads(1)
    store = write_store(folder, names, PHOTO_SIDE, 1)
    images = open_images(store, names, PHOTO_SIDE, 1)
    return {
        "photographs_stored": rate_of(BATCH, lambda: write_store(folder, names, PHOTO_SIDE, 1)),
        "stored_cropped": rate_of(BATCH, lambda: show_once(images)),
    }


def print_no_step(_: Progress) -> None:
    """Report nothing."""


def measure_models(folder: Path, generator: np.random.Generator) -> dict[str, float]:
    """Measure training, embedding and fitting of the default study's model, as its config trains it."""
    training = load_config(yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))).training
    description = read_model_config(ICON_MODEL)
    classes, page = 71, study_preprocessing(32, "white_page")
    pixels = generator.integers(0, 256, (2_000, 32, 32, 3), dtype=np.uint8)
    labels = torch.from_numpy(generator.integers(0, classes, len(pixels)))
    captions = tokenize([f"picture of number {number % 97}" for number in range(len(pixels))], 24)
    rates, path = dict[str, float](), str(folder / "model.safetensors")
    for objective, row in OBJECTIVES.items():
        given = training.hyperparameters_of(objective, fine_tuned=False)
        hyper = Hyperparameters.from_mapping(given | {"samples_seen": 40 * given["batch_size"]})
        targets = {"captions": captions, "labels": labels, "images": None}[row.supervision]
        settings = TrainingSettings(objective, description, classes, 0, hyper, ComputeSettings("cpu"))
        run = partial(train, ImagesInMemory(pixels, page), targets, settings, print_no_step)
        rates[f"samples_trained_{objective}"] = rate_of(hyper.samples_seen, run, 1)
    save_weights(path, run(), {"preprocessing": page.as_dict()})
    encoder = open_run(path, ICON_MODEL, False, 1, torch.device("cpu")).image
    rates["images_embedded"] = rate_of(len(pixels), lambda: embed_images(encoder, iter(pixels), page, 512, "cpu"))
    features = generator.normal(size=(5_000, 128)).astype(np.float32)
    answers = generator.integers(0, classes, len(features))
    features[np.arange(len(features)), answers] += 2
    drawings = [str(number) for number in range(len(features))]
    rates["probe_products"] = rate_of(
        features.size * classes, lambda: fit_linear_probe(features, answers, classes, drawings, 0), 1
    )
    return rates


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        rates = {"seconds_a_job": seconds_to_start()} | measure_pairs(Path(folder), generator)
        rates |= measure_pictures(generator) | measure_store(Path(folder), generator)
        rates |= measure_models(Path(folder), generator)
    described = {name: float(f"{value:.4g}") for name, value in rates.items()}
    write_json(output, {"command": COMMAND, "machine": machine(), "unit": "a second of one core", "rates": described})
    print(json.dumps(described, indent=2))


if __name__ == "__main__":
    main()
