"""Find the class of every record of a training source in its text.

Stands alone because it reads text only: another field or another policy must not redraw an image. The table of how
many records match, and how often the match is right, goes into the report.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.label_matcher import read_matcher
from whyrobust.data.records import read_record_rows, uids_in_file
from whyrobust.data.text_columns import text_column
from whyrobust.data.text_labels import describe_matches, match_records
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.slices import Slice

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Of a slice, no record may match.
LABEL_SCHEMA = pa.schema([("uid", pa.string()), ("label", pa.string())])


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    part = Slice(**snakemake.params.slice)
    rows = part.rows_of(pq.read_metadata(snakemake.input.records).num_rows)
    records = read_record_rows(snakemake.input.records, rows)
    kept = uids_in_file(snakemake.input.kept, text_column(records["uid"]))
    records = records[kept].reset_index(drop=True)
    params = snakemake.params
    matcher = read_matcher(snakemake.input.classes, snakemake.input.nouns, params.shared, params.possessives)
    matched = match_records(records, matcher, params.fields, params.policy, snakemake.threads)
    write_table(snakemake.output.labels, matched, LABEL_SCHEMA)
    matches = describe_matches(records, matched)
    matches.insert(0, "source", part.dataset)
    write_table(snakemake.output.matches, matches)
    logger.info("%d of %d records match one class", int(matched["label"].notna().sum()), len(records))
