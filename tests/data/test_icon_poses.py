"""Posed icons follow from seed and uid, and stay whole and visible."""

import numpy as np
import pytest

from whyrobust.data.icon_poses import pose_on_background
from whyrobust.data.svg import DrawingError

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body: str, view: str = "0 0 20 20") -> str:
    return f'{HEAD} viewBox="{view}">{body}</svg>'


COIN = svg('<circle cx="10" cy="10" r="8" fill="#ff0"/>')


def test_a_pose_follows_from_seed_and_uid_alone():
    first = pose_on_background(COIN, 32, "a:b", 0)
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, pose_on_background(COIN, 32, "a:b", 0))
    assert (first != pose_on_background(COIN, 32, "a:c", 0)).any()
    assert (first != pose_on_background(COIN, 32, "a:b", 1)).any()


def test_a_posed_object_stays_whole_and_visible():
    # A pure blue square on backgrounds of other colours: its pixels can be counted.
    square = svg('<rect x="4" y="4" width="12" height="12" fill="#00f"/>')
    angles = set()
    for number in range(60):
        pixels = pose_on_background(square, 64, f"s:{number}", 5).astype(int)
        blue = (pixels[:, :, 2] > 245) & (pixels[:, :, 0] < 10) & (pixels[:, :, 1] < 10)
        side = np.sqrt(blue.sum()) / 64
        assert 0.50 < side < 0.92
        around = pixels[~blue].mean(axis=0)
        assert np.abs(around - [0, 0, 255]).mean() / 255 > 0.2
        angles.add(int(blue.any(axis=0).sum()) - round(side * 64) > 4)
    assert angles == {True, False}  # some turned visibly, some hardly


def test_a_pose_takes_pixels_with_transparency():
    rgba = np.zeros((10, 10, 4), np.uint8)
    with pytest.raises(DrawingError, match="transparent"):
        pose_on_background(rgba, 16, "u", 0)
    rgba[2:8, 2:8] = (255, 0, 0, 255)
    assert pose_on_background(rgba, 16, "u", 0).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="RGBA"):
        pose_on_background(rgba[:, :, :3], 16, "u", 0)
