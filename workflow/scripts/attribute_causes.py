"""Attribute effective robustness to its possible causes: by the planned comparisons, and by one regression.

Stands alone because comparisons are cheap and change often: another comparison needs no run to be measured again. The
regression is a second opinion that shares no assumption with the comparisons; the two stand side by side.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whyrobust.analysis.effects import attribute_causes, gap_shares, summarise_causes
from whyrobust.analysis.regression import regress_causes
from whyrobust.files import write_table, write_text
from whyrobust.logs import start_log
from whyrobust.study.plan import HEAD_FIELDS, Comparison

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    confidence = snakemake.params.confidence
    measured = pd.read_csv(snakemake.input.effective_robustness, keep_default_na=False, na_values=["nan", "NaN"])
    for column in ("effective_robustness_points", "id_accuracy", "shift_accuracy"):
        measured[column] = pd.to_numeric(measured[column], errors="coerce")
    runs = pd.read_csv(snakemake.input.runs, keep_default_na=False)
    draws = np.load(snakemake.input.draws)
    measurements, evaluated = {}, runs.iloc[:0]
    for shift in draws.files:
        rows = measured[measured["shift"] == shift].reset_index(drop=True)
        evaluated = rows[["run", *HEAD_FIELDS, "main"]].merge(runs, on="run", validate="many_to_one")
        measurements[shift] = (rows["effective_robustness_points"].to_numpy(dtype=float), draws[shift].astype(float))
    comparisons = [Comparison(**planned) for planned in snakemake.params.comparisons]
    causes = attribute_causes(comparisons, evaluated, measurements, confidence)
    shares = gap_shares(causes, comparisons, evaluated, measurements, confidence)
    keys = ["cause", "comparison", "shift"]
    causes = causes.merge(shares.drop(columns="effect_points"), on=keys, validate="one_to_one")

    accuracies = measured[["run", *HEAD_FIELDS, "shift", "id_accuracy", "shift_accuracy"]]
    points = accuracies.merge(runs.drop(columns="standard"), on="run", validate="many_to_one")
    points["standard"] = measured["standard"].to_numpy(dtype=bool)
    second = regress_causes(points, snakemake.params.scale, confidence)
    for table, path in ((causes, snakemake.output.causes), (second, snakemake.output.regression)):
        write_table(path, table)
    write_text(snakemake.output.summary, summarise_causes(causes))
    logger.info("%d comparisons of %d runs and heads", len(causes), len(evaluated))
