"""Views of a source: each filter against what it says, and the draws that follow."""

import collections

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.data.test_nearest_images import fingerprints
from whyrobust.data.decontamination import KEPT_SCHEMA
from whyrobust.data.grey_images import is_grey, turn_grey
from whyrobust.data.subsets import SubsetError
from whyrobust.data.views import ComparedSet, draw_sets, draw_view, filter_view, has_colour, nearer_than
from whyrobust.files import write_table


def kept_images(number=60):
    """Return a table of images of six sets by three teams, in fifteen drawings and four classes."""
    frame = pd.DataFrame(
        {
            "uid": [f"i{row}" for row in range(number)],
            "label": [None if row % 10 == 9 else f"c{row % 4}" for row in range(number)],
            "group": [f"g{row % 15}" for row in range(number)],
            "collection": [f"set{row % 6}" for row in range(number)],
        }
    )
    return pa.Table.from_pandas(frame, KEPT_SCHEMA, preserve_index=False)


TEAMS = {f"set{number}": f"team{number // 2}" for number in range(6)}


def filtered(kept, compared=None, shifts=(), pixels=None, **settings):
    return filter_view(kept, {"of": "web", **settings}, TEAMS, lambda: pixels, compared or {}, shifts)


def test_a_view_has_only_the_sets_it_names_and_none_of_those_it_is_without():
    kept = kept_images()
    assert set(filtered(kept, sets=["set1", "set4"])["collection"].to_pylist()) == {"set1", "set4"}
    without = filtered(kept, without=["team1", "set0"])
    assert set(without["collection"].to_pylist()) == {"set1", "set4", "set5"}
    assert without["uid"].to_pylist() == [
        uid
        for uid, name in zip(kept["uid"].to_pylist(), kept["collection"].to_pylist(), strict=True)
        if name in ("set1", "set4", "set5")
    ]
    with pytest.raises(SubsetError, match="none of the 60"):
        filtered(kept, without=["team0", "team1", "team2"])


def test_an_image_has_colour_if_a_pixel_is_not_grey():
    pixels = np.full((4, 8, 8, 3), 255, dtype=np.uint8)
    pixels[0, 2, 2] = (10, 10, 10)
    pixels[1, 2, 2] = (100, 110, 116)
    pixels[2, 2, 2] = (100, 110, 117)
    pixels[3, 2, 2] = (255, 255, 0)
    assert has_colour(pixels).tolist() == [False, False, True, True]
    kept = kept_images(4)
    assert filtered(kept, pixels=pixels, colour="none")["uid"].to_pylist() == ["i0", "i1"]
    assert filtered(kept, colour="grey") == kept


def test_grey_is_the_luminance_of_pillow():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 7, 3), dtype=np.uint8)
    grey = turn_grey(pixels)
    assert grey.shape == pixels.shape and grey.dtype == np.uint8
    for image, plain in zip(grey, pixels, strict=True):
        expected = np.asarray(Image.fromarray(plain).convert("L"), dtype=int)
        assert (image == image[..., :1]).all()
        assert np.abs(image[..., 0].astype(int) - expected).max() <= 1
    assert not has_colour(grey).any()


def test_images_nearer_to_a_shift_than_another_source_are_left_out():
    train, other, test = fingerprints(0, 60), fingerprints(1, 20), fingerprints(2, 6)
    test[3] = 0.7 * train[7] + 0.3 * test[3]
    test[4] = 0.7 * train[8][:, ::-1] + 0.3 * test[4]
    test[5] = 0.7 * train[9] + 0.7 * other[2]
    test /= np.linalg.norm(test, axis=(1, 2), keepdims=True)
    rows = np.arange(1, 60)
    left = np.array([2, 3, 4, 5])

    def similarity(image, shown):
        return max(float((image * shown).sum()), float((image[:, ::-1] * shown).sum()))

    limits = np.array([max(similarity(other[row], shown) for row in left) for shown in test])
    expected = [
        any(similarity(train[row], shown) > limit for shown, limit in zip(test, limits, strict=True)) for row in rows
    ]
    assert nearer_than(train[rows], test, limits.astype(np.float32)).tolist() == expected
    assert expected[6] and expected[7] and not all(expected)
    compared = {
        "web": ComparedSet(train, rows),
        "studio": ComparedSet(other, left),
        "a": ComparedSet(test, np.arange(4)),
        "b": ComparedSet(test, np.array([4, 5])),
    }
    kept = kept_images().slice(1)
    view = filtered(kept, compared, ("a", "b"), nearest_to_shifts_at_most="studio")
    assert view["uid"].to_pylist() == [f"i{row}" for row, gone in zip(rows, expected, strict=True) if not gone]


def test_a_number_of_sets_holds_enough_images_and_depends_on_the_seed():
    names = ["large"] * 50 + ["middle"] * 20 + ["small"] * 5 + ["tiny"] * 2
    chosen = [draw_sets(names, 2, 25, seed) for seed in range(30)]
    assert all(len(sets) == 2 and sum(name in sets for name in names) >= 25 for sets in chosen)
    assert all(sets != {"middle", "tiny"} for sets in chosen)
    assert len({tuple(sorted(sets)) for sets in chosen}) > 1
    assert draw_sets(names[::-1], 2, 25, 7) == chosen[7]
    with pytest.raises(SubsetError, match="5 sets asked for, the source has 4"):
        draw_sets(names, 5, 1, 0)
    with pytest.raises(SubsetError, match="the largest hold 70"):
        draw_sets(names, 2, 71, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_filters_of_a_draw_leave_what_they_say(seed):
    kept = kept_images()
    one = draw_view(kept, {"one_image_per_drawing": True}, 15, seed)
    assert len(set(one["group"].to_pylist())) == 15
    few = draw_view(kept, {"at_most_per_class": 3}, 12, seed)
    assert collections.Counter(few["label"].to_pylist()) == {f"c{number}": 3 for number in range(4)}
    sets = draw_view(kept, {"sets": {"number": 2}}, 20, seed)
    assert len(set(sets["collection"].to_pylist())) == 2
    labelled = draw_view(kept, {"colour": "none", "labelled": True}, 54, seed)
    assert labelled["label"].null_count == 0
    balanced = draw_view(kept, {"without": ["set0"], "class_balanced": True}, 8, seed)
    assert set(collections.Counter(balanced["label"].to_pylist()).values()) == {2}
    matched = draw_view(kept, {"colour": "none"}, 8, seed, reference={"c1": 3, "c2": 1})
    assert collections.Counter(matched["label"].to_pylist()) == {"c1": 6, "c2": 2}
    with pytest.raises(SubsetError, match="holds 15"):
        draw_view(kept, {"one_image_per_drawing": True}, 16, seed)


def test_subsets_of_a_view_are_nested_and_follow_the_seed():
    kept = kept_images()
    settings = {"one_image_per_drawing": True, "at_most_per_class": 4}
    large, small = (draw_view(kept, settings, size, 3)["uid"].to_pylist() for size in (12, 5))
    assert large[:5] == small
    assert draw_view(kept.take(list(range(59, -1, -1))), settings, 12, 3)["uid"].to_pylist() == large
    assert draw_view(kept, settings, 12, 4)["uid"].to_pylist() != large


def test_only_the_subset_of_a_grey_view_is_grey(tmp_path):
    for colour, expected in (("grey", True), ("none", False)):
        write_table(tmp_path / "subset.parquet", draw_view(kept_images(), {"colour": colour}, 5, 0))
        assert is_grey(tmp_path / "subset.parquet") is expected
