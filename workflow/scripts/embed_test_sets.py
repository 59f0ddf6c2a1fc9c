"""Embed all test sets, the prompts, and the training images that heads are fitted on, with each run of a group.

Stands alone because the forward passes are done once per run: every head, prompt set and way of counting uses the
embeddings. The runs of a group differ in their seed alone; one at a time is in memory.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from whyrobust.files import atomic_folder, read_parquet
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_prompt_names
from whyrobust.study.finished_work import FinishedWork
from whyrobust.training.quick_start import import_torch, leave

if TYPE_CHECKING:
    from snakemake.script import snakemake

# On a CPU a quarter faster than 512, for which activations leave the cache.
BATCH_SIZE = 256

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("embed_test_sets", snakemake)
    if work.take():
        sys.exit()
    # Found work is taken without torch, whose import takes a second.
    import_torch()
    import numpy as np
    from safetensors.torch import load_file

    from whyrobust.data.grey_images import is_grey, turn_grey
    from whyrobust.data.image_stores import read_images
    from whyrobust.evaluation.embed import Floats, embed_images, save_embeddings
    from whyrobust.evaluation.load_run import Encoders, open_run
    from whyrobust.evaluation.zero_shot import prompt_ensemble
    from whyrobust.training.device import choose_device
    from whyrobust.training.gpu_locks import hold_gpus
    from whyrobust.training.weights import read_metadata

    hold_gpus(snakemake.params.device, snakemake.resources.gpu, snakemake.resources.runs_per_gpu)
    params, files = snakemake.params, snakemake.input
    classes = read_prompt_names(files.classes)
    loader_threads = max(snakemake.threads, snakemake.resources.loader_threads)
    of_subsets = iter(files.fitting_subsets)

    def embed(encoders: Encoders, stores: Sequence[str], table: str) -> Floats:
        """Embed the images of a table, in its order."""
        uids = read_parquet(table, ["uid"])["uid"]
        images = read_images(stores, uids, encoders.preprocessing, loader_threads)
        shown = map(turn_grey, images) if is_grey(table) else images
        return embed_images(encoders.image, shown, encoders.preprocessing, BATCH_SIZE, params.device)

    with atomic_folder(snakemake.output.embeddings) as folder:
        for (run, fitted_on), weights in zip(params.fitted_on.items(), files.weights, strict=True):
            logger.info("%s", run)
            description = files.model[0] if files.model else None
            device = choose_device(params.device)
            encoders = open_run(weights, description, bool(params.prompts), params.cpu_threads, device)
            arrays: dict[str, np.ndarray] = {}
            for test_set, images, kept in zip(params.test_sets, files.images, files.kept, strict=True):
                arrays[f"images.{test_set}"] = embed(encoders, [images], kept)
                logger.info("%s: %d images", test_set, len(arrays[f"images.{test_set}"]))
            for name, templates in params.prompts.items():
                if encoders.text is None:
                    raise ValueError(f"{weights} has no text tower: it cannot read the prompt set '{name}'")
                arrays[f"prompts.{name}"] = prompt_ensemble(encoders.text, classes, templates)
                logger.info("prompt set %s: %d classes, %d prompts each", name, len(classes), len(templates))
            tensors = load_file(weights)
            arrays |= {name: tensors[name].numpy() for name in tensors if name.startswith("classifier.")}
            for name in fitted_on:
                arrays[f"fitting.{name}"] = embed(encoders, files.fitting_images, next(of_subsets))
                logger.info("for heads fitted on %s: %d images", name, len(arrays[f"fitting.{name}"]))
            metadata = read_metadata(weights)
            # A published model does not say what was in its batches.
            facts = {name: metadata.get(name) for name in ("images_used", "false_negative_share")}
            save_embeddings(folder / f"{run}.safetensors", arrays, facts)
    work.keep()
    leave()
