"""Find the training image of each source that is nearest to each test image, among those that are left.

Stands alone because it compares all images once more: what is nearest is known only once copies have been removed.
"""

from typing import TYPE_CHECKING

from whyrobust.analysis.similarity_bands import EQUALLY_NEAR, styles_seen, summarise_nearest
from whyrobust.data.nearest_images import measure_similarity
from whyrobust.files import write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    params = snakemake.params
    similarity = measure_similarity(params.images, params.fingerprints, params.kept, params.sources, params.test_sets)
    write_table(snakemake.output.similarity, similarity)
    nearest = summarise_nearest(similarity.to_pandas())
    write_table(snakemake.output.nearest, nearest)
    logger.info("nearest sources:\n%s", nearest.to_string(index=False))
    for test_set, source, share in styles_seen(nearest, params.shifts):
        logger.warning(
            "%.0f %% of the images of %s are nearer to %s than to any other source, by %g or more: if %s contains its "
            "style, name it in test_sets.%s.seen_in",
            *(100 * share, test_set, source, EQUALLY_NEAR, source, test_set),
        )
