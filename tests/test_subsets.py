"""Subsets are seeded, nested and independent of order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.subsets import SubsetError, draw_key, draw_subset

uids = st.lists(st.text(min_size=1), min_size=2, max_size=60, unique=True)


@given(uids, st.integers(0, 9), st.randoms(), st.data())
def test_nested_and_independent_of_order(names, seed, random, data):
    large = data.draw(st.integers(1, len(names)))
    small = data.draw(st.integers(1, large))
    shuffled = list(names)
    random.shuffle(shuffled)
    drawn = draw_subset(names, large, seed)
    assert drawn == draw_subset(iter(shuffled), large, seed)
    assert drawn[:small] == draw_subset(names, small, seed)
    assert drawn == sorted(names, key=lambda uid: draw_key(uid, seed))[:large]


def test_another_seed_draws_others():
    names = [str(number) for number in range(1000)]
    common = set(draw_subset(names, 100, 0)) & set(draw_subset(names, 100, 1))
    assert 0 < len(common) < 30


def test_too_many_or_repeated_images_are_errors():
    with pytest.raises(SubsetError, match="holds 2"):
        draw_subset(["a", "b"], 3, 0)
    with pytest.raises(SubsetError, match="twice"):
        draw_subset(["a", "b", "a"], 3, 0)
