"""What each measurement says of two sources, in simulated studies of known truth.

Runs of two sources are each better on held-out images of their own source, as Shi et al. (2023) describe. If they are
equal on the shift, the paper's measurement sees an effect that comes from its x axis alone, and the main measurement
none. Where web makes models better on the shift, or the shift is nearer to web, a plane predicts that from the test
sets; the line over their mean shows it. Accuracies alone cannot tell these two apart. Effects are judged by a t-test
over seeds, the simplest there is.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.effective_robustness import measure_effective_robustness
from whyrobust.analysis.scales import from_scale, to_scale

STUDIES, SEEDS, IMAGES = 200, 5, 3000
# Logits: how much better a source is on its own test set than on the other's, and how far apart runs of one kind are.
HOME, NOISE, SLOPE = 0.8, 0.05, 0.9
ABILITIES = np.array([-1.5, -0.9, -0.3, 0.3, 0.9])
#: Share of web in the images of a kind of run: both sources and their mixture.
WEB_SHARES = np.array([0.0, 0.5, 1.0])


def simulate(effect: float, nearness: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One study: accuracies on both in-distribution test sets, [models, 2], and on the shift; web's share; seeds.

    ``effect`` of web on the shift is in logits; ``nearness`` is 0 for a shift halfway between the sources, 1 for one
    that is as near to web as web's own test set.
    """
    share, ability, seed = (
        values.ravel() for values in np.meshgrid(WEB_SHARES, ABILITIES, np.arange(SEEDS), indexing="ij")
    )
    logits = ability + rng.normal(0, NOISE, len(ability))
    at_home = HOME * (share - 0.5)
    x = np.column_stack([logits - at_home, logits + at_home])
    y = SLOPE * (logits + nearness * at_home) - 0.6 + effect * share + rng.normal(0, NOISE, len(ability))
    on_x, on_shift = (rng.binomial(IMAGES, from_scale(values, "logit")) / IMAGES for values in (x, y))
    return on_x, on_shift, share, seed


def effect_of_web(x, y, share, seed, standard):
    """The mean residual of web's runs minus studio's by seed: its mean, and the p of a two-sided t-test."""
    draws = np.tile(x, (2, 1, 1)), np.tile(y, (2, 1))
    residuals = measure_effective_robustness(ShiftAccuracies(x, y, *draws, standard)).residuals
    of_source = [
        np.array([residuals[(share == part) & (seed == number)].mean() for number in range(SEEDS)]) for part in (1, 0)
    ]
    difference = of_source[0] - of_source[1]
    return difference.mean(), ttest_1samp(difference, 0).pvalue


@pytest.mark.parametrize(
    "effect, nearness, expected",
    [
        # What the main measurement, the line over the mean, the paper's and its mirror see, in logits.
        (0.0, 0.0, (0.0, 0.0, SLOPE * HOME, -SLOPE * HOME)),
        (0.36, 0.0, (0.0, 0.36, 0.36 + SLOPE * HOME, 0.36 - SLOPE * HOME)),
        (0.0, 0.5, (0.0, 0.36, 0.36 + SLOPE * HOME, 0.36 - SLOPE * HOME)),
    ],
)
def test_measurements_differ_in_what_they_take_for_an_effect_of_a_source(effect, nearness, expected):
    rng = np.random.default_rng(11)
    found = []
    for _ in range(STUDIES):
        x, y, share, seed = simulate(effect, nearness, rng)
        mean = from_scale(to_scale(x, "logit").mean(axis=1, keepdims=True), "logit")
        every = np.ones(len(y), dtype=bool)
        measurements = ((x, every), (mean, every), (x[:, :1], share == 0), (x[:, 1:], share == 1))
        found.append([effect_of_web(on_axes, y, share, seed, standard) for on_axes, standard in measurements])
    effects, ps = np.moveaxis(np.array(found), 2, 0)
    np.testing.assert_allclose(effects.mean(axis=0), expected, atol=0.03)
    raises, lowers = (((np.sign(effects) == sign) & (ps < 0.05)).mean(axis=0) for sign in (1, -1))
    main, of_mean, paper, mirror = range(4)
    assert raises[main] + lowers[main] < 0.09
    assert raises[paper] == 1 and lowers[mirror] == 1
    if effect or nearness:
        assert raises[of_mean] > 0.99
    else:
        assert raises[of_mean] + lowers[of_mean] < 0.09
