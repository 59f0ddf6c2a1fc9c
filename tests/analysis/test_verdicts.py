"""What an interval of an effect shows."""

import math

import numpy as np
import pytest

from whyrobust.analysis.verdicts import ONE_UNIT, UNDECIDED, WITHIN_MARGIN, judge_effect, judge_with_margin
from whyrobust.study.display_names import LOWERS, NOT_MEASURED, RAISES, VERDICTS

NAN = math.nan


@pytest.mark.parametrize(
    ("effect", "low", "high", "verdict"),
    [
        (1, 0.1, 2, "raises"),
        (-1, -2, -0.1, "lowers"),
        (0.5, -1, 1, "unclear"),
        (0.5, 0, 1, "unclear"),
        (0.5, -1, 0, "unclear"),
        (0.5, NAN, NAN, "unclear"),
        (0.5, None, np.float64("nan"), "unclear"),
        (NAN, NAN, NAN, "not measured"),
        (None, None, None, "not measured"),
    ],
)
def test_verdict(effect, low, high, verdict):
    assert judge_effect(effect, low, high) == verdict
    assert verdict in (*VERDICTS, NOT_MEASURED)


def test_verdict_refuses_an_interval_the_wrong_way_round():
    with pytest.raises(ValueError, match="lower end first"):
        judge_effect(0, 1, -1)


@pytest.mark.parametrize(
    "ends, verdict",
    [
        ((0.1, 5.0, 0.5, 4.6), RAISES),
        ((-5.0, -0.1, -4.6, -0.5), LOWERS),
        ((-2.2, 1.0, -1.9, 0.7), WITHIN_MARGIN),
        ((-2.2, 1.0, -2.1, 0.7), UNDECIDED),
        ((np.nan, np.nan, np.nan, np.nan), ONE_UNIT),
    ],
)
def test_small_effects_are_told_from_undecided_ones(ends, verdict):
    assert judge_with_margin(*ends) == verdict
