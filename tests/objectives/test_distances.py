"""Distances against their formulas."""

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.objectives.distances import DISTANCES, distance


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)


def test_formulas(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = pair
    d = (a - b).abs()
    cosines = (a * b).sum(-1) / (a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt())
    expected = {
        "smooth_l1": torch.where(d < 1, 0.5 * d * d, d - 0.5).mean(),
        "l1": d.mean(),
        "l2": (d * d).mean(),
        "cosine": (1 - cosines).mean(),
    }
    assert set(expected) == set(DISTANCES)
    for name, value in expected.items():
        torch.testing.assert_close(distance(name)(a, b), value)


@pytest.mark.parametrize("name", DISTANCES)
def test_zero_for_equals_and_smaller_downhill(name: str, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = pair
    measure = distance(name)
    assert measure(b, b).item() == pytest.approx(0.0, abs=1e-6)
    a = a.clone().requires_grad_()
    loss = measure(a, b)
    (gradient,) = torch.autograd.grad(loss, a)
    assert measure(a - 0.1 * gradient / gradient.norm(), b) < loss


def test_cosine_ignores_length() -> None:
    a = torch.randn(7, 5)
    assert distance("cosine")(3 * a, a).item() == pytest.approx(0.0, abs=1e-6)
    assert distance("cosine")(-a, a).item() == pytest.approx(2.0, abs=1e-6)


def test_smooth_l1_of_zero_against_normal_targets() -> None:
    """Expected loss at the start of a training with normalised targets: 0.4247."""
    target = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    assert distance("smooth_l1")(torch.zeros_like(target), target).item() == pytest.approx(0.4247, abs=2e-3)


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="unknown distance 'smooth_l2': did you mean 'smooth_l1'"):
        distance("smooth_l2")
