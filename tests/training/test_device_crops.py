"""Crops as a GPU makes them, here on a processor, against those of torch's own kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.data.decoded_store import DecodedPhotographs
from whyrobust.data.preprocessing import Preprocessing, draw_crop_boxes, study_preprocessing
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import BatchSettings, DecodedOnce, ImageOrder
from whyrobust.training.device_crops import DeviceCrops, crops_on, resize_weights

CPU = torch.device("cpu")


def photographs_of(shapes, seed=0, buffers=2, chosen=None):
    """Return photographs of noise on a slope, in as many buffers, or those that are chosen of them."""
    random = np.random.default_rng(seed)
    images = []
    for height, width in shapes:
        slope = np.linspace(0, 180, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
        images.append((slope + random.integers(0, 36, (height, width, 3))).astype(np.uint8))
    buffer_of = np.arange(len(images)) % buffers
    flat, offsets = [[] for _ in range(buffers)], np.zeros(len(images), dtype=np.int64)
    for number, image in enumerate(images):
        offsets[number] = sum(map(len, flat[buffer_of[number]]))
        flat[buffer_of[number]].append(image.reshape(-1))
    rows = np.arange(len(images)) if chosen is None else np.array(chosen)
    held = [np.concatenate(parts) for parts in flat]
    return DecodedPhotographs(held, buffer_of[rows], offsets[rows], np.array(shapes)[rows])


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(20, 90), st.integers(20, 90)), min_size=2, max_size=6),
    size=st.sampled_from([16, 24, 40]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    seed=st.integers(0, 99),
)
def test_crops_are_those_of_threads_but_for_rounding(shapes, size, interpolation, seed):
    photographs = photographs_of(shapes, seed)
    random = np.random.default_rng(seed)
    shown = random.integers(0, len(shapes), 12)
    boxes, mirrored = draw_crop_boxes(photographs.shapes[shown], 0.1, random), torch.from_numpy(random.random(12) < 0.5)
    how = Preprocessing(size, (0.5,) * 3, (0.5,) * 3, interpolation)
    wanted = torch.empty(12, size, size, 3, dtype=torch.uint8)
    DecodedOnce(photographs, how, 1)._crop(wanted, shown, boxes)
    wanted[mirrored] = wanted[mirrored].flip(2)
    on_device = DeviceCrops(photographs, CPU)
    found = on_device.crop(on_device.places(shown, boxes, mirrored), size, interpolation)
    difference = (found.int() - wanted.int()).abs()
    assert difference.max() <= 2 and difference.float().mean() < 0.2


def test_many_crops_are_made_in_parts(monkeypatch):
    shapes = [(40, 60), (60, 40), (50, 50)]
    photographs, shown = photographs_of(shapes), np.array([0, 1, 2, 2, 1])
    boxes = draw_crop_boxes(photographs.shapes[shown], 0.3, np.random.default_rng(0))
    on_device = DeviceCrops(photographs, CPU)
    places = on_device.places(shown, boxes, torch.zeros(5, dtype=torch.bool))
    whole = on_device.crop(places, 24, "bicubic")
    monkeypatch.setattr("whyrobust.training.device_crops.PIXELS_AT_ONCE", 2 * 60 * 60)
    monkeypatch.setattr("whyrobust.training.device_crops.BYTES_AT_ONCE", 1000)
    again = DeviceCrops(photographs, CPU).crop(places, 24, "bicubic")
    assert torch.equal(whole, again)
    # Of a subset nothing else is kept.
    on_device = DeviceCrops(photographs_of(shapes, chosen=[2, 1]), CPU)
    places = on_device.places(np.array([1, 0, 0, 1]), boxes[1:], torch.zeros(4, dtype=torch.bool))
    assert torch.equal(on_device.crop(places, 24, "bicubic"), whole[1:])
    assert len(on_device._pixels) == (60 * 40 + 50 * 50) * 3


def test_weights_of_a_line_sum_to_one_and_stay_in_the_line():
    lengths = torch.tensor([1, 7, 20, 90])
    for interpolation in ("bilinear", "bicubic"):
        weights = resize_weights(lengths, 90, 20, interpolation)
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(4, 20))
        for length, of_line in zip(lengths.tolist(), weights, strict=True):
            assert not of_line[:, length:].any()
        torch.testing.assert_close(weights[2, :, :20], torch.eye(20))


@pytest.mark.parametrize(("views", "strong"), [(1, False), (2, True)])
def test_batches_are_those_of_threads_but_for_rounding(views, strong, monkeypatch):
    photographs = photographs_of([(40, 60), (60, 40), (50, 50), (70, 45)])
    augmentation = Augmentation(flip=True, min_crop_area=0.3, strong=strong)
    how = BatchSettings(views, augmentation, 5, CPU)

    def batches():
        images = DecodedOnce(photographs, study_preprocessing(24, "clip"), 2)
        order = ImageOrder(4, 8, 3, seed=5).batches()
        made = images.batches(order, how, torch.Generator().manual_seed(5))
        return torch.cat([images.finish(batch, how) for batch in made])

    by_threads = batches()
    monkeypatch.setattr("whyrobust.training.batches.crops_on", lambda images, device, _: DeviceCrops(images, device))
    on_device = batches()
    assert on_device.shape == by_threads.shape == (3 * 8 * views, 3, 24, 24)
    # A level of a pixel is 1 / 255 / 0.27 of a normalised value.
    assert (on_device - by_threads).abs().mean() < 0.01


def test_what_does_not_fit_is_cropped_by_threads(monkeypatch):
    gpu, photographs = torch.device("cuda"), photographs_of([(40, 60), (60, 40)])
    held = 2 * 40 * 60 * 3
    monkeypatch.setattr("whyrobust.training.device_crops.DeviceCrops", lambda *given: "on the device")

    assert crops_on(photographs, CPU, held) is None
    assert crops_on(photographs, gpu, held) == "on the device" and crops_on(photographs, gpu, held - 1) is None
    monkeypatch.setattr("whyrobust.training.device_crops.MOST_PIXELS_A_BOX", 56 * 56)
    assert crops_on(photographs, gpu, held) is None
