"""SIGReg against its formula, its expectation for normal samples and its known weakness."""

import pytest
import torch

from anyjepa.objectives.directions import random_directions
from anyjepa.objectives.sigreg import sigreg

DOUBLE = torch.float64


def plain(z, directions, knots=17, t_max=3.0):
    """The statistic written out: every angle evaluated, the whole axis integrated."""
    t = torch.linspace(-t_max, t_max, 2 * knots - 1, dtype=z.dtype)
    normal = torch.exp(-t.square() / 2)
    angles = (z @ directions)[:, :, None] * t
    squared = (angles.cos().mean(0) - normal).square() + angles.sin().mean(0).square()
    return len(z) * torch.trapezoid(squared * normal, t, dim=-1).mean()


@pytest.mark.parametrize("knots, t_max", [(17, 3.0), (2, 1.0), (33, 5.0)])
def test_it_is_the_formula(knots, t_max):
    z, directions = 2 * torch.randn(50, 6) + 1, random_directions(6, 20)
    expected = plain(z.double(), directions.double(), knots, t_max)
    found = sigreg(z, directions, knots=knots, t_max=t_max)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_its_gradient_is_that_of_the_formula():
    z = torch.randn(30, 5, dtype=DOUBLE, requires_grad=True)
    directions = random_directions(5, 9).double()
    (found,) = torch.autograd.grad(sigreg(z, directions), z)
    (expected,) = torch.autograd.grad(plain(z, directions), z)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda x: sigreg(x, directions, knots=5), z)


def test_expectation_for_normal_samples():
    """n E|ecf - phi|^2 = 1 - phi^2, whatever n."""
    t = torch.linspace(-3, 3, 33, dtype=DOUBLE)
    expected = torch.trapezoid((1 - torch.exp(-t.square())) * torch.exp(-t.square() / 2), t).item()
    generator, directions = torch.Generator().manual_seed(0), random_directions(16, 256)
    for n in (8, 200):
        values = [sigreg(torch.randn(n, 16, generator=generator), directions) for _ in range(200)]
        error = torch.stack(values).std().item() / 200**0.5
        assert torch.stack(values).mean().item() == pytest.approx(expected, abs=4 * error)
        assert error < 0.02 * expected


def test_a_wrong_mean_scale_or_shape_costs_more():
    directions = random_directions(4, 256)
    normal = torch.randn(2000, 4)
    good = sigreg(normal, directions)
    for wrong in (normal + 0.5, 2 * normal, 0.5 * normal, normal[:, :1].expand(-1, 4), normal.sign()):
        assert sigreg(wrong, directions) > 10 * good


def test_collapsed_samples_cost_the_closed_form_and_move_together():
    """z = 0: n times the integral of (1 - phi)^2 phi. The gradients of equal samples are equal: none leaves the others."""
    directions = random_directions(4, 16).double()
    t = torch.linspace(-3, 3, 33, dtype=DOUBLE)
    phi = torch.exp(-t.square() / 2)
    zero = torch.zeros(10, 4, dtype=DOUBLE, requires_grad=True)
    value = sigreg(zero, directions)
    value.backward()
    torch.testing.assert_close(value, 10 * torch.trapezoid((1 - phi).square() * phi, t))
    assert zero.grad.abs().max() < 1e-12
    elsewhere = torch.full((10, 4), 0.7, dtype=DOUBLE, requires_grad=True)
    sigreg(elsewhere, directions).backward()
    assert elsewhere.grad.abs().max() > 1e-3
    torch.testing.assert_close(elsewhere.grad, elsewhere.grad[:1].expand(10, -1))


def test_rotations_change_nothing_on_average():
    z = torch.randn(40, 6) * torch.arange(1, 7)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6))
    directions = random_directions(6, 50_000)
    found, turned = sigreg(z, directions), sigreg(z @ rotation, directions)
    assert found.item() == pytest.approx(turned.item(), rel=0.02)
    assert sigreg(z, directions[:, :4]).item() != pytest.approx(
        sigreg(z @ rotation, directions[:, :4]).item()
    )


def test_directions_are_a_pure_function_of_seed_and_step():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = random_directions(8, 500, seed=3, step=7)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, random_directions(8, 500, seed=3, step=7))
    for other in (dict(seed=3, step=8), dict(seed=4, step=7)):
        assert (first - random_directions(8, 500, **other)).abs().max() > 0.1
    torch.testing.assert_close(first.norm(dim=0), torch.ones(500))
    # Uniform on the sphere: mean 0, second moment 1 / D.
    assert first.mean(1).abs().max() < 0.1
    torch.testing.assert_close(first @ first.T / 500, torch.eye(8) / 8, atol=0.03, rtol=0)
