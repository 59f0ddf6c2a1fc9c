"""Functions that tests run in processes of their own: they must stand in a module that such a process can import."""

from __future__ import annotations

import dataclasses
import os
import runpy
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.studies import Named
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import BatchSettings, ImagesInMemory
from whyrobust.training.checkpoints import Checkpoints, Progress, StoppedError
from whyrobust.training.device import ComputeSettings
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks, process_group, share_batch_norms
from whyrobust.training.grad_cache import grad_cache_backward
from whyrobust.training.loop import train
from whyrobust.training.objectives import build_objective
from whyrobust.training.settings import Hyperparameters, TrainingSettings
from whyrobust.training.text_encoder import tokenize

CLASSES = 4
WORDS = ["a", "red fox", "house", "a big tree", "sun", "left arrow", "mail", "a cup of tea"]


def in_ranks(rank: int, size: int, port: str, results: str, questions: dict[Any, tuple[Any, tuple[Any, ...]]]) -> None:
    """Call functions as one of several processes that share batches; keep what each returns."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = port
    torch.set_num_threads(1)
    with process_group("cpu") as ranks:
        answers = {question: function(ranks, *arguments) for question, (function, arguments) in questions.items()}
        torch.save(answers, Path(results, f"{rank}.pt"))


def batch_of(name: str, views: int, batch: int, model_config: dict[str, Any], side: int = 32) -> tuple[Any, Any]:
    """Return a made-up batch of images, view by view, and its targets."""
    generator = torch.Generator().manual_seed(11)
    images = torch.randn(views * batch, 3, side, side, generator=generator)
    if name in ("clip", "siglip"):
        words = [WORDS[number % len(WORDS)] for number in range(batch)]
        return images, tokenize(words, model_config["text_cfg"]["context_length"])
    return images, None if name == "simclr" else torch.arange(batch) % CLASSES


def objective_settings(name: str, temperature: float = 0.1, projection_dim: int = 128) -> dict[str, Any]:
    """Return the settings that only this objective has; of cross-entropy its default."""
    of_views = {"temperature": temperature, "projection_dim": projection_dim}
    return of_views if OBJECTIVES[name].views > 1 else {}


def loss_and_gradients(
    ranks: Ranks, name: str, model_config: dict[str, Any], batch: int, images_at_once: int | None, side: int = 32
) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """Return the loss of a made-up batch, its gradients, and the running statistics after it."""
    torch.manual_seed(0)
    settings = {"label_smoothing": 0.1} if name == "cross_entropy" else objective_settings(name, 0.2, 16)
    objective = build_objective(name, model_config, CLASSES, settings, ranks).double().train()
    forward, no_sync = objective, None
    if ranks.size > 1:
        share_batch_norms(objective, torch.device("cpu"))
        forward = torch.nn.parallel.DistributedDataParallel(objective)
        no_sync = forward.no_sync
    views = OBJECTIVES[name].views
    images, targets = batch_of(name, views, batch, model_config, side)
    images = images.double()[ranks.share_of_views(batch, views)]
    targets = None if targets is None else targets[ranks.share(batch)]
    given = {} if no_sync is None else {"no_sync": no_sync}
    loss = grad_cache_backward(objective, forward, images, targets, views, images_at_once, **given)
    gradients = {n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None}
    return loss.item(), gradients, {n: b.clone() for n, b in objective.named_buffers()}


HYPER = Hyperparameters(
    samples_seen=200 * 16,
    batch_size=16,
    learning_rate=3e-3,
    weight_decay=0.05,
    warmup_share=0.1,
    optimizer="muon",
    augmentation=Augmentation(flip=True, max_shift_share=0.1, max_zoom=1.2, min_crop_area=0.3),
)


def made_up_pictures(count: int = 40) -> ImagesInMemory:
    """Return pictures of random pixels; 40 are no multiple of a batch, so that most steps are in mid-epoch."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImagesInMemory(pixels, study_preprocessing(32, "white_page"))


def train_made_up(
    images: Any,
    name: str,
    model_config: dict[str, Any],
    report: Callable[[Progress], None],
    checkpoints: Checkpoints | None = None,
    hyper: Hyperparameters = HYPER,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Train on made-up targets."""
    _, targets = batch_of(name, 1, len(images), model_config)
    hyper = dataclasses.replace(hyper, objective=objective_settings(name))
    settings = TrainingSettings(name, model_config, CLASSES, 3, hyper, ComputeSettings("cpu"))
    return train(images, targets, settings, report, checkpoints=checkpoints, ranks=ranks)


def train_and_tell(
    told: Connection, images: Any, name: str, model_config: dict[str, Any], checkpoints: Checkpoints, weights: str
) -> None:
    """Train, tell every step; save the weights at the end. What stops it is part of what is told."""
    try:
        found = train_made_up(images, name, model_config, lambda progress: told.send(progress.step), checkpoints)
    except StoppedError:
        told.send("stopped")
        return
    torch.save(found, weights)
    told.send("done")


def train_shared(
    ranks: Ranks, name: str, model_config: dict[str, Any], hyper: Hyperparameters
) -> tuple[Any, list[float]]:
    """Train by several processes; return weights and losses."""
    losses: list[float] = []
    found = train_made_up(
        made_up_pictures(), name, model_config, lambda progress: losses.append(progress.loss), hyper=hyper, ranks=ranks
    )
    return found, losses


def samples_shown(ranks: Ranks, images: Any, order: Sequence[Any]) -> list[Any]:
    """Return, batch by batch, the images that this process learns from."""
    settings = BatchSettings(2, HYPER.augmentation, 1, torch.device("cpu"), ranks)
    batches = images.batches(order, settings, torch.Generator().manual_seed(1))
    return [images.finish(batch, settings) for batch in batches]


def run_script(script: str, given: dict[str, Any], environment: Mapping[str, str] | None = None) -> None:
    """Run a stage's script as Snakemake does, with the values that its rule gives and these variables."""
    os.environ.update(environment or {})
    names = ("input", "output", "params", "resources")
    values = {"threads": 1} | {key: Named(**value) if key in names else value for key, value in given.items()}
    runpy.run_path(script, init_globals={"snakemake": SimpleNamespace(**values)}, run_name="__main__")
