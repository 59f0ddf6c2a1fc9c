"""Fit the baseline and measure every run's effective robustness on every shift.

Stands alone because it turns counts into the study's main quantity. Fitting the baseline is part of it, not a stage
of its own: the intervals need the line refitted in every bootstrap draw, on the same draw's accuracies.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whyrobust.analysis.accuracies import outcome_matrix
from whyrobust.analysis.effective_robustness import measure_robustness, resample_accuracies
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log
from whyrobust.study.plan import HEAD_FIELDS
from whyrobust.study.restricted_axes import restricted_name

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    intervals = snakemake.params.intervals
    in_distribution = snakemake.params.in_distribution
    accuracy = pd.read_csv(snakemake.input.accuracy, keep_default_na=False)
    standard = pd.read_csv(snakemake.input.runs).set_index("run")["standard"]
    measured_sets = set(accuracy["test_set"])
    seeds = np.random.SeedSequence(intervals["seed"]).generate_state(2 * len(measured_sets))
    seed_of = dict(zip(sorted(measured_sets), (int(seed) for seed in seeds), strict=False))

    tables, baselines, bands, draws = [], [], [], {}
    for number, shift in enumerate(snakemake.params.shifts):
        restricted = restricted_name(in_distribution, shift)
        x_test_set = restricted if restricted in measured_sets else in_distribution
        on_x = accuracy[accuracy["test_set"] == x_test_set]
        on_shift = accuracy[accuracy["test_set"] == shift]
        keys = ["run", *HEAD_FIELDS]
        models = on_x[[*keys, "main", "accuracy", "images"]].merge(
            on_shift[[*keys, "accuracy", "images"]],
            on=keys,
            validate="one_to_one",
            suffixes=("_id", "_shift"),
        )
        models = models.rename(
            columns={
                "accuracy_id": "id_accuracy",
                "images_id": "id_images",
                "accuracy_shift": "shift_accuracy",
                "images_shift": "shift_images",
            }
        )
        models["standard"] = models["run"].map(standard).astype(bool) & (models["head"] == "classifier")
        rows = list(models[keys].itertuples(index=False, name=None))
        drawn = {}
        for test_set in (x_test_set, shift):
            correct, groups = outcome_matrix(snakemake.input.predictions, test_set, rows)
            drawn[test_set] = resample_accuracies(correct, groups, intervals["resamples"], seed_of[test_set])
        result = measure_robustness(
            models,
            shift,
            x_test_set,
            drawn[x_test_set],
            drawn[shift],
            scale=snakemake.params.scale,
            confidence=intervals["effect"],
            point_confidence=intervals["accuracy"],
            band_resamples=intervals["resamples"],
            seed=int(seeds[-1 - number]),
        )
        logger.info("%s: %s", shift, result.baseline)
        tables.append(result.effective_robustness)
        baselines.append(result.baselines)
        bands.append(result.bands)
        draws[shift] = result.draws.astype(np.float32)

    for path, parts in (
        (snakemake.output.effective_robustness, tables),
        (snakemake.output.baselines, baselines),
        (snakemake.output.bands, bands),
    ):
        write_table(path, pd.concat(parts))
    with atomic_path(snakemake.output.draws) as temporary:
        np.savez_compressed(temporary, **draws)  # type: ignore[arg-type]
