"""What the raw difference of a main comparison on a shift is made of: the differences on the images of each team.

Teams are what the bootstrap of test images draws. A single team has no interval and no test here: its images are few,
and its icons alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.accuracies import KEYS, Key, Outcomes, image_weights, read_outcomes
from whyrobust.analysis.attribution import contrasts_of
from whyrobust.analysis.effects import first_of_causes, match_comparisons, mean_contrast
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.analysis.scales import POINTS_PER_UNIT
from whyrobust.study.comparisons import Comparison
from whyrobust.study.display_names import AVERAGE

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

#: ``unit`` of a test set whose bootstrap draws teams.
TEAM = "team"

TEAM_COLUMNS = ("cause", "comparison", "shift", "team", "images", "weight", "raw_shift_points")


def differences_by_team(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    shifts: pd.DataFrame,
    predictions: Path | str,
    scale: str,
    class_weights: str,
) -> pd.DataFrame:
    """Return the raw differences of the main comparison of each cause, team by team of a shift's images.

    Args:
        comparisons: the controlled comparisons; the first of each cause is looked at.
        runs: one row for each evaluated run, with `KEYS`, ``seed`` and the fields that the comparisons name.
        measured: shift -> the main measurement, in the order of the rows of ``runs``.
        shifts: ``shifts.csv``; only shifts whose ``unit`` is a team are looked at.
        predictions: path of ``predictions.parquet``.
        scale: of the accuracies that pairs at matched accuracy are interpolated on.
        class_weights: how images are weighted in an accuracy, see `image_weights`.

    Returns:
        `TEAM_COLUMNS`: a row for each comparison with a pair, shift and team, teams by name. ``raw_shift_points`` is
        the difference of the accuracies on the team's images, each of which has its weight in the whole test set;
        ``weight`` is their share of all weights. So the sum of ``weight`` times ``raw_shift_points`` over teams is
        ``raw_shift_points`` of the table of causes.

    Raises:
        ValueError: as `match_comparisons`.
        OutcomeError: as `read_outcomes`.
    """
    import pandas as pd

    main = first_of_causes(comparisons)
    pairs_of = match_comparisons(main, runs)
    keys: list[Key] = list(runs[list(KEYS)].itertuples(index=False, name=None))
    # The average over shifts has images of no team: it has those of its shifts.
    of_teams = shifts.loc[(shifts["unit"] == TEAM) & (shifts["role"] != AVERAGE), "test_set"]
    found: dict[tuple[int, str], pd.DataFrame] = {}
    for shift in measured.keys() & set(of_teams):
        contrasts = dict(enumerate(contrasts_of(pairs_of, measured[shift], scale)))
        weights = {number: mean_contrast(one) for number, one in contrasts.items() if one.seeds}
        if not weights:
            continue
        used = np.flatnonzero(np.any([of_models != 0 for of_models in weights.values()], axis=0))
        outcomes = read_outcomes(predictions, shift, [keys[model] for model in used])
        teams, accuracies = _accuracies_by_team(outcomes, class_weights)
        for number, of_models in weights.items():
            found[number, shift] = teams.assign(raw_shift_points=POINTS_PER_UNIT * (accuracies @ of_models[used]))
    parts = [
        found[number, shift].assign(cause=comparison.cause, comparison=comparison.name, shift=shift)
        for number, comparison in enumerate(main)
        for shift in measured
        if (number, shift) in found
    ]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(TEAM_COLUMNS))
    return whole[list(TEAM_COLUMNS)]


def _accuracies_by_team(outcomes: Outcomes, class_weights: str) -> tuple[pd.DataFrame, FloatArray]:
    """Return ``team, images, weight`` of each team, and the accuracies on its images, [teams, models]."""
    import pandas as pd

    teams, member = np.unique(outcomes.units.astype(str), return_inverse=True)
    of_images = image_weights(outcomes.labels, class_weights)
    totals = np.bincount(member, weights=of_images)
    right = np.stack([np.bincount(member, weights=of_images * row) for row in outcomes.correct], axis=1)
    table = pd.DataFrame({"team": teams, "images": np.bincount(member), "weight": totals / totals.sum()})
    return table, right / totals[:, None]
