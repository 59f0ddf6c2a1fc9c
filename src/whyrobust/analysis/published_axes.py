"""A second x axis for models of the web: effective robustness beyond ImageNet and one more test set.

Offers `measure_second_axes`. Shi et al. 2023 (arXiv 2302.01381) show that models of other data look robust beyond a
line over ImageNet because ImageNet is not in-distribution for them, and ask for the accuracy on each data set's own
distribution as a further axis. What is published allows a part of this only:

- no published table has a test set held out of LAION, DataComp or WIT. What comes nearest are test sets of ordinary web
  photographs: retrieval of captions for photographs of Flickr (MS COCO, Flickr30k), Country211, which OpenAI drew from
  YFCC-100M, and classification of Flickr and web photographs (SUN397, Food-101);
- no model of ImageNet's labels has a zero-shot accuracy there, so that plane and line go through the zero-shot models
  themselves. A residual is against other zero-shot models, and the mean of all is zero by construction.

So it cannot say whether web data make models robust. It can say which *differences between web data sets* are left
once a second test set is held fixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.published_lines import SCALE
from whyrobust.analysis.published_tables import FULL_VALIDATION
from whyrobust.analysis.scales import to_scale

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

SECOND_AXES = ("mscoco_retrieval", "flickr30k_retrieval", "country211", "sun397", "food101")
# Zero-shot models below this are at the edge of what prompts can do on ImageNet, and the logits are no longer straight.
FROM_ACCURACY = 0.2
SHIFTS = ("imagenet-v2", "imagenet-sketch", "imagenet-r", "objectnet")


def measure_second_axes(
    models: pd.DataFrame, accuracies: pd.DataFrame, other: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit line and plane through the zero-shot models, and measure each model against both.

    Args:
        models: as `whyrobust.analysis.pretraining.describe_models` gives them.
        accuracies: as `whyrobust.analysis.published_tables.read_published` gives them.
        other: as `whyrobust.analysis.published_tables.read_other_test_sets` gives them.

    Returns:
        The fits, a row per shift and second axis: ``models, slope_imagenet, slope_second, intercept, r_squared,
        r_squared_line`` (of ImageNet alone) and ``correlation`` of the two axes on logits. And the residuals in logits:
        ``model, data, shift, second_axis, beyond_line, beyond_plane``.
    """
    import pandas as pd

    zero_shot = models[(models["collection"] == "open_clip") & (models["prediction"] == "zero-shot prompts")]
    zero_shot = zero_shot[zero_shot["fine_tuned_on"] == "none"]
    full = accuracies[(accuracies["collection"] == "open_clip") & (accuracies["x_test_set"] == FULL_VALIDATION)]
    table = zero_shot[["model", "data"]].merge(full, on="model").merge(other, on="model")
    table = table[table["id_accuracy"] >= FROM_ACCURACY]
    fits, residuals = [], []
    for shift in SHIFTS:
        group = table[table["shift"] == shift]
        x, y = _logits(group["id_accuracy"]), _logits(group["shift_accuracy"])
        line = _least_squares(x[:, None], y)
        for axis in SECOND_AXES:
            second = _logits(group[axis])
            plane = _least_squares(np.stack([x, second], axis=1), y)
            beyond_plane = y - plane[0] - plane[1] * x - plane[2] * second
            beyond_line = y - line[0] - line[1] * x
            fits.append(
                {
                    "shift": shift,
                    "second_axis": axis,
                    "models": len(group),
                    "slope_imagenet": plane[1],
                    "slope_second": plane[2],
                    "intercept": plane[0],
                    "r_squared": 1 - np.sum(beyond_plane**2) / np.sum((y - y.mean()) ** 2),
                    "r_squared_line": 1 - np.sum(beyond_line**2) / np.sum((y - y.mean()) ** 2),
                    "correlation": np.corrcoef(x, second)[0, 1],
                }
            )
            residuals.append(
                group[["model", "data"]].assign(
                    shift=shift, second_axis=axis, beyond_line=beyond_line, beyond_plane=beyond_plane
                )
            )
    return pd.DataFrame(fits), pd.concat(residuals, ignore_index=True)


def _logits(accuracies: pd.Series[float]) -> FloatArray:
    return to_scale(accuracies.to_numpy(dtype=float), SCALE)


def _least_squares(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return intercept and slopes."""
    design = np.column_stack([np.ones(len(y)), x])
    return np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=np.float64)
