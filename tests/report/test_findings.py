"""What the page says follows from the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from whyrobust.report.findings import answer_sentences, headline


def table(**shifts):
    rows = [
        {
            "cause": "training_distribution",
            "comparison": "web instead of studio",
            "shift": shift,
            "pairs": 3,
            "seeds": 3,
        }
        | {"effect_points": effect, "low_points": low, "high_points": high, "holds_fixed": "all else"}
        | {"verdict": "raises" if low > 0 else "lowers" if high < 0 else "undecided" if low <= high else "no interval"}
        for shift, (effect, low, high) in shifts.items()
    ]
    return pd.DataFrame(rows)


def test_a_clear_effect_is_named_with_its_direction():
    up = table(v2=(5.0, 3.0, 7.0), sketch=(4.0, 1.0, 7.0), objects=(0.5, -2.0, 3.0))
    ((cause, (sentence,)),) = answer_sentences(up).items()
    assert cause == "Training distribution"
    assert "raises it on v2, sketch" in sentence and "undecided on objects" in sentence
    assert "+3.2 points on average" in sentence and "lowers" not in sentence
    assert "2 of 3 shifts" in headline(up)
    down = table(v2=(-5.0, -7.0, -3.0))
    (sentence,) = answer_sentences(down)["Training distribution"]
    assert "lowers it on v2" in sentence and "raises" not in sentence


def test_an_unclear_or_missing_effect_is_not_claimed():
    unclear = table(v2=(5.0, -1.0, 11.0))
    assert "undecided on v2" in answer_sentences(unclear)["Training distribution"][0]
    assert headline(unclear).startswith("No cause")
    single = table(v2=(5.0, np.nan, np.nan))
    assert "without an interval on v2" in answer_sentences(single)["Training distribution"][0]
    assert headline(single).startswith("No cause could be judged")
    missing = table(v2=(np.nan, np.nan, np.nan))
    assert "not measured" in answer_sentences(missing)["Training distribution"][0]
    assert answer_sentences(missing.iloc[:0]) == {}


def test_the_headline_is_about_the_first_comparison_of_each_cause():
    other = table(v2=(50.0, 40.0, 60.0)).assign(comparison="a side issue")
    assert "web instead of studio" in headline(pd.concat([table(v2=(5.0, 3.0, 7.0)), other]))


def test_the_headline_counts_the_other_causes():
    clear, unclear = table(v2=(5.0, 3.0, 7.0)), table(v2=(1.0, -3.0, 5.0))
    named = [clear, *(unclear.assign(cause=f"cause_{number}") for number in (1, 2))]
    assert headline(named[0]).endswith("points, clear on 1 of 1 shift).")
    assert headline(pd.concat(named[:2])).endswith("; the other one has no clear effect on most shifts.")
    assert headline(pd.concat(named)).endswith("; none of the other 2 has a clear effect on most shifts.")
    both = pd.concat([clear, clear.assign(cause="cause_1", effect_points=4.0), named[2]])
    assert "of the other 2, the cause 1 (" in headline(both) and headline(both).endswith(" has a clear effect too.")
    assert "; the cause 1 (" in headline(both[both["cause"] != "cause_2"])
