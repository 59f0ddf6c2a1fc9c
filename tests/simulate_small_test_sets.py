"""The table of docs/method.md on small in-distribution test sets: `python -m tests.simulate_small_test_sets`.

Two sources, four sizes and five seeds; models of each source are better on a test set of their own by a gap, and the
shift has other images like those of the first source's test set, so that the true effect of the source is 0. Measured
by the package's own functions.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from tests.analysis.test_simulated_causes import simulate_sources
from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.attribution import EffectSettings, attribute_causes
from whyrobust.analysis.bootstrap import resample_accuracies
from whyrobust.analysis.effective_robustness import measure_effective_robustness
from whyrobust.analysis.measured import SHIFT, MeasuredShift
from whyrobust.analysis.scales import from_scale
from whyrobust.study.comparisons import Comparison

#: Logits by which models are better on the test set of their source.
GAPS = (0.6, 1.2)
IMAGES, STUDIES, RESAMPLES = (60, 90, 300, 1000), 40, 100

#: Share of the variance of a prediction that all models have in common, and deviation between seeds in logits.
COMMON, DEVIATION = 0.3, 0.06
WEB = Comparison("training_distribution", "web", {"source": "studio"}, {"source": "web"}, {}, "")


def simulate(runs, images, gap, number):
    """Return the effect of the source in points, and whether its interval holds the true 0, of one simulated study."""
    rng = np.random.default_rng([7, images, number])
    is_web = (runs["source"] == "web").to_numpy()
    ability = 0.5 * runs["train_images"].to_numpy() - 0.5 + rng.normal(0, DEVIATION, len(runs))
    correct = []
    for better in (~is_web, is_web, ~is_web):
        common = rng.standard_normal(images) * COMMON**0.5
        single = (1 - COMMON) ** 0.5 * rng.normal(size=(len(runs), images))
        correct.append(single + common < ndtri(from_scale(ability + gap * better, "logit"))[:, None])
    groups, seeds = np.arange(images), rng.integers(0, 2**31, 3)
    draws = [
        resample_accuracies(one, groups, groups, RESAMPLES, int(seed)) for one, seed in zip(correct, seeds, strict=True)
    ]
    own, shift = np.stack([one.mean(axis=1) for one in correct[:2]], axis=1), correct[2].mean(axis=1)
    accuracies = ShiftAccuracies(own, shift, np.stack(draws[:2], axis=2), draws[2], np.ones(len(runs), dtype=bool))
    found = measure_effective_robustness(accuracies, seed=number)
    measured = MeasuredShift(
        residuals=found.residuals,
        draws=found.residual_draws,
        extrapolated=found.extrapolated,
        id_accuracies=own,
        shift_accuracy=shift,
        role=SHIFT,
        units=images,
    )
    row = attribute_causes([WEB], runs, {"shift": measured}, EffectSettings()).iloc[0]
    return row["effect_points"], row["low_points"] <= 0 <= row["high_points"]


def main():
    runs, _ = simulate_sources(np.random.default_rng(0))
    for gap in GAPS:
        for images in IMAGES:
            effects, held = zip(*(simulate(runs, images, gap, number) for number in range(STUDIES)), strict=True)
            mean = f"mean effect {np.nanmean(effects):+.2f} points, intervals that hold 0: {np.mean(held):.2f}"
            print(f"gap {gap} logits, {images:,} images: {mean}", flush=True)


if __name__ == "__main__":
    main()
