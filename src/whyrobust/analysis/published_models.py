"""Published models: their accuracies on the ImageNet shifts, in the same tables as the runs of a study.

The readers know what is particular to the published figures in ``resources/reference/``: their columns, units, test set
sizes, and traps. `measure_reference` measures them as `whyrobust.analysis.effective_robustness` measures a study.

Which models are standard, and which in-distribution accuracy is the x axis, follows the ImageNet testbed
(Taori et al. 2020, arXiv 2007.00644; repository modestyachts/imagenet-testbed, folder ``plotting``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.bootstrap import Seed, resample_counts, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, ShiftTables, measure_shift
from whyrobust.study.restricted_axes import restricted_name

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray, FloatArray

# The full validation set, as the name of an x axis; restricted to a shift's own classes it is "imagenet@<shift>".
FULL_VALIDATION = "imagenet"
VALIDATION_IMAGES = 50_000
VALIDATION_IMAGES_PER_CLASS = 50
# ImageNet classes that a shift covers, where they are not all 1,000. ObjectNet: 113 classes, of 125 ids.
SHIFT_IMAGENET_IDS = {"imagenet-r": 200, "imagenet-a": 200, "objectnet": 125}
SHIFT_IMAGES = {
    "imagenet-v2": 10_000,
    "imagenet-sketch": 50_889,
    "imagenet-r": 30_000,
    "imagenet-a": 7_500,
    "objectnet": 18_574,
}
# The testbed's ObjectNet accuracies are multiples of 1/18,514 and of no other number near 18,574.
TESTBED_OBJECTNET_IMAGES = 18_514

# shift -> its column in all three collections, and the column of the x axis on its own classes in the testbed.
SHIFT_COLUMNS = {
    "imagenet-v2": ("imagenet_v2", None),
    "imagenet-sketch": ("imagenet_sketch", None),
    "imagenet-r": ("imagenet_r", "imagenet_on_r_classes"),
    "imagenet-a": ("imagenet_a", "imagenet_on_a_classes"),
    "objectnet": ("objectnet", "imagenet_on_objectnet_classes"),
}

# Standard models enter a line from this in-distribution accuracy on. The testbed takes 75 % on the classes of
# R and A, and 55 % on every other axis; so also on the full validation set for A and ObjectNet
# ("no-subsample").
STANDARD_FROM = 0.55
STANDARD_FROM_ON_OWN_CLASSES = {"imagenet-r": 0.75, "imagenet-a": 0.75}
# Retrained copies of ResNet-50 and models on parts of ImageNet: near duplicates, which the testbed leaves out.
NOT_IN_LINES = ("aws", "batch64", "subsample")
# ImageNet-A holds the images that this model gets wrong, so its accuracy there is 0 and the trend breaks at it.
PIVOT_SHIFT = "imagenet-a"
PIVOT_MODEL = "resnet50"

# The shift columns of these four rows cannot be in the order of the header: accuracy on sketch is above that
# on ImageNet-R, which is so for no other model of the three collections. They are left out.
VLHUB_MISPLACED = frozenset(
    {
        "CLIP-swin_base_patch4_window7-laion15m-LiT",
        "CLIP-swin_base_patch4_window7-laion150m-LiT",
        "CLIP-swin_base_patch4_window7-laion400m-LiT",
        "CLIP-ViT-L-14-WiseFT",
    }
)

ACCURACY_COLUMNS = (
    "model",
    "collection",
    "training",
    "head",
    "prompts",
    "shift",
    "x_test_set",
    "id_accuracy",
    "shift_accuracy",
    "images_id",
    "images_shift",
    "standard",
)


# --- Readers ------------------------------------------------------------------------------------------------


def read_testbed(folder: Path) -> pd.DataFrame:
    """Read the 338 models of the ImageNet testbed (percent in the file, fractions in the result).

    Args:
        folder: ``resources/reference``.

    Returns:
        One row for each model, shift and x axis, with `ACCURACY_COLUMNS`. ImageNet-R, ImageNet-A and ObjectNet have two
        x axes: validation on their own classes (``imagenet@<shift>``) as in the testbed's figures, and full validation
        (``imagenet``) to compare collections that publish nothing else. ``training`` is the testbed's type. Models that
        lack an accuracy on an axis have no row for it.
    """
    import pandas as pd

    path = folder / "imagenet_testbed_top1.csv"
    table = _read_csv(path, ["model", "training", "imagenet"])
    own = {column: shift for shift, (_, column) in SHIFT_COLUMNS.items() if column is not None}
    accuracies = sorted(set(table.columns) - {"model", "training"})
    table[accuracies] /= 100.0
    parts = []
    for shift, (column, own_column) in SHIFT_COLUMNS.items():
        for x_column in (FULL_VALIDATION, own_column):
            if x_column is None:
                continue
            x_test_set = FULL_VALIDATION if x_column not in own else restricted_name(FULL_VALIDATION, shift)
            parts.append(_tidy(table, path, shift, column, x_column, x_test_set))
    result = pd.concat(parts, ignore_index=True)
    result["collection"] = "imagenet_testbed"
    result["head"], result["prompts"] = "classifier", ""
    result.loc[result["shift"] == "objectnet", "images_shift"] = TESTBED_OBJECTNET_IMAGES
    result["standard"] = _is_standard(result)
    return result[list(ACCURACY_COLUMNS)]


def read_open_clip(folder: Path) -> pd.DataFrame:
    """Read the 121 zero-shot models of open_clip, on full validation; columns as `read_testbed` gives.

    A model's name is architecture and pretraining, which together are unique; ``training`` is the
    pretraining.
    """
    path = folder / "open_clip_zeroshot_top1.csv"
    table = _read_csv(path, ["model", "pretrained", "imagenet"])
    table["training"] = table["pretrained"]
    table["model"] = table["model"] + " " + table["pretrained"]
    return _full_validation(table, path, "open_clip", "zero_shot", "ensemble")


def read_vlhub(folder: Path) -> pd.DataFrame:
    """Read the models of VLHub, on full validation; columns as `read_testbed` gives.

    It has no ObjectNet. ``training`` is the training data. Names that several rows share get a number in the
    order of the file. The rows of `VLHUB_MISPLACED` are left out. The prompts of the zero-shot models are not
    stated.
    """
    path = folder / "vlhub_top1.csv"
    table = _read_csv(path, ["model", "training_data", "technique", "imagenet"])
    table = table[~table["model"].isin(VLHUB_MISPLACED)].reset_index(drop=True)
    table["training"] = table["training_data"]
    number = (table.groupby("model").cumcount() + 1).astype(str)
    shared = table["model"].duplicated(keep=False)
    table["model"] = table["model"].where(~shared, table["model"] + " #" + number)
    head = ["classifier" if technique == "Conventional" else "zero_shot" for technique in table["technique"]]
    return _full_validation(table, path, "vlhub", head, "")


def read_reference(folder: Path) -> pd.DataFrame:
    """Read all three collections into one table with `ACCURACY_COLUMNS`."""
    import pandas as pd

    return pd.concat([read_testbed(folder), read_open_clip(folder), read_vlhub(folder)], ignore_index=True)


# --- Analysis -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReferenceTables:
    """The tables of a study, for the published models.

    ``effective_robustness`` has two more columns, collection and training.
    """

    effective_robustness: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame


def measure_reference(
    accuracies: pd.DataFrame,
    settings: MeasurementSettings = MeasurementSettings(),  # noqa: B008 - frozen
) -> ReferenceTables:
    """Measure the effective robustness of published models, shift by shift and x axis by x axis.

    Models are only ever compared with a line on their own x axis. Counts are all that is known of them, so their
    accuracies are drawn by `resample_counts`. ImageNet-A has one line below ResNet-50 and one above.

    Args:
        accuracies: as `read_reference` gives them, or a part of it that holds the standard models.
        settings: of the measurement.

    Returns:
        The tables. ``run`` is the model's name, unique within its collection.

    Raises:
        ValueError: for missing columns, or an ImageNet-A axis on which ResNet-50 is not found exactly once.
    """
    import pandas as pd

    missing = [column for column in ACCURACY_COLUMNS if column not in accuracies.columns]
    if missing:
        raise ValueError(f"The table of published accuracies lacks the columns {missing}: add them.")
    measured: list[ShiftTables] = []
    for (shift, x_test_set), group in accuracies.groupby(["shift", "x_test_set"], sort=False):
        models = group.rename(columns={"model": "run", "images_id": "id_images", "images_shift": "shift_images"}).drop(
            columns=["shift", "x_test_set"]
        )
        names = (str(shift), str(x_test_set))
        id_draws, shift_draws = (
            _draw_counts(models, axis, settings.resamples, seed_of(settings.seed, "counts", axis, *names))
            for axis in ("id", "shift")
        )
        pivot = _pivot_accuracy(group) if shift == PIVOT_SHIFT else None
        measured.append(measure_shift(models, *names, id_draws, shift_draws, settings, pivot))
    return ReferenceTables(
        effective_robustness=pd.concat([one.effective_robustness for one in measured], ignore_index=True),
        baselines=pd.concat([one.baselines for one in measured], ignore_index=True),
        bands=pd.concat([one.bands for one in measured], ignore_index=True),
    )


# --- Helpers ------------------------------------------------------------------------------------------------


def _read_csv(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_csv(path)
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}: restore the file as its README describes.")
    return table


def _tidy(table: pd.DataFrame, path: Path, shift: str, column: str, x_column: str, x_test_set: str) -> pd.DataFrame:
    """Return model, training, and the accuracies of one shift on one x axis, where it has both."""
    import pandas as pd

    part = table[["model", "training"]].assign(
        shift=shift,
        x_test_set=x_test_set,
        id_accuracy=table[x_column],
        shift_accuracy=table[column],
        images_id=VALIDATION_IMAGES
        if x_test_set == FULL_VALIDATION
        else VALIDATION_IMAGES_PER_CLASS * SHIFT_IMAGENET_IDS[shift],
        images_shift=SHIFT_IMAGES[shift],
    )
    part = part.dropna(subset=["id_accuracy", "shift_accuracy"])
    values = part[["id_accuracy", "shift_accuracy"]].to_numpy()
    if np.any((values < 0) | (values > 1)):
        raise ValueError(f"{path} has accuracies of {shift} outside 0..1: check the units of its columns.")
    return pd.DataFrame(part)


def _full_validation(
    table: pd.DataFrame, path: Path, collection: str, head: str | Sequence[str], prompts: str
) -> pd.DataFrame:
    """Return the rows of a collection that publishes full validation only; none of its models is standard."""
    import pandas as pd

    table = table.assign(head=head, prompts=prompts)
    described = table[["model", "head", "prompts"]]
    result = pd.concat(
        [
            _tidy(table, path, shift, column, FULL_VALIDATION, FULL_VALIDATION)
            for shift, (column, _) in SHIFT_COLUMNS.items()
            if column in table.columns
        ],
        ignore_index=True,
    ).merge(described, on="model", how="left", validate="many_to_one")
    return result.assign(collection=collection, standard=False)[list(ACCURACY_COLUMNS)]


def _is_standard(table: pd.DataFrame) -> BoolArray:
    """Return which rows of the testbed fit the line of their shift and axis."""
    left_out = table["model"].str.lower().str.contains("|".join(NOT_IN_LINES))
    own_classes = table["x_test_set"] != FULL_VALIDATION
    threshold = np.where(
        own_classes, table["shift"].map(STANDARD_FROM_ON_OWN_CLASSES).fillna(STANDARD_FROM), STANDARD_FROM
    )
    pivot = (table["shift"] == PIVOT_SHIFT) & (table["model"] == PIVOT_MODEL)
    standard = (table["training"] == "standard") & ~left_out & ~pivot
    return (standard & (table["id_accuracy"] >= threshold)).to_numpy(dtype=bool)


def _draw_counts(models: pd.DataFrame, axis: str, resamples: int, seed: Seed) -> FloatArray:
    """Draw accuracies; the published ones are rounded, so the nearest whole number of images is meant."""
    images = models[f"{axis}_images"].to_numpy(dtype=np.int64)
    correct = np.rint(models[f"{axis}_accuracy"].to_numpy(dtype=float) * images)
    return resample_counts(correct, images, resamples, seed)


def _pivot_accuracy(group: pd.DataFrame) -> float:
    """Return the in-distribution accuracy of the testbed's ResNet-50 on this axis."""
    rows = group[(group["collection"] == "imagenet_testbed") & (group["model"] == PIVOT_MODEL)]
    if len(rows) != 1:
        raise ValueError(
            f"The lines of {PIVOT_SHIFT} break at the testbed's {PIVOT_MODEL}, which has {len(rows)} rows on "
            f"{group['x_test_set'].iloc[0]}: keep exactly one."
        )
    return float(rows["id_accuracy"].iloc[0])
