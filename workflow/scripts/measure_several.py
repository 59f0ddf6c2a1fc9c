"""Measure effective robustness beyond several in-distribution test sets at once (Shi et al. 2023).

Stands alone because it is asked for by few studies (`baseline.several`), and because its baseline has other standard
models: of several sources, so that the test sets can be told apart. A single in-distribution test set favours models
that were not trained on its source: they are worse on it than on everything else.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whyrobust.analysis.accuracies import outcome_matrix
from whyrobust.analysis.effective_robustness import multi_effective_robustness, resample_accuracies
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.plan import HEAD_FIELDS, matches
from whyrobust.study.restricted_axes import restricted_name

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    intervals, keys = snakemake.params.intervals, ["run", *HEAD_FIELDS]
    accuracy = pd.read_csv(snakemake.input.accuracy, keep_default_na=False)
    runs = pd.read_csv(snakemake.input.runs, keep_default_na=False)
    wide = accuracy.pivot(index=keys, columns="test_set", values="accuracy")
    rows = list(wide.index)
    fitting = {run["run"]: matches({str(key): value for key, value in run.items()}, snakemake.params.standard)
               for run in runs.to_dict("records")}  # fmt: skip
    standard = np.array([fitting[run] and head == "classifier" for run, head, _, _ in rows])
    seeds = np.random.SeedSequence(intervals["seed"]).generate_state(wide.shape[1] + len(snakemake.params.shifts))
    seed_of = dict(zip([*wide.columns, *snakemake.params.shifts], (int(seed) for seed in seeds), strict=False))

    def draw(test_set: str) -> np.ndarray:
        """Return bootstrap draws of all accuracies on a test set, ``[resamples, rows]``."""
        correct, groups = outcome_matrix(snakemake.input.predictions, test_set, rows)
        return resample_accuracies(correct, groups, intervals["resamples"], seed_of[test_set])

    tables = []
    for number, shift in enumerate(snakemake.params.shifts):
        names = [restricted_name(name, shift) for name in snakemake.params.test_sets]
        names = [part if part in wide else whole for part, whole in zip(names, snakemake.params.test_sets, strict=True)]
        measured = multi_effective_robustness(
            wide[names].to_numpy(),
            wide[shift].to_numpy(),
            standard,
            np.stack([draw(name) for name in names], axis=2),
            draw(shift),
            scale=snakemake.params.scale,
            confidence=intervals["effect"],
            seed=int(seeds[-1 - number]),
        )
        logger.info("%s: %s", shift, measured.baseline)
        table = pd.DataFrame(rows, columns=keys).assign(
            shift=shift,
            x_test_sets=" ".join(names),
            shift_accuracy=wide[shift].to_numpy(),
            effective_robustness_points=measured.points,
            low_points=measured.low_points,
            high_points=measured.high_points,
            standard=standard,
            extrapolated=measured.extrapolated,
            r_squared=measured.baseline.r_squared,
            note=measured.note,
        )
        tables.append(table)
    write_table(snakemake.output.effective_robustness, pd.concat(tables))
