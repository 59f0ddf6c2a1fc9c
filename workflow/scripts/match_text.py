"""Find the class of every record of a training source in its text.

Stands alone because it reads text only: another field or another policy must not redraw an image. The table of how
many records match, and how often the match is right, goes into the report.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.classes import LabelMatcher, other_nouns, read_classes
from whyrobust.files import atomic_path
from whyrobust.logs import start_log
from whyrobust.records import read_records
from whyrobust.text_match import describe_matches, match_records

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    kept = set(pq.read_table(snakemake.input.kept, columns=["uid"])["uid"].to_pylist())
    records = read_records(snakemake.input.records)
    records = records[records["uid"].isin(kept)].reset_index(drop=True)
    classes = read_classes(snakemake.input.classes, shared=snakemake.params.shared)
    nouns = other_nouns(read_classes(snakemake.input.nouns), classes) if snakemake.input.nouns else None
    matcher = LabelMatcher(classes, nouns, shared=snakemake.params.shared)
    matched = match_records(records, matcher, snakemake.params.fields, snakemake.params.policy, snakemake.threads)
    with atomic_path(snakemake.output.labels) as temporary:
        pq.write_table(pa.Table.from_pandas(matched, preserve_index=False), temporary, compression="zstd")
    described = describe_matches(records, matched)
    with atomic_path(snakemake.output.matches) as temporary:
        described.to_csv(temporary, index=False)
    logger.info("%d of %d records match one class", int(matched["label"].notna().sum()), len(records))
