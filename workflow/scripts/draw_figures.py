"""Draw the figures of a study at the widths of a journal's columns, and write its main results as LaTeX tables.

Stands alone because a colour changes more often than a number: nothing before it runs again.
"""

from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.files import atomic_folder
from whyrobust.logs import start_log
from whyrobust.report.charts.points import choose_published, describe_points
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.figures import PRINTED_COLLECTIONS, draw_figures, write_latex_tables
from whyrobust.study.display_names import SHIFT_WORDS

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    files, params = snakemake.input, snakemake.params
    measured, causes = pd.read_csv(files.effective_robustness), pd.read_csv(files.causes)
    points = describe_points(measured[measured["main"]], pd.read_csv(files.runs))
    study = RobustnessData(points, pd.read_csv(files.baselines), pd.read_csv(files.bands), params.scale)
    lines, bands = (pd.read_csv(path) for path in (files.reference_baselines, files.reference_bands))
    published = RobustnessData(
        choose_published(pd.read_csv(files.reference), PRINTED_COLLECTIONS),
        lines[lines["x_test_set"] == "imagenet"],
        bands[bands["x_test_set"] == "imagenet"],
        names=SHIFT_WORDS,
    )
    with atomic_folder(snakemake.output.figures) as folder:
        draw_figures(folder, study, published, causes, params.colours)
        write_latex_tables(folder, params.study, causes, points, params.confidence)
    logger.info("figures and tables in %s", snakemake.output.figures)
