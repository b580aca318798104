"""Classification heads."""

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.nn.heads import FirstTokenHead, QueryHead


@pytest.mark.parametrize(
    "dim, heads, pooler, linear",
    [(192, 4, 124_416, 13_632), (384, 6, 470_016, 27_264), (768, 12, 1_824_768, 54_528)],
)
def test_parameter_counts_of_ecg_jepa(dim, heads, pooler, linear):
    count = [
        sum(p.numel() for p in h.parameters()) for h in (QueryHead(dim, heads, 71), FirstTokenHead(dim, 71))
    ]
    assert count == [pooler, linear] == [dim + 3 * dim**2 + 71 * dim, 71 * dim]


@torch.no_grad()
def test_the_query_head_against_the_formula():
    head, x = QueryHead(12, 3, 5, std=0.5), torch.randn(2, 7, 12)
    q = head.q.weight @ head.query
    k, v = (x @ head.kv.weight.T).split(12, dim=-1)
    pooled = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        weight = torch.softmax(k[..., part] @ q[part] / 2, dim=1)
        pooled.append((weight.unsqueeze(-1) * v[..., part]).sum(dim=1))
    torch.testing.assert_close(head(x), torch.cat(pooled, dim=1) @ head.proj.weight.T)
    # The order of the tokens does not matter, the first one does matter to the other head.
    torch.testing.assert_close(head(x.flip(1)), head(x))
    first = FirstTokenHead(12, 5, std=0.5)
    torch.testing.assert_close(first(x), x[:, 0] @ first.proj.weight.T)


def test_heads_must_divide():
    with pytest.raises(ConfigError, match="not divisible by 5 heads"):
        QueryHead(12, 5, 2)
