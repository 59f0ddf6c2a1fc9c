"""A run from its files to its weights, by one process or by several that share every batch.

Stands alone because several processes each have to read the files of a run: what the stage `train_run` knows is put
into a `TrainingJob`, which torchrun's processes read again. One process needs no launcher: it trains where the stage
runs.
"""

from __future__ import annotations

import csv
import ctypes
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from whyrobust.data.photo_store import Preprocessing, holds_photographs, open_locations, study_preprocessing
from whyrobust.data.pixel_store import read_pixels
from whyrobust.data.records import read_rows_of_uids
from whyrobust.files import atomic_path, checksum, write_json
from whyrobust.logs import progress_interval, start_log
from whyrobust.study.class_table import read_class_names
from whyrobust.training.batches import ImagesInMemory, PhotographsOnDisk, TrainingImages
from whyrobust.training.checkpoints import STOPPED_EXIT_CODE, Checkpoints, StoppedError
from whyrobust.training.device import ComputeSettings, choose_device
from whyrobust.training.distributed import ALONE, Ranks, joined
from whyrobust.training.loop import Hyperparameters, Progress, train
from whyrobust.training.models import read_model_config
from whyrobust.training.text_encoder import tokenize
from whyrobust.training.weights import open_clip_config, read_weights, save_weights

logger = logging.getLogger("whyrobust")

#: prctl's option that sends a process a signal when its parent dies (Linux).
PR_SET_PDEATHSIG = 1

#: First of the ports where processes of several machines meet; the number of the cluster's job is added, modulo 1,000.
FIRST_PORT = 29_500


