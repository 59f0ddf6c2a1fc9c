"""Write the captions of a training source, one column for every caption variant that a run learns from.

Stands alone because captions are text only: another variant or another template must not redraw an image.
"""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.captions import assemble_captions
from whyrobust.class_names import read_class_names, read_prompt_names
from whyrobust.files import atomic_path
from whyrobust.logs import start_log
from whyrobust.records import read_records

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    records = read_records(snakemake.input.records)
    classes = snakemake.input.classes
    names = dict(zip(read_class_names(classes), read_prompt_names(classes), strict=True))
    captions = assemble_captions(
        records, snakemake.params.variants, snakemake.params.template, snakemake.params.seed, names
    )
    logger.info("%d records, variants: %s", len(captions), ", ".join(snakemake.params.variants) or "none")
    with atomic_path(snakemake.output.captions) as temporary:
        pq.write_table(pa.Table.from_pandas(captions, preserve_index=False), temporary, compression="zstd")
