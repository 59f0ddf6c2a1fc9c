"""Write the page and the figures of the published models.

Stands alone because it only shows what `measure_published` wrote; it measures nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.pretraining import read_pretraining
from whyrobust.analysis.published_study import read_tables
from whyrobust.files import atomic_folder, write_text
from whyrobust.logs import start_log
from whyrobust.report.figures import draw_published
from whyrobust.report.published_page import render_published

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    tables = read_tables(Path(snakemake.input.effects).parent)
    html = render_published(tables, read_pretraining(Path(snakemake.input.pretraining).parent))
    with atomic_folder(snakemake.output.figures) as folder:
        draw_published(folder, tables["effects"])
    write_text(snakemake.output.report, html)
    logger.info("page of %d bytes", len(html))
