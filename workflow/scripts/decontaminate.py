"""Remove every training image that repeats a test image, and repeats within a test set.

Stands alone, and does all data sets in one job, because one table holds what was removed from all of them; the
comparison was done by `compare_images`, slice by slice. Counts and sample pairs go into the report.
"""

import sys
from typing import TYPE_CHECKING

from whyrobust.data.decontamination import DatasetFiles, decontaminate_study, read_summary, write_summary
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("decontaminate", snakemake)
    if work.take():
        sys.exit()
    made, params = snakemake.output, snakemake.params
    files = {
        name: DatasetFiles(images, params.fingerprints[name], params.records[name])
        for name, images in params.images.items()
    }
    compared = {
        name: list(map(read_summary, removed, params.compared_counts[name], params.compared_pairs[name]))
        for name, removed in params.compared_removed.items()
    }
    found, sizes = decontaminate_study(
        sources={name: files[name] for name in params.sources},
        test_sets={name: files[name] for name in params.test_sets},
        compared=compared,
        kept=params.kept,
        repeat=params.repeat,
    )
    for row in sizes.to_dict("records"):
        logger.info("%s", ", ".join(f"{column} {value}" for column, value in row.items()))
    write_summary(found, made.removed, made.counts, made.pairs)
    write_table(made.sizes, sizes)
    work.keep()
