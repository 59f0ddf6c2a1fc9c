"""Draw a seeded subset of a training source at a given size.

Stands alone because a subset is shared by every run of its source, size and seed: runs that differ only in
supervision see the very same images.
"""

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.subsets import (
    SubsetError,
    draw_class_balanced,
    draw_from_files,
    draw_matching_classes,
    draw_mixture,
    matched_size,
)
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    size, seed = int(snakemake.wildcards.train_images), int(snakemake.wildcards.seed)
    settings, components = snakemake.params.settings, snakemake.params.components
    try:
        if snakemake.params.matched_with:
            tables = zip(snakemake.params.matched_with, snakemake.input.matched, strict=True)
            available = {name: pq.read_metadata(path).num_rows for name, path in tables}
            size = matched_size(size, available, snakemake.params.allowed_shortfall_share)
        if settings["kind"] == "mixture" or "match_classes_of" in settings or settings.get("class_balanced"):
            kept = pa.concat_tables(pq.read_table(path) for path in snakemake.input.kept)
            uids = kept["uid"].to_pylist()
            labelled = zip(uids, kept["label"].to_pylist(), strict=True)
            if settings["kind"] == "mixture":
                tables = zip(components, snakemake.input.kept, strict=True)
                own = {name: pq.read_table(path)["uid"].to_pylist() for name, path in tables}
                drawn = [uid for _, uid in draw_mixture(own, settings["shares"], size, seed)]
            elif "match_classes_of" in settings:
                reference = pq.read_table(snakemake.input.reference[0])["label"].to_pylist()
                counts = Counter(label for label in reference if label is not None)
                drawn = draw_matching_classes(labelled, counts, size, seed)
            else:
                drawn = draw_class_balanced(labelled, size, seed)
            row_of = {uid: row for row, uid in enumerate(uids)}
            subset = kept.take([row_of[uid] for uid in drawn])
        else:
            only_labelled = bool(settings.get("labelled"))
            subset = draw_from_files(snakemake.input.kept, size, seed, only_labelled, snakemake.threads)
    except SubsetError as error:
        raise SubsetError(
            f"config key runs has train_images {size} for source '{snakemake.wildcards.source}': {error}"
        ) from error
    write_table(snakemake.output.subset, subset)
    logger.info("drew %d images", len(subset))
