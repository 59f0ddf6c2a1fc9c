"""What the page says follows from the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from whyrobust.report import answer_sentences, headline


def table(**shifts):
    rows = [
        {"cause": "training_distribution", "contrast": "web instead of studio", "shift": shift, "pairs": 3, "seeds": 3}
        | {"effect_points": effect, "low_points": low, "high_points": high, "holds_fixed": "all else"}
        for shift, (effect, low, high) in shifts.items()
    ]
    return pd.DataFrame(rows)


def test_a_clear_effect_is_named_with_its_direction():
    up = table(v2=(5.0, 3.0, 7.0), sketch=(4.0, 1.0, 7.0), objects=(0.5, -2.0, 3.0))
    sentence = answer_sentences(up)[0]
    assert "raises effective robustness on v2 (+5.0), sketch (+4.0)" in sentence
    assert "no clear effect on objects (+0.5)" in sentence
    assert "2 of 3 shifts" in headline(up)
    down = table(v2=(-5.0, -7.0, -3.0))
    assert "lowers" in answer_sentences(down)[0] and "raises" not in answer_sentences(down)[0]


def test_an_unclear_or_missing_effect_is_not_claimed():
    unclear = table(v2=(5.0, -1.0, 11.0))
    assert "no clear effect" in answer_sentences(unclear)[0]
    assert headline(unclear).startswith("No cause")
    missing = table(v2=(np.nan, np.nan, np.nan))
    assert "was not measured" in answer_sentences(missing)[0]
    assert "No comparison" in answer_sentences(missing.iloc[:0])[0]