@dataclass(frozen=True)
class TrainingJob:
    """What a run is trained from, how, and where it goes; plain values, so that it can be written as JSON.

    Attributes:
        run: facts of the run, as in runs.csv.
        hyperparameters: of `whyrobust.training.loop.Hyperparameters`.
        computing: of `whyrobust.training.device.ComputeSettings`.
        image_size: side of the images in pixels.
        normalisation: of `whyrobust.data.photo_store.study_preprocessing`.
        loader_threads: that decode photographs, of each process.
        block: see `whyrobust.training.loop.sample_order`.
        window: see there.
        subset: table of the images, in their order.
        images: image stores.
        captions: tables of captions by uid.
        matched_labels: tables of labels found in text, by uid.
        pretrained: weights that the image encoder starts from; empty: random ones.
        classes: table of classes.
        model: open_clip model description.
        code: versions of what trains, by name.
        weights: where the weights go.
        progress: where the table of the steps goes.
        open_clip: where the description for open_clip goes.
        checkpoint: where the run is kept while it is trained.
        checkpoint_minutes: between two checkpoints, or None.
        checkpoint_steps: between two checkpoints, or None.
        log: of the stage.
    """

    run: dict[str, Any]
    hyperparameters: dict[str, Any]
    computing: dict[str, Any]
    image_size: int
    normalisation: str
    loader_threads: int
    block: int
    window: int
    subset: str
    images: list[str]
    captions: list[str]
    matched_labels: list[str]
    pretrained: str
    classes: str
    model: str
    weights: str
    progress: str
    open_clip: str
    checkpoint: str
    checkpoint_minutes: float | None
    checkpoint_steps: int | None
    log: str
    code: dict[str, str] = field(default_factory=dict)

    def identity(self) -> str:
        """Return what names the run to its checkpoint: a digest of all that decides its weights but rounding.

        The number of processes and the parts of a batch may change between a stop and going on.
        """
        files = [self.subset, *self.images, *self.captions, *self.matched_labels, self.classes, self.model]
        told = {
            "run": self.run,
            "hyperparameters": self.hyperparameters,
            "computing": {key: self.computing[key] for key in ("device", "threads", "precision", "compile")},
            "images": [self.image_size, self.normalisation, self.block, self.window],
            "files": [checksum(path) for path in files + ([self.pretrained] if self.pretrained else [])],
            "code": self.code,
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_targets(
    job: TrainingJob, classes: Sequence[str], model_config: Mapping[str, Any]
) -> tuple[list[str], Tensor | None]:
    """Return the uids of the images that teach something, in the order of the subset, and what each is taught.

    An image without a label, or without a caption made from one, teaches nothing: runs.csv says how many are used.

    Returns:
        uids, and class ids ``[n]`` or caption tokens ``[n, context]``; None for a run without supervision.

    Raises:
        ValueError: none is left.
    """
    subset = pq.read_table(job.subset)
    uids: list[str] = subset["uid"].to_pylist()
    targets: Tensor | None = None
    supervision = job.run["supervision"]
    if supervision == "captions":
        variant = job.run["caption"]
        found = read_rows_of_uids(job.captions, [variant], uids)[variant].to_pylist()
        uids = [uid for uid, text in zip(uids, found, strict=True) if text is not None]
        captions = [text for text in found if text is not None]
        targets = tokenize(captions, model_config["text_cfg"]["context_length"])
        logger.info("first captions: %s", captions[:5])
    elif supervision == "labels":
        by_text = job.run["labels"] == "text_match"
        labelled = read_rows_of_uids(job.matched_labels, ["label"], uids) if by_text else subset
        labels = labelled["label"].to_pylist()
        uids = [uid for uid, label in zip(uids, labels, strict=True) if label is not None]
        id_of = {name: number for number, name in enumerate(classes)}
        targets = torch.tensor([id_of[label] for label in labels if label is not None])
    if not uids:
        what = job.run["caption"] or f"label of kind '{job.run['labels']}'"
        raise ValueError(f"none of the {len(subset)} images of the subset has a {what}: choose a labelled source")
    return uids, targets


def open_images(job: TrainingJob, uids: Sequence[str], preprocessing: Preprocessing) -> TrainingImages:
    """Return the images of a run, from memory where they are small, else from where they lie."""
    if holds_photographs(job.images):
        return PhotographsOnDisk(open_locations(job.images, uids), preprocessing, job.loader_threads)
    return ImagesInMemory(read_pixels(job.images, uids), preprocessing)


def carry_out(job: TrainingJob, ranks: Ranks = ALONE) -> None:
    """Train a run from its files and write its weights; of several processes the first writes.

    Raises:
        StoppedError: a signal asked for a stop; a checkpoint is written.
    """
    hyper = Hyperparameters(**job.hyperparameters)
    model_config = read_model_config(job.model)
    classes = read_class_names(job.classes)
    uids, targets = read_targets(job, classes, model_config)
    preprocessing = study_preprocessing(job.image_size, job.normalisation)
    images = open_images(job, uids, preprocessing)
    checkpoints = Checkpoints(Path(job.checkpoint), job.identity(), job.checkpoint_minutes, job.checkpoint_steps)
    rows: list[Progress] = []
    with tqdm(
        total=hyper.steps * hyper.batch_size,
        desc=job.run["run"],
        unit=" images",
        mininterval=progress_interval(),
        disable=not ranks.is_first,
    ) as bar:

        def show(progress: Progress) -> None:
            """Move the progress bar and keep the step for the log."""
            rows.append(progress)
            bar.set_postfix(loss=f"{progress.loss:.3f}", refresh=False)
            bar.update(hyper.batch_size)

        weights = train(
            images=images,
            targets=targets,
            objective_name=job.run["objective"],
            model_config=model_config,
            classes=len(classes),
            hyper=hyper,
            seed=job.run["seed"],
            computing=ComputeSettings(**job.computing),
            report=show,
            initial=read_weights(job.pretrained) if job.pretrained else None,
            block=job.block,
            window=job.window,
            checkpoints=checkpoints,
            ranks=ranks,
        )
    if not ranks.is_first:
        return
    logger.info(
        "torch %s, %d images, %d samples seen, %d processes, %.0f images a second, last loss %.4f",
        torch.__version__,
        len(uids),
        rows[-1].samples,
        ranks.size,
        rows[-1].images_per_second,
        rows[-1].loss,
    )
    with atomic_path(job.progress) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["step", "samples", "loss", "learning_rate"])
        writer.writerows([p.step, p.samples, f"{p.loss:.6g}", f"{p.learning_rate:.6g}"] for p in rows)
    facts = job.run | {"classes": classes, "images_used": len(uids), "preprocessing": preprocessing.as_dict()}
    write_json(
        job.open_clip,
        open_clip_config(model_config, preprocessing.as_dict(), has_logit_bias="logit_bias" in weights),
    )
    save_weights(job.weights, weights, facts)
    checkpoints.remove()


