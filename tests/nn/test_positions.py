"""Positions: sin-cos tables against hand values and formula, rotary angles against what they are for."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anyjepa.nn.positions import Positions, rotary_table, rotate, sincos_table

GRIDS = [(7,), (3, 4), (2, 3, 2)]


def test_two_axes_of_width_8() -> None:
    """Hand values: the column comes first, each half holds two sines and two cosines."""
    table = sincos_table((3, 3), 8)
    s, c = math.sin(1.0), math.cos(1.0)
    s2, c2 = math.sin(0.01), math.cos(0.01)
    expected = {
        0: [0, 0, 1, 1, 0, 0, 1, 1],
        1: [s, s2, c, c2, 0, 0, 1, 1],
        3: [0, 0, 1, 1, s, s2, c, c2],
        5: [math.sin(2.0), math.sin(0.02), math.cos(2.0), math.cos(0.02), s, s2, c, c2],
    }
    assert table.shape == (9, 8)
    for token, row in expected.items():
        torch.testing.assert_close(table[token], torch.tensor(row, dtype=torch.float32), rtol=0, atol=1e-6)
    torch.testing.assert_close(table[1, :3], torch.tensor([0.8415, 0.01, 0.5403]), rtol=0, atol=5e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_table_against_the_formula(grid: tuple[int, ...]) -> None:
    dim = 12 * len(grid)
    share = 12
    strides = [math.prod(grid[i + 1 :]) for i in range(len(grid))]
    order = list(range(len(grid)))
    if len(grid) == 2:
        order.reverse()
    table = sincos_table(grid, dim)
    for token in range(math.prod(grid)):
        for slot, axis in enumerate(order):
            position = token // strides[axis] % grid[axis]
            for i in range(share // 2):
                angle = position / 10000.0 ** (i / (share / 2))
                assert table[token, slot * share + i].item() == pytest.approx(math.sin(angle), abs=1e-6)
                assert table[token, slot * share + share // 2 + i].item() == pytest.approx(
                    math.cos(angle), abs=1e-6
                )


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_are_distinct_and_shares_cut_to_the_width(grid: tuple[int, ...]) -> None:
    table = sincos_table(grid, 16)
    assert table.shape == (math.prod(grid), 16)
    distances = torch.cdist(table.double(), table.double()) + 9 * torch.eye(len(table))
    assert distances.min() > 1e-3


def test_kinds_of_positions() -> None:
    x = torch.zeros(2, 6, 8)
    fixed, learned, none = (Positions((2, 3), 8, kind) for kind in ("sincos", "learned", "none"))
    torch.testing.assert_close(fixed(x)[1], sincos_table((2, 3), 8))
    torch.testing.assert_close(learned(x)[1], learned.table)
    assert torch.equal(none(x), x)
    assert not list(fixed.parameters()) and not fixed.state_dict() and not none.state_dict()
    assert learned.table.requires_grad and set(learned.state_dict()) == {"table"}


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_positions_of_chosen_tokens(kind: str) -> None:
    positions = Positions((2, 3), 8, kind)
    keep = torch.tensor([[5, 0], [2, 3]])
    x = torch.randn(2, 2, 8)
    torch.testing.assert_close(positions(x, keep), x + positions.table[keep])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("head_dim", [12, 16, 14])
def test_rotary_scores_depend_on_differences_only(grid: tuple[int, ...], head_dim: int) -> None:
    """Pairs equally far apart have equal scores, others do not."""
    cos, sin = rotary_table(grid, head_dim)
    n = math.prod(grid)
    q, k = torch.randn(head_dim), torch.randn(head_dim)
    turned = [rotate(t.expand(1, 1, n, head_dim), (cos, sin))[0, 0] for t in (q, k)]
    scores = turned[0] @ turned[1].T
    places = torch.cartesian_prod(*(torch.arange(s) for s in grid)).reshape(n, -1)
    seen: dict[tuple[int, ...], float] = {}
    for i in range(n):
        for j in range(n):
            offset = tuple((places[i] - places[j]).tolist())
            seen.setdefault(offset, scores[i, j].item())
            assert scores[i, j].item() == pytest.approx(seen[offset], abs=1e-4)
    values = sorted(seen.values())
    assert min(b - a for a, b in itertools.pairwise(values)) > 1e-7


@pytest.mark.parametrize("grid", GRIDS)
def test_rotary_keeps_norms_and_the_origin(grid: tuple[int, ...]) -> None:
    cos, sin = rotary_table(grid, 16)
    x = torch.randn(2, 3, math.prod(grid), 16)
    y = rotate(x, (cos, sin))
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(y[:, :, 0], x[:, :, 0])
    assert not torch.allclose(y[:, :, 1], x[:, :, 1], atol=1e-3)


def test_rotary_channels_beyond_the_shares_are_left_alone() -> None:
    cos, sin = rotary_table((2, 2, 2), 16)  # three axes share 12 channels
    assert cos.shape == (8, 12)
    x = torch.randn(1, 1, 8, 16)
    assert torch.equal(rotate(x, (cos, sin))[..., 12:], x[..., 12:])


@given(position=st.integers(0, 40), channel=st.integers(0, 3))
def test_rotation_is_that_of_a_plane(position: int, channel: int) -> None:
    """Pair c of the head turns by position times 10000^(-c / pairs)."""
    x = torch.zeros(1, 1, 41, 8)
    x[..., 2 * channel] = 1.0
    y = rotate(x, rotary_table((41,), 8))[0, 0, position]
    angle = position * 10000.0 ** (-channel / 4)
    expected = torch.zeros(8)
    expected[2 * channel], expected[2 * channel + 1] = math.cos(angle), math.sin(angle)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


def test_angles_per_sample() -> None:
    cos, sin = rotary_table((5,), 8)
    x = torch.randn(2, 3, 5, 8)
    index = torch.tensor([[4, 1], [0, 3]])
    picked = torch.stack([x[b][:, index[b]] for b in range(2)])
    full = rotate(x, (cos, sin))
    expected = torch.stack([full[b][:, index[b]] for b in range(2)])
    torch.testing.assert_close(rotate(picked, (cos[index], sin[index])), expected)


def test_interleaved_positions_are_the_same_in_another_order():
    plain, mixed = sincos_table((7,), 12), sincos_table((7,), 12, interleaved=True)
    assert torch.equal(mixed[:, 0::2], plain[:, :6]) and torch.equal(mixed[:, 1::2], plain[:, 6:])
    angle = 3 * 10000 ** (-4 / 12)
    torch.testing.assert_close(mixed[3, 4:6], torch.tensor([math.sin(angle), math.cos(angle)]))
