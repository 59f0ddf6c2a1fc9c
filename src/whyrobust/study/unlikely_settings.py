"""Settings that are allowed and rarely meant: a line each, said before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from whyrobust.study.input_files import classes_of_one_name
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.plan import Run


def unlikely_settings(classes: Path, runs: Iterable[Run], batch_sizes: Mapping[str, int]) -> list[str]:
    """Return a line for each: classes that are called alike, contrastive batches that hold an image twice.

    Args:
        classes: the class table.
        runs: that are trained.
        batch_sizes: images in a batch, by run.
    """
    found: dict[str, None] = {}
    for alike in classes_of_one_name(classes):
        named = f"config key data.classes has the classes {', '.join(alike)}, which are called alike"
        found[f"{named}: heads that read names take each of their images for '{alike[0]}'"] = None
    for run in runs:
        size = batch_sizes[run.run]
        if OBJECTIVES[run.objective].contrastive and run.supervision != "labels" and size > run.train_images:
            key = f"config key training.{run.objective}.batch_size is {size}"
            why = "their batches hold images twice, and the loss pushes an image from itself"
            found[f"{key}, more than the {run.train_images} images of some runs: {why}"] = None
    return list(found)
