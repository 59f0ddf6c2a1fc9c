"""The training loop: one loop for every objective, seeded and repeatable bit for bit.

Runs are compared, so all see the same images in the same order with the same augmentation, whatever the supervision:
these come from the seed alone, not from the device (but for the rounding of crops), the number of processes, or stops
in between.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.batches import BatchSettings, ImageOrder, PreparedBatch, TrainingImages
from whyrobust.training.checkpoints import Checkpoints, Progress, StoppedError, TrainingState, stop_requests
from whyrobust.training.device import choose_device, make_repeatable
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks, mean_over_ranks, share_batch_norms
from whyrobust.training.objectives import Objective, build_objective
from whyrobust.training.optimisers import RunOptimiser
from whyrobust.training.settings import TrainingSettings
from whyrobust.training.steps import (
    Finish,
    ForwardPass,
    PlainStep,
    RecordedStep,
    Step,
    compile_encoder,
    is_recorded,
    own_stream,
)
from whyrobust.training.text_encoder import cut_captions, longest_caption
from whyrobust.training.weights import extract_encoder_weights, load_weights

logger = logging.getLogger("whyrobust")

#: Between two reads of the loss on a GPU lie at most so many steps, and about so many seconds: a read waits for the
#: GPU, and processes that share a run agree there to stop, for which schedulers give 30 seconds. A CPU reads each step.
STEPS_BETWEEN_READS, SECONDS_BETWEEN_READS = 16, 2.0


class TrainingError(RuntimeError):
    """Training that cannot continue; the message says at which step and why."""


class LossReader:
    """Reads the losses of several steps at once, checks that they are finite, and reports the steps."""

    def __init__(
        self,
        state: TrainingState,
        settings: TrainingSettings,
        report: Callable[[Progress], None],
        ranks: Ranks,
        on_gpu: bool,
    ) -> None:
        self._state, self._settings, self._report, self._ranks = state, settings, report, ranks
        self._on_gpu = on_gpu
        #: Step from 0, learning rate and loss of each step that was not read yet.
        self._unread: list[tuple[int, float, Tensor]] = []
        self._steps_between_reads, self._last_read = 1, time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for a read: for all processes at the same step, since a read is where they wait."""
        return len(self._unread) >= self._steps_between_reads

    def add(self, step: int, learning_rate: float, loss: Tensor) -> None:
        """Keep the loss of a step, counted from 0, until the next read."""
        self._unread.append((step, learning_rate, loss))

    def read(self, stop: bool) -> bool:
        """Wait for the losses, average them over processes, check and report them.

        Args:
            stop: whether this process was asked to stop.

        Returns:
            Whether any process was.

        Raises:
            TrainingError: a loss is not a finite number.
        """
        hyper = self._settings.hyperparameters
        losses = [loss.double() for *_, loss in self._unread]
        # From the beginning of one read to that of the next: what the one waited for is counted.
        now = time.monotonic()
        of_process = torch.tensor([(now - self._last_read) / len(losses), float(stop)], dtype=torch.float64)
        values = torch.cat([torch.stack(losses), of_process.to(losses[0].device)])
        *found, seconds_a_step, asked = mean_over_ranks(values, self._ranks).tolist()
        self._last_read = now
        if self._on_gpu:
            # The mean is the same for all processes.
            in_time = int(SECONDS_BETWEEN_READS / max(seconds_a_step, 1e-9))
            self._steps_between_reads = max(1, min(STEPS_BETWEEN_READS, in_time))
        for (step, rate, _), loss in zip(self._unread, found, strict=True):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {step + 1} of {hyper.steps} (learning rate {rate:.3g}): "
                    f"lower training.{self._settings.objective}.learning_rate"
                )
            samples = (step + 1) * hyper.batch_size
            progress = Progress(step + 1, samples, loss, rate, samples / self._state.seconds)
            self._state.progress.append(progress)
            self._report(progress)
        self._unread.clear()
        return bool(asked > 0)


