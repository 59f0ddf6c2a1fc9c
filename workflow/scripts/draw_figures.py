"""Draw the figures of a study at the widths of a journal's columns, and write its main results as LaTeX tables.

Stands alone because a colour changes more often than a number: nothing before it runs again.
"""

import sys
from typing import TYPE_CHECKING

from whyrobust.files import atomic_folder, read_csv, write_text
from whyrobust.logs import start_log
from whyrobust.report.charts.points import choose_published, describe_points
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.figures import PRINTED_COLLECTIONS, FigureContents, draw_figures, latex_tables, optional_rows
from whyrobust.report.findings import EffectTerms
from whyrobust.report.tables import read_study_tables
from whyrobust.study.display_names import SHIFT_WORDS
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("draw_figures", snakemake, leave_out=["captions"])
    if work.take():
        sys.exit()
    files, params = snakemake.input, snakemake.params
    study = read_study_tables(dict(files.items()))
    baselines, bands = study.paper_lines
    main, paper = (
        RobustnessData(describe_points(table[table["main"]], study.runs), baselines, bands, params.scale)
        for table in (study.effective, study.paper)
    )
    lines, of_lines = (read_csv(path) for path in (files.reference_baselines, files.reference_bands))
    published = RobustnessData(
        choose_published(read_csv(files.reference), PRINTED_COLLECTIONS),
        lines[lines["x_test_set"] == "imagenet"],
        of_lines[of_lines["x_test_set"] == "imagenet"],
        names=SHIFT_WORDS,
    )
    terms = EffectTerms(**params.terms)
    contents = FigureContents(main, paper, published, optional_rows(study), terms.reference_accuracy, params.colours)
    with atomic_folder(snakemake.output.figures) as folder:
        draw_figures(folder, contents, snakemake.threads)
        latex = latex_tables(params.study, main.points, study.causes, study.single_causes, terms)
        for name, text in latex.items():
            write_text(folder / name, text)
    logger.info("figures and tables in %s", snakemake.output.figures)
    work.keep()
