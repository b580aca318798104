"""VISReg: its three terms by hand, at the normal distribution and at collapse."""

import math
from statistics import NormalDist

import pytest
import torch

from anyjepa.objectives.directions import random_directions
from anyjepa.objectives.visreg import visreg


def test_by_hand():
    """Two samples -1 and 3 in one dimension: mean 1, deviation 2; quantiles at 1/3 and 2/3 are -q and q."""
    q = NormalDist().inv_cdf(2 / 3)
    value = visreg(torch.tensor([[3.0], [-1.0]]), torch.ones(1, 1))
    assert value.item() == pytest.approx(1 + 1 + (1 - q) ** 2, abs=1e-5)


def test_normal_samples_cost_next_to_nothing():
    z = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    directions = random_directions(4, 64)
    assert visreg(z, directions).item() < 2e-3
    for wrong in (z + 0.5, 2 * z, z.sign(), z[:, :1].expand(-1, 4)):
        assert visreg(wrong, directions).item() > 0.04


def test_scale_does_not_hide_shape_nor_place():
    """The shape is that of the standardised samples: ten times as wide, only the scale term changes."""
    z, directions = torch.randn(500, 3, dtype=torch.float64), random_directions(3, 32).double()
    z = (z - z.mean(0)) / z.std(0, correction=0)
    small, large = visreg(z, directions), visreg(10 * z, directions)
    assert (large - small).item() == pytest.approx(81.0, rel=1e-4)
    assert (visreg(z + 2, directions) - small).item() == pytest.approx(4.0, rel=1e-4)


def test_collapsed_samples_are_driven_apart():
    """Scale 1 but for eps, and a gradient that differs between equal samples: what SIGReg lacks."""
    quantiles = torch.tensor([NormalDist().inv_cdf(i / 7) for i in range(1, 7)])
    z = torch.zeros(6, 3, requires_grad=True)
    value = visreg(z, random_directions(3, 16))
    value.backward()
    expected = (1 - math.sqrt(1e-6)) ** 2 + quantiles.square().mean().item()
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(z.grad).all() and (z.grad - z.grad.mean(0)).norm() > 1
    with torch.no_grad():
        moved = z - 1e-3 * z.grad / z.grad.norm()
    assert visreg(moved, random_directions(3, 16)) < value
    assert moved.std(0).min() > 0


def test_gradient_against_differences():
    """With the sigma of the shape held, as the definition has it."""
    z, directions = torch.randn(7, 3, dtype=torch.float64), random_directions(3, 5).double()
    sigma = torch.sqrt((z - z.mean(0)).square().mean(0) + 1e-6)

    def held(x):
        quantiles = torch.special.ndtri(torch.arange(1, 8, dtype=x.dtype) / 8)[:, None]
        shape = (((x - x.mean(0)) / sigma) @ directions).sort(dim=0).values - quantiles
        deviation = torch.sqrt((x - x.mean(0)).square().mean(0) + 1e-6)
        return x.mean(0).square().mean() + (deviation - 1).square().mean() + shape.square().mean()

    z.requires_grad_()
    assert torch.autograd.gradcheck(held, z)
    torch.testing.assert_close(visreg(z, directions), held(z))
    (found,), (expected,) = (torch.autograd.grad(f, z) for f in (visreg(z, directions), held(z)))
    torch.testing.assert_close(found, expected)
