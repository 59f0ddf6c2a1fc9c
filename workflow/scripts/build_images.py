"""Draw the icons of a data set as small pictures.

Stands alone because drawing is the slowest preparation and depends on the drawings, the size and the pose alone.
"""

from typing import TYPE_CHECKING

from whyrobust.files import atomic_path
from whyrobust.images import build_images, check_failure_share, write_images
from whyrobust.logs import start_log
from whyrobust.records import read_drawings

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    drawings = read_drawings(snakemake.input.drawings[0])
    uids, pixels, failures = build_images(
        drawings,
        size=snakemake.params.size,
        pose=snakemake.params.pose,
        seed=snakemake.params.seed,
        workers=snakemake.threads,
    )
    logger.info("%d of %d drawn", len(uids), len(drawings))
    check_failure_share(failures, len(drawings), snakemake.params.allowed_failure_share)
    with atomic_path(snakemake.output.failures) as temporary:
        failures.to_csv(temporary, index=False)
    write_images(snakemake.output.images, uids, pixels)