def _initial_objective(
    settings: TrainingSettings,
    targets: Tensor | None,
    pretrained: Mapping[str, Tensor] | None,
    device: torch.device,
    ranks: Ranks,
) -> Objective:
    """Return the objective before the first step, on the device, with weights from the seed or a pretrained run.

    Raises:
        ValueError: the objective learns from targets, and there are none.
    """
    name = settings.objective
    if name in OBJECTIVES and OBJECTIVES[name].supervision != "images" and targets is None:
        raise ValueError(f"objective '{name}' learns from targets ({OBJECTIVES[name].supervision}): pass one per image")
    objective = build_objective(
        name, settings.model_config, settings.classes, settings.hyperparameters.objective, ranks
    )
    objective.prepare(targets)
    if pretrained is not None:
        load_weights(
            objective.encoder, extract_encoder_weights(pretrained, settings.model_config), "the pretrained run"
        )
    if ranks.size > 1:
        share_batch_norms(objective, device)
        # All start from the same weights; from here on, random numbers within a model differ between processes.
        torch.manual_seed(settings.seed + ranks.rank)
    objective.to(device=device, memory_format=settings.compute.memory_format(device))  # type: ignore[call-overload]
    objective.train()
    if settings.compute.compile:
        compile_encoder(objective.encoder, settings, device, ranks)
    return objective


