"""Embed the images of all test sets, the prompts, and the training images that heads are fitted on, with one run.

Stands alone because the forward passes are done once a run: every head, prompt set and way of counting reads the
embeddings.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import save_file
from safetensors.torch import load_file

from whyrobust.evaluation import (
    combine_prompts,
    embed_images,
    embed_prompts,
    fill_prompts,
    read_class_names,
)
from whyrobust.files import atomic_path
from whyrobust.images import ImageStore, read_pixels
from whyrobust.logs import start_log
from whyrobust.models import read_facts, read_model_config

if TYPE_CHECKING:
    from snakemake.script import snakemake

BATCH_SIZE = 512

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    weights = str(snakemake.input.weights)
    model_config = read_model_config(snakemake.input.model)
    device = snakemake.params.device
    arrays: dict[str, np.ndarray] = {}
    for test_set, images, kept in zip(
        snakemake.params.test_sets, snakemake.input.images, snakemake.input.kept, strict=True
    ):
        uids = pq.read_table(kept, columns=["uid"])["uid"].to_pylist()
        pixels = ImageStore.open(images).pixels(uids)
        arrays[f"images.{test_set}"] = embed_images(
            weights, model_config, pixels, BATCH_SIZE, snakemake.threads, device
        )
        logger.info("%s: %d images", test_set, len(uids))
    classes = read_class_names(snakemake.input.classes)
    for name, templates in snakemake.params.prompts.items():
        features = embed_prompts(weights, model_config, fill_prompts(classes, templates), snakemake.threads, device)
        arrays[f"prompts.{name}"] = combine_prompts(features)
        logger.info("prompt set %s: %d classes, %d prompts each", name, len(classes), len(templates))
    arrays |= {name: tensor.numpy() for name, tensor in load_file(weights).items() if name.startswith("classifier.")}
    for name, subset in zip(snakemake.params.fitted_on, snakemake.input.fitting_subsets, strict=True):
        uids = pq.read_table(subset, columns=["uid"])["uid"].to_pylist()
        pixels = read_pixels(snakemake.input.fitting_images, uids)
        arrays[f"fitting.{name}"] = embed_images(weights, model_config, pixels, BATCH_SIZE, snakemake.threads, device)
        logger.info("for heads fitted on %s: %d images", name, len(uids))
    facts = {"images_used": str(read_facts(weights)["images_used"])}
    with atomic_path(snakemake.output.embeddings) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata=facts)
