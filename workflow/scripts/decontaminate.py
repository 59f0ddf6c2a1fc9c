"""Remove every training image that repeats a test image, and repeats within a test set.

Stands alone, and does all data sets in one job, because whether a training image may stay depends on all test sets
at once; of sources in slices, `compare_images` has done the work. Its counts and sample pairs go into the report.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.decontamination import (
    ArrowTexts,
    as_test_set,
    read_comparison,
    read_kept_columns,
    read_test_set,
    stream_kept,
)
from whyrobust.data.image_stores import uid_column
from whyrobust.data.near_duplicates import decontaminate_in_chunks, merge_comparisons
from whyrobust.data.records import RECORD_SCHEMA
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


KEPT_SCHEMA = pa.schema([RECORD_SCHEMA.field(name) for name in ("uid", "label", "group")])


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    names = [*snakemake.params.sources, *snakemake.params.test_sets]
    paths = zip(snakemake.input.images, snakemake.input.fingerprints, snakemake.input.records, strict=True)
    files = dict(zip(names, paths, strict=True))
    kept_paths = dict(zip(names, snakemake.output.kept, strict=True))
    compared = zip(
        *(getattr(snakemake.input, f"compared_{kind}") for kind in ("removed", "counts", "pairs")), strict=True
    )
    sizes = {name: {"dataset": name} for name in names}

    def write_kept(name: str, tables: Iterable[pa.Table]) -> None:
        """Write the images of a data set that stay."""
        with atomic_path(Path(kept_paths[name])) as temporary:
            with pq.ParquetWriter(temporary, KEPT_SCHEMA, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table.select(KEPT_SCHEMA.names).cast(KEPT_SCHEMA))
            sizes[name]["kept"] = pq.read_metadata(temporary).num_rows

    test_sets = {}
    for name in snakemake.params.test_sets:
        images, fingerprint_path, path = files[name]
        table, fingerprints, repeats = read_test_set(images, fingerprint_path, path, snakemake.params.repeat)
        sizes[name] |= {"drawn": len(table) + repeats, "repeats_removed": repeats}
        logger.info("%s: %d images, %d repeats removed", name, len(table), repeats)
        test_sets[name] = as_test_set(table, fingerprints)
        write_kept(name, [table])
    removed: list[pd.DataFrame] = []
    counts: list[pd.DataFrame] = []
    pairs: list[pd.DataFrame] = []
    for name in snakemake.params.sources:
        images, fingerprint_path, path = files[name]
        uids = uid_column(images)
        if name in snakemake.params.compared:
            parts = [read_comparison(*tables) for tables in islice(compared, snakemake.params.compared[name])]
            found = merge_comparisons(parts)
        else:
            table = read_kept_columns(path, uids)
            # Thumbnails of millions of photographs stay on the disk.
            fingerprints = np.load(fingerprint_path, mmap_mode="r")
            found = decontaminate_in_chunks(
                ArrowTexts(table["uid"]),
                ArrowTexts(table["group"]),
                fingerprints,
                test_sets,
                snakemake.params.near_duplicate,
            )
        gone = pa.array(sorted(set(found[0]["uid"])), pa.string())
        if name in snakemake.params.compared:
            write_kept(name, stream_kept(images, path, gone))
        else:
            stays = pc.invert(pc.is_in(table["uid"], value_set=gone))
            write_kept(name, [table.filter(stays)])
        sizes[name] |= {"drawn": len(uids), "test_twins_removed": len(gone)}
        logger.info("%s: %d images, %d removed", name, sizes[name]["kept"], len(gone))
        for tables, found_table in zip((removed, counts, pairs), found, strict=True):
            tables.append(found_table.assign(source=name))

    write_table(snakemake.output.removed, pd.concat(removed))
    write_table(snakemake.output.counts, pd.concat(counts))
    write_table(snakemake.output.pairs, pd.concat(pairs))
    columns = ["dataset", "drawn", "repeats_removed", "test_twins_removed", "kept"]
    write_table(
        snakemake.output.sizes,
        pd.DataFrame(sizes.values(), columns=columns)
        .fillna(0)
        .astype({"repeats_removed": int, "test_twins_removed": int}),
    )
