"""Measure how varied the caption variants of each source are, where a source has further columns of captions.

Stands alone because it reads text only, and few studies need it.
"""

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq

from whyrobust.data.caption_variety import describe_variety, draw_images
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.report.data_summary import read_captions

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    params, tables = snakemake.params, []
    for source, variants in params.captions.items():
        kept = pq.read_table(params.kept[source], columns=["uid", "label"])
        drawn = kept.take(draw_images(len(kept), params.seed))
        texts, labels = {}, []
        for variant, paths in variants.items():
            pairs = list(read_captions(paths, variant, drawn))
            texts[variant] = [text for text, _ in pairs]
            labels = [label for _, label in pairs]
        tables.append(describe_variety(texts, labels).assign(source=source))
        logger.info("%s: %d images, %s", source, len(drawn), ", ".join(variants))
    described = pd.concat(tables, ignore_index=True)
    write_table(snakemake.output.variety, described[["source", *described.columns.drop("source")]])
