"""Fit heads on a run's frozen embeddings of training images: nearest class means and linear probes.

Stands alone because a head is fitted after training and before any test image is looked at: nothing here reads a test
set, and another penalty needs no forward pass.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from whyrobust.evaluation.heads import fit_linear_probe, fit_nearest_mean
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names
from whyrobust.training.gpu_locks import hold_gpus

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    hold_gpus(snakemake.params.device, snakemake.resources.get("gpu", 1))
    classes = read_class_names(snakemake.input.classes)
    id_of = {name: number for number, name in enumerate(classes)}
    embeddings = load_file(snakemake.input.embeddings)
    labels_of = {
        name: pq.read_table(path, columns=["label"])["label"].to_pylist()
        for name, path in zip(snakemake.params.fitted_on, snakemake.input.subsets, strict=True)
    }
    arrays: dict[str, np.ndarray] = {}
    choices: list[pd.DataFrame] = []
    for head in snakemake.params.heads:
        kind, place = head["head"], head["fitted_on"]
        known = np.array([label is not None for label in labels_of[place]])
        features = embeddings[f"fitting.{place}"][known]
        labels = np.array([id_of[label] for label in labels_of[place] if label is not None], dtype=np.int64)
        name = f"{kind}.{place}"
        if kind == "nearest_mean":
            arrays[name] = fit_nearest_mean(features, labels, len(classes))
        else:
            probe = fit_linear_probe(
                features,
                labels,
                len(classes),
                seed=snakemake.params.seed,
                threads=snakemake.threads,
                device=snakemake.params.device,
            )
            arrays |= {f"{name}.weight": probe.weight, f"{name}.bias": probe.bias}
            table = pd.DataFrame(probe.candidates, columns=["penalty", "held_out_accuracy"])
            choices.append(table.assign(fitted_on=place, chosen=table["penalty"] == probe.penalty))
        logger.info("%s: %d images", name, len(labels))
    with atomic_path(snakemake.output.heads) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    empty = pd.DataFrame(columns=["penalty", "held_out_accuracy", "fitted_on", "chosen"])
    write_table(snakemake.output.choices, pd.concat(choices) if choices else empty)
