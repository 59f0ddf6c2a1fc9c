"""Draw the figures of a study at the widths of a journal's columns, and write its main results as LaTeX tables.

Stands alone because a colour changes more often than a number: nothing before it runs again.
"""

from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.files import atomic_folder, write_text
from whyrobust.logs import start_log
from whyrobust.report.cause_charts import causes_chart, first_comparisons
from whyrobust.report.latex import causes_table, effective_robustness_table
from whyrobust.report.render import measure_chart, save_figure
from whyrobust.report.robustness_charts import choose_published, describe_points, reference_chart, robustness_chart
from whyrobust.report.theme import DOUBLE_COLUMN_POINTS, PAGE_HEIGHT_POINTS, SINGLE_COLUMN_POINTS
from whyrobust.study.display_names import SHIFT_WORDS

if TYPE_CHECKING:
    from snakemake.script import snakemake

# Name of the variant, its width, and panels side by side: of shifts, of causes, of published models.
VARIANTS = (
    ("", DOUBLE_COLUMN_POINTS, 2, 2, 3),
    ("_column", SINGLE_COLUMN_POINTS, 2, 1, 2),
)

# As in the first figure of Fang et al. 2022; the page shows VL Hub's many models too.
PRINTED_COLLECTIONS = ("imagenet_testbed", "open_clip")

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    study, colours, scale = snakemake.params.study, snakemake.params.colours, snakemake.params.scale
    runs = pd.read_csv(snakemake.input.runs)
    measured = pd.read_csv(snakemake.input.effective_robustness)
    points = describe_points(measured[measured["main"]], runs)
    baselines, bands = pd.read_csv(snakemake.input.baselines), pd.read_csv(snakemake.input.bands)
    causes = pd.read_csv(snakemake.input.causes)
    published = choose_published(pd.read_csv(snakemake.input.reference), PRINTED_COLLECTIONS)
    lines, band = (
        table[table["x_test_set"] == "imagenet"]
        for table in (
            pd.read_csv(snakemake.input.reference_baselines),
            pd.read_csv(snakemake.input.reference_bands),
        )
    )
    with atomic_folder(snakemake.output.figures) as folder:
        for variant, total, of_shifts, of_causes, of_published in VARIANTS:
            chart = robustness_chart(points, baselines, bands, colours, scale, total=total, columns=of_shifts)
            save_figure(chart, folder, f"effective_robustness{variant}", points)
            reference = reference_chart(published, lines, band, names=SHIFT_WORDS, total=total, columns=of_published)
            save_figure(reference, folder, f"published_models{variant}", published)
            if causes.empty:
                logger.info("nothing was compared: no figure and no table of causes")
                continue
            shown = causes
            effects = causes_chart(shown, colours, total=total, columns=of_causes)
            if measure_chart(effects)[1] > PAGE_HEIGHT_POINTS:
                shown = first_comparisons(causes)
                effects = causes_chart(shown, colours, total=total, columns=of_causes)
                logger.info("causes%s: all comparisons are higher than a page: the first of each cause alone", variant)
            save_figure(effects, folder, f"causes{variant}", shown)
        if not causes.empty:
            write_text(folder / "causes.tex", causes_table(causes, study, snakemake.params.confidence))
        write_text(folder / "effective_robustness.tex", effective_robustness_table(points, study))
    logger.info("figures and tables in %s", snakemake.output.figures)
