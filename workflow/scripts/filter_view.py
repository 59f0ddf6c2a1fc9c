"""Choose the images of a view that are the same for every seed: by sets, teams, colour, and nearness to shifts.

Stands alone because it reads pixels and fingerprints, which no draw of a subset has to do again.
"""

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from whyrobust.data.icon_parts import teams_of_sets
from whyrobust.data.nearest_images import read_kept_fingerprints
from whyrobust.data.pixel_store import read_pixels
from whyrobust.data.subsets import SubsetError
from whyrobust.data.views import ComparedSet, filter_view
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    given, datasets = snakemake.input, snakemake.params.datasets
    kept = pq.read_table(given.kept[0])
    compared = {}
    for name, images, fingerprints, table in zip(datasets, given.images, given.fingerprints, given.kept, strict=True):
        _, values, rows = read_kept_fingerprints(images, fingerprints, table)
        compared[name] = ComparedSet(values, rows)
    try:
        view = filter_view(
            kept,
            snakemake.params.settings,
            teams_of_sets(given.sets) if given.sets else {},
            lambda: read_pixels([given.images[0]], kept["uid"].to_pylist()),
            compared,
            datasets[2:],
        )
    except SubsetError as error:
        raise SubsetError(f"config key sources.{snakemake.wildcards.view}: {error}") from error
    write_table(snakemake.output.view, view)
    logger.info("%d of %d images", len(view), len(kept))
