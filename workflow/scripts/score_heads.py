"""Score every head of every run on every test set: predictions an image, and accuracies with intervals.

Stands alone because it is plain counting on embeddings. One job does all runs: counting takes a tenth of a second a
run, less than starting Python would.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from whyrobust.evaluation import read_class_names
from whyrobust.files import atomic_path
from whyrobust.logs import start_log
from whyrobust.scoring import PREDICTION_SCHEMA, ScoredSet, accuracy_table, add_restricted_views, score_run

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    import pandas as pd

    logger = start_log(snakemake.log[0])
    classes = read_class_names(snakemake.input.classes)
    runs = pd.DataFrame(snakemake.params.runs)
    test_sets = [
        ScoredSet.read(name, path, classes, own_classes=covered == "own")
        for (name, covered), path in zip(snakemake.params.test_sets.items(), snakemake.input.kept, strict=True)
    ]
    views = add_restricted_views(test_sets, snakemake.params.in_distribution)
    counts = []
    with (
        atomic_path(snakemake.output.predictions) as temporary,
        pq.ParquetWriter(temporary, PREDICTION_SCHEMA, compression="zstd") as writer,
    ):
        for run, path in zip(runs["run"], snakemake.input.embeddings, strict=True):
            predictions = score_run(run, load_file(path), views, classes)
            writer.write_table(pa.Table.from_pandas(predictions, PREDICTION_SCHEMA, preserve_index=False))
            counts.append(
                predictions.groupby(["run", "head", "prompts", "test_set"], sort=False)["correct"]
                .agg(images="size", correct="sum")
                .reset_index()
            )
    accuracy = accuracy_table(runs, pd.concat(counts), snakemake.params.confidence)
    logger.info("%d runs, %d accuracies", len(runs), len(accuracy))
    for table, path in ((accuracy, snakemake.output.accuracy), (runs, snakemake.output.runs)):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)
