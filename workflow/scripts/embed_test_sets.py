"""Embed all test sets, the prompts, and the training images that heads are fitted on, with each run of a group.

Stands alone because the forward passes are done once per run: every head, prompt set and way of counting uses the
embeddings. One run at a time is in memory. Runs are looked for in finished work one by one, so that a group that got
one more run embeds that one alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.files import atomic_folder
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_prompt_names
from whyrobust.study.finished_work import TAKEN, FinishedWork, named_paths
from whyrobust.training.quick_start import import_torch, keep_freed_memory, leave

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    params, files = snakemake.params, snakemake.input
    of_subsets = iter(files.fitting_subsets)
    of_runs = ("weights", "fitting_subsets", "fitting_images")
    shared = [(name, path) for name, path in named_paths(files) if name not in of_runs]
    with atomic_folder(snakemake.output.embeddings) as folder:
        waiting = []
        for (run, fitted_on), weights in zip(params.fitted_on.items(), files.weights, strict=True):
            subsets, path = {name: next(of_subsets) for name in fitted_on}, folder / f"{run}.safetensors"
            fitting = [("fitting_subsets", subset) for subset in subsets.values()]
            fitting += [("fitting_images", store) for store in files.fitting_images if subsets]
            work = FinishedWork.of_files(
                "embed_test_sets",
                Path(snakemake.log[0]).with_name(run + TAKEN),
                dict(params.items()) | {"fitted_on": fitted_on},
                [("weights", weights), *shared, *fitting],
                [("embeddings", str(path))],
            )
            logger.info("%s", run)
            if not work.take():
                waiting.append((run, weights, subsets, path, work))
        if waiting:
            # Found work is taken without torch, whose import takes a second.
            import_torch()
            keep_freed_memory()
            from whyrobust.evaluation.embed import KeptBatches, save_embeddings
            from whyrobust.evaluation.embed_run import KEPT_BYTES, Embedding, Images, embed_run
            from whyrobust.training.gpu_locks import hold_gpus

            hold_gpus(params.device, snakemake.resources.gpu, snakemake.resources.runs_per_gpu)
            tests = zip(params.test_sets, files.images, files.kept, strict=True)
            embedding = Embedding(
                files.model[0] if files.model else None,
                {name: Images([store], kept) for name, store, kept in tests},
                params.prompts,
                read_prompt_names(files.classes),
                params.device,
                params.cpu_threads,
                max(snakemake.threads, snakemake.resources.loader_threads),
            )
            kept = KeptBatches(KEPT_BYTES if len(waiting) > 1 else 0)
            for run, weights, subsets, path, work in waiting:
                logger.info("%s", run)
                begun = work.begin()
                images = {name: Images(files.fitting_images, subset) for name, subset in subsets.items()}
                save_embeddings(path, *embed_run(weights, images, embedding, kept))
                begun.keep()
    leave()
