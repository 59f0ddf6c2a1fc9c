"""Fit heads on frozen embeddings of training images, for the runs of a group: nearest class means and linear probes.

Stands alone because heads are fitted after training and before evaluation: nothing here reads a test set, and another
penalty needs no forward pass.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.files import atomic_folder, read_parquet, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names
from whyrobust.study.finished_work import FinishedWork
from whyrobust.training.quick_start import import_torch, leave

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("fit_heads", snakemake)
    if work.take():
        sys.exit()
    # Found work is taken without torch, whose import takes a second.
    import_torch()
    import numpy as np
    from safetensors.numpy import load_file, save_file

    from whyrobust.evaluation.heads import fit_heads
    from whyrobust.training.gpu_locks import hold_gpus

    hold_gpus(snakemake.params.device, snakemake.resources.gpu, snakemake.resources.runs_per_gpu)
    folder, of_subsets = Path(snakemake.input.embeddings), iter(snakemake.input.subsets)
    classes = read_class_names(snakemake.input.classes)
    with atomic_folder(snakemake.output.heads) as fitted:
        for run, fitted_on in snakemake.params.fitted_on.items():
            subsets = {source: read_parquet(next(of_subsets), ["label", "group"]) for source in fitted_on}
            if not subsets:
                continue
            logger.info("%s", run)
            weights, penalties = fit_heads(
                snakemake.params.heads[run],
                load_file(folder / f"{run}.safetensors"),
                {source: subset["label"].to_pylist() for source, subset in subsets.items()},
                {source: subset["group"].to_pylist() for source, subset in subsets.items()},
                classes,
                snakemake.params.seeds[run],
                snakemake.params.cpu_threads,
                snakemake.params.device,
            )
            contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
            save_file(contiguous, fitted / f"{run}.safetensors")
            write_table(fitted / f"{run}.csv", penalties)
    work.keep()
    leave()
