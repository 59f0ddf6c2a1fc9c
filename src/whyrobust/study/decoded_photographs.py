"""Which stores of decoded photographs the runs of a study learn from: one per source and resolution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whyrobust.study.study import Study


def stored_side(image_size: int, min_crop_area: float) -> int:
    """Return the shorter side that an image is stored with, in pixels: the smallest square crop is not enlarged."""
    return math.ceil(image_size / math.sqrt(min_crop_area))


def decoded_stores_of(study: Study, run: str) -> list[str]:
    """Return the names ``<source>_<side>`` of the stores that a run learns from, none for icons or if all are off.

    The side follows from the run's own augmentation, so another run in the study changes no store of this one.
    """
    photographs = [name for name in study.components_of(run) if name in study.datasets.photographs]
    if not photographs or not study.config.training.decoded_store_gb:
        return []
    side = stored_side(study.config.data.image_size, study.hyperparameters_of(run)["min_crop_area"])
    return [f"{name}_{side}" for name in photographs]
