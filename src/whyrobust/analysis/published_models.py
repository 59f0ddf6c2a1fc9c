"""Published models as a study measures its runs: against the testbed's line, with intervals.

Offers `read_accuracies` of one table of ``resources/reference/`` and `read_reference` of three, with the numbers of
images and the models that fit the lines, and `measure_reference`, which gives them the tables of a study. The tables
themselves are read by `whyrobust.analysis.published_tables`; the statistics are those of
`whyrobust.analysis.effective_robustness`.

Which models are standard, and which in-distribution accuracy is the x axis, follows the ImageNet testbed
(Taori et al. 2020, arXiv 2007.00644; repository modestyachts/imagenet-testbed, folder ``plotting``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.bootstrap import Seed, resample_counts, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, ShiftTables, measure_shift
from whyrobust.analysis.published_tables import FULL_VALIDATION, pair_accuracies, read_table, unusable_rows

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray, FloatArray

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

# The tables that a study's page shows beside its runs.
SHOWN = ("imagenet_testbed", "open_clip", "vlhub")

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


def read_accuracies(folder: Path, collection: str) -> pd.DataFrame:
    """Read the accuracies of one table: one row per model, shift and x axis, with `ACCURACY_COLUMNS`.

    In the testbed, ImageNet-R, ImageNet-A and ObjectNet have two x axes: validation on their own classes
    (``imagenet@<shift>``) as in its figures, and full validation (``imagenet``) to compare tables that publish nothing
    else. ``training`` is the testbed's type, open_clip's pretrained name or VL Hub's training data. Rows of no one
    model (`whyrobust.analysis.published_tables.unusable_rows`) are left out. VL Hub does not state its prompts.

    Args:
        folder: ``resources/reference``.
        collection: one of `SHOWN`.
    """
    rows = read_table(folder, collection)
    out = unusable_rows(rows)
    rows = rows[~rows["model"].isin(out["model"])].rename(columns={"key": "training"})
    table = pair_accuracies(rows, ["model", "collection", "training"])
    testbed = collection == "imagenet_testbed"
    table["training"] = table["training"].str.removeprefix("VL ")
    table["head"] = "classifier" if testbed else "zero_shot"
    table["prompts"] = "ensemble" if collection == "open_clip" else ""
    own_classes = table["x_test_set"] != FULL_VALIDATION
    of_own_classes = VALIDATION_IMAGES_PER_CLASS * table["shift"].map(SHIFT_IMAGENET_IDS)
    table["images_id"] = of_own_classes.where(own_classes, VALIDATION_IMAGES).astype(int)
    table["images_shift"] = table["shift"].map(SHIFT_IMAGES)
    if testbed:
        table.loc[table["shift"] == "objectnet", "images_shift"] = TESTBED_OBJECTNET_IMAGES
    table["standard"] = _is_standard(table) if testbed else False
    return table[list(ACCURACY_COLUMNS)]


def read_reference(folder: Path) -> pd.DataFrame:
    """Read the tables of `SHOWN` into one with `ACCURACY_COLUMNS`."""
    import pandas as pd

    return pd.concat([read_accuracies(folder, collection) for collection in SHOWN], ignore_index=True)


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
