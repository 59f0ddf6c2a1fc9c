"""Standard models of the ImageNet testbed as those of a study's line over ImageNet's validation images.

`draw_testbed` reads them from ``resources/reference/`` with the accuracies on the axes that the line of a shift has in
a study, and draws these as for published models; `measure_with_published` measures a study's runs beyond a line that is
fitted to them. Which models are standard is said in `whyrobust.analysis.published_models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.bootstrap import resample_counts, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, ShiftTables, measure_shift
from whyrobust.analysis.published_models import read_accuracies
from whyrobust.analysis.published_tables import FULL_VALIDATION, SHIFT_COLUMNS
from whyrobust.study.display_names import AVERAGE
from whyrobust.study.published_shifts import PUBLISHED_SHIFTS
from whyrobust.study.restricted_names import restricted_name

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray


@dataclass(frozen=True)
class PublishedModels:
    """Standard models of one shift and its axis.

    Attributes:
        models: a row each, with the columns that `measure_shift` takes; all of them are standard.
        id_draws: draws of ``id_accuracy``, [resamples, models].
        shift_draws: draws of ``shift_accuracy``, the same shape.
        beside_own: whether the study's own standard models fit the line too.
    """

    models: pd.DataFrame
    id_draws: FloatArray
    shift_draws: FloatArray
    beside_own: bool


def draw_testbed(
    folder: Path, kinds: Mapping[str, str], settings: MeasurementSettings, beside_own: bool
) -> dict[str, PublishedModels]:
    """Return the testbed's standard models for each shift of a study, and for the average over some.

    Args:
        folder: ``resources/reference``.
        kinds: kind of data set of each shift, all of them keys of `PUBLISHED_SHIFTS`. As in the study, the axis of a
            shift that covers only some classes is the validation set on these.
        settings: of the measurement. The average is over whole validation images, of models that are standard there
            for each of its shifts.
        beside_own: whether the study's own standard models fit the lines too.
    """
    table = read_accuracies(folder, "imagenet_testbed")
    table = table[table["standard"]].rename(columns={"model": "run"})
    found = {}
    for shift, kind in kinds.items():
        published = PUBLISHED_SHIFTS[kind]
        restricted = SHIFT_COLUMNS[published][1] is not None
        axis = restricted_name(FULL_VALIDATION, published) if restricted else FULL_VALIDATION
        found[shift] = _draw(shift, {published: _on(table, published, axis)}, settings, beside_own)
    if settings.average_over:
        names = [PUBLISHED_SHIFTS[kinds[shift]] for shift in settings.average_over]
        on_whole = {name: _on(table, name, FULL_VALIDATION) for name in names}
        runs = [run for run in on_whole[names[0]].index if all(run in rows.index for rows in on_whole.values())]
        members = {name: rows.loc[runs] for name, rows in on_whole.items()}
        found[AVERAGE] = _draw(AVERAGE, members, settings, beside_own)
    return found


def _on(table: pd.DataFrame, published: str, axis: str) -> pd.DataFrame:
    rows = table[(table["shift"] == published) & (table["x_test_set"] == axis)]
    return rows.dropna(subset=["id_accuracy", "shift_accuracy"]).set_index("run")


def _draw(
    shift: str, members: Mapping[str, pd.DataFrame], settings: MeasurementSettings, beside_own: bool
) -> PublishedModels:
    """Return models with the mean of their accuracies, and of the draws of these, on one shift or several.

    Args:
        shift: of the study, for the seed.
        members: published shift -> accuracies of the same models in the same order.
        settings: of the measurement.
        beside_own: see `PublishedModels`.
    """
    import pandas as pd

    def draw(rows: pd.DataFrame, column: str, images: str, *names: str) -> FloatArray:
        seed = seed_of(settings.seed, "counts of the testbed", shift, *names)
        correct = np.rint(rows[column].to_numpy(dtype=float) * rows[images].to_numpy(dtype=float))
        return resample_counts(correct, rows[images].to_numpy(dtype=np.int64), settings.resamples, seed)

    first = next(iter(members.values()))
    models = pd.DataFrame(
        {
            "run": first.index,
            "head": "classifier",
            "prompts": "",
            "fitted_on": "",
            "main": True,
            "id_accuracy": first["id_accuracy"].to_numpy(),
            "id_images": first["images_id"].to_numpy(),
            "shift_accuracy": np.mean([rows["shift_accuracy"].to_numpy() for rows in members.values()], axis=0),
            "shift_images": np.sum([rows["images_shift"].to_numpy() for rows in members.values()], axis=0),
            "standard": True,
        }
    )
    shift_draws = [draw(rows, "shift_accuracy", "images_shift", name) for name, rows in members.items()]
    return PublishedModels(
        models, draw(first, "id_accuracy", "images_id"), np.mean(shift_draws, axis=0), beside_own=beside_own
    )


def measure_with_published(
    models: pd.DataFrame,
    axes: tuple[str, str],
    draws: tuple[FloatArray, FloatArray],
    published: PublishedModels,
    settings: MeasurementSettings,
    pivot: float | None = None,
) -> ShiftTables:
    """Measure a study's runs beyond a line that published models fit, beside the study's own standard models or not.

    Args:
        models: as `measure_shift` takes them.
        axes: the shift and the in-distribution test set.
        draws: of the in-distribution accuracies and of those under shift, [resamples, models].
        published: the published standard models.
        settings: of the measurement.
        pivot: as for `measure_shift`.

    Returns:
        The tables and the measurement of the study's runs alone. ``standard`` marks the study's own standard models,
        whether the line is fitted to them or not; baselines and bands are of all that it is fitted to.
    """
    import pandas as pd

    count = len(models)
    own = models if published.beside_own else models.assign(standard=False)
    tables = measure_shift(
        pd.concat([own, published.models], ignore_index=True),
        *axes,
        np.hstack([draws[0], published.id_draws]),
        np.hstack([draws[1], published.shift_draws]),
        settings,
        pivot,
    )
    measured = tables.measurement
    of_runs = {
        name: getattr(measured, name)[..., :count]
        for name in (
            "expected", "points", "low_points", "high_points", "draws", "residuals", "residual_draws", "extrapolated",
        )
    }  # fmt: skip
    rows = tables.effective_robustness.iloc[:count].assign(standard=models["standard"].to_numpy(dtype=bool))
    return replace(tables, effective_robustness=rows, measurement=replace(measured, **of_runs))
