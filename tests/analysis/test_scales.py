"""Transforms of accuracies and their inverses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from whyrobust.analysis.scales import SCALES, from_scale, to_scale

anywhere = st.one_of(st.floats(0, 1), st.just(float("nan")))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", SCALES)
@given(values=hnp.arrays(float, st.integers(0, 5), elements=anywhere))
def test_scales_are_undone_by_their_inverse(scale, values):
    np.testing.assert_allclose(from_scale(to_scale(values, scale), scale), values, rtol=1e-6, atol=1e-12)


def test_scales_have_their_textbook_values():
    values = np.array([0, 0.2, 0.5, 1, np.nan])
    np.testing.assert_allclose(to_scale(values, "logit"), [-np.inf, np.log(0.25), 0, np.inf, np.nan], atol=1e-15)
    np.testing.assert_allclose(
        to_scale(values, "probit"), [-np.inf, scipy.stats.norm.ppf(0.2), 0, np.inf, np.nan], atol=1e-15
    )
    with pytest.raises(ValueError, match="divide them by 100"):
        to_scale([50.0], "logit")
    with pytest.raises(ValueError, match="logit, probit, linear"):
        to_scale([0.5], "log")
