"""A run from its files to its weights, trained by one process or by several that share every batch.

`TrainingJob` holds plain values, so that it can be written as JSON and read again by the processes that torchrun starts
(`launch`); a single process calls `carry_out` itself.
"""

from __future__ import annotations

import csv
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

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from whyrobust.data.child_processes import die_with_parent
from whyrobust.data.decoded_store import are_stored, open_decoded, store_metadata
from whyrobust.data.grey_images import is_grey, turn_grey
from whyrobust.data.image_stores import holds_photographs
from whyrobust.data.photo_store import open_locations
from whyrobust.data.pixel_store import read_pixels
from whyrobust.data.preprocessing import Preprocessing, study_preprocessing
from whyrobust.data.records import Uids, read_rows_of_uids
from whyrobust.files import atomic_path, checksum, read_parquet, write_json
from whyrobust.logs import start_log
from whyrobust.progress import ProgressBar
from whyrobust.study.class_table import read_class_names
from whyrobust.study.objectives_table import MANY_FALSE_NEGATIVES, OBJECTIVES
from whyrobust.training.batches import DecodedOnce, ImagesInMemory, PhotographsOnDisk, TrainingImages
from whyrobust.training.checkpoints import STOPPED_EXIT_CODE, Checkpoints, Progress, StoppedError
from whyrobust.training.device import ComputeSettings, choose_device
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks, process_group
from whyrobust.training.false_negatives import false_negative_share, number_labels
from whyrobust.training.footprint import check_gpu_memory
from whyrobust.training.gpu_locks import environment_elsewhere
from whyrobust.training.kept_tokens import make_tokens, remove_tokens, tokens_path
from whyrobust.training.loop import image_order, train
from whyrobust.training.models import read_model_config
from whyrobust.training.order_checks import check_order
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.steps import is_recorded
from whyrobust.training.weights import open_clip_config, read_weights, save_weights

logger = logging.getLogger("whyrobust")

#: First of the ports where processes of several machines meet; the number of the SLURM job, modulo 1,000, is added.
FIRST_PORT = 29_500


@dataclass(frozen=True)
class RunFiles:
    """Files that a run is trained from.

    Attributes:
        subset: table of the images, in their order.
        images: image stores.
        decoded: stores of decoded photographs, one per image store; none for icons, or where each is decoded as shown.
        captions: tables of captions by uid.
        matched_labels: tables of labels found in text, by uid.
        classes: table of classes.
        model: open_clip model description.
        pretrained: weights that the image encoder starts from; "": random ones.
    """

    subset: str
    images: list[str]
    decoded: list[str]
    captions: list[str]
    matched_labels: list[str]
    classes: str
    model: str
    pretrained: str = ""

    def all(self) -> list[str]:
        """Return all files but those of decoded photographs, which follow from the image stores."""
        files = [self.subset, *self.images, *self.captions, *self.matched_labels, self.classes, self.model]
        return files + ([self.pretrained] if self.pretrained else [])


@dataclass(frozen=True)
class RunOutputs:
    """Files that a run writes.

    Attributes:
        weights: model.safetensors.
        progress: table of the steps.
        open_clip: description for open_clip.
        checkpoint: state of the run while it is trained.
        log: of the stage.
    """

    weights: str
    progress: str
    open_clip: str
    checkpoint: str
    log: str


@dataclass(frozen=True)
class MachineSettings:
    """How a run uses the machine: no part of its result, so a change trains no run again.

    Attributes:
        processes: that train the run together, each on its share of every batch, on a GPU each where there are GPUs.
        nodes: machines that they are on, equally many on each.
        loader_threads: of each process, that decode photographs.
        checkpoint_minutes: between two checkpoints; 0: not by time.
        checkpoint_steps: between two checkpoints; 0: not by step.
        runs_per_gpu: that may share a GPU at a time; one of several processes has its GPUs whole.
    """

    processes: int = 1
    nodes: int = 1
    loader_threads: int = 1
    checkpoint_minutes: float = 0
    checkpoint_steps: int = 0
    runs_per_gpu: int = 1


