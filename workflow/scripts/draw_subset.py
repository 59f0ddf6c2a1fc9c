"""Draw a seeded subset of a training source at a given size.

Stands alone because a subset is shared by every run of its source, size and seed: runs that differ only in
supervision see the very same images.
"""

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from whyrobust.data.subsets import (
    SubsetError,
    count_labels,
    draw_class_balanced_from_files,
    draw_from_files,
    draw_matching_classes_from_files,
    draw_mixture_from_files,
    matched_size,
)
from whyrobust.data.views import draw_view
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    size, seed = int(snakemake.wildcards.train_images), int(snakemake.wildcards.seed)
    settings, kept = snakemake.params.settings, snakemake.params.kept
    try:
        if snakemake.params.matched:
            available = {name: pq.read_metadata(path).num_rows for name, path in snakemake.params.matched.items()}
            size = matched_size(size, available, snakemake.params.allowed_shortfall_share)
        paths = list(kept.values())
        if snakemake.params.filtered:
            reference = count_labels(snakemake.input.reference[0]) if snakemake.input.reference else None
            subset = draw_view(pq.read_table(paths[0]), settings, size, seed, reference)
        elif settings["kind"] == "mixture":
            subset = draw_mixture_from_files(kept, settings["shares"], size, seed)
        elif settings.get("match_classes_of"):
            subset = draw_matching_classes_from_files(paths, snakemake.input.reference[0], size, seed)
        elif settings.get("class_balanced"):
            subset = draw_class_balanced_from_files(paths, size, seed)
        else:
            subset = draw_from_files(paths, size, seed, bool(settings.get("labelled")), snakemake.threads)
    except SubsetError as error:
        raise SubsetError(
            f"config key runs has train_images {size} for source '{snakemake.wildcards.source}': {error}"
        ) from error
    write_table(snakemake.output.subset, subset)
    logger.info("drew %d images", len(subset))
