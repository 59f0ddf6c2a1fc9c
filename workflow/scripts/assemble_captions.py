"""Write the captions of a training source, of one of the caption variants that runs learn from.

Stands alone because captions are text only: another variant or another template must not redraw an image.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.captions import assemble_captions
from whyrobust.data.records import read_record_rows
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.caption_variants import CAPTION_VARIANTS
from whyrobust.study.class_table import read_class_names, read_prompt_names
from whyrobust.study.slices import Slice

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    part = Slice(**snakemake.params.slice)
    rows = part.rows_of(pq.read_metadata(snakemake.input.records).num_rows)
    classes, variant = snakemake.input.classes, snakemake.wildcards.caption
    records = read_record_rows(snakemake.input.records, rows, [] if variant in CAPTION_VARIANTS else [variant])
    names = dict(zip(read_class_names(classes), read_prompt_names(classes), strict=True)) if classes else None
    captions = assemble_captions(records, [variant], **snakemake.params.settings, class_names=names)
    # All captions of a variant may be missing: then their type is not in the values.
    schema = pa.schema([(name, pa.string()) for name in captions.columns])
    logger.info("%d records, %d captions", len(captions), captions[variant].count())
    write_table(snakemake.output.captions, captions, schema)
