"""Measure the main comparisons with classes weighted the other way: a sensitivity analysis that every study has.

Stands alone because it decides nothing: the answer and its verdicts are those of the weighting that the config names.
"""

from typing import TYPE_CHECKING

from whyrobust.analysis.attribution import EffectSettings
from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.other_weights import attribute_with_other_weights
from whyrobust.files import read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.study.comparisons import Comparison

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    files, params = snakemake.input, snakemake.params
    causes = attribute_with_other_weights(
        files.predictions,
        read_csv(files.accuracy, keep_empty=True),
        read_csv(files.runs, keep_empty=True),
        read_csv(files.shifts, keep_empty=True),
        [Comparison(**planned) for planned in params.comparisons],
        MeasurementSettings.of_study(
            params.settings["scale"], params.intervals, params.class_weights, params.pivots, params.average_over
        ),
        EffectSettings(**params.settings),
    )
    write_table(snakemake.output.causes, causes)
    logger.info("%d main comparisons and shifts", len(causes))
