"""Draw the icons of a data set as small images, and reduce each to the fingerprint that decontamination compares.

Stands alone because drawing is the slowest preparation and depends on the drawings, the size and the pose alone.
Fingerprints are made here, where the plain drawing is available: the background of a posed image would hide a copy.
"""

import sys
from typing import TYPE_CHECKING

from whyrobust.data.dataset_checks import check_failure_share, log_failures
from whyrobust.data.fingerprints import fingerprint_drawings, write_fingerprints
from whyrobust.data.icon_drawing import draw_icons, draw_plain
from whyrobust.data.pixel_store import write_pixels
from whyrobust.data.records import read_drawings
from whyrobust.files import write_table
from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("build_images", snakemake)
    if work.take():
        sys.exit()
    drawings = read_drawings(snakemake.input.drawings)
    size, seed, pose = snakemake.params.size, snakemake.params.seed, snakemake.params.pose
    uids, pixels, failures = draw_icons(drawings, size=size, pose=pose, seed=seed, workers=snakemake.threads)
    logger.info("%d of %d drawn", len(uids), len(drawings))
    log_failures(failures)
    check_failure_share(failures, len(drawings), snakemake.params.allowed_failure_share)
    plain = pixels if pose == "plain" else draw_plain(drawings, uids, size, snakemake.threads)
    with write_fingerprints(snakemake.output.fingerprints) as append:
        append(fingerprint_drawings(plain))
    write_table(snakemake.output.failures, failures)
    write_pixels(snakemake.output.images, uids, pixels)
    work.keep()
