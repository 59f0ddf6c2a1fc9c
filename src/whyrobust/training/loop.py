"""The training loop: one loop for every objective, seeded and repeatable.

Stands alone because the comparisons need it to be the same for all: the same images in the same order with the
same augmentation, whatever the supervision. The order and the augmentation come from the seed alone: not from the
device, the number of processes that share a batch, or from how often the run was stopped.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from whyrobust.training.batches import Augmentation, TrainingImages
from whyrobust.training.checkpoints import Checkpoints, StoppedError, stop_requests
from whyrobust.training.device import ComputeSettings, choose_device, make_repeatable
from whyrobust.training.distributed import ALONE, Ranks, mean_over_ranks, share_batch_norms
from whyrobust.training.grad_cache import backward
from whyrobust.training.objectives import build_objective
from whyrobust.training.weights import extract_encoder_weights, load_weights

logger = logging.getLogger("whyrobust")

#: Steps between two looks at the losses: a look waits for a GPU to finish, which a processor has anyway.
LOOK_EVERY = {"cpu": 1, "cuda": 16}


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says at which step and why."""


@dataclass(frozen=True)
class Hyperparameters:
    """How a run is trained; defaults and their reasons stand in config.yaml.

    Attributes:
        samples_seen: training images shown, counted with repetition.
        batch_size: images a step.
        learning_rate: peak learning rate.
        weight_decay: AdamW's decay, on weight matrices only.
        warmup_share: share of the steps with a rising learning rate.
        label_smoothing: for cross-entropy.
        flip: augmentation mirrors half of the images.
        max_shift_share: drawings: moved by at most this share of the side.
        max_zoom: drawings: zoomed by a factor between 1/max_zoom and max_zoom.
        temperature: of the losses of supcon and simclr; clip and siglip learn theirs.
        projection_dim: width of the projection head of supcon and simclr.
        colour_strength: of SimCLR's colour jitter.
        min_crop_area: smallest share of an image that a crop shows, of photographs and of SimCLR.
    """

    samples_seen: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_share: float
    flip: bool
    max_shift_share: float = 0.0
    max_zoom: float = 1.0
    label_smoothing: float = 0.0
    temperature: float = 0.1
    projection_dim: int = 128
    colour_strength: float = 0.5
    min_crop_area: float = 1.0

    def augmentation(self, strong: bool) -> Augmentation:
        """Return how training images are changed; ``strong`` is SimCLR's way."""
        return Augmentation(
            max_shift_share=self.max_shift_share,
            max_zoom=self.max_zoom,
            min_crop_area=self.min_crop_area,
            flip=self.flip,
            strong=strong,
            colour_strength=self.colour_strength,
        )

    @property
    def steps(self) -> int:
        """Optimiser steps of a run; the last batch is filled up, so that every step has the same size."""
        return math.ceil(self.samples_seen / self.batch_size)


@dataclass(frozen=True)
class Progress:
    """What is known after a step: for the progress bar and the log."""

    step: int
    samples: int
    loss: float
    learning_rate: float
    images_per_second: float


