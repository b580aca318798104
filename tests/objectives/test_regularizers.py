"""Regularizers against values worked out by hand."""

import math

import pytest
import torch

from anyjepa.objectives.regularizers import RegularizerConfig, covariance, regularize, variance, vicreg


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


def test_covariance_by_hand() -> None:
    # Columns a, b = 2a, c independent of both: cov(a, b) = 2 var(a).
    z = torch.tensor([[1.0, 2.0, 1.0], [-1.0, -2.0, 1.0], [1.0, 2.0, -1.0], [-1.0, -2.0, -1.0]])
    var = 4 / 3
    assert covariance(z).item() == pytest.approx(2 * (2 * var) ** 2 / 3, rel=1e-6)
    assert covariance(z[:, [0, 2]]).item() == pytest.approx(0.0, abs=1e-7)
    assert vicreg(z).item() == pytest.approx(variance(z).item() + covariance(z).item() / 25, rel=1e-6)


def test_independent_unit_features_cost_next_to_nothing() -> None:
    z = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0))
    assert vicreg(z).item() < 0.01
    assert vicreg(z[:, :1].expand(-1, 8)).item() > 0.2


def test_vicreg_gradient_against_differences() -> None:
    z = torch.randn(6, 3, dtype=torch.float64) * 0.3
    assert torch.autograd.gradcheck(vicreg, z.requires_grad_())


@pytest.mark.parametrize("kind", ["variance", "vicreg"])
def test_padding_takes_no_part(kind: str) -> None:
    tokens = torch.randn(5, 7, 4)
    valid = torch.arange(7) < torch.tensor([7, 3, 5, 6, 4])[:, None]
    noisy = torch.where(valid[..., None], tokens, torch.full_like(tokens, 100.0))
    for level in ("pooled", "tokens", "both"):
        config = RegularizerConfig(kind=kind, level=level)
        torch.testing.assert_close(regularize(config, tokens, valid), regularize(config, noisy, valid))


def test_levels() -> None:
    tokens = torch.randn(5, 7, 4)
    pooled, each = variance(tokens.mean(1)), variance(tokens.flatten(0, 1))
    for level, expected in (("pooled", pooled), ("tokens", each), ("both", (pooled + each) / 2)):
        config = RegularizerConfig(kind="variance", level=level)
        torch.testing.assert_close(regularize(config, tokens), expected)
    assert regularize(RegularizerConfig(), tokens) is None
