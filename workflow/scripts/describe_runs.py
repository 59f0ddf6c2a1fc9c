"""Describe single runs: training curves, confusions, accuracy by class, and what each says of the pictures shown.

Stands alone because it is for looking into a study, not for its answer: the comparisons of `attribute_causes` read
the predictions themselves.
"""

from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.report.run_summary import (
    SAMPLE_PREDICTION_SCHEMA,
    PredictionFile,
    count_by_class,
    count_confusions,
    main_heads,
    pick_samples,
    smooth_curve,
)

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Points of a curve that is drawn, and confusions listed of each test set.
CURVE_BINS = 60
CONFUSIONS = 20


def write_csv(path: str, parts: list[pd.DataFrame], columns: list[str]) -> None:
    """Write tables of these columns below each other as CSV, whole or not at all."""
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    write_table(path, table[columns])


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    files, test_sets = snakemake.input, snakemake.params.test_sets
    curves = [
        smooth_curve(pd.read_csv(path), CURVE_BINS).assign(run=run)
        for run, path in zip(snakemake.params.trained, files.progress, strict=True)
    ]
    write_csv(snakemake.output.curves, curves, ["run", "samples", "loss", "learning_rate"])

    shown = pd.read_parquet(files.samples, columns=["dataset", "uid"]).rename(columns={"dataset": "test_set"})
    shown = shown[shown["test_set"].isin(test_sets)]
    predictions = PredictionFile(files.predictions)
    by_class, confusions, of_samples = [], [], []
    for run, head in main_heads(pd.read_csv(files.accuracy, keep_default_na=False)).items():
        answers = predictions.read(run, head, test_sets)
        by_class.append(count_by_class(answers, test_sets).assign(run=run))
        confusions.append(count_confusions(answers, test_sets, CONFUSIONS).assign(run=run, **head))
        of_samples.append(pick_samples(answers, shown).assign(run=run))
    write_csv(snakemake.output.class_accuracy, by_class, ["run", "test_set", "label", "images", "correct"])
    columns = ["run", "head", "prompts", "fitted_on", "test_set", "label", "prediction", "images", "class_images"]
    write_csv(snakemake.output.confusions, confusions, columns)
    write_table(snakemake.output.sample_predictions, pd.concat(of_samples), SAMPLE_PREDICTION_SCHEMA)
    logger.info("%d curves, %d runs, %d pictures", len(curves), len(by_class), len(shown))
