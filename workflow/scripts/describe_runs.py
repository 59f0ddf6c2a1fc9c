"""Describe single runs: training curves, confusions, accuracy by class, and predictions for the pictures shown.

Accuracy by class is also compared between sources.

Stands alone because it is for a closer view of a study, not for its answer: the comparisons of `attribute_causes` read
the predictions themselves.
"""

import sys
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.analysis.class_differences import compare_classes
from whyrobust.files import read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.report.page_parts import table_rows
from whyrobust.report.run_summary import SAMPLE_PREDICTION_SCHEMA, PredictionFile, average_curves, describe_runs
from whyrobust.study.comparisons import Comparison
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("describe_runs", snakemake)
    if work.take():
        sys.exit()
    files, test_sets = snakemake.input, snakemake.params.test_sets
    write_table(snakemake.output.curves, average_curves(snakemake.params.progress))
    samples = pd.read_parquet(files.samples, columns=["dataset", "uid"]).rename(columns={"dataset": "test_set"})
    samples = samples[samples["test_set"].isin(test_sets)]
    accuracy = read_csv(files.accuracy, keep_empty=True)
    details = describe_runs(accuracy, PredictionFile(files.predictions), samples, test_sets)
    write_table(snakemake.output.class_accuracy, details.class_accuracy)
    runs = table_rows(read_csv(files.runs, keep_empty=True).assign(main=True))
    comparisons = [Comparison(**planned) for planned in snakemake.params.compared_sources]
    write_table(snakemake.output.class_differences, compare_classes(details.class_accuracy, runs, comparisons))
    write_table(snakemake.output.confusions, details.confusions)
    write_table(snakemake.output.sample_predictions, details.sample_predictions, SAMPLE_PREDICTION_SCHEMA)
    logger.info("%d runs, %d pictures", accuracy["run"].nunique(), len(samples))
    work.keep()
