"""The variance hinge against values worked out by hand."""

import math

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.objectives.regularizers import regularizer, variance


def test_hand_values() -> None:
    # Unbiased variances of the columns: 0.5, 0, 8.
    z = torch.tensor([[0.0, 3.0, 1.0], [1.0, 3.0, 5.0]])
    expected = ((1 - math.sqrt(0.5 + 1e-4)) + (1 - math.sqrt(1e-4)) + 0) / 3
    assert variance(z).item() == pytest.approx(expected, abs=1e-6)
    assert variance(z, floor=0.5).item() == pytest.approx((0.5 - 0.01) / 3, abs=1e-6)


def test_spread_features_cost_nothing() -> None:
    z = torch.tensor([[-2.0, 3.0], [2.0, -3.0]], requires_grad=True)
    value = variance(z)
    value.backward()
    assert value.item() == 0 and not z.grad.any()


def test_gradient_by_hand() -> None:
    """d/dz of 1 - sqrt(var + eps) is -(z - mean) / ((S - 1) sqrt(var + eps)): it drives samples apart."""
    z = torch.tensor([[0.0], [0.4], [0.5]], requires_grad=True)
    variance(z).backward()
    centred = z.detach() - z.detach().mean()
    spread = centred.square().sum() / 2
    torch.testing.assert_close(z.grad, -centred / (2 * torch.sqrt(spread + 1e-4)))


def test_gradient_against_differences() -> None:
    z = torch.randn(5, 3, dtype=torch.float64) * 0.3
    assert torch.autograd.gradcheck(variance, z.requires_grad_())


def test_collapsed_features_have_a_finite_gradient() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    value = variance(z)
    value.backward()
    assert value.item() == pytest.approx(0.99, abs=1e-6) and torch.isfinite(z.grad).all()


def test_one_sample_has_no_variance() -> None:
    z = torch.randn(1, 3, requires_grad=True)
    value = variance(z)
    value.backward()
    assert value.item() == 0 and not z.grad.any()


def test_names() -> None:
    assert regularizer("none") is None and regularizer("variance") is variance
    with pytest.raises(ConfigError, match="unknown regularizer 'varience': did you mean 'variance'"):
        regularizer("varience")
