"""Measure effective robustness beyond several in-distribution test sets at once (Shi et al. 2023).

Stands alone because few studies ask for it (`baseline.several`), and because its baseline has other standard models: of
several sources, so that the test sets can be distinguished. A single in-distribution test set favours models that were
not trained on its source: they are worse on it than on everything else.
"""

from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.analysis.accuracies import select_runs
from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.study_tables import measure_study_on_several
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    intervals = snakemake.params.intervals
    runs = pd.read_csv(snakemake.input.runs, keep_default_na=False)
    table = measure_study_on_several(
        pd.read_csv(snakemake.input.accuracy, keep_default_na=False),
        snakemake.input.predictions,
        select_runs(runs, snakemake.params.standard),
        snakemake.params.shifts,
        snakemake.params.test_sets,
        MeasurementSettings(
            scale=snakemake.params.scale,
            confidence=intervals["effect"],
            resamples=intervals["resamples"],
            seed=intervals["seed"],
        ),
    )
    logger.info("%d evaluated runs and shifts beyond %s", len(table), ", ".join(snakemake.params.test_sets))
    write_table(snakemake.output.effective_robustness, table)
