"""Missing cells, as pandas and numpy have them."""

import numpy as np
import pandas as pd
import pytest

from whyrobust.study.table_cells import cell_text, is_empty, is_missing


@pytest.mark.parametrize("value", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_cell_is_missing_empty_and_without_text(value):
    assert is_missing(value) and is_empty(value) and cell_text(value) == ""


@pytest.mark.parametrize(
    "value", [0, 0.0, False, "nan", "NA", ["a"], np.array([np.nan, 1.0]), np.int64(3), float("inf")]
)
def test_values_are_not_missing(value):
    assert not is_missing(value) and not is_empty(value) and cell_text(value) == str(value)


def test_empty_text_is_empty_and_not_missing():
    assert is_empty("") and not is_missing("") and is_empty(np.str_(""))
