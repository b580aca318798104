"""Attention against the formula written out, and the tokens it is asked for."""

import pytest
import torch
from torch import Tensor

from anyjepa.nn.attention import Attention, take
from anyjepa.nn.positions import rotary_table, rotate


def by_hand(attention: Attention, x: Tensor, valid: Tensor | None = None, rotary=None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, one sample and one head at a time, in double precision."""
    weight, bias = attention.qkv.weight.double(), attention.qkv.bias.double()
    dim, heads = x.shape[-1], attention.heads
    width = dim // heads
    out = torch.zeros(x.shape, dtype=torch.float64)
    for b in range(x.shape[0]):
        projected = x[b].double() @ weight.T + bias
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            q, k, v = (projected[:, i * dim : (i + 1) * dim][:, part] for i in range(3))
            if rotary is not None:
                angles = tuple(r.double() for r in rotary)
                q, k = (rotate(t[None, None], angles)[0, 0] for t in (q, k))
            scores = q @ k.T / width**0.5
            if valid is not None:
                scores[:, ~valid[b]] = -torch.inf
            out[b][:, part] = torch.softmax(scores, dim=-1) @ v
    return (out @ attention.proj.weight.double().T + attention.proj.bias.double()).float()


@pytest.mark.parametrize(("dim", "heads", "tokens"), [(8, 1, 5), (12, 3, 7), (16, 4, 1)])
@pytest.mark.parametrize("rotated", [False, True])
@torch.no_grad()
def test_against_the_formula(dim: int, heads: int, tokens: int, rotated: bool) -> None:
    attention = Attention(dim, heads)
    x = 2 * torch.randn(3, tokens, dim)
    rotary = rotary_table((tokens,), dim // heads) if rotated else None
    torch.testing.assert_close(
        attention(x, rotary=rotary), by_hand(attention, x, rotary=rotary), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_padding_against_the_formula() -> None:
    attention = Attention(12, 3)
    x = 2 * torch.randn(3, 6, 12)
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 1, 0]]).bool()
    out, expected = attention(x, valid=valid), by_hand(attention, x, valid)
    torch.testing.assert_close(out[valid], expected[valid], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_keep_gives_rows_of_the_full_output(rotated: bool, padded: bool) -> None:
    attention = Attention(12, 3)
    x = 2 * torch.randn(2, 6, 12)
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 0]]).bool() if padded else None
    rotary = rotary_table((6,), 4) if rotated else None
    full = attention(x, valid=valid, rotary=rotary)
    index = torch.tensor([[3, 0, 3], [2, 4, 0]])
    for keep in (index, slice(2, None), slice(-2, None), slice(0, 1)):
        kept = attention(x, valid=valid, rotary=rotary, keep=keep)
        torch.testing.assert_close(kept, take(full, keep), rtol=1e-5, atol=1e-6)


def test_take() -> None:
    x = torch.arange(12.0).reshape(2, 3, 2)
    assert take(x, torch.tensor([[2], [0]])).tolist() == [[[4.0, 5.0]], [[6.0, 7.0]]]
    assert torch.equal(take(x, slice(1, 3)), x[:, 1:3])


def test_without_bias_of_the_projection() -> None:
    attention = Attention(8, 2, qkv_bias=False)
    assert attention.qkv.bias is None and attention(torch.randn(1, 3, 8)).shape == (1, 3, 8)


@torch.no_grad()
def test_only_allowed_tokens_are_attended_to():
    attention, x = Attention(12, 3), torch.randn(2, 5, 12)
    allowed = torch.rand(1, 5, 5) < 0.5
    allowed[:, torch.arange(5), torch.arange(5)] = True
    qkv = attention.project(x)
    out = attention.attend(qkv, allowed=allowed)
    for token in range(5):
        seen = allowed[0, token]
        part = attention.attend(qkv[:, seen])
        torch.testing.assert_close(out[:, token], part[:, int(seen[:token].sum())])
    keep = torch.tensor([[4, 1], [0, 2]])
    some = attention.attend(qkv, allowed=allowed, keep=keep)
    torch.testing.assert_close(some, out.gather(1, keep[..., None].expand(-1, -1, 12)))
    valid = torch.tensor([[True] * 5, [True, True, True, True, False]])
    both = attention.attend(qkv, allowed=allowed, valid=valid)
    torch.testing.assert_close(both, attention.attend(qkv, allowed=allowed & valid[:, None]))
