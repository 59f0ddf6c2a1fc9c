"""Fit heads on a run's frozen embeddings of training images: nearest class means and linear probes.

Stands alone because heads are fitted after training and before evaluation: nothing here reads a test set, and another
penalty needs no forward pass.
"""

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file

from whyrobust.evaluation.heads import fit_heads
from whyrobust.files import atomic_path, read_parquet, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names
from whyrobust.training.gpu_locks import hold_gpus

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    hold_gpus(snakemake.params.device, snakemake.resources.gpu)
    subsets = {
        source: read_parquet(path, ["label", "group"])
        for source, path in zip(snakemake.params.fitted_on, snakemake.input.subsets, strict=True)
    }
    weights, penalties = fit_heads(
        snakemake.params.heads,
        load_file(snakemake.input.embeddings),
        {source: subset["label"].to_pylist() for source, subset in subsets.items()},
        {source: subset["group"].to_pylist() for source, subset in subsets.items()},
        read_class_names(snakemake.input.classes),
        snakemake.params.seed,
        snakemake.threads,
        snakemake.params.device,
    )
    with atomic_path(snakemake.output.heads) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, temporary)
    write_table(snakemake.output.choices, penalties)
