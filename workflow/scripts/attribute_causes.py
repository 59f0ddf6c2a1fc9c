"""Attribute effective robustness to its possible causes, by the planned comparisons.

Stands alone because comparisons are cheap and change often: another comparison needs no run to be measured again.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whyrobust.attribution import attribute_causes, summarise_causes
from whyrobust.files import atomic_path, write_text
from whyrobust.logs import start_log
from whyrobust.plan import plan_contrasts

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    measured = pd.read_csv(snakemake.input.effective_robustness, keep_default_na=False, na_values=["nan", "NaN"])
    measured["effective_robustness_points"] = pd.to_numeric(measured["effective_robustness_points"], errors="coerce")
    runs = pd.read_csv(snakemake.input.runs, keep_default_na=False)
    draws = np.load(snakemake.input.draws)
    # One row a run: its classifier, or its zero-shot head with the first prompt set.
    measurements, evaluated = {}, runs.iloc[:0]
    for shift in draws.files:
        rows = measured[measured["shift"] == shift].reset_index(drop=True)
        main = ((rows["head"] == "classifier") | (rows["prompts"] == snakemake.params.prompts)).to_numpy()
        evaluated = rows[main][["run"]].merge(runs, on="run", validate="one_to_one")
        points = rows["effective_robustness_points"].to_numpy(dtype=float)
        measurements[shift] = (points[main], draws[shift][:, main].astype(float))
    causes = attribute_causes(
        plan_contrasts(snakemake.params.causes), evaluated, measurements, snakemake.params.confidence
    )
    with atomic_path(snakemake.output.causes) as temporary:
        causes.to_csv(temporary, index=False)
    write_text(snakemake.output.summary, summarise_causes(causes))
    logger.info("%d comparisons of %d runs", len(causes), len(evaluated))
