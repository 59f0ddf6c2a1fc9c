"""How the settings of each objective in config.yaml were found: by accuracy on held-out training images.

    python benchmarks/search_hyperparameters.py results/icons --objective clip --caption title

Stands outside the workflow because it is done once, by people. It trains on a subset of each training source and
scores images of the same source that are not in it; no test set is opened. Prints one row a setting and source as CSV.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml

from whyrobust.data.pixel_store import read_pixels
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.data.subsets import draw_subset
from whyrobust.evaluation.embed import embed_images
from whyrobust.evaluation.heads import fit_nearest_mean, score_classifier, score_nearest_mean
from whyrobust.evaluation.load_run import open_run
from whyrobust.evaluation.scoring import predict
from whyrobust.evaluation.zero_shot import prompt_ensemble, score_zero_shot
from whyrobust.study.class_table import read_class_names
from whyrobust.study.config import Config, load_config
from whyrobust.study.input_files import read_prompt_sets
from whyrobust.training.batches import ImagesInMemory
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.text_encoder import tokenize
from whyrobust.training.weights import save_weights

#: A seed that no study uses, so that nothing of a study is looked at.
SEED = 7919
PAGE = study_preprocessing(32, "white_page")


def held_out_accuracy(
    results: Path,
    source: str,
    objective: str,
    caption: str,
    hyper: Hyperparameters,
    config: Config,
    model: Path,
    images: int,
    held_out: int,
) -> float:
    """Train on ``images`` images of a source and return the accuracy on ``held_out`` others of it."""
    classes = read_class_names(config.data.classes)
    model_config = read_model_config(model)
    kept = pq.read_table(results / "decontaminated" / f"{source}.parquet").to_pandas().set_index("uid")["label"]
    drawn = draw_subset(kept.index, images + held_out, SEED)
    pixels = read_pixels([results / "images" / f"{source}.arrow"], drawn)
    labels = np.array([classes.index(label) for label in kept.loc[drawn]])
    targets: torch.Tensor | None = torch.tensor(labels[:images])
    if objective in ("clip", "siglip"):
        table = pq.read_table(results / "captions" / f"{source}.parquet").to_pandas().set_index("uid")[caption]
        targets = tokenize(list(table.loc[drawn[:images]]), model_config["text_cfg"]["context_length"])
    elif objective == "simclr":
        targets = None
    run = TrainingSettings(objective, model_config, len(classes), SEED, hyper, ComputeSettings("cpu"))
    weights = train(ImagesInMemory(pixels[:images], PAGE), targets, run, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.safetensors"))
        save_weights(path, weights, {"preprocessing": PAGE.as_dict()})
        encoders = open_run(path, model, objective in ("clip", "siglip"), 1, torch.device("cpu"))
        features = embed_images(encoders.image, pixels, PAGE, 512, "cpu")
        if encoders.text is not None:
            templates = next(iter(read_prompt_sets(config.prompts, Path()).values()))
            scores = score_zero_shot(features[images:], prompt_ensemble(encoders.text, classes, templates))
        elif objective == "cross_entropy":
            scores = score_classifier(
                features[images:], weights["classifier.weight"].numpy(), weights["classifier.bias"].numpy()
            )
        else:
            means = fit_nearest_mean(features[:images], labels[:images], len(classes))
            scores = score_nearest_mean(features[images:], means)
    return float((predict(scores) == labels[images:]).mean())


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a study whose images and captions are there")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--objective", required=True)
    parser.add_argument("--caption", default="title", help="caption variant of an image-text objective")
    parser.add_argument("--model", type=Path, default=Path("resources/models/icon-cnn.json"))
    parser.add_argument("--sources", nargs="+", default=["studio", "web"])
    parser.add_argument("--learning-rates", nargs="+", type=float, default=[0.0003, 0.001, 0.003])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--held-out", type=int, default=2000)
    arguments = parser.parse_args()
    config = load_config(yaml.safe_load(arguments.config.read_text(encoding="utf-8")))
    rows = csv.writer(sys.stdout)
    rows.writerow(["objective", "caption", "source", "batch_size", "learning_rate", "held_out_accuracy"])
    for source, batch_size, rate in itertools.product(
        arguments.sources, arguments.batch_sizes, arguments.learning_rates
    ):
        chosen = config.training.hyperparameters_of(arguments.objective, fine_tuned=False)
        chosen |= {"batch_size": batch_size, "learning_rate": rate, "samples_seen": config.training.samples_seen}
        accuracy = held_out_accuracy(
            arguments.results,
            source,
            arguments.objective,
            arguments.caption,
            Hyperparameters.from_mapping(chosen),
            config,
            arguments.model,
            arguments.images,
            arguments.held_out,
        )
        rows.writerow([arguments.objective, arguments.caption, source, batch_size, rate, f"{accuracy:.4f}"])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