def train(
    images: TrainingImages,
    targets: Tensor | None,
    settings: TrainingSettings,
    report: Callable[[Progress], None],
    pretrained: Mapping[str, Tensor] | None = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """Train one run and return the weights of its last step.

    Args:
        images: of the subset, in its order.
        targets: class ids ``[n]`` or caption tokens ``[n, context]``, in the same order; None for simclr.
        settings: of the run.
        report: called once for every step, those before a checkpoint too.
        pretrained: checkpoint of another run, of any objective: the image encoder starts from it (fine-tuning: all of
            it is trained on); everything else starts from the seed.
        checkpoints: where the run is kept while it is trained, and continued from. On a CPU the weights of a run that
            was stopped and continued are those of one that was not, bit for bit.
        ranks: the processes that share every batch; all call this function, with the same values.

    Raises:
        ModelError: the pretrained weights are of another architecture.
        ShareError: the batch cannot be shared evenly by the processes.
        StoppedError: a signal asked for a stop; a checkpoint is written.
        TrainingError: the loss is not a finite number, or the last step left weights that are not.
        ValueError: the objective learns from targets, and there are none.
    """
    checkpoints = checkpoints or Checkpoints()
    hyper, compute = settings.hyperparameters, settings.compute
    device = choose_device(compute.device)
    fastest = device.type == "cuda" and not compute.repeatable
    make_repeatable(settings.seed, compute.threads, compute.compile, fastest, tf32=compute.precision == "tf32")
    objective = _initial_objective(settings, targets, pretrained, device, ranks)
    recorded = is_recorded(settings, device, ranks)
    optimiser = RunOptimiser(objective, hyper.optimizer, hyper.weight_decay, recorded)
    forward, views = ForwardPass(objective, compute, device, ranks), OBJECTIVES[settings.objective].views
    # Captions stay in main memory, where the text tower looks for their ends, unless no shape may depend on them.
    sends_targets = recorded or OBJECTIVES[settings.objective].supervision != "captions"
    plain = PlainStep(
        objective,
        optimiser,
        forward,
        views,
        compute.images_at_once,
        device,
        compute.memory_format(device),
        sends_targets,
    )
    taken: Step = RecordedStep(plain, optimiser, device) if recorded else plain
    state = TrainingState(objective, optimiser, torch.Generator().manual_seed(settings.seed + 1))
    saved = checkpoints.read()
    if saved is not None:
        state.restore(saved, ranks)
        logger.info("continuing from a checkpoint after step %d of %d", state.steps_done, hyper.steps)
        for progress in state.progress:
            report(progress)
    batches = _batches(images, targets, settings, state, device, ranks, recorded)
    losses = LossReader(state, settings, report, ranks, device.type == "cuda")

    with stop_requests() as request, own_stream(device, recorded):
        logger.info("step %d of %d is next", state.steps_done + 1, hyper.steps)
        for batch, finish, batch_targets in batches:
            step = state.steps_done
            rate = hyper.learning_rate_at(step)
            losses.add(step, rate, taken.gradients(batch, finish, batch_targets))
            done = step + 1
            due = checkpoints.is_due_by_step(done)
            # Where others share the run, a stop waits for the next read.
            read = losses.is_due or due or done == hyper.steps or (request.asked and ranks.size == 1)
            # Read before the step is taken: weights that a loss without a finite value leads to are never kept.
            stop = read and losses.read(request.asked)
            taken.update(rate)
            state.steps_done = done
            if done == hyper.steps:
                continue
            if ranks.is_first and (stop or due or (read and checkpoints.is_due_by_time())):
                checkpoints.write(state.as_dict())
            if stop:
                raise StoppedError(f"asked to stop after step {done} of {hyper.steps}: run the same command to go on")
    return _final_weights(objective, settings, rate)


def image_order(images: TrainingImages, settings: TrainingSettings) -> ImageOrder:
    """Return the order in which a run shows its images."""
    hyper = settings.hyperparameters
    return ImageOrder(
        len(images),
        hyper.batch_size,
        hyper.steps,
        settings.seed,
        settings.shuffle_block_images,
        settings.shuffle_window_blocks,
        # A subset is shuffled, so blocks are made of images that are adjacent on the disk.
        images.disk_order() if settings.shuffle_block_images > 1 else None,
    )


def _batches(
    images: TrainingImages,
    targets: Tensor | None,
    settings: TrainingSettings,
    state: TrainingState,
    device: torch.device,
    ranks: Ranks,
    recorded: bool,
) -> Iterator[tuple[PreparedBatch, Finish, Tensor | None]]:
    """Yield this process's share of each step that is still to be taken, prepared in main memory, and its targets.

    Captions of steps that are recorded are all as long as the longest.
    """
    hyper, objective = settings.hyperparameters, settings.objective
    # Photographs are decoded a few steps ahead of the targets: both need the order.
    of_images, of_targets = itertools.tee(image_order(images, settings).batches(state.steps_done))
    augmentation = replace(hyper.augmentation, strong=state.objective.strong_augmentation)
    whole = BatchSettings(OBJECTIVES[objective].views, augmentation, settings.seed + 1, device, ranks)
    share, steps = ranks.share(hyper.batch_size), state.steps_done
    captioned = OBJECTIVES[objective].supervision == "captions"
    if captioned and recorded and targets is not None:
        targets = targets[:, : longest_caption(targets)]
    for until, resizing in ((hyper.resized_steps, hyper.progressive_resizing), (hyper.steps, None)):
        if until <= steps:
            continue
        batch_settings = whole if resizing is None else replace(whole, image_size=resizing.image_size)
        order = itertools.islice(of_images, until - steps)
        finish = partial(images.finish, settings=batch_settings)
        for batch in images.batches(order, batch_settings, state.generator, steps * hyper.batch_size):
            positions = next(of_targets)
            # In as few bytes as they need until here: millions of captions are gigabytes.
            batch_targets = None if targets is None else targets[positions[share]].long()
            if captioned and batch_targets is not None and resizing is not None and resizing.context_length:
                batch_targets = cut_captions(batch_targets, resizing.context_length)
            yield batch, finish, batch_targets
        steps = until


def _final_weights(objective: Objective, settings: TrainingSettings, learning_rate: float) -> dict[str, Tensor]:
    """Return the weights after the last step, checked: no later loss would show that they are not finite.

    Raises:
        TrainingError: some are not finite.
    """
    hyper = settings.hyperparameters
    weights = objective.checkpoint_weights(hyper.total_decay)
    ruined = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if ruined:
        raise TrainingError(
            f"{len(ruined)} weights, '{ruined[0]}' first, are not finite after step {hyper.steps} of {hyper.steps} "
            f"(learning rate {learning_rate:.3g}): lower training.{settings.objective}.learning_rate"
        )
    return weights
