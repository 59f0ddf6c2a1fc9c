"""The effects of main comparisons seed by seed: what the effects of the table of causes are means over.

`whyrobust.analysis.effects.measure_effects` averages the differences of pairs within each seed, then over seeds. Here
each seed stands alone, without an interval or a test: on its own, a seed has neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from whyrobust.analysis.attribution import EffectSettings, add_means, contrasts_of
from whyrobust.analysis.effects import Contrasts, average_by_seed, first_of_causes, match_comparisons
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.analysis.scales import POINTS_PER_UNIT
from whyrobust.study.comparisons import Comparison

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray

SEED_COLUMNS = (
    "cause", "comparison", "shift", "seed", "pairs", "effect_logits", "effect_points", "paper_logits", "paper_points",
    "raw_id_points", "raw_shift_points",
)  # fmt: skip


def effects_by_seed(
    comparisons: Sequence[Comparison],
    runs: pd.DataFrame,
    measured: Mapping[str, MeasuredShift],
    paper: Mapping[str, MeasuredShift],
    settings: EffectSettings,
) -> pd.DataFrame:
    """Return the mean differences within the pairs of each seed, for the main comparison of each cause.

    Args:
        comparisons: the controlled comparisons; the first of each cause is looked at.
        runs: one row for each evaluated run, with ``seed`` and the fields that the comparisons name.
        measured: shift -> the main measurement, in the order of the rows of ``runs``.
        paper: the same beyond the paper's line.
        settings: in what terms effects are stated.

    Returns:
        `SEED_COLUMNS`: a row for each comparison, mean over shifts and shift, and seed with a pair, seeds in rising
        order. ``pairs`` are those of the main measurement. The means over seeds of ``effect_logits``, ``paper_logits``
        and the raw differences are those of the tables of causes; points are those of each seed at the reference
        accuracy. NaN where a seed has no pair by one of the measurements: at matched accuracy, pairs that fit by one
        test set may not fit by several.

    Raises:
        ValueError: as `match_comparisons`.
    """
    import pandas as pd

    main = first_of_causes(comparisons)
    pairs_of = match_comparisons(main, runs)
    of_all, of_paper = add_means(measured), add_means(paper)
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for shift, values in of_all.items():
        beyond_all = contrasts_of(pairs_of, values, settings.scale)
        beyond_one = contrasts_of(pairs_of, of_paper[shift], settings.scale)
        inside = POINTS_PER_UNIT * values.id_accuracies.mean(axis=1)
        under_shift = POINTS_PER_UNIT * values.shift_accuracy
        for number, (own, single) in enumerate(zip(beyond_all, beyond_one, strict=True)):
            effects = _by_seed(own, values.residuals)
            of_line = _by_seed(single, of_paper[shift].residuals)
            raw_id, raw_shift = _by_seed(own, inside), _by_seed(own, under_shift)
            found[number, shift] = [
                {
                    "shift": shift,
                    "seed": seed,
                    "pairs": own.seeds.count(seed),
                    "effect_logits": effects.get(seed, np.nan),
                    "effect_points": settings.in_points(effects.get(seed, np.nan)),
                    "paper_logits": of_line.get(seed, np.nan),
                    "paper_points": settings.in_points(of_line.get(seed, np.nan)),
                    "raw_id_points": raw_id.get(seed, np.nan),
                    "raw_shift_points": raw_shift.get(seed, np.nan),
                }
                for seed in sorted({*effects, *of_line})
            ]
    rows = [
        {"cause": comparison.cause, "comparison": comparison.name} | row
        for number, comparison in enumerate(main)
        for shift in of_all
        for row in found[number, shift]
    ]
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def _by_seed(contrasts: Contrasts, values: FloatArray) -> dict[Any, float]:
    """Return the mean difference of each seed in ``values``, [models]."""
    averaged = average_by_seed(contrasts, values, np.asarray(values)[None])
    return dict(zip(averaged.seeds, averaged.by_seed.tolist(), strict=True))
