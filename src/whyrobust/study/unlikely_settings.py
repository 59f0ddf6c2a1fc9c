"""What is allowed and rarely meant, in settings and in folders: a line each, said before any work."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from whyrobust.study.class_table import read_class_names
from whyrobust.study.dataset_settings import TestSet
from whyrobust.study.input_files import classes_of_one_name
from whyrobust.study.kind_settings import ImageFolder
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


def missing_class_folders(classes: Path, test_sets: Mapping[str, TestSet], root: Path) -> list[str]:
    """Return a line for each test set of all classes that has no folder for some: nothing says it while it is built.

    Args:
        classes: the class table.
        test_sets: by name.
        root: folder that relative paths start from.
    """
    found = []
    for name, test_set in test_sets.items():
        if isinstance(test_set, ImageFolder) and test_set.class_table is None and test_set.classes == "all":
            folder = root / test_set.folder
            there = {unicodedata.normalize("NFC", path.name) for path in folder.iterdir()} if folder.is_dir() else set()
            missing = [each for each in read_class_names(classes) if each not in there] if there else []
            if missing:
                more = f" and for {len(missing) - 1} more" if len(missing) > 1 else ""
                found.append(
                    f"config key test_sets.{name}.folder is '{test_set.folder}', which has no folder for the class "
                    f"'{missing[0]}'{more}: its images may be taken for classes that it does not have"
                )
    return found
