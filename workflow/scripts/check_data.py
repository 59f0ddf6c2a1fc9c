"""Say whether the data are ready for training: a page, and the same in words for the terminal.

Stands alone because it is asked for before training, and no result needs it. It counts nothing anew.
"""

from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.files import read_csv, write_text
from whyrobust.logs import start_log
from whyrobust.report.data_check import (
    DataCounts,
    StudyNeeds,
    find_remarks,
    left_out_table,
    summarise,
    unknown_label_table,
)
from whyrobust.report.data_page import render_data
from whyrobust.report.tables import DataTables
from whyrobust.study.class_table import read_class_names

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    files, params = snakemake.input, snakemake.params
    tables = {name: read_csv(path, keep_empty=True) for name, path in params.counts.items()}
    labels = {name: read_csv(path, keep_empty=True) for name, path in params.unknown_labels.items()}
    failures = {name: read_csv(path, keep_empty=True)["reason"] for name, path in params.failures.items()}
    counts = DataCounts(
        filters=read_csv(files.filters),
        classes=read_csv(files.class_counts, keep_empty=True),
        captions=read_csv(files.captions),
        removed=read_csv(files.removed),
        left_out=left_out_table(
            {name: zip(rows["what"], rows["images"], strict=True) for name, rows in tables.items()}, failures
        ),
        unknown_labels=unknown_label_table(
            {name: zip(rows["label"], rows["images"], strict=True) for name, rows in labels.items()},
            read_class_names(files.classes),
        ),
    )
    remarks = find_remarks(counts, StudyNeeds(**params.needs))
    data = DataTables(
        classes=counts.classes,
        captions=counts.captions,
        filters=counts.filters,
        samples=pd.read_parquet(files.samples),
        pairs=pd.read_parquet(files.pairs),
        removed=counts.removed,
        text_matches=pd.DataFrame(),
    )
    html = render_data(params.study, counts, remarks, data, params.similarity)
    write_text(snakemake.output.page, html)
    write_text(snakemake.output.summary, summarise(params.study, counts, remarks) + "\n")
    logger.info("%d remarks, page of %d bytes", len(remarks), len(html))
