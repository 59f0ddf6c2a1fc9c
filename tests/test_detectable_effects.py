"""What a plan could detect: against a simulation of its test, and deviations measured from what is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import yaml

from tools.detectable_effects import (
    Deviations,
    describe,
    detectable_logits,
    measure_deviations,
    read_deviations,
)
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.study.checks import plan_study
from whyrobust.study.comparisons import MATCHED_FIELDS, Comparison
from whyrobust.study.config import load_config

PLAIN = Deviations(between_seeds=0.2, prior_freedom=0.0, shared=0.0, shared_freedom=1.0, measured="a test")


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_an_effect_of_the_detectable_size_is_found_in_four_of_five_studies(alpha):
    """Where all deviation is between seeds the test is the one-sample t test, which scipy makes of simulated seeds."""
    from scipy.stats import ttest_1samp

    size = detectable_logits(5, alpha, PLAIN)
    seeds = np.random.default_rng(0).normal(size, PLAIN.between_seeds, (4000, 5))
    found = ttest_1samp(seeds, 0.0, axis=1).pvalue < alpha
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


def test_what_seeds_share_no_number_of_seeds_takes_away():
    shared = Deviations(between_seeds=1e-6, prior_freedom=0.0, shared=0.1, shared_freedom=1e9, measured="")
    # The two normal quantiles of a level of 5 % and a power of 80 %.
    expected = pytest.approx(0.1 * (1.959964 + 0.841621), rel=1e-3)
    assert detectable_logits(5, 0.05, shared) == expected and detectable_logits(50, 0.05, shared) == expected


def test_more_seeds_and_more_moderation_find_smaller_effects_and_one_seed_nothing():
    sizes = [detectable_logits(seeds, 0.05, PLAIN) for seeds in (2, 3, 5, 10)]
    assert sizes == sorted(sizes, reverse=True)
    moderated = Deviations(0.2, 8.0, 0.0, 1.0, "")
    assert detectable_logits(3, 0.05, moderated) < detectable_logits(3, 0.05, PLAIN)
    assert math.isnan(detectable_logits(1, 0.05, PLAIN))


def test_deviations_are_measured_from_residuals_and_draws():
    row = {"objective": "clip", "main": True} | dict.fromkeys(MATCHED_FIELDS, "")
    runs = pd.DataFrame([row | {"source": source, "seed": seed} for source in "abcd" for seed in range(40)])
    rng = np.random.default_rng(1)
    common = rng.normal(0, 0.05, (500, 4))
    source = runs["source"].map({"a": 0, "b": 1, "c": 2, "d": 3}).to_numpy()
    measured = MeasuredShift(
        residuals=rng.normal(0, 0.1, len(runs)),
        draws=common[:, source] + rng.normal(0, 0.3, (500, len(runs))),
        extrapolated=np.zeros(len(runs), dtype=bool),
        id_accuracies=np.full((len(runs), 2), 0.5),
        shift_accuracy=np.full(len(runs), 0.5),
        role="mean",
        units=13,
    )
    comparisons = [
        Comparison("training_distribution", name, {"source": "a"}, {"source": name}, {}, "") for name in ("b", "c", "d")
    ]
    found = measure_deviations(comparisons, runs, measured, "logit", "mine")
    assert found.between_seeds == pytest.approx(0.1 * math.sqrt(2), rel=0.15)
    assert found.shared == pytest.approx(0.05 * math.sqrt(2), rel=0.15)
    assert found.prior_freedom > 0 and found.shared_freedom == 12 and "results/mine" in found.measured
    with pytest.raises(SystemExit, match="two seeds"):
        one_seed = [Comparison("language_at_test", "x", {"source": "a"}, {"source": "none"}, {}, "")]
        measure_deviations(one_seed, runs, measured, "logit", "mine")


def test_the_default_study_says_what_each_comparison_could_detect(root):
    config = load_config(yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8")))
    plan = plan_study(config, root, data_is_there=False)
    text = describe(config, plan, read_deviations())
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(plan.comparisons) and sum("| main |" in row for row in rows) == 5
    first = next(row for row in rows if "web instead of studio |" in row)
    smallest = detectable_logits(5, 0.05 / 5, read_deviations())
    assert first.endswith(f"| 10 | 5 | {100 * (1 / (1 + math.exp(-smallest)) - 0.5):.1f} |")
    assert read_deviations().measured in text
