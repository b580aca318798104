"""The local aggregation head of DMT-JEPA against its equations, written out token by token."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa.errors import ConfigError
from anyjepa.nn.aggregation import LocalAggregationHead, token_mean


def head(dim=12, heads=3):
    torch.manual_seed(0)
    made = LocalAggregationHead(dim, heads)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return made


def look(block, query, tokens):
    """Attention of one query (D) over its own key and those of tokens (S, D), head by head."""
    rows = block.norm1(torch.cat((query[None], tokens)))
    q, k, v = block.q(rows[:1]), block.k(rows), block.v(rows)
    width = len(query) // block.heads
    out = []
    for h in range(block.heads):
        part = slice(h * width, (h + 1) * width)
        weights = (q[:, part] @ k[:, part].T / width**0.5).softmax(-1)
        out.append(weights @ v[:, part])
    return block.proj(torch.cat(out, -1))[0]


@pytest.mark.parametrize("dim, count", [(768, 14_177_280), (1024, 25_194_496), (1280, 39_357_440)])
def test_parameter_counts(dim, count):
    with torch.device("meta"):
        made = LocalAggregationHead(dim, 16)
    assert sum(p.numel() for p in made.parameters()) == count == 24 * dim**2 + 28 * dim


def test_the_target_path_is_the_equation():
    made = head()
    h, query = torch.randn(2, 9, 12), torch.randn(2, 3, 12)
    chosen = torch.randint(9, (2, 3, 4))
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    valid[0, 1, 2:] = False
    found = made.of_neighbours(query, h, chosen, valid)
    for b in range(2):
        for w in range(3):
            around = h[b, chosen[b, w][valid[b, w]]]
            t = query[b, w]
            for block in made.blocks:
                t = t + look(block, t, around)
                t = t + block.mlp(block.norm2(t))
            torch.testing.assert_close(found[b, w], made.norm(t), rtol=1e-4, atol=1e-5)


def test_the_context_path_is_the_equation_and_padding_is_not_seen():
    made = head()
    z = torch.randn(2, 6, 12)
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[1, 4:] = False
    found = made.of_context(z, valid)
    assert found.shape == z.shape
    for b in range(2):
        x = z[b][valid[b]]
        for block in made.blocks:
            x = x + look(block, x.mean(0), x)
            x = x + block.mlp(block.norm2(x))
        torch.testing.assert_close(found[b][valid[b]], made.norm(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.of_context(z[:1]), found[:1])


def test_neighbours_are_a_set():
    made = head()
    h, query = torch.randn(1, 9, 12), torch.randn(1, 2, 12)
    chosen = torch.tensor([[[0, 3, 5, 7, 1, 2, 4, 8], [8, 7, 6, 5, 4, 3, 2, 1]]])
    turned = chosen[..., torch.randperm(8)]
    torch.testing.assert_close(made.of_neighbours(query, h, chosen), made.of_neighbours(query, h, turned))


def test_rows_leave_the_head_normalised_at_the_start():
    torch.manual_seed(0)
    made = LocalAggregationHead(32, 4)
    out = made.of_neighbours(torch.randn(2, 5, 32), torch.randn(2, 9, 32), torch.randint(9, (2, 5, 4)))
    assert out.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(out.var(-1, correction=0), torch.ones(2, 5), rtol=1e-3, atol=1e-3)


def test_mean_without_padding():
    x = torch.randn(2, 4, 3)
    valid = torch.tensor([[True] * 4, [True, False, True, False]])
    torch.testing.assert_close(token_mean(x, valid)[1], x[1, [0, 2]].mean(0))
    assert torch.equal(token_mean(x), F.adaptive_avg_pool1d(x.mT, 1)[..., 0]) or torch.allclose(
        token_mean(x), x.mean(1)
    )


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="not divisible by 5 heads"):
        LocalAggregationHead(12, 5)
