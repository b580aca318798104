"""Post-norm layers of policies that act in chunks, and the predictor of abstract states built of them.

x = norm(x + self-attention(x)); with a memory x = norm(x + attention(x, memory)); x = norm(x + mlp(x)). Dropout on the attention
weights, inside the mlp and behind it; the mlp has no biases (ACT-JEPA, official code).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError


class MultiHead(nn.Module):
    """Multi-head attention that never makes its weights.

    Args:
        dim, heads: width and heads.
        dropout: rate on the attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"width {dim} must be divisible by the number of heads, {heads}")
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        # As nn.MultiheadAttention starts.
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.proj.bias)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        memory: Float[Tensor, "B K D"] | None = None,
        *,
        valid: Bool[Tensor, "B K"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """Attention of ``x`` to itself, or to ``memory``.

        Args:
            x: what asks.
            memory: what is asked; None: ``x``.
            valid: False where the asked is padding.
            causal: nobody asks what comes later.
        """
        dim = x.shape[-1]
        if memory is None:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            q = F.linear(x, self.qkv.weight[:dim], self.qkv.bias[:dim])
            k, v = F.linear(memory, self.qkv.weight[dim:], self.qkv.bias[dim:]).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        allowed = None if valid is None else valid[:, None, None, :]
        if causal and allowed is not None:
            n = x.shape[1]
            allowed = allowed & torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        seen = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=allowed,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal and allowed is None,
        )
        return self.proj(seen.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """One layer.

    Args:
        dim, heads, hidden: width, attention heads, width inside the mlp.
        dropout: rate.
        memory: whether it attends to a memory too.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float, *, memory: bool = False) -> None:
        super().__init__()
        self.own = MultiHead(dim, heads, dropout)
        self.own_norm = nn.LayerNorm(dim)
        self.cross = MultiHead(dim, heads, dropout) if memory else None
        self.cross_norm = nn.LayerNorm(dim) if memory else None
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.dropout = dropout

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        memory: Float[Tensor, "B K D"] | None = None,
        *,
        valid: Bool[Tensor, "B N"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """The layer's output; ``valid`` and ``causal`` speak of ``x``."""
        x = self.own_norm(x + self.own(x, valid=valid, causal=causal))
        if self.cross is not None and self.cross_norm is not None:
            x = self.cross_norm(x + self.cross(x, memory))
        inner = F.dropout(F.relu(self.up(x)), self.dropout, self.training)
        return self.norm(x + F.dropout(self.down(inner), self.dropout, self.training))


class Queries(nn.Module):
    """Learned queries, one for each place of a sequence, that read a memory: the decoder of actions, and of states.

    Args:
        length: places T.
        dim: width of the memory and of what comes out.
        width: width inside; where it is not ``dim`` the memory is projected to it, and the result back.
        depth, heads, hidden, dropout: of the layers.
        causal: no place sees later ones.
    """

    def __init__(
        self,
        length: int,
        dim: int,
        *,
        width: int | None = None,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float,
        causal: bool = False,
    ) -> None:
        super().__init__()
        inside = width or dim
        self.causal = causal
        self.enter = nn.Linear(dim, inside) if width else nn.Identity()
        self.queries = nn.Parameter(torch.randn(length, inside))
        self.layers = nn.ModuleList(Layer(inside, heads, hidden, dropout, memory=True) for _ in range(depth))
        self.norm = nn.LayerNorm(inside)
        self.leave = nn.Linear(inside, dim) if width else nn.Identity()

    def forward(
        self, memory: Float[Tensor, "B K D"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """What the memory says of each place; ``valid`` is False where a place is beyond the end."""
        memory = self.enter(memory)
        x = self.queries.expand(len(memory), -1, -1)
        for layer in self.layers:
            x = layer(x, memory, valid=valid, causal=self.causal)
        return self.leave(self.norm(x))


def map_positions(height: int, width: int, dim: int, turn: float = 2 * math.pi) -> Float[Tensor, "N D"]:
    """Sinusoids of the places of a map in raster order: half of the channels for the row, half for the column.

    The coordinate runs from turn / n to ``turn``; frequencies are 10000^(-2 floor(i/2) / (dim/2)), sine and cosine interleaved
    (DETR, arXiv 2005.12872; ACT's code turns by 2 * 3.14).
    """
    half = dim // 2
    scale = 10000.0 ** (2 * (torch.arange(half) // 2) / half)

    def along(count: int) -> Tensor:
        place = torch.arange(1, count + 1) / (count + 1e-6) * turn
        angle = place[:, None] / scale
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=-1).flatten(1)

    rows, columns = along(height), along(width)
    both = torch.cat((rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)), dim=-1)
    return both.flatten(0, 1)
