"""Draw the icons of a data set as small pictures, and reduce each to the ink that decontamination compares.

Stands alone because drawing is the slowest preparation and depends on the drawings, the size and the pose alone.
The ink is made here, where the plain drawing is at hand: a posed picture has a background that would hide a copy.
"""

from typing import TYPE_CHECKING

import numpy as np

from whyrobust.data.near_duplicates import normalise_ink
from whyrobust.data.pixel_store import build_images, check_failure_share, write_images
from whyrobust.data.records import read_drawings
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Reasons that also go to the log, which stays where the job stops; the table has all of them.
FAILURES_LOGGED = 1000


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    drawings = read_drawings(snakemake.input.drawings[0])
    size, seed, pose = snakemake.params.size, snakemake.params.seed, snakemake.params.pose
    uids, pixels, failures = build_images(drawings, size=size, pose=pose, seed=seed, workers=snakemake.threads)
    logger.info("%d of %d drawn", len(uids), len(drawings))
    for uid, reason in failures.head(FAILURES_LOGGED).itertuples(index=False):
        logger.info("left out %s: %s", uid, reason)
    check_failure_share(failures, len(drawings), snakemake.params.allowed_failure_share)
    plain = pixels
    if pose != "plain":
        kept = drawings[drawings["uid"].isin(uids)]
        plain_uids, plain, _ = build_images(kept, size=size, pose="plain", seed=seed, workers=snakemake.threads)
        if plain_uids != uids:
            raise ValueError(
                f"plain and posed pictures of {snakemake.wildcards.icon_dataset} are not of the same icons"
            )
    with atomic_path(snakemake.output.ink) as temporary, temporary.open("wb") as file:
        np.save(file, normalise_ink(plain))
    write_table(snakemake.output.failures, failures)
    write_images(snakemake.output.images, uids, pixels)
