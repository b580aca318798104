"""The regularizer slot, and the moments against values worked out by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.objectives.moments import covariance, variance
from anyjepa.objectives.regularizers import RegularizerConfig, penalty, regularize

KINDS = ["variance", "vicreg", "sigreg", "visreg", "koleo"]


def vicreg(z: torch.Tensor) -> torch.Tensor:
    return penalty(RegularizerConfig(kind="vicreg"), z)


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


def test_the_weight_of_the_covariance() -> None:
    z = torch.randn(6, 3)
    found = penalty(RegularizerConfig(kind="vicreg", covariance=5.0), z)
    torch.testing.assert_close(found, variance(z) + 5 * covariance(z))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_takes_no_part(kind: str) -> None:
    tokens = 0.3 * torch.randn(5, 7, 4)
    valid = torch.arange(7) < torch.tensor([7, 3, 5, 6, 4])[:, None]
    noisy = torch.where(valid[..., None], tokens, torch.full_like(tokens, 100.0))
    for level in ("pooled", "tokens", "both"):
        config = RegularizerConfig(kind=kind, level=level)
        torch.testing.assert_close(regularize(config, tokens, valid), regularize(config, noisy, valid))
        assert not torch.isclose(regularize(config, tokens, valid), regularize(config, noisy))


@pytest.mark.parametrize("kind", KINDS)
def test_levels(kind: str) -> None:
    tokens = torch.randn(5, 7, 4)
    config = RegularizerConfig(kind=kind)
    pooled, each = penalty(config, tokens.mean(1)), penalty(config, tokens.flatten(0, 1))
    assert pooled != each
    for level, expected in (("pooled", pooled), ("tokens", each), ("both", (pooled + each) / 2)):
        torch.testing.assert_close(regularize(RegularizerConfig(kind=kind, level=level), tokens), expected)
    assert regularize(RegularizerConfig(), tokens) is None


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_one_sample_is_no_distribution(kind: str) -> None:
    z = torch.randn(1, 3, requires_grad=True)
    value = penalty(RegularizerConfig(kind=kind), z)
    value.backward()
    assert value.item() == 0 and not z.grad.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_collapsed_samples_have_finite_gradients(kind: str, at: float) -> None:
    z = torch.full((6, 4), at, requires_grad=True)
    value = penalty(RegularizerConfig(kind=kind), z)
    value.backward()
    assert value > 0.5 and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_downhill_from_nearly_collapsed_samples(kind: str) -> None:
    z = (1e-2 * torch.randn(256, 4)).requires_grad_()
    config = RegularizerConfig(kind=kind)
    value = penalty(config, z)
    value.backward()
    with torch.no_grad():
        assert penalty(config, z - 1e-3 * z.grad / z.grad.norm()) < value


@pytest.mark.parametrize("kind, moves", [("sigreg", True), ("visreg", True), ("koleo", False)])
def test_directions_follow_seed_and_step(kind: str, moves: bool) -> None:
    z, config = torch.rand(20, 6), RegularizerConfig(kind=kind, slices=8)
    first = penalty(config, z, seed=1, step=2)
    assert torch.equal(first, penalty(config, z, seed=1, step=2))
    assert torch.equal(first, regularize(config, z[:, None], seed=1, step=2))
    for seed, step in ((1, 3), (2, 2)):
        assert torch.equal(first, penalty(config, z, seed=seed, step=step)) != moves


@pytest.mark.parametrize("kind", KINDS)
def test_always_in_float32(kind: str) -> None:
    z, config = torch.randn(32, 8), RegularizerConfig(kind=kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty(config, z)
    assert found.dtype == torch.float32 and torch.equal(found, penalty(config, z))
    half = z.bfloat16()
    assert torch.equal(penalty(config, half), penalty(config, half.float()))


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(kind="sigrag"), "unknown regularizer.kind 'sigrag': did you mean 'sigreg'"),
        (dict(on="contxt"), "unknown regularizer.on 'contxt': did you mean 'context'"),
        (dict(level="token"), "unknown regularizer.level 'token': did you mean 'tokens'"),
        (dict(weight=-1.0), "regularizer.weight must be at least 0, got -1"),
        (dict(covariance=-1.0), "covariance must be at least 0"),
        (dict(slices=0), "slices must be at least 1"),
        (dict(knots=1), "knots must be at least 2"),
        (dict(t_max=0.0), "t_max must be above 0"),
    ],
)
def test_impossible_settings_are_refused(fields: dict, message: str) -> None:
    # Not by the constructor: under the tests' type checker it refuses a wrong choice before the config can.
    raw = SimpleNamespace(**(vars(RegularizerConfig()) | fields))
    with pytest.raises(ConfigError, match=message):
        RegularizerConfig.__post_init__(raw)
