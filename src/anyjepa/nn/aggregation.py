"""The local aggregation head of DMT-JEPA (arXiv 2405.17995): one query token looks at a set of tokens, twice.

A block is x + attention(query norm(x); keys and values norm([x ; tokens])), then x + mlp(norm(x)). Both ways of using it share
all weights: on the target side a query of each token looks at that token's neighbours, on the context side the mean of the
context looks at the whole context and what it finds is added to every token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.errors import ConfigError
from anyjepa.nn.linear import Linear
from anyjepa.nn.transformer import Mlp


class AggregationBlock(nn.Module):
    """Norm and cross-attention from one query, norm and MLP; 12 D^2 + 13 D parameters."""

    def __init__(self, dim: int, heads: int, *, mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.q, self.k, self.v, self.proj = (Linear(dim, dim) for _ in range(4))
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def keys_values(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows E"]:
        """Keys and values of tokens, side by side (E = 2 D)."""
        x = self.norm1(x)
        return torch.cat((self.k(x), self.v(x)), dim=-1)

    def attend(
        self,
        query: Float[Tensor, "B W D"],
        pairs: Float[Tensor, "B W S E"],
        valid: Bool[Tensor, "B W S"] | None = None,
    ) -> Float[Tensor, "B W D"]:
        """What each query finds among S tokens of its own and itself.

        Args:
            query: the queries, not yet normalised.
            pairs: :meth:`keys_values` of the tokens each of them looks at.
            valid: False where there is no such token.
        """
        x = self.norm1(query)
        own = torch.cat((self.k(x), self.v(x)), dim=-1).unsqueeze(2)
        k, v = (part.unflatten(-1, (self.heads, -1)) for part in torch.cat((own, pairs), 2).chunk(2, dim=-1))
        q = self.q(x).unflatten(-1, (self.heads, -1))
        # A product and a sum, not a fused kernel: the sequences are five tokens long and there are very many of them.
        scores = (q.unsqueeze(2) * k).sum(-1).float() * q.shape[-1] ** -0.5
        if valid is not None:
            scores = scores.masked_fill(~F.pad(valid, (1, 0), value=True).unsqueeze(-1), -torch.inf)
        weights = scores.softmax(dim=2).to(v.dtype)
        return self.proj((weights.unsqueeze(-1) * v).sum(2).flatten(2))


class LocalAggregationHead(nn.Module):
    """Two such blocks and a layer norm; 24 D^2 + 28 D parameters.

    Args:
        dim: width D.
        heads: attention heads; the paper takes those of the encoder.
        depth: blocks.
        mlp_ratio: hidden width of the MLPs over D.
        eps: of the norms.

    Raises:
        ConfigError: the heads do not divide the width.
    """

    blocks: Any

    def __init__(
        self, dim: int, heads: int, *, depth: int = 2, mlp_ratio: float = 4.0, eps: float = 1e-6
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim={dim} is not divisible by {heads} heads")
        self.blocks = nn.ModuleList(
            AggregationBlock(dim, heads, mlp_ratio=mlp_ratio, eps=eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=eps)

    def of_neighbours(
        self,
        query: Float[Tensor, "B W D"],
        h: Float[Tensor, "B N D"],
        chosen: Int[Tensor, "B W K"],
        valid: Bool[Tensor, "B W K"] | None = None,
    ) -> Float[Tensor, "B W D"]:
        """One vector of each of W tokens, from its neighbours.

        Keys and values are computed once for each of the N tokens and then gathered, not once for each of the W K neighbours.

        Args:
            query: where each of the W starts.
            h: features of all tokens.
            chosen: which K of them each looks at.
            valid: False where there is no such neighbour.
        """
        b, w, k = chosen.shape
        index = chosen.reshape(b, w * k, 1)
        t = query
        for block in self.blocks:
            pairs = block.keys_values(h)
            pairs = pairs.gather(1, index.expand(-1, -1, pairs.shape[-1])).view(b, w, k, -1)
            t = t + block.attend(t, pairs, valid)
            t = block.mlp(block.norm2(t), residual=t)
        return self.norm(t)

    def of_context(
        self, z: Float[Tensor, "B K D"], valid: Bool[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """The same tokens with what their mean finds among them added to each; still a sequence.

        Args:
            z: the context.
            valid: False where it is padding.
        """
        looked = None if valid is None else valid.unsqueeze(1)
        for block in self.blocks:
            mean = token_mean(z, valid).unsqueeze(1)
            z = z + block.attend(mean, block.keys_values(z).unsqueeze(1), looked)
            z = block.mlp(block.norm2(z), residual=z)
        return self.norm(z)


def token_mean(x: Float[Tensor, "B K D"], valid: Bool[Tensor, "B K"] | None = None) -> Float[Tensor, "B D"]:
    """Mean over the tokens, over those that are no padding."""
    if valid is None:
        return x.mean(1)
    weight = valid.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1)