def torchrun_command(processes: int, nodes: int, job_file: Path | str, environment: Mapping[str, str]) -> list[str]:
    """Return the command that starts the processes of a run, by torchrun; on several machines one torchrun on each.

    Args:
        processes: in all.
        nodes: machines that they are on.
        job_file: the `TrainingJob` as JSON, where all machines can read it.
        environment: of this process; on several machines it has SLURM's description of the job.

    Raises:
        ValueError: the processes cannot be spread evenly, or there is no cluster's job to take the machines from.
    """
    if processes % nodes:
        raise ValueError(
            f"{processes} GPUs cannot be spread evenly over {nodes} machines: "
            "make the resource gpu of train_run a multiple of its resource nodes"
        )
    worker = ["-m", "whyrobust.training.job", str(job_file)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes // nodes}"]
    if nodes == 1:
        return [*torchrun, "--standalone", *worker]
    if "SLURM_JOB_ID" not in environment:
        raise ValueError(
            f"the resource nodes of train_run is {nodes}, and this is no SLURM job: use the profile profiles/slurm "
            "(docs/cluster.md), or set it to 1"
        )
    number = int(environment["SLURM_JOB_ID"])
    # Of SLURM's variables Snakemake passes on the number alone.
    machines = _output_of("squeue", f"--job={number}", "--noheader", "--format=%N")
    first = _output_of("scontrol", "show", "hostnames", machines).split()[0]
    meeting = [
        f"--nnodes={nodes}",
        f"--rdzv-id={number}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={first}:{FIRST_PORT + number % 1000}",
    ]
    # --overlap: Snakemake itself is a step of the same job.
    return [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        "--overlap",
        *torchrun,
        *meeting,
        *worker,
    ]


def _output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _die_with_parent() -> None:
    """Be asked to stop when the parent dies, however it died, so that no training goes on unseen (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def launch(job: TrainingJob, processes: int, nodes: int) -> None:
    """Train a run by several processes, and wait for them.

    Raises:
        StoppedError: a signal asked for a stop; it was passed on, and a checkpoint is written.
        RuntimeError: a process failed; what it said is above.
    """
    job_file = Path(job.checkpoint).with_suffix(".json")
    write_json(job_file, asdict(job))
    # A process that was killed must not leave its port, and several runs may start at once: each finds its own.
    started = subprocess.Popen(torchrun_command(processes, nodes, job_file, os.environ), preexec_fn=_die_with_parent)
    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        started.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = started.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise StoppedError("asked to stop: run the same command to go on")
    if code:
        raise RuntimeError(
            f"one of the {processes} processes that train {job.run['run']} failed: see what it says above"
        )
    job_file.unlink(missing_ok=True)


def main(job_file: str) -> None:
    """Be one of the processes that torchrun started for a run."""
    _die_with_parent()
    job = TrainingJob(**json.loads(Path(job_file).read_text(encoding="utf-8")))
    if os.environ["RANK"] == "0":
        start_log(job.log, go_on=True)
    with joined(choose_device(job.computing["device"]).type) as ranks:
        try:
            carry_out(job, ranks)
        except StoppedError as stopped:
            logger.warning("%s", stopped)
            sys.exit(STOPPED_EXIT_CODE)


if __name__ == "__main__":
    main(sys.argv[1])