@dataclass(frozen=True)
class TrainingJob:
    """All that decides a run, where it is written to, and how it uses the machine.

    Attributes:
        run: a row of runs.csv.
        hyperparameters: flat, as `Hyperparameters.from_mapping` takes them.
        compute: device, precision and threads.
        image_size: side of the images in pixels.
        normalisation: of `whyrobust.data.preprocessing.study_preprocessing`.
        shuffle_block_images: see `whyrobust.training.batches.ImageOrder`.
        shuffle_window_blocks: see there.
        files: that the run is trained from.
        outputs: files that it writes.
        machine: processes, loader threads and times of checkpoints.
        code: versions of the code and packages that train it, by name.
    """

    run: dict[str, Any]
    hyperparameters: dict[str, Any]
    compute: ComputeSettings
    image_size: int
    normalisation: str
    shuffle_block_images: int
    shuffle_window_blocks: int
    files: RunFiles
    outputs: RunOutputs
    machine: MachineSettings = MachineSettings()
    code: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> TrainingJob:
        """Return the job that was written as JSON of its fields."""
        values = json.loads(text)
        parts = {"compute": ComputeSettings, "files": RunFiles, "outputs": RunOutputs, "machine": MachineSettings}
        return cls(**values | {name: part(**values[name]) for name, part in parts.items()})

    def identity(self) -> str:
        """Return the run's name to its checkpoint: a digest of all that decides its weights but for rounding.

        `machine` and `compute.images_at_once` are left out: a checkpoint may be continued by another number of
        processes, or in other parts of a batch. Their results agree to rounding only.
        """
        compute = {
            name: getattr(self.compute, name) for name in ("device", "threads", "precision", "compile", "repeatable")
        }
        decisive = {
            "run": self.run,
            "hyperparameters": self.hyperparameters,
            "compute": compute,
            "images": [self.image_size, self.normalisation, self.shuffle_block_images, self.shuffle_window_blocks],
            "files": [checksum(path) for path in self.files.all()],
            "decoded": [store_metadata(path) for path in self.files.decoded],
            "code": self.code,
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def read_targets(
    job: TrainingJob, classes: Sequence[str], model_config: Mapping[str, Any], kept_tokens: Path | None = None
) -> tuple[pa.ChunkedArray, Tensor | None]:
    """Return the uids of the images that have a target, in the order of the subset, and their targets.

    An image without a label, or without a caption made from one, is not used: runs.csv has the number that are. Tokens
    of many captions are kept in ``kept_tokens``, as `make_tokens` does.

    Returns:
        uids as Arrow holds them, and class ids ``[n]`` or caption tokens ``[n, context]``; no targets for a run
        without supervision.

    Raises:
        ValueError: no image has a target.
    """
    subset = read_parquet(job.files.subset)
    uids = subset["uid"]
    targets: Tensor | None = None
    supervision = job.run["supervision"]
    if supervision == "captions":
        variant = job.run["caption"]
        found = read_rows_of_uids(job.files.captions, [variant], uids)[variant]
        uids, captions = uids.filter(found.is_valid()), found.drop_null()
        targets = make_tokens(captions, model_config["text_cfg"]["context_length"], kept_tokens)
        logger.info("first captions: %s", captions.slice(0, 5).to_pylist())
    elif supervision == "labels":
        by_text = job.run["labels"] == "text_match"
        labelled = read_rows_of_uids(job.files.matched_labels, ["label"], uids) if by_text else subset
        labels = labelled["label"]
        uids = uids.filter(labels.is_valid())
        id_of = {name: number for number, name in enumerate(classes)}
        targets = torch.tensor([id_of[label] for label in labels.drop_null().to_pylist()])
    if not len(uids):
        found_none = f"none of the {len(subset)} images of {job.files.subset} has"
        if supervision == "captions":
            raise ValueError(
                f"{found_none} text for the caption variant '{job.run['caption']}': choose another variant, or source"
            )
        raise ValueError(f"{found_none} a label of kind '{job.run['labels']}': choose a labelled source")
    return uids, targets


def count_false_negatives(
    job: TrainingJob, images: TrainingImages, targets: Tensor | None, settings: TrainingSettings
) -> float | None:
    """Return the share of pairs in a batch that are false negatives, and log it; None where the loss compares none.

    They have the same caption, or of a run without supervision the same label; where labels are what is learnt from,
    no pair of a label is a negative one.
    """
    if not OBJECTIVES[settings.objective].contrastive:
        return None
    supervision, share = job.run["supervision"], 0.0
    if supervision != "labels":
        said = targets
        if said is None:
            said = number_labels(read_parquet(job.files.subset, ["label"])["label"].to_pylist())
        share = false_negative_share(image_order(images, settings).batches(), said)
    what = {"captions": "the same caption", "images": "the same label", "labels": "false negatives"}[supervision]
    many = share > MANY_FALSE_NEGATIVES
    logger.log(
        logging.WARNING if many else logging.INFO,
        "%.4f of the pairs of samples in a batch have %s and are pushed apart%s",
        share,
        what,
        ": a comparison with this run is one of false negatives too; choose smaller batches or captions that say more"
        if many
        else "",
    )
    return share


def check_image_order(job: TrainingJob, uids: Uids, images: TrainingImages, settings: TrainingSettings) -> None:
    """Check that batches mix the classes that the subset says its images are of, where images are read in blocks.

    Labels found in text are not looked at: they name few images, and a source without labels of its own is in no order
    of classes.

    Raises:
        OrderError: they do not.
    """
    if settings.shuffle_block_images == 1:
        return
    subset = read_parquet(job.files.subset, ["uid", "label"])
    labels = subset["label"].take(pc.index_in(uids, value_set=subset["uid"].combine_chunks()))
    if labels.null_count < len(labels):
        check_order(image_order(images, settings), number_labels(labels.to_pylist()))


def open_images(job: TrainingJob, uids: Uids, preprocessing: Preprocessing, gpu_bytes: float) -> TrainingImages:
    """Return the images of a run: small ones in memory, photographs from the disk, decoded once or each time.

    Decoded ones are kept on the GPU if they take at most ``gpu_bytes`` there.
    """
    if are_stored(job.files.decoded):
        logger.info("photographs are decoded already: %s", ", ".join(job.files.decoded))
        decoded = open_decoded(job.files.decoded, uids)
        return DecodedOnce(decoded, preprocessing, job.machine.loader_threads, gpu_bytes)
    if holds_photographs(job.files.images):
        locations = open_locations(job.files.images, uids)
        return PhotographsOnDisk(locations, preprocessing, job.machine.loader_threads)
    pixels = read_pixels(job.files.images, uids)
    return ImagesInMemory(turn_grey(pixels) if is_grey(job.files.subset) else pixels, preprocessing)


def carry_out(job: TrainingJob, ranks: Ranks = SINGLE_PROCESS) -> None:
    """Train a run from its files and write its weights; of several processes the first writes.

    Raises:
        DeviceError: this machine cannot compute as the job says.
        StoppedError: a signal asked for a stop; a checkpoint is written.
    """
    computed_with = job.compute.check()
    model_config = read_model_config(job.files.model)
    classes = read_class_names(job.files.classes)
    identity = job.identity()
    uids, targets = read_targets(job, classes, model_config, tokens_path(job.outputs.checkpoint, identity))
    preprocessing = study_preprocessing(job.image_size, job.normalisation)
    settings = TrainingSettings(
        objective=job.run["objective"],
        model_config=model_config,
        classes=len(classes),
        seed=job.run["seed"],
        hyperparameters=Hyperparameters.from_mapping(job.hyperparameters),
        compute=job.compute,
        shuffle_block_images=job.shuffle_block_images,
        shuffle_window_blocks=job.shuffle_window_blocks,
    )
    machine, batch_size = job.machine, settings.hyperparameters.batch_size
    padded = is_recorded(settings, choose_device(job.compute.device), ranks)
    free_gpu_bytes = check_gpu_memory(
        model_config, settings.objective, batch_size // ranks.size, job.compute, targets, padded,
        machine.runs_per_gpu if ranks.size == 1 else 1,
    )  # fmt: skip
    checkpoints = Checkpoints(
        Path(job.outputs.checkpoint), identity, machine.checkpoint_minutes, machine.checkpoint_steps
    )
    steps: list[Progress] = []
    samples = settings.hyperparameters.steps * batch_size
    with ProgressBar(samples, job.run["run"], "images", disable=not ranks.is_first) as bar:

        def show(progress: Progress) -> None:
            """Move the progress bar and keep the step for the table."""
            steps.append(progress)
            bar.loss = progress.loss
            bar.set_postfix(loss=f"{progress.loss:.3f}", refresh=False)
            bar.update(batch_size)

        images = open_images(job, uids, preprocessing, free_gpu_bytes)
        check_image_order(job, uids, images, settings)
        weights = train(
            images,
            targets,
            settings,
            show,
            pretrained=read_weights(job.files.pretrained) if job.files.pretrained else None,
            checkpoints=checkpoints,
            ranks=ranks,
        )
    if not ranks.is_first:
        return
    logger.info(
        "torch %s, %s, %d images, %d samples seen, %d processes, %.0f images per second, last loss %.4f",
        torch.__version__,
        computed_with,
        len(uids),
        steps[-1].samples,
        ranks.size,
        steps[-1].images_per_second,
        steps[-1].loss,
    )
    write_progress(job.outputs.progress, steps)
    write_json(
        job.outputs.open_clip,
        open_clip_config(model_config, preprocessing.as_dict(), has_logit_bias="logit_bias" in weights),
    )
    metadata = job.run | {
        "classes": classes,
        "images_used": len(uids),
        "false_negative_share": count_false_negatives(job, images, targets, settings),
        "preprocessing": preprocessing.as_dict(),
    }
    save_weights(job.outputs.weights, weights, metadata)
    checkpoints.remove()
    remove_tokens(job.outputs.checkpoint)


def write_progress(path: Path | str, steps: Sequence[Progress]) -> None:
    """Write the table of the steps: ``step, samples, loss, learning_rate``."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["step", "samples", "loss", "learning_rate"])
        writer.writerows([p.step, p.samples, f"{p.loss:.6g}", f"{p.learning_rate:.6g}"] for p in steps)


def torchrun_command(processes: int, nodes: int, job_file: Path | str, environment: Mapping[str, str]) -> list[str]:
    """Return the command that starts the processes of a run with torchrun; on several machines one torchrun on each.

    Args:
        processes: on all machines together.
        nodes: machines that they are on.
        job_file: the `TrainingJob` as JSON, where all machines can read it.
        environment: of this process; on several machines it has the number of the SLURM job.

    Raises:
        ValueError: the processes cannot be spread evenly, or there is no SLURM job to take the machines from.
    """
    if processes % nodes:
        raise ValueError(
            f"{processes} processes cannot be spread evenly over {nodes} machines: make the resource gpu (device cpu: "
            "processes) of train_run a multiple of its resource nodes"
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
    # Of SLURM's variables Snakemake passes on the job number alone.
    machines = _output_of("squeue", f"--job={number}", "--noheader", "--format=%N")
    first = _output_of("scontrol", "show", "hostnames", machines).split()[0]
    rendezvous = [
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
        *rendezvous,
        *worker,
    ]


def _output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def launch(job: TrainingJob) -> None:
    """Train a run by several processes, and wait for them.

    Raises:
        StoppedError: a signal asked for a stop; it was passed on, and a checkpoint is written.
        RuntimeError: a process failed; its messages are in the log.
    """
    processes, nodes = job.machine.processes, job.machine.nodes
    job_file = Path(job.outputs.checkpoint).with_suffix(".json")
    write_json(job_file, asdict(job))
    # torchrun finds a free port itself: several runs may start at once, and a killed one may still hold its port.
    command = torchrun_command(processes, nodes, job_file, os.environ)
    environment = dict(os.environ) if nodes == 1 else environment_elsewhere()
    started = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
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
        raise StoppedError("asked to stop: run the same command to continue")
    if code:
        raise RuntimeError(
            f"one of the {processes} processes that train {job.run['run']} failed: its messages are above"
        )
    job_file.unlink(missing_ok=True)


def main(job_file: str) -> None:
    """Train as one of the processes that torchrun started for a run."""
    die_with_parent()
    job = TrainingJob.from_json(Path(job_file).read_text(encoding="utf-8"))
    if os.environ["RANK"] == "0":
        start_log(job.outputs.log, go_on=True)
    with process_group(choose_device(job.compute.device).type) as ranks:
        try:
            carry_out(job, ranks)
        except StoppedError as stopped:
            logger.warning("%s", stopped)
            sys.exit(STOPPED_EXIT_CODE)


if __name__ == "__main__":
    main(sys.argv[1])
