"""Describe the data of a study: classes, captions, the filters, samples, and pairs of near-duplicates.

Stands alone because it reads data only: it is done before the first model is trained, and no result of a model
makes it again. The page shows its tables.
"""

from typing import TYPE_CHECKING

from whyrobust.data.label_matcher import matcher_if_any
from whyrobust.files import read_csv, write_table
from whyrobust.logs import start_log
from whyrobust.report.data_summary import (
    PAIRS_PER_BAND,
    DatasetFiles,
    describe_all_captions,
    describe_datasets,
    sample_pairs,
    show_pictures,
)
from whyrobust.study.class_table import read_class_names

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    start_log(snakemake.log[0], snakemake.threads)
    files, params = snakemake.input, snakemake.params
    datasets = [
        DatasetFiles(
            name=name,
            role=role,
            records=params.records[name],
            failures=params.failures[name],
            kept=params.kept[name],
            images=params.images[name],
            fetched=params.fetched.get(name),
        )
        for name, role in params.roles.items()
    ]
    matcher = matcher_if_any(files.classes, files.nouns, params.shared, params.possessives)
    classes = read_class_names(files.classes)
    class_counts, filters, samples = describe_datasets(datasets, classes, read_csv(files.sizes))
    write_table(snakemake.output.classes, class_counts)
    write_table(snakemake.output.filters, filters)
    write_table(snakemake.output.captions, describe_all_captions(params.captions, params.kept, matcher))
    shown_samples, shown_pairs = show_pictures(datasets, samples, sample_pairs(read_csv(files.pairs), PAIRS_PER_BAND))
    write_table(snakemake.output.samples, shown_samples)
    write_table(snakemake.output.pairs, shown_pairs)
