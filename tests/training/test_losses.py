"""Contrastive losses against plain double loops, and what must hold of any of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whyrobust.training.losses import nt_xent, supervised_contrastive


def by_double_loop(features, labels, temperature):
    """Khosla et al. 2020, equation 2, term by term, in double precision."""
    unit = [vector / vector.norm() for vector in features.double()]
    terms = []
    for i, anchor in enumerate(unit):
        positives = [p for p in range(len(unit)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        below = sum(math.exp(float(anchor @ unit[a]) / temperature) for a in range(len(unit)) if a != i)
        shares = [math.log(math.exp(float(anchor @ unit[p]) / temperature) / below) for p in positives]
        terms.append(-sum(shares) / len(shares))
    return sum(terms) / len(terms)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 7), st.floats(0.1, 2.0))
def test_supervised_contrastive_equals_a_double_loop(seed, images, temperature):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2 * images, 4, generator=generator)
    labels = torch.randint(0, 3, (images,), generator=generator).repeat(2)
    found = supervised_contrastive(features, labels, temperature)
    assert found.item() == pytest.approx(by_double_loop(features, labels.tolist(), temperature), rel=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_simclr_equals_a_double_loop_over_its_own_formula(seed, images):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, images, 5, generator=generator).unbind()
    views = torch.nn.functional.normalize(torch.cat([first, second]).double(), dim=1)
    total = 0.0
    for i in range(2 * images):
        below = sum(math.exp(float(views[i] @ views[k]) / 0.5) for k in range(2 * images) if k != i)
        total -= math.log(math.exp(float(views[i] @ views[(i + images) % (2 * images)]) / 0.5) / below)
    assert nt_xent(first, second, 0.5).item() == pytest.approx(total / (2 * images), rel=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.05, 2.0))
def test_order_of_images_and_length_of_features_do_not_matter(seed, images, temperature):
    generator = torch.Generator().manual_seed(seed)
    # A loss near 0 is a small difference of large numbers: in 64 bits rounding does not matter.
    features = torch.randn(2 * images, 6, generator=generator).double()
    labels = torch.randint(0, 3, (images,), generator=generator).repeat(2)
    order = torch.randperm(2 * images, generator=generator)
    whole = supervised_contrastive(features, labels, temperature).item()
    assert supervised_contrastive(features[order], labels[order], temperature).item() == pytest.approx(whole, rel=1e-4)
    assert supervised_contrastive(3 * features, labels, temperature).item() == pytest.approx(whole, rel=1e-4)
    first, second = features.chunk(2)
    order = torch.randperm(images, generator=generator)
    assert nt_xent(first[order], second[order], temperature).item() == pytest.approx(
        nt_xent(first, second, temperature).item(), rel=1e-4
    )


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_losses_fall_as_the_two_views_of_an_image_turn_towards_each_other(temperature):
    """Views of different images are at right angles throughout, so that only the agreement changes."""
    axes, labels = torch.eye(8), torch.arange(4).repeat(2)
    losses = []
    for angle in (90, 60, 30, 0):
        turn = math.radians(angle)
        second = math.cos(turn) * axes[:4] + math.sin(turn) * axes[4:]
        losses.append(nt_xent(axes[:4], second, temperature).item())
        together = supervised_contrastive(torch.cat([axes[:4], second]), labels, temperature).item()
        assert together == pytest.approx(losses[-1])
    assert losses == sorted(losses, reverse=True) and len(set(losses)) == 4


def test_equal_features_leave_guessing_among_all_others():
    same = torch.ones(10, 4)
    for labels in (torch.zeros(10, dtype=torch.long), torch.arange(5).repeat(2)):
        assert supervised_contrastive(same, labels, 0.1).item() == pytest.approx(math.log(9), rel=1e-5)


def test_an_anchor_without_a_positive_is_left_out_but_stays_in_the_others_softmax():
    features = torch.eye(3)
    loss = supervised_contrastive(features, torch.tensor([0, 0, 1]), 1.0)
    assert loss.item() == pytest.approx(math.log(2))  # each of the two chooses between its positive and the third


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 100.0])
def test_extreme_temperatures_stay_finite_with_finite_gradients(temperature):
    features = torch.randn(10, 4, requires_grad=True)
    for labels in (torch.arange(5).repeat(2), torch.zeros(10, dtype=torch.long), torch.tensor([0] * 9 + [1])):
        loss = supervised_contrastive(features, labels, temperature)
        (gradient,) = torch.autograd.grad(loss, features)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


def test_a_batch_without_a_positive_is_an_error():
    with pytest.raises(ValueError, match="two views"):
        supervised_contrastive(torch.randn(3, 2), torch.arange(3), 0.1)
