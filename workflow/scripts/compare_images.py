"""Compare a slice of the images of a training source with all test images.

Stands alone because it is most of the work of decontamination, and of a large source a job each slice: `decontaminate`
puts together what the slices found.
"""

from typing import TYPE_CHECKING

import numpy as np

from whyrobust.data.decontamination import ArrowTexts, as_test_set, read_rows, read_test_set
from whyrobust.data.near_duplicates import TRAINING_IMAGES_PER_CHUNK, decontaminate_in_chunks
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.slices import Slice

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    given, part = snakemake.input, Slice(**snakemake.params.slice)
    tests = zip(given.test_images, given.test_fingerprints, given.test_records, strict=True)
    test_sets = {
        name: as_test_set(*read_test_set(*paths, snakemake.params.repeat)[:2])
        for name, paths in zip(snakemake.params.test_sets, tests, strict=True)
    }
    fingerprints = np.load(given.fingerprints, mmap_mode="r")
    # Whole chunks, so that products are rounded as they are where a source is compared by one job.
    chunks = part.rows_of(-(-len(fingerprints) // TRAINING_IMAGES_PER_CHUNK))
    rows = range(
        chunks.start * TRAINING_IMAGES_PER_CHUNK, min(len(fingerprints), chunks.stop * TRAINING_IMAGES_PER_CHUNK)
    )
    table = read_rows(given.images, given.records, rows)
    found = decontaminate_in_chunks(
        ArrowTexts(table["uid"]),
        ArrowTexts(table["group"]),
        fingerprints[rows.start : rows.stop],
        test_sets,
        snakemake.params.near_duplicate,
        chunk=TRAINING_IMAGES_PER_CHUNK,
    )
    logger.info("%s: %d images compared", part.name, len(rows))
    for frame, path in zip(
        found, (snakemake.output.removed, snakemake.output.counts, snakemake.output.pairs), strict=True
    ):
        write_table(path, frame)
