"""Score every head of every run on every test set: predictions an image, and accuracies with intervals.

Stands alone because it is plain counting on embeddings. One job does all runs: counting takes a tenth of a second a
run, less than starting Python would.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import load_file

from whyrobust.analysis.accuracies import accuracy_table
from whyrobust.evaluation.scoring import PREDICTION_SCHEMA, ScoredSet, add_restricted_views, score_run
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names, read_covered_classes
from whyrobust.study.plan import HEAD_FIELDS, Head

if TYPE_CHECKING:
    from snakemake.script import snakemake


def read_metadata(path: str) -> dict[str, str]:
    """Return the header of a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    classes = read_class_names(snakemake.input.classes)
    runs = pd.DataFrame(snakemake.params.runs)
    test_sets = []
    for (name, facts), path in zip(snakemake.params.test_sets.items(), snakemake.input.kept, strict=True):
        column = facts["covered"]
        covered = read_covered_classes(snakemake.input.classes, column) if column else None
        test_sets.append(ScoredSet.read(name, path, classes, facts["classes"] == "own", covered))
    views = add_restricted_views(test_sets, snakemake.params.in_distribution)
    heads = {run: [Head(**facts) for facts in of_run] for run, of_run in snakemake.params.heads.items()}
    fitted = dict(zip(snakemake.params.fitted, snakemake.input.fitted, strict=True))
    counts, images_used = [], {}
    with (
        atomic_path(snakemake.output.predictions) as temporary,
        pq.ParquetWriter(temporary, PREDICTION_SCHEMA, compression="zstd") as writer,
    ):
        for run, path in zip(runs["run"], snakemake.input.embeddings, strict=True):
            arrays = load_file(path)
            images_used[run] = int(read_metadata(path)["images_used"])
            if run in fitted:
                arrays |= load_file(fitted[run])
            predictions = score_run(run, heads[run], arrays, views, classes)
            writer.write_table(pa.Table.from_pandas(predictions, PREDICTION_SCHEMA, preserve_index=False))
            counts.append(
                predictions.groupby(["run", *HEAD_FIELDS, "test_set"], sort=False)["correct"]
                .agg(images="size", correct="sum")
                .reset_index()
                .merge(pd.DataFrame([asdict(head) for head in heads[run]]), on=list(HEAD_FIELDS))
            )
    runs["images_used"] = runs["run"].map(images_used)
    accuracy = accuracy_table(runs, pd.concat(counts), snakemake.params.confidence)
    logger.info("%d runs, %d accuracies", len(runs), len(accuracy))
    for table, path in ((accuracy, snakemake.output.accuracy), (runs, snakemake.output.runs)):
        write_table(path, table)
