"""KoLeo by hand."""

import math

import pytest
import torch

from anyjepa.objectives.koleo import koleo


def on_circle(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_by_hand():
    """Angles 0, 60, 150: nearest are 1, 0, 1; a chord is 2 sin(angle / 2). Lengths do not count."""
    z = on_circle(0, 60, 150) * torch.tensor([[1.0], [5.0], [0.2]])
    expected = -(2 * math.log(1.0) + math.log(2 * math.sin(math.pi / 4))) / 3
    assert koleo(z).item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_parts_neighbours():
    z = on_circle(0, 10, 180).requires_grad_()
    koleo(z).backward()
    assert (
        z.grad[0, 1] > 0 and z.grad[1] @ torch.tensor([0.0, 1.0]) < 0
    )  # downhill: 0 turns back, 10 turns on


def test_gradient_against_differences():
    assert torch.autograd.gradcheck(koleo, torch.randn(6, 4, dtype=torch.float64).requires_grad_())


def test_more_samples_than_one_block_of_products():
    z = torch.randn(1500, 3, dtype=torch.float64)
    unit = z / z.norm(dim=1, keepdim=True)
    apart = (unit[:, None] - unit[None]).norm(dim=2).fill_diagonal_(torch.inf)
    torch.testing.assert_close(koleo(z), -(apart.min(1).values + 1e-8).log().mean())
