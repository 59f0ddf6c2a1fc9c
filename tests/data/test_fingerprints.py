"""Fingerprints of drawings equal a plain reference, and exact hashes tell copies from others."""

import math

import numpy as np
import pytest

from tests.drawn_shapes import blobs, canvas_of, on_canvas
from whyrobust.data.fingerprints import exact_hashes, fingerprint_drawings


def plain_normalise(image: np.ndarray) -> np.ndarray:
    """Do what fingerprint_drawings does, slowly: each target pixel is sampled by the triangle filter by hand."""
    darkness = [[math.sqrt(sum((255.0 - float(c)) ** 2 for c in pixel) / 3) for pixel in row] for row in image]
    peak = max(max(row) for row in darkness)
    if peak == 0:
        return np.zeros((16, 16))
    ys = [y for y, row in enumerate(darkness) if max(row) > 0.15 * peak]
    xs = [x for x in range(len(darkness[0])) if max(row[x] for row in darkness) > 0.15 * peak]
    top, left = ys[0], xs[0]
    height, width = ys[-1] - top + 1, xs[-1] - left + 1
    to_height, to_width = (2 * max(1, round(side * 14 / max(width, height) / 2)) for side in (height, width))

    def weights(length: int, to_length: int, index: int) -> list[float]:
        ratio = length / to_length
        reach = max(1.0, ratio)
        centre = (index + 0.5) * ratio
        raw = [max(0.0, 1.0 - abs(position + 0.5 - centre) / reach) for position in range(length)]
        return [value / sum(raw) for value in raw]

    result = [[0.0] * 16 for _ in range(16)]
    for i in range(to_height):
        for j in range(to_width):
            wy, wx = weights(height, to_height, i), weights(width, to_width, j)
            total = 0.0
            for y in range(height):
                for x in range(width):
                    total += wy[y] * wx[x] * darkness[top + y][left + x]
            result[(16 - to_height) // 2 + i][(16 - to_width) // 2 + j] = total
    mean = sum(map(sum, result)) / 256
    centred = [[value - mean for value in row] for row in result]
    length = math.sqrt(sum(value * value for row in centred for value in row))
    return np.array(centred) / length


def test_fingerprints_equal_a_plain_reference():
    images = [on_canvas(image, 20, 5, 9, 40) for image in blobs(3, seed=1)]
    wide = np.full((40, 40, 3), 255, np.uint8)
    wide[10:16, 3:33] = (200, 40, 0)
    images.append(wide)
    images.append(np.full((40, 40, 3), 255, np.uint8))
    fingerprints = fingerprint_drawings(np.stack(images))
    assert fingerprints.dtype == np.float32
    for image, found in zip(images, fingerprints, strict=True):
        np.testing.assert_allclose(found, plain_normalise(image), atol=2e-4)


def test_a_fingerprint_does_not_depend_on_its_neighbours_or_on_position():
    images = canvas_of(blobs(5, seed=2))
    together = fingerprint_drawings(images)
    for index in range(5):
        np.testing.assert_array_equal(fingerprint_drawings(images[index : index + 1])[0], together[index])
    moved = np.stack([on_canvas(image, 24, 24, 0) for image in blobs(5, seed=2)])
    np.testing.assert_allclose(fingerprint_drawings(moved), together, atol=1e-6)


def test_yellow_is_foreground_and_its_inner_drawing_counts():
    face = np.full((1, 32, 32, 3), 255, np.uint8)
    face[0, 4:28, 4:28] = (255, 220, 0)
    eyes = face.copy()
    eyes[0, 8:14, 8:12] = eyes[0, 8:14, 20:24] = 0
    fingerprints = fingerprint_drawings(np.concatenate([face, eyes]))
    assert abs(np.linalg.norm(fingerprints[0]) - 1) < 1e-5
    assert float((fingerprints[0] * fingerprints[1]).sum()) < 0.97


@pytest.mark.parametrize("pixels", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32)])
def test_wrong_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match="uint8"):
        fingerprint_drawings(pixels)


def test_exact_hashes_tell_copies_from_others():
    images = canvas_of(blobs(40, seed=4))
    hashes = exact_hashes(fingerprint_drawings(images))
    assert len(set(hashes)) == 40
    moved = np.roll(images, (3, -2), axis=(1, 2))
    assert exact_hashes(fingerprint_drawings(moved)) == hashes
    assert exact_hashes(fingerprint_drawings(images[:, :, ::-1])) != hashes
