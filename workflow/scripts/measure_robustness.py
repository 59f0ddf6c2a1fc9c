"""Fit the baseline and measure every run's effective robustness on every shift.

Stands alone because it turns counts into the study's main quantity. Fitting the baseline is part of it, not a stage
of its own: the intervals need the line refitted in every bootstrap draw, on the same draw's accuracies.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whyrobust.analysis.accuracies import select_runs
from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.study_tables import measure_study
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    intervals = snakemake.params.intervals
    runs = pd.read_csv(snakemake.input.runs, keep_default_na=False)
    tables = measure_study(
        pd.read_csv(snakemake.input.accuracy, keep_default_na=False),
        snakemake.input.predictions,
        select_runs(runs, {"standard": True}),
        snakemake.params.shifts,
        snakemake.params.in_distribution,
        MeasurementSettings(
            scale=snakemake.params.scale,
            confidence=intervals["effect"],
            accuracy_confidence=intervals["accuracy"],
            resamples=intervals["resamples"],
            seed=intervals["seed"],
        ),
    )
    logger.info("baselines:\n%s", tables.baselines.to_string(index=False))
    for path, table in (
        (snakemake.output.effective_robustness, tables.effective_robustness),
        (snakemake.output.baselines, tables.baselines),
        (snakemake.output.bands, tables.bands),
    ):
        write_table(path, table)
    with atomic_path(snakemake.output.draws) as temporary:
        draws = {shift: values.astype(np.float32) for shift, values in tables.draws.items()}
        np.savez_compressed(temporary, **draws)  # type: ignore[arg-type]
