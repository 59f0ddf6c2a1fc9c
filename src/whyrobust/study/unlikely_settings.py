"""What is allowed and rarely meant, in settings and in data sets: a line each, said before any work."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import combinations
from pathlib import Path

from whyrobust.study.class_table import read_class_names
from whyrobust.study.dataset_settings import Dataset, TestSet
from whyrobust.study.input_files import classes_of_one_name, named_inputs
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


def unlikely_data(
    classes: Path, sources: Mapping[str, Dataset], test_sets: Mapping[str, TestSet], root: Path
) -> list[str]:
    """Return a line for each: test sets without a folder for a class, and data sets that read the same pictures.

    Args:
        classes: the class table.
        sources: by name.
        test_sets: by name.
        root: folder that relative paths start from.
    """
    keyed = {f"sources.{name}": each for name, each in sources.items()}
    keyed |= {f"test_sets.{name}": each for name, each in test_sets.items()}
    return missing_class_folders(classes, test_sets, root) + datasets_of_same_files(keyed, root)


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


def datasets_of_same_files(datasets: Mapping[str, Dataset], root: Path) -> list[str]:
    """Return a line for every two data sets that read the same pictures alike: they are of one distribution.

    A test set may share some of them with another data set; two sources may, if one is a part of the other.

    Args:
        datasets: sources and test sets, by config key.
        root: folder that relative paths start from.
    """
    read = {
        key: (dataset.kind, _reading_of(dataset, root))
        for key, dataset in datasets.items()
        if named_inputs(dataset) and not dataset.row.held_out
    }
    return [
        f"config keys {one} and {other} read the same pictures ({_paths_of(datasets[one])}): no effect is to be "
        "expected between them, and training pictures that a test set has too are left out; give one of them other "
        "pictures, or each a part by drawn_between"
        for one, other in combinations(read, 2)
        if read[one] == read[other] and _share_parts(datasets[one], datasets[other])
    ]


#: Settings by which a data set reads a part of its pictures, between two numbers.
_PARTS = ("drawn_between", "classes_between")


def _reading_of(dataset: Dataset, root: Path) -> dict[str, object]:
    """Return the settings of a data set's kind but those of its part, files and folders as they are found."""
    names = [setting.name for setting in fields(dataset.row.settings) if setting.name not in _PARTS]
    resolved = {
        key: sorted({(root / path).resolve() for path in paths}) for key, paths in named_inputs(dataset).items()
    }
    return {name: getattr(dataset, name) for name in names} | resolved


def _paths_of(dataset: Dataset) -> str:
    return ", ".join(path for paths in named_inputs(dataset).values() for path in paths)


def _share_parts(one: Dataset, other: Dataset) -> bool:
    """Tell whether two parts have pictures in common: of two sources, whether they are the same part."""
    parts = [[getattr(dataset, key, None) or (0.0, 1.0) for key in _PARTS] for dataset in (one, other)]
    if not (isinstance(one, TestSet) or isinstance(other, TestSet)):
        return parts[0] == parts[1]
    return all(max(first[0], second[0]) < min(first[1], second[1]) for first, second in zip(*parts, strict=True))
