"""Train one run: one source, size, seed, objective and kind of supervision.

Stands alone because it is nearly all of a study's time, and because runs that several questions share are trained
once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.logs import start_log
from whyrobust.study.finished_work import FinishedWork
from whyrobust.training.quick_start import import_torch, leave

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    work = FinishedWork.of_job("train_run", snakemake, leave_out=["checkpoint"])
    if work.take():
        Path(snakemake.params.checkpoint).unlink(missing_ok=True)  # of a training that was stopped
        sys.exit()
    # Found work is taken without torch, whose import takes a second.
    import_torch()
    from whyrobust.training.checkpoints import STOPPED_EXIT_CODE, StoppedError
    from whyrobust.training.device import ComputeSettings
    from whyrobust.training.gpu_locks import hold_gpus
    from whyrobust.training.job import MachineSettings, RunFiles, RunOutputs, TrainingJob, carry_out, launch

    params, resources, files, output = snakemake.params, snakemake.resources, snakemake.input, snakemake.output
    processes = resources.gpu if params.device != "cpu" and resources.gpu else resources.processes
    # Of a run that several share, each process counts on a whole GPU.
    runs_per_gpu = resources.runs_per_gpu if processes == 1 else 1
    hold_gpus(params.device, processes // resources.nodes, runs_per_gpu)
    job = TrainingJob(
        run=params.run,
        hyperparameters=params.hyperparameters,
        compute=ComputeSettings(
            device=params.device,
            threads=params.cpu_threads,
            precision=params.precision,
            compile=params.compile,
            repeatable=params.repeatable,
            images_at_once=params.images_at_once,
        ),
        image_size=params.image_size,
        normalisation=params.normalisation,
        shuffle_block_images=params.shuffle_block_images,
        shuffle_window_blocks=params.shuffle_window_blocks,
        files=RunFiles(
            subset=files.subset,
            images=list(files.images),
            decoded=list(files.decoded),
            captions=list(files.captions),
            matched_labels=list(files.matched_labels),
            classes=files.classes,
            model=files.model,
            pretrained=files.pretrained[0] if files.pretrained else "",
        ),
        outputs=RunOutputs(
            weights=output.weights,
            progress=output.progress,
            open_clip=output.open_clip,
            checkpoint=params.checkpoint,
            log=snakemake.log[0],
        ),
        machine=MachineSettings(
            processes=processes,
            nodes=resources.nodes,
            loader_threads=resources.loader_threads,
            checkpoint_minutes=resources.checkpoint_minutes,
            checkpoint_steps=resources.checkpoint_steps,
            runs_per_gpu=resources.runs_per_gpu,
        ),
        code=params.code,
    )
    try:
        if processes == 1:
            carry_out(job)
        else:
            launch(job)
    except StoppedError as stopped:
        logger.warning("%s", stopped)
        sys.exit(STOPPED_EXIT_CODE)
    work.keep()
    leave()
