"""Draw the figures of a study, each as SVG, PNG and Vega-Lite JSON with the table behind it.

Stands alone because a colour changes more often than a number: nothing before it runs again.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.figures import (
    causes_chart,
    describe_points,
    reference_chart,
    robustness_chart,
    save_figure,
)
from whyrobust.logs import start_log
from whyrobust.report import choose_published

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    folder = Path(snakemake.output.figures)
    folder.mkdir(parents=True, exist_ok=True)
    colours, scale = snakemake.params.colours, snakemake.params.scale
    runs = pd.read_csv(snakemake.input.runs)
    measured = pd.read_csv(snakemake.input.effective_robustness)
    points = describe_points(measured[measured["main"]], runs)
    baselines, bands = pd.read_csv(snakemake.input.baselines), pd.read_csv(snakemake.input.bands)
    causes = pd.read_csv(snakemake.input.causes)
    save_figure(robustness_chart(points, baselines, bands, colours, scale), folder, "effective_robustness", points)
    save_figure(causes_chart(causes, colours), folder, "causes", causes)
    published = choose_published(pd.read_csv(snakemake.input.reference))
    lines, band = (
        table[table["x_test_set"] == "imagenet"]
        for table in (
            pd.read_csv(snakemake.input.reference_baselines),
            pd.read_csv(snakemake.input.reference_bands),
        )
    )
    chart = reference_chart(published, lines, band)
    save_figure(chart, folder, "published_models", published)
    logger.info("figures in %s", folder)