def sample_order(
    images: int, batch_size: int, steps: int, seed: int, block: int = 1, window: int = 1
) -> Iterator[Tensor]:
    """Yield, for each step, the positions ``[batch_size]`` of its images.

    Every image is shown once before any is shown again; each pass has its own shuffled order, which depends on
    the number of images and the seed alone.

    Args:
        images: how many there are.
        batch_size: images a step.
        steps: steps of the run.
        seed: decides the order.
        block: images whose positions follow each other and that are read together. 1 shuffles all images freely;
            more shuffles the blocks, then the images within each ``window`` of blocks, for disks slow at random reads.
        window: blocks whose images are shuffled together.
    """
    generator = torch.Generator().manual_seed(seed)
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, shuffled_pass(images, block, window, generator)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def shuffled_pass(images: int, block: int, window: int, generator: torch.Generator) -> Tensor:
    """Return every position once, ``[images]``, in an order as `sample_order` says."""
    if block == 1:
        return torch.randperm(images, generator=generator)
    starts = torch.randperm(-(-images // block), generator=generator) * block
    parts = []
    for first in range(0, len(starts), window):
        near = torch.cat([torch.arange(start, min(start + block, images)) for start in starts[first : first + window]])
        parts.append(near[torch.randperm(len(near), generator=generator)])
    return torch.cat(parts)


def learning_rate_at(step: int, hyper: Hyperparameters) -> float:
    """Return the learning rate of a step: linear warm-up, then a half cosine down to 0."""
    warmup = max(1, round(hyper.warmup_share * hyper.steps))
    if step < warmup:
        return hyper.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, hyper.steps - warmup)
    return hyper.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def shrinkage(hyper: Hyperparameters) -> float:
    """Return what AdamW's decay has made, by the end of a run, of a weight of 1 that never had a gradient."""
    return math.prod(1 - learning_rate_at(step, hyper) * hyper.weight_decay for step in range(hyper.steps))


def _parameter_groups(objective: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and filters only: biases, norms and the logit scale are not decayed (as open_clip does)."""
    decayed = [p for p in objective.parameters() if p.requires_grad and p.ndim >= 2]
    rest = [p for p in objective.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def train(
    images: TrainingImages,
    targets: Tensor | None,
    objective_name: str,
    model_config: Mapping[str, Any],
    classes: int,
    hyper: Hyperparameters,
    seed: int,
    computing: ComputeSettings,
    report: Callable[[Progress], None],
    initial: Mapping[str, Tensor] | None = None,
    block: int = 1,
    window: int = 1,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Train one run and return the weights of its last step.

    Args:
        images: of the subset, in its order.
        targets: class ids ``[n]`` or caption tokens ``[n, context]``, in the same order; None for simclr.
        objective_name: one of `whyrobust.training.objectives.OBJECTIVES`.
        model_config: open_clip model description.
        classes: number of classes of the study.
        hyper: how to train.
        seed: decides initial weights, order and augmentation.
        computing: on what, and how exactly.
        report: called once for every step, those before a checkpoint too.
        initial: checkpoint of a pretrained run, of any objective: the image encoder starts from it (fine-tuning:
            all of it is trained on); everything else starts from the seed.
        block: images that lie side by side on the disk and are read together, see `sample_order`; 1 does not look at
            the disk.
        window: blocks that are shuffled together.
        checkpoints: where the run is kept while it is trained, and taken up again. On a CPU the weights of a run that
            was stopped and went on are those of one that was not, bit for bit.
        ranks: the processes that share every batch; all call this function, with the same values.

    Raises:
        ModelError: the checkpoint is of another architecture.
        ShareError: the batch cannot be shared by the processes.
        StoppedError: a signal asked for a stop; a checkpoint is written.
        TrainingError: the loss is not a finite number, or the last step left weights that are none.
    """
    checkpoints = checkpoints or Checkpoints()
    make_repeatable(seed, computing.threads)
    device = choose_device(computing.device)
    objective = build_objective(
        objective_name, model_config, classes, hyper.label_smoothing, hyper.temperature, hyper.projection_dim, ranks
    )
    objective.expect(targets)
    if initial is not None:
        load_weights(objective.encoder, extract_encoder_weights(initial), "the pretrained run")
    if ranks.size > 1:
        share_batch_norms(objective, device)
        # All start from the same weights; from here on, what is random within a model is random on each.
        torch.manual_seed(seed + ranks.rank)
    objective = objective.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective.train()
    optimiser = torch.optim.AdamW(
        _parameter_groups(objective, hyper.weight_decay),
        lr=hyper.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    if computing.compile:
        objective.encoder.compile()
    forward: nn.Module = objective
    unsynced: Callable[[], Any] = nullcontext
    if ranks.size > 1:
        shared = DistributedDataParallel(objective)
        forward, unsynced = shared, shared.no_sync

    def features_of(batch: Tensor, of: Tensor | None) -> tuple[Tensor, ...]:
        with torch.autocast(device.type, torch.bfloat16, enabled=computing.precision == "bf16"):
            features: tuple[Tensor, ...] = forward(batch, of)
        return features

    generator = torch.Generator().manual_seed(seed + 1)
    begin = 0
    saved = checkpoints.read()
    if saved is not None:
        begin = _take_up(saved, objective, optimiser, generator, ranks)
        logger.info("going on from a checkpoint after step %d of %d", begin, hyper.steps)
        for values in saved["progress"]:
            report(Progress(*values))
    progress: list[Progress] = [] if saved is None else [Progress(*values) for values in saved["progress"]]
    seconds_before = 0.0 if saved is None else saved["seconds"]
    began = time.perf_counter()

    shown = sample_order(len(images), hyper.batch_size, hyper.steps, seed, block, window)
    if block > 1:
        # A subset comes in an order that is random on the disk: blocks are made of images that lie side by side there.
        side_by_side = images.reading_order()
        shown = (side_by_side[positions] for positions in shown)
    # The images run a few steps ahead of the targets: both need the order.
    order, ahead = itertools.tee(itertools.islice(shown, begin, None))
    how = hyper.augmentation(objective.strong_augmentation)
    batches = images.batches(ahead, objective.views, how, seed + 1, device, generator, begin * hyper.batch_size, ranks)
    own = ranks.own(hyper.batch_size)
    unseen: list[tuple[int, float, Tensor]] = []

    def look(stop: bool) -> bool:
        """Wait for the losses since the last look, check and report them; return whether any process shall stop."""
        values = torch.stack([loss.double() for *_, loss in unseen] + [torch.tensor(float(stop)).double().to(device)])
        *losses, asked = mean_over_ranks(values, ranks).tolist()
        for (step, rate, _), value in zip(unseen, losses, strict=True):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step + 1} of {hyper.steps} (learning rate {rate:.3g}): "
                    f"lower training.{objective_name}.learning_rate"
                )
            samples = (step + 1) * hyper.batch_size
            seconds = seconds_before + time.perf_counter() - began
            progress.append(Progress(step + 1, samples, value, rate, samples / seconds))
            report(progress[-1])
        unseen.clear()
        return bool(asked > 0)

    def keep(done: int) -> None:
        """Write a checkpoint of the run after so many steps."""
        if ranks.is_first:
            seconds = seconds_before + time.perf_counter() - began
            checkpoints.write(_state(done, objective, optimiser, generator, progress, seconds))

    with stop_requests() as request:
        for step, batch in enumerate(batches, start=begin):
            positions = next(order)
            rate = learning_rate_at(step, hyper)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = batch.contiguous(memory_format=torch.channels_last)
            # Targets stay in main memory, in as few bytes as they need: millions of captions are gigabytes.
            wanted = None if targets is None else targets[positions[own]].to(device).long()
            optimiser.zero_grad(set_to_none=True)
            loss = backward(
                objective,
                features_of,
                objective.loss_of,
                batch,
                wanted,
                objective.views,
                computing.images_at_once,
                unsynced,
            )
            unseen.append((step, rate, loss))
            done = step + 1
            # All processes look at the same steps: a look is where they wait for each other.
            seen = len(unseen) >= LOOK_EVERY[device.type] or checkpoints.is_due_by_step(done) or done == hyper.steps
            # Before the step is taken: weights that a loss without a value leads to are never kept.
            stop = seen and look(request.asked)
            optimiser.step()
            objective.after_step()
            if done == hyper.steps:
                continue
            if stop:
                keep(done)
                raise StoppedError(f"asked to stop after step {done} of {hyper.steps}: run the same command to go on")
            if seen and (checkpoints.is_due_by_step(done) or checkpoints.is_due_by_time()):
                keep(done)
    weights: dict[str, Tensor] = objective.checkpoint_weights(shrinkage(hyper))
    # No later loss would tell of the last step.
    ruined = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if ruined:
        raise TrainingError(
            f"{len(ruined)} weights, '{ruined[0]}' first, are not finite after step {hyper.steps} of {hyper.steps} "
            f"(learning rate {rate:.3g}): lower training.{objective_name}.learning_rate"
        )
    return weights


def _state(
    done: int,
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: list[Progress],
    seconds: float,
) -> dict[str, Any]:
    """Return all that a run needs to go on after so many steps."""
    return {
        "done": done,
        "objective": objective.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state() if next(objective.parameters()).is_cuda else None,
        "progress": [astuple(values) for values in progress],
        "seconds": seconds,
    }


def _take_up(
    saved: Mapping[str, Any],
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    ranks: Ranks,
) -> int:
    """Bring a run to the state of a checkpoint and return how many steps are done."""
    objective.load_state_dict(saved["objective"])
    optimiser.load_state_dict(saved["optimiser"])
    generator.set_state(saved["generator"])
    done: int = saved["done"]
    if ranks.size > 1:
        # Only the first process's state was kept; the others must not repeat it.
        torch.manual_seed(torch.initial_seed() + 1_000_003 * done)
    else:
        torch.set_rng_state(saved["random"])
        if saved["random_cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["random_cuda"])
    return done
