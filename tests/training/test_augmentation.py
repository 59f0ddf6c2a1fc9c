"""Augmentations against torchvision's functions, and what must hold of any of them."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as reference

from whyrobust.data.preprocessing import WHITE_PAGE_MEAN, WHITE_PAGE_STD
from whyrobust.training import augmentation
from whyrobust.training.augmentation import (
    blur,
    change_brightness,
    change_contrast,
    change_saturation,
    crop_boxes,
    draw_boxes,
    draw_colours,
    draw_moves,
    draw_simclr_view,
    move_drawings,
    to_grey,
    turn_hue,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shift_zoom_flip(images, *how):
    return move_drawings(images, draw_moves(len(images), *how))


def random_resized_crop(images, *how):
    return crop_boxes(images, draw_boxes(len(images), *how))


def jitter_colours(colours, strength, generator):
    return augmentation.jitter_colours(colours, draw_colours(len(colours), strength, colours.shape[-1], generator))


def simclr_view(images, min_crop_area, flip, strength, generator, mean, std):
    changes = draw_simclr_view(len(images), min_crop_area, flip, strength, images.shape[-1], generator)
    return augmentation.simclr_view(images, changes, mean, std)


def test_nothing_asked_for_changes_nothing_and_new_page_is_white():
    images = torch.randn(3, 3, 16, 16)
    assert torch.allclose(shift_zoom_flip(images, 0.0, 1.0, 0.0, False, seeded()), images, atol=1e-5)
    ink = shift_zoom_flip(torch.full((20, 3, 16, 16), -2.0), 0.5, 1.2, 0.0, True, seeded())
    assert ink.max() == 0.0 and ink.min() == pytest.approx(-2.0)


def test_a_whole_crop_changes_little_and_a_small_one_enlarges():
    images = torch.rand(4, 3, 32, 32)
    whole = random_resized_crop(images, 1.0, False, seeded())
    assert whole.shape == images.shape
    # A box as large as the image can only be narrower, never smaller: its content stays inside the image's range.
    assert whole.min() >= images.min() and whole.max() <= images.max()
    checks = (torch.arange(32) % 2).float().expand(200, 3, 32, 32)
    # Enlarging a fine pattern leaves fewer changes along a row.
    changes = random_resized_crop(checks, 0.08, False, seeded())[:, 0, 16].diff(dim=1).sign().diff(dim=1).ne(0).sum(1)
    assert changes.float().mean() < 25 and changes.max() <= 31


def test_hue_and_grey_are_torchvisions():
    colours = torch.rand(6, 3, 8, 8, generator=seeded())
    turns = torch.tensor([0.0, 0.1, -0.2, 0.5, 0.33, -0.07])
    found = turn_hue(colours, turns)
    for image, turn, changed in zip(colours, turns.tolist(), found, strict=True):
        assert torch.allclose(changed, reference.adjust_hue(image, turn), atol=2e-3)
    assert torch.allclose(to_grey(colours), reference.rgb_to_grayscale(colours), atol=1e-5)
    white = torch.ones(2, 3, 4, 4)
    assert torch.equal(turn_hue(white, torch.tensor([0.3, 0.1])), white)


@pytest.mark.parametrize(
    ("change", "torchvisions"),
    [
        (change_brightness, reference.adjust_brightness),
        (change_contrast, reference.adjust_contrast),
        (change_saturation, reference.adjust_saturation),
    ],
)
def test_each_image_has_its_own_factor_and_torchvisions_colours(change, torchvisions):
    colours = torch.rand(5, 3, 8, 8, generator=seeded())
    factors = torch.tensor([0.0, 0.6, 1.0, 1.4, 1.8])
    for image, factor, changed in zip(colours, factors.tolist(), change(colours, factors), strict=True):
        assert torch.allclose(changed, torchvisions(image, factor), atol=1e-5)


def test_blur_is_torchvisions_with_one_width_an_image():
    colours = torch.rand(4, 3, 64, 64, generator=seeded())
    sigmas = torch.tensor([0.1, 0.5, 1.0, 2.0])
    for image, sigma, blurred in zip(colours, sigmas.tolist(), blur(colours, sigmas), strict=True):
        assert torch.allclose(blurred, reference.gaussian_blur(image, [7, 7], [sigma, sigma]), atol=1e-5)


@pytest.mark.parametrize(("side", "smoothed"), [(32, 0.0), (63, 0.0), (64, 0.5)])
def test_half_of_large_images_are_blurred_and_none_of_small_ones(side, smoothed, monkeypatch):
    monkeypatch.setattr("whyrobust.training.augmentation.blur", lambda colours, _: torch.zeros_like(colours))
    views = simclr_view(torch.zeros(300, 3, side, side), 0.08, True, 0.0, seeded(), WHITE_PAGE_MEAN, WHITE_PAGE_STD)
    assert (views == -2.0).all(dim=3).all(dim=2).all(dim=1).float().mean() == pytest.approx(smoothed, abs=0.1)


def test_jitter_by_nothing_leaves_colours_or_makes_them_grey():
    colours = torch.rand(400, 3, 4, 4, generator=seeded())
    found = jitter_colours(colours, 0.0, seeded(1))
    same = (found - colours).abs().amax(dim=(1, 2, 3)) < 1e-5
    grey = (found - to_grey(colours)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (same | grey).all()
    assert grey.float().mean() == pytest.approx(0.2, abs=0.06)
    strong = jitter_colours(colours, 1.0, seeded(1))
    untouched = (strong - colours).abs().amax(dim=(1, 2, 3)) < 1e-6
    # 20 % are not jittered, of which 80 % are not made grey.
    assert untouched.float().mean() == pytest.approx(0.16, abs=0.06)
    assert strong.min() >= 0 and strong.max() <= 1


def test_views_repeat_with_their_seed_and_stay_in_range():
    images = torch.rand(16, 3, 32, 32) * 2 - 2  # white is 0, black -2
    one, two, other = (
        simclr_view(images, 0.08, True, 0.5, seeded(s), WHITE_PAGE_MEAN, WHITE_PAGE_STD) for s in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.min() >= -2 - 1e-5 and one.max() <= 1e-5


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_images_keeps_its_pixels_and_the_others_their_shifts(share):
    images = torch.randn(2000, 3, 8, 8, generator=seeded(5))
    moved = shift_zoom_flip(images, 0.2, 1.3, 0.0, True, seeded())
    found = shift_zoom_flip(images, 0.2, 1.3, share, True, seeded())

    def same(first, second):
        return (first == second).flatten(1).all(dim=1)

    plain = same(found, images) | same(found, images.flip(3))
    assert plain.float().mean() == pytest.approx(share, abs=0.04)
    assert (plain | same(found, moved)).all(), "an image that is moved is moved as without plain images"
    if share == 1.0:
        assert same(found, images).float().mean() == pytest.approx(0.5, abs=0.04)
        assert torch.equal(shift_zoom_flip(images, 0.2, 1.3, 1.0, False, seeded()), images)


def test_plain_images_are_mirrored_as_often_and_the_same_as_moved_ones():
    """An image that points right, hardly moved: told from its halves."""
    images = torch.zeros(500, 1, 8, 8).expand(500, 3, 8, 8).clone()
    images[:, :, :, 4:] = -2.0

    def mirrored(share):
        return shift_zoom_flip(images, 0.0, 1.01, share, True, seeded())[:, 0, 4, 1] < -1

    assert torch.equal(mirrored(0.0), mirrored(0.5)) and mirrored(0.5).float().mean() == pytest.approx(0.5, abs=0.08)
