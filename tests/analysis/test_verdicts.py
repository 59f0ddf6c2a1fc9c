"""Verdicts: what the test of an effect shows, in the words that page, figures, tables and terminal share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.display_names import NO_INTERVAL, NO_VERDICT, NOT_MEASURED, VERDICTS, WITHIN, verdict_key

NAN = math.nan


@pytest.mark.parametrize(
    ("effect", "p_adjusted", "equivalence", "verdict"),
    [
        (3.0, 0.049, (0.5, 5.5), "raises"),
        (-3.0, 0.049, (-5.5, -0.5), "lowers"),
        (0.5, 0.049, (0.1, 0.9), "raises"),
        (3.0, 0.05, (0.5, 5.5), "undecided"),
        (0.5, 0.4, (-1.9, 1.9), "within ±2"),
        (0.5, 0.4, (-2.0, 1.9), "undecided"),
        (0.5, 0.4, (-1.9, 2.0), "undecided"),
        (0.5, NAN, (NAN, NAN), "no interval"),
        (0.5, None, (np.float64("nan"), NAN), "no interval"),
        (NAN, NAN, (NAN, NAN), "not measured"),
        (None, 0.01, (1.0, 2.0), "not measured"),
    ],
)
def test_verdict(effect, p_adjusted, equivalence, verdict):
    assert judge_effect(effect, p_adjusted, equivalence, alpha=0.05, margin=2.0) == verdict
    key = verdict_key(verdict)
    assert key == (NO_VERDICT if verdict in (NO_INTERVAL, NOT_MEASURED) else verdict.split(" ±")[0])
    assert key in (*VERDICTS, NO_VERDICT)


def test_level_and_margin_are_those_of_the_study():
    assert judge_effect(0.5, 0.03, (-0.6, 1.6), alpha=0.01, margin=2.0) == f"{WITHIN} ±2"
    assert judge_effect(0.5, 0.03, (-0.6, 1.6), alpha=0.01, margin=1.5) == "undecided"
    assert judge_effect(0.5, 0.2, (-0.6, 1.4), alpha=0.05, margin=1.5) == f"{WITHIN} ±1.5"


def test_verdict_refuses_an_interval_the_wrong_way_round():
    with pytest.raises(ValueError, match="lower end first"):
        judge_effect(0, 0.5, (1, -1), alpha=0.05, margin=2)
