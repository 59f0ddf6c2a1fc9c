"""The split by drawing: no drawing on both sides, whatever else is in the table."""

import pandas as pd
import pytest

from whyrobust.data.split_by_drawing import is_held_out, split_by_drawing


def test_no_group_is_on_both_sides_and_the_share_is_met():
    records = pd.DataFrame({"group": [f"g{i // 3}" for i in range(6000)]})
    stay, held_out = split_by_drawing(records, 0.2, 1)
    assert set(stay["group"]).isdisjoint(held_out["group"])
    assert len(stay) + len(held_out) == 6000
    assert 0.17 < held_out["group"].nunique() / 2000 < 0.23
    assert sorted([*stay.index, *held_out.index]) == list(range(6000))


def test_the_split_depends_on_the_seed_and_not_on_the_other_records():
    groups = [f"g{i}" for i in range(200)]
    chosen = [{g for g in groups if is_held_out(g, 0.5, seed)} for seed in (0, 1)]
    assert chosen[0] != chosen[1]
    half = pd.DataFrame({"group": groups[::-2]})
    assert set(split_by_drawing(half, 0.5, 0)[1]["group"]) == chosen[0] & set(groups[::-2])


def test_shares_at_the_ends_and_beyond():
    records = pd.DataFrame({"group": ["a", "b"]})
    assert len(split_by_drawing(records, 0.0)[1]) == 0
    assert len(split_by_drawing(records, 1.0)[0]) == 0
    assert [len(part) for part in split_by_drawing(records[:0])] == [0, 0]
    with pytest.raises(ValueError, match=r"1\.5"):
        split_by_drawing(records, 1.5)
