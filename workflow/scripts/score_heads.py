"""Score every head of every run on every test set: predictions per image, and accuracies with intervals.

Stands alone because it is plain counting on embeddings. One job does all runs: counting takes a tenth of a second per
run, less than starting Python would.
"""

import sys
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from whyrobust.analysis.accuracies import OTHER_WEIGHTS, accuracy_table, count_correct
from whyrobust.data.icon_parts import teams_of_sets
from whyrobust.evaluation.embed import read_embeddings
from whyrobust.evaluation.restricted_axes import add_restricted_views
from whyrobust.evaluation.scoring import (
    PREDICTION_SCHEMA,
    ScoredSet,
    score_run,
)
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log
from whyrobust.study.class_table import read_class_names, read_covered_classes
from whyrobust.study.finished_work import FinishedWork
from whyrobust.study.plan import Head

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("score_heads", snakemake)
    if work.take():
        sys.exit()
    classes = read_class_names(snakemake.input.classes)
    runs = pd.DataFrame(snakemake.params.runs)
    teams = teams_of_sets(snakemake.input.sets) if snakemake.input.sets else {}
    test_sets = []
    for (name, settings), path in zip(snakemake.params.test_sets.items(), snakemake.input.kept, strict=True):
        column = settings["covered"]
        covered = read_covered_classes(snakemake.input.classes, column) if column else None
        unit = snakemake.params.units[name]
        test_sets.append(ScoredSet.read(name, path, classes, settings["classes"] == "own", covered, unit, teams))
    views = add_restricted_views(test_sets, snakemake.params.in_distribution)
    heads = {run: [Head(**head) for head in of_run] for run, of_run in snakemake.params.heads.items()}
    embeddings, fitted = snakemake.params.embeddings, snakemake.params.fitted
    of_weights = {
        snakemake.params.class_weights: snakemake.output.accuracy,
        OTHER_WEIGHTS[snakemake.params.class_weights]: snakemake.output.other_weights,
    }
    counts: dict[str, list[pd.DataFrame]] = {weights: [] for weights in of_weights}
    facts = {}
    with (
        atomic_path(snakemake.output.predictions) as temporary,
        pq.ParquetWriter(temporary, PREDICTION_SCHEMA, compression="zstd") as writer,
    ):
        for run in runs["run"]:
            arrays, facts[run] = read_embeddings(embeddings[run])
            if run in fitted:
                arrays |= load_file(fitted[run])
            predictions = score_run(run, heads[run], arrays, views, classes)
            # A row group for each run and test set, so that one test set is read without the others.
            for _, part in predictions.groupby("test_set", sort=False):
                writer.write_table(pa.Table.from_pandas(part, PREDICTION_SCHEMA, preserve_index=False))
            for weights, of_runs in counts.items():
                of_runs.append(count_correct(predictions, heads[run], snakemake.params.confidence, weights))
    runs = runs.merge(pd.DataFrame.from_dict(facts, orient="index"), left_on="run", right_index=True, how="left")
    for weights, path in of_weights.items():
        write_table(path, accuracy_table(runs, pd.concat(counts[weights]), snakemake.params.confidence))
    write_table(snakemake.output.runs, runs)
    logger.info("%d runs on %d test sets", len(runs), len(views))
    work.keep()
