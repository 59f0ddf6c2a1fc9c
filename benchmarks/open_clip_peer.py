"""open_clip's own training program, as its users call it, with a clock on its steps.

Stands alone because three rows have it as their peer. The program's code is not touched: its command line is given as
by hand, and the images it has shown are read from its log, one line every few steps.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.throughput import Mark, Stopwatch


class _StepsOfLog(logging.Handler):
    """Takes the time of every line that tells of a step."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.stopwatch, self.shown_before = stopwatch, 0
        self.last = 0

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"Train Epoch: \d+ \[\s*(\d+)/", record.getMessage())
        if found:
            shown = int(found.group(1))
            if shown < self.last:  # a new epoch counts from 0
                self.shown_before += self.last
            self.last = shown
            self.stopwatch(self.shown_before + shown)


def train_with_open_clip(
    model: Path,
    data: list[str],
    samples: int,
    batch_size: int,
    epochs: int,
    workers: int,
    threads: int,
    device: str,
    precision: str,
    folder: Path,
    log_every: int = 4,
    more: Sequence[str] = (),
) -> list[Mark]:
    """Train with ``open_clip_train.main`` and return the time of its steps.

    Args:
        model: model description; our own image encoders are made known to timm under their names.
        data: the options that name the data.
        samples: images of an epoch.
        batch_size: images per step.
        epochs: passes over the data.
        workers: processes of the DataLoader.
        threads: of torch.
        device: 'cpu' or 'cuda'.
        precision: of `open_clip_train`, for example ``fp32`` or ``amp_bf16``.
        folder: for its logs and checkpoints.
        log_every: steps between two marks.
        more: further options; they go before those that are given here.
    """
    import open_clip
    import torch
    from open_clip_train.main import main

    from whyrobust.training.models import register_image_encoders

    torch.set_num_threads(threads)
    register_image_encoders()
    open_clip.add_model_config(model)
    stopwatch = Stopwatch()
    logging.getLogger().addHandler(_StepsOfLog(stopwatch))
    logging.getLogger().setLevel(logging.INFO)
    main(
        [
            *data, "--train-num-samples", str(samples), "--model", model.stem, "--batch-size", str(batch_size),
            "--epochs", str(epochs), "--workers", str(workers), "--device", device, "--precision", precision,
            "--logs", str(folder), "--log-every-n-steps", str(log_every), "--save-frequency", "0", "--warmup", "10",
            "--lr", "0.001", "--wd", "0.1", "--beta1", "0.9", "--beta2", "0.98", *more,
        ]
    )  # fmt: skip
    return stopwatch.marks
