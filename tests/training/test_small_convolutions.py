"""Convolutions whose filters have their gradient from a matrix product, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from whyrobust.training import small_convolutions
from whyrobust.training.small_convolutions import Convolution, gradient_of_filters

SHAPES = st.tuples(st.integers(1, 3), st.sampled_from([1, 3, 5]), st.integers(1, 3), st.integers(0, 2))


@given(shape=SHAPES, height=st.integers(5, 9), width=st.integers(5, 9), last=st.booleans())
def test_the_gradient_of_filters_is_torchs(shape, height, width, last):
    batch, side, stride, padding = shape
    order = torch.channels_last if last else torch.contiguous_format
    images = torch.randn(batch, 4, height, width, dtype=torch.float64).contiguous(memory_format=order)
    filters = torch.randn(6, 4, side, side, dtype=torch.float64, requires_grad=True)
    results = nn.functional.conv2d(images, filters, stride=stride, padding=padding)
    above = torch.randn_like(results)
    (expected,) = torch.autograd.grad(results, filters, above)
    assert torch.allclose(gradient_of_filters(images, above, side, stride, padding), expected)


@pytest.fixture
def products(monkeypatch):
    """Count the gradients that come from a product of two matrices."""
    shapes = []

    def count(images, *rest):
        shapes.append(tuple(images.shape))
        return gradient_of_filters(images, *rest)

    monkeypatch.setattr(small_convolutions, "gradient_of_filters", count)
    return shapes


def passes(convolution, images, in_16_bits):
    """Return the results, and the gradients of images and filters."""
    images = images.clone().requires_grad_()
    convolution.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_16_bits):
        results = convolution(images)
    results.float().square().sum().backward()
    return results, images.grad, convolution.weight.grad.clone()


@pytest.mark.parametrize(
    ("image_side", "side", "stride", "is_small"),
    [(8, 3, 2, True), (9, 3, 2, False), (4, 3, 1, True), (5, 3, 1, False), (7, 1, 2, True), (9, 1, 2, False)],
)
def test_small_images_in_16_bits_have_it_and_all_others_are_torchs(products, image_side, side, stride, is_small):
    torch.manual_seed(0)
    ours = Convolution(16, 24, side, stride, padding=side // 2).to(memory_format=torch.channels_last)
    torchs = nn.Conv2d(16, 24, side, stride, padding=side // 2, bias=False).to(memory_format=torch.channels_last)
    torchs.load_state_dict(ours.state_dict())
    images = torch.randn(32, 16, image_side, image_side).contiguous(memory_format=torch.channels_last)
    for one, other in zip(passes(ours, images, False), passes(torchs, images, False), strict=True):
        assert torch.equal(one, other)
    assert not products
    results, of_images, of_filters = passes(ours, images, True)
    expected, images_expected, filters_expected = passes(torchs, images, True)
    assert len(products) == is_small
    assert results.dtype == torch.bfloat16 and of_filters.dtype == of_images.dtype == torch.float32
    assert torch.equal(results, expected) and torch.equal(of_images, images_expected)
    assert torch.allclose(of_filters, filters_expected, rtol=0.02, atol=0.02 * filters_expected.abs().max().item())
    # The initial values are those of torch's module, whose random numbers a seed decides.
    torch.manual_seed(3)
    drawn = Convolution(16, 24, side, stride, padding=1).weight
    torch.manual_seed(3)
    assert torch.equal(drawn, nn.Conv2d(16, 24, side, stride, padding=1, bias=False).weight)


def test_images_that_need_no_gradient_have_none(products):
    convolution = Convolution(3, 8, 3, 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        results = convolution(torch.rand(4, 3, 8, 8))
    results.float().sum().backward()
    assert len(products) == 1 and convolution.weight.grad.isfinite().all()
