"""The three measures of how far embeddings lie apart, where they are known in closed form."""

import math

import pytest
import torch

from anyjepa.monitoring.pairs import pair_distance, pair_divergence, uniformity


def test_all_are_zero_in_a_collapse():
    z = torch.randn(1, 40).expand(6, 40)
    assert uniformity(z) == pytest.approx(0.0, abs=1e-6)
    assert pair_distance(z) == pytest.approx(0.0, abs=1e-6)
    assert pair_divergence(z) == pytest.approx(0.0, abs=1e-9)


def test_uniformity_of_orthogonal_and_of_opposite_directions():
    # Squared distance 2 of each pair, whatever the lengths
    assert uniformity(torch.diag(torch.arange(1.0, 9.0))) == pytest.approx(2 * 2.0, abs=1e-5)
    assert uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(4 * 2.0, abs=1e-5)
    two_of_three = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(two_of_three, 0.5) == pytest.approx(-math.log((1 + 2 * math.exp(-2.0)) / 3), abs=1e-5)


def test_distance_is_the_mean_over_pairs():
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert pair_distance(z) == pytest.approx((5 + 0 + 5) / 3)


def test_divergence_of_two_normal_densities():
    quantiles = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
    width = 2000**-0.2
    spread = quantiles.std() * math.sqrt(1 + width**2)
    found = pair_divergence(torch.stack((quantiles, quantiles + 0.5)), points=4000)
    assert found == pytest.approx(0.5**2 / (2 * spread.item() ** 2), rel=0.02)
    # The order of the numbers does not count.
    assert pair_divergence(torch.stack((quantiles, quantiles.flip(0)))) == pytest.approx(0.0, abs=1e-9)
