"""What an interval of an effect shows."""

import math

import numpy as np
import pytest

from whyrobust.analysis.verdicts import judge_effect
from whyrobust.study.display_names import NOT_MEASURED, VERDICTS

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
