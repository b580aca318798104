"""The predictor against a plain one without its savings, and the independences of the method."""

import pytest
import torch
from torch import Tensor

from anyjepa.contract import Layout
from anyjepa.nn.positions import sincos_table
from anyjepa.nn.predictor import Predictor

GRID = (4, 5)
CONTEXT_INDEX = torch.tensor([[0, 3, 4, 9, 12], [1, 2, 7, 8, 19]])
TARGETS = torch.tensor([[[5, 6, 10], [13, 14, 18], [6, 7, 11]], [[3, 4, 9], [10, 11, 15], [9, 14, 13]]])


@pytest.fixture(params=[1, 2, 3])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    made = Predictor(Layout(GRID), dim=12, width=16, depth=request.param, heads=2).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return made


@pytest.fixture
def context() -> Tensor:
    return torch.randn(2, 5, 12)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def plain(predictor: Predictor, context: Tensor, where: Tensor, target: Tensor) -> Tensor:
    """One target block of one sample, every token through every block."""
    table = sincos_table(GRID, 16)
    seen = predictor.embed(context) + table[where]
    asked = predictor.mask_token[0] + table[target]
    x = torch.cat((seen, asked))[None]
    for block in predictor.blocks:
        x = block(x)
    return predictor.proj(predictor.norm(x))[0, len(where) :]


@torch.no_grad()
def test_against_the_plain_form(predictor: Predictor, context: Tensor) -> None:
    out = predictor(context, CONTEXT_INDEX, TARGETS)
    assert out.shape == (2, 3, 3, 12)
    for b in range(2):
        for m in range(3):
            close(out[b, m], plain(predictor, context[b], CONTEXT_INDEX[b], TARGETS[b, m]))


@torch.no_grad()
def test_blocks_in_one_call_equal_one_call_each(predictor: Predictor, context: Tensor) -> None:
    together = predictor(context, CONTEXT_INDEX, TARGETS)
    for m in range(3):
        close(together[:, m : m + 1], predictor(context, CONTEXT_INDEX, TARGETS[:, m : m + 1]))


@torch.no_grad()
def test_order_of_the_context_does_not_matter(predictor: Predictor, context: Tensor) -> None:
    order = torch.tensor([3, 0, 4, 2, 1])
    out = predictor(context, CONTEXT_INDEX, TARGETS)
    close(predictor(context[:, order], CONTEXT_INDEX[:, order], TARGETS), out)
    assert (predictor(context[:, order], CONTEXT_INDEX, TARGETS) - out).abs().max() > 1e-3  # but places do


@torch.no_grad()
def test_order_of_the_targets_is_that_of_the_predictions(predictor: Predictor, context: Tensor) -> None:
    out = predictor(context, CONTEXT_INDEX, TARGETS)
    close(predictor(context, CONTEXT_INDEX, TARGETS.flip(2)), out.flip(2))
    close(predictor(context, CONTEXT_INDEX, TARGETS.flip(1)), out.flip(1))


@torch.no_grad()
def test_blocks_do_not_see_each_other(predictor: Predictor, context: Tensor) -> None:
    changed = TARGETS.clone()
    changed[:, 1] = torch.tensor([0, 1, 2])
    before, after = predictor(context, CONTEXT_INDEX, TARGETS), predictor(context, CONTEXT_INDEX, changed)
    close(after[:, [0, 2]], before[:, [0, 2]])
    assert (after[:, 1] - before[:, 1]).abs().max() > 1e-3


@torch.no_grad()
def test_padding_is_invisible(predictor: Predictor, context: Tensor) -> None:
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])
    out = predictor(context, CONTEXT_INDEX, TARGETS, valid=valid)
    close(out[:1], predictor(context[:1], CONTEXT_INDEX[:1], TARGETS[:1]))
    close(out[1:], predictor(context[1:, :3], CONTEXT_INDEX[1:, :3], TARGETS[1:]))
    filled = context.clone()
    filled[1, 3:] = 1e3
    moved = CONTEXT_INDEX.clone()
    moved[1, 3:] = 0
    close(predictor(filled, moved, TARGETS, valid=valid), out)


def test_gradients_equal_those_of_the_plain_form(predictor: Predictor, context: Tensor) -> None:
    """The savings leave the gradients alone, those of the context included."""

    def gradients(loss: Tensor, x: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, [x, *predictor.parameters()]))

    x = context.clone().requires_grad_()
    weights = torch.randn(2, 3, 3, 12)
    fast = gradients((predictor(x, CONTEXT_INDEX, TARGETS) * weights).sum(), x)
    slow = sum(
        (plain(predictor, x[b], CONTEXT_INDEX[b], TARGETS[b, m]) * weights[b, m]).sum()
        for b in range(2)
        for m in range(3)
    )
    for one, other in zip(fast, gradients(slow, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_trainable_parameters() -> None:
    """D P + P + P + L (12 P^2 + 13 P) + 2 P + P D + D; the table is neither trained nor saved."""
    d, p, depth = 12, 16, 3
    made = Predictor(Layout(GRID), dim=d, width=p, depth=depth, heads=2)
    expected = d * p + p + p + depth * (12 * p * p + 13 * p) + 2 * p + p * d + d
    assert sum(x.numel() for x in made.parameters()) == expected
    assert sum(x.numel() for x in made.state_dict().values()) == expected


def test_positions_can_be_a_module(predictor: Predictor, context: Tensor) -> None:
    class Table(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = torch.nn.Parameter(sincos_table(GRID, 16))

        def whole(self) -> Tensor:
            return self.rows

    layout, depth = Layout(GRID), len(predictor.blocks)
    other = Predictor(layout, dim=12, width=16, depth=depth, heads=2, positions=Table()).eval()
    other.load_state_dict(predictor.state_dict() | {"positions.rows": sincos_table(GRID, 16)})
    out = other(context, CONTEXT_INDEX, TARGETS)
    close(out, predictor(context, CONTEXT_INDEX, TARGETS))
    out.sum().backward()
    used = torch.cat((CONTEXT_INDEX.flatten(), TARGETS.flatten())).unique()
    assert (other.positions.rows.grad[used].abs().sum(1) > 0).all()
