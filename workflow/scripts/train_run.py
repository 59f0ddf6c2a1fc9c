"""Train one run: one source, size, seed, objective and kind of supervision.

Stands alone because it is nearly all of a study's time, and because runs that several questions share are trained
once.
"""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from whyrobust.logs import start_log
from whyrobust.training.checkpoints import STOPPED_EXIT_CODE, StoppedError
from whyrobust.training.device import ComputeSettings
from whyrobust.training.gpu_locks import hold_gpus
from whyrobust.training.job import TrainingJob, carry_out, launch

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    params, resources = snakemake.params, snakemake.resources
    processes = resources.gpu if params.device != "cpu" and resources.gpu else resources.processes
    hold_gpus(params.device, processes // resources.nodes)
    computing = ComputeSettings(
        params.device, snakemake.threads, params.precision, params.compile, params.images_at_once
    )
    job = TrainingJob(
        run=params.run,
        hyperparameters=params.hyperparameters,
        computing=asdict(computing),
        image_size=params.image_size,
        normalisation=params.normalisation,
        loader_threads=resources.loader_threads,
        block=params.block,
        window=params.window,
        subset=snakemake.input.subset,
        images=list(snakemake.input.images),
        captions=list(snakemake.input.captions),
        matched_labels=list(snakemake.input.matched_labels),
        pretrained=snakemake.input.pretrained[0] if snakemake.input.pretrained else "",
        classes=snakemake.input.classes,
        model=snakemake.input.model,
        weights=snakemake.output.weights,
        progress=snakemake.output.progress,
        open_clip=snakemake.output.open_clip,
        checkpoint=params.checkpoint,
        checkpoint_minutes=resources.checkpoint_minutes or None,
        checkpoint_steps=resources.checkpoint_steps or None,
        log=snakemake.log[0],
        code=params.code,
    )
    try:
        if processes == 1:
            carry_out(job)
        else:
            launch(job, processes, resources.nodes)
    except StoppedError as stopped:
        logger.warning("%s", stopped)
        sys.exit(STOPPED_EXIT_CODE)
