"""Draw the icons of a data set as small images, and reduce each to the fingerprint that decontamination compares.

Stands alone because drawing is the slowest preparation and depends on the drawings, the size and the pose alone.
Fingerprints are made here, where the plain drawing is at hand: the background of a posed image would hide a copy.
"""

from typing import TYPE_CHECKING

import numpy as np

from whyrobust.data.dataset_checks import check_failure_share
from whyrobust.data.fingerprints import fingerprint_drawings
from whyrobust.data.icon_drawing import draw_icons
from whyrobust.data.pixel_store import write_pixels
from whyrobust.data.records import read_drawings
from whyrobust.files import atomic_path, write_table
from whyrobust.logs import start_log

if TYPE_CHECKING:
    from snakemake.script import snakemake

#: Reasons that also go to the log, which stays where the job stops; the table has all of them.
FAILURES_LOGGED = 1000


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    drawings = read_drawings(snakemake.input.drawings)
    size, seed, pose = snakemake.params.size, snakemake.params.seed, snakemake.params.pose
    uids, pixels, failures = draw_icons(drawings, size=size, pose=pose, seed=seed, workers=snakemake.threads)
    logger.info("%d of %d drawn", len(uids), len(drawings))
    for uid, reason in failures.head(FAILURES_LOGGED).itertuples(index=False):
        logger.info("left out %s: %s", uid, reason)
    check_failure_share(failures, len(drawings), snakemake.params.allowed_failure_share)
    plain = pixels
    if pose != "plain":
        kept = drawings[drawings["uid"].isin(uids)]
        plain_uids, plain, _ = draw_icons(kept, size=size, pose="plain", seed=seed, workers=snakemake.threads)
        if plain_uids != uids:
            raise ValueError(
                f"plain and posed pictures of {snakemake.wildcards.icon_dataset} are not of the same icons"
            )
    with atomic_path(snakemake.output.fingerprints) as temporary, temporary.open("wb") as file:
        np.save(file, fingerprint_drawings(plain))
    write_table(snakemake.output.failures, failures)
    write_pixels(snakemake.output.images, uids, pixels)
