"""The training loop: one loop for every objective, seeded and repeatable.

Stands alone because the comparisons need it to be the same for all: the same images in the same order with the
same augmentation, whatever the supervision. The order and the augmentation come from the seed alone.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whyrobust.loading import Augmentation, TrainingImages
from whyrobust.models import image_encoder_weights, load_weights
from whyrobust.objectives import build_objective


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


def pick_device(name: str) -> torch.device:
    """Return the device that ``name`` asks for; ``auto`` is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def make_repeatable(seed: int, threads: int) -> None:
    """Seed every generator and forbid operations whose result can change from run to run.

    The thread count is part of the result, since it decides the order in which sums are taken.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())


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
    threads: int,
    device_name: str,
    report: Callable[[Progress], None],
    initial: Mapping[str, Tensor] | None = None,
    block: int = 1,
    window: int = 1,
) -> dict[str, Tensor]:
    """Train one run and return the weights of its last step.

    Args:
        images: of the subset, in its order.
        targets: class ids ``[n]`` or caption tokens ``[n, context]``, in the same order; None for simclr.
        objective_name: one of `whyrobust.objectives.OBJECTIVES`.
        model_config: open_clip model description.
        classes: number of classes of the study.
        hyper: how to train.
        seed: decides initial weights, order and augmentation.
        threads: CPU threads; part of the result.
        device_name: 'cpu', 'cuda' or 'auto'.
        report: called after every step.
        initial: checkpoint of a pretrained run, of any objective: the image encoder starts from it (fine-tuning:
            all of it is trained on); everything else starts from the seed.
        block: images that lie side by side on the disk and are read together, see `sample_order`; 1 does not look at
            the disk.
        window: blocks that are shuffled together.

    Raises:
        ModelError: the checkpoint is of another architecture.
        TrainingError: the loss is not a finite number, or the last step left weights that are none.
    """
    make_repeatable(seed, threads)
    device = pick_device(device_name)
    objective = build_objective(
        objective_name, model_config, classes, hyper.label_smoothing, hyper.temperature, hyper.projection_dim
    )
    if initial is not None:
        load_weights(objective.encoder, image_encoder_weights(initial), "the pretrained run")
    objective = objective.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective.train()
    optimiser = torch.optim.AdamW(
        _parameter_groups(objective, hyper.weight_decay),
        lr=hyper.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    began = time.perf_counter()
    shown = sample_order(len(images), hyper.batch_size, hyper.steps, seed, block, window)
    if block > 1:
        # A subset comes in an order that is random on the disk: blocks are made of images that lie side by side there.
        side_by_side = images.reading_order()
        shown = (side_by_side[positions] for positions in shown)
    # The images run a few steps ahead of the targets: both need the order.
    order, ahead = itertools.tee(shown)
    how = hyper.augmentation(objective.strong_augmentation)
    for step, batch in enumerate(images.batches(ahead, objective.views, how, seed + 1, device)):
        positions = next(order)
        rate = learning_rate_at(step, hyper)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batch.contiguous(memory_format=torch.channels_last)
        # Targets stay in main memory, in as few bytes as they need: millions of captions are gigabytes.
        loss = objective.loss(batch, None if targets is None else targets[positions].to(device).long())
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {step + 1} of {hyper.steps} (learning rate {rate:.3g}): "
                f"lower training.{objective_name}.learning_rate"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        objective.after_step()
        samples = (step + 1) * hyper.batch_size
        report(Progress(step + 1, samples, value, rate, samples / (time.perf_counter() - began)))
    weights: dict[str, Tensor] = objective.checkpoint_weights()
    # No later loss would tell of the last step.
    ruined = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if ruined:
        raise TrainingError(
            f"{len(ruined)} weights, '{ruined[0]}' first, are not finite after step {hyper.steps} of {hyper.steps} "
            f"(learning rate {rate:.3g}): lower training.{objective_name}.learning_rate"
        )
    return weights
