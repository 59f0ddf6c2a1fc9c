"""Turn the archive of icon sets into records and drawings, one table of each for every part.

Stands alone because everything later works on records and no longer knows about icon sets. One job makes all parts:
the archive can only be read from front to back, and `studio_test` and `web_test` are split off on the way.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.data.icon_parts import build_icon_records, read_sets
from whyrobust.data.label_matcher import other_nouns, read_classes
from whyrobust.data.records import write_drawings, write_records
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("build_records", snakemake)
    if work.take():
        sys.exit()
    classes = read_classes(snakemake.input.classes)
    parts, counts = build_icon_records(
        snakemake.input.archive,
        read_sets(snakemake.input.sets),
        classes,
        other_nouns(read_classes(snakemake.input.nouns), classes),
        pool=snakemake.params.pool,
        held_out_share=snakemake.params.held_out_share,
        seed=snakemake.params.seed,
    )
    for part, records_path, drawings_path in zip(
        snakemake.params.parts, snakemake.output.records, snakemake.output.drawings, strict=True
    ):
        records, drawings = parts[part]
        logger.info("%s: %d records", part, len(records))
        write_records(Path(records_path), records)
        write_drawings(Path(drawings_path), drawings)
    write_table(snakemake.output.counts, pd.DataFrame(counts))
    work.keep()
