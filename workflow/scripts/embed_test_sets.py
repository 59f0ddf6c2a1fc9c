"""Embed the images of all test sets, the prompts, and the training images that heads are fitted on, with one run.

Stands alone because the forward passes are done once per run: every head, prompt set and way of counting uses the
embeddings.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file

from whyrobust.data.grey_images import is_grey, turn_grey
from whyrobust.data.image_stores import read_images
from whyrobust.evaluation.embed import Floats, embed_images, save_embeddings
from whyrobust.evaluation.load_run import open_run
from whyrobust.evaluation.zero_shot import prompt_ensemble
from whyrobust.files import read_parquet
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_prompt_names
from whyrobust.training.device import choose_device
from whyrobust.training.gpu_locks import hold_gpus
from whyrobust.training.weights import read_metadata

if TYPE_CHECKING:
    from snakemake.script import snakemake

BATCH_SIZE = 512

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    hold_gpus(snakemake.params.device, snakemake.resources.gpu)
    weights = str(snakemake.input.weights)
    device, prompts = snakemake.params.device, snakemake.params.prompts
    description = snakemake.input.model[0] if snakemake.input.model else None
    encoders = open_run(weights, description, bool(prompts), snakemake.threads, choose_device(device))
    loader_threads = max(snakemake.threads, snakemake.resources.loader_threads)

    def embed(stores: Sequence[str], table: str) -> Floats:
        """Embed the images of a table, in its order."""
        uids = read_parquet(table, ["uid"])["uid"]
        images = read_images(stores, uids, encoders.preprocessing, loader_threads)
        shown = map(turn_grey, images) if is_grey(table) else images
        return embed_images(encoders.image, shown, encoders.preprocessing, BATCH_SIZE, device)

    arrays: dict[str, np.ndarray] = {}
    for test_set, images, kept in zip(
        snakemake.params.test_sets, snakemake.input.images, snakemake.input.kept, strict=True
    ):
        arrays[f"images.{test_set}"] = embed([images], kept)
        logger.info("%s: %d images", test_set, len(arrays[f"images.{test_set}"]))
    classes = read_prompt_names(snakemake.input.classes)
    for name, templates in prompts.items():
        if encoders.text is None:
            raise ValueError(f"{weights} has no text tower: it cannot read the prompt set '{name}'")
        arrays[f"prompts.{name}"] = prompt_ensemble(encoders.text, classes, templates)
        logger.info("prompt set %s: %d classes, %d prompts each", name, len(classes), len(templates))
    arrays |= {name: tensor.numpy() for name, tensor in load_file(weights).items() if name.startswith("classifier.")}
    for name, subset in zip(snakemake.params.fitted_on, snakemake.input.fitting_subsets, strict=True):
        arrays[f"fitting.{name}"] = embed(snakemake.input.fitting_images, subset)
        logger.info("for heads fitted on %s: %d images", name, len(arrays[f"fitting.{name}"]))
    metadata = read_metadata(weights)
    # A published model does not say what was in its batches.
    facts = {name: metadata.get(name) for name in ("images_used", "false_negative_share")}
    save_embeddings(snakemake.output.embeddings, arrays, facts)
