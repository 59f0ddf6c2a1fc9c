"""Measure the effective robustness of published models on the ImageNet shifts.

Stands alone because it depends on committed tables only, not on the study; the analysis is the study's own.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.published_models import measure_reference, read_reference
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    accuracies = read_reference(Path(snakemake.input.testbed).parent)
    result = measure_reference(accuracies)
    logger.info("%d published accuracies", len(accuracies))
    for path, table in (
        (snakemake.output.effective_robustness, result.effective_robustness),
        (snakemake.output.baselines, result.baselines),
        (snakemake.output.bands, result.bands),
    ):
        write_table(path, table)
