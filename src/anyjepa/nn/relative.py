"""Positions as learned answers to queries: relative position encoding by products, and transformers that use it.

The contextual product method on keys of iRPE (Wu et al., arXiv 2107.14222), as in LoMaR (arXiv 2206.00790) and SAR-JEPA: what a
query asks of a token also depends on how far away it lies,

    logits[i, j] = q_i . k_j / sqrt(d) + q_i . table[:, bucket(i, j)]

Rows and columns are told apart up to three steps, with their sign; what lies farther is one bucket. So the same weights serve a
grid of any size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from anyjepa.nn.attention import Attention, Keep, take
from anyjepa.nn.linear import Linear
from anyjepa.nn.transformer import Block
from anyjepa.tokenizers.patches import PatchTokenizer

REACH = 3
"""Buckets on either side of a token along an axis."""
OUTSIDE = (2 * REACH + 1) ** 2
"""The bucket of pairs with a token that has no place: the class token."""
BUCKETS = OUTSIDE + 1

_STEPS = np.array([0, 1, 2, 2, 3])
"""Bucket of 0, 1, 2, 3, and 4 or more rows (iRPE's piecewise index with alpha 1.9, beta 3.8, gamma 15.2)."""


def buckets(grid: tuple[int, int], prefix: int = 1) -> Int[Tensor, "N N"]:
    """The bucket of every pair (query, key) of the tokens of a grid in raster order, ``prefix`` tokens without place before
    them."""
    return torch.from_numpy(_buckets(grid, prefix))


# An array and not a tensor is kept: one that was made in inference mode would be of no use in training.
@lru_cache(maxsize=64)
def _buckets(grid: tuple[int, int], prefix: int) -> np.ndarray:
    rows, columns = (axis.reshape(-1) for axis in np.meshgrid(*map(np.arange, grid), indexing="ij"))

    def steps(at: np.ndarray) -> np.ndarray:
        away = at[:, None] - at[None, :]
        return np.sign(away) * _STEPS[np.minimum(np.abs(away), len(_STEPS) - 1)] + REACH

    inner = (2 * REACH + 1) * steps(rows) + steps(columns)
    return np.pad(inner, ((prefix, 0), (prefix, 0)), constant_values=OUTSIDE)


class RelativeAttention(Attention):
    """Attention whose logits also depend on where a key lies from its query.

    Args:
        dim, heads: width and heads.
        scaled: divide the position's part by sqrt(d) too, as iRPE does; LoMaR and SAR-JEPA do not.
    """

    def __init__(self, dim: int, heads: int, *, scaled: bool = False) -> None:
        super().__init__(dim, heads)
        head = dim // heads
        # One table for all heads; zero: plain attention.
        self.table = nn.Parameter(torch.zeros(1, head, BUCKETS))
        self.factor = head**-0.5 if scaled else 1.0

    def answer(
        self,
        qkv: Float[Tensor, "B N E"],
        places: Int[Tensor, "N N"],
        *,
        keep: Keep | None = None,
        residual: Float[Tensor, "B Q D"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Attention output.

        Args:
            qkv: from ``project``.
            places: from :func:`buckets`.
            keep: tokens whose output is wanted.
            residual: added to the output.
        """
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        rows = places.unsqueeze(0)
        if keep is not None:
            q = take(q.transpose(1, 2).flatten(2), keep).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            rows = take(rows.expand(len(qkv), -1, -1), keep)
        asked = self.factor * (q @ self.table)
        bias = asked.gather(-1, rows.unsqueeze(1).expand(*q.shape[:2], -1, -1))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2), residual=residual)


class RelativeBlock(Block):
    """A pre-norm block with relative attention."""

    attn: Any

    def __init__(self, dim: int, heads: int, *, mlp_ratio: float = 4.0, scaled: bool = False) -> None:
        super().__init__(dim, heads, mlp_ratio=mlp_ratio)
        self.attn = RelativeAttention(dim, heads, scaled=scaled)

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "B N D"], places: Int[Tensor, "N N"], *, keep: Keep | None = None
    ) -> Float[Tensor, "B Q D"]:
        """One block; ``keep`` names the tokens whose output is wanted."""
        qkv = self.attn.project(self.norm1(x))
        kept = x if keep is None else take(x, keep)
        x = self.attn.answer(qkv, places, keep=keep, residual=kept)
        return self.mlp(self.norm2(x), residual=x)


class RelativeEncoder(nn.Module):
    """Patches of grids of any size to representations. What is hidden enters too, as one learned token (SimMIM, LoMaR).

    Args:
        tokenizer: cuts inputs and projects patches.
        dim, depth, heads, mlp_ratio: of the transformer.
        scaled: see :class:`RelativeAttention`.
    """

    def __init__(
        self,
        tokenizer: PatchTokenizer,
        *,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.class_token = nn.Parameter(0.02 * torch.randn(1, dim))
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, dim))
        self.blocks = nn.ModuleList(
            RelativeBlock(dim, heads, mlp_ratio=mlp_ratio, scaled=scaled) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(
        self,
        patches: Float[Tensor, "B N patch"],
        seen: Int[Tensor, "B V"] | None = None,
        *,
        grid: tuple[int, int],
        layer: int = -1,
    ) -> Float[Tensor, "B T D"]:
        """Representations of the class token and of all N tokens (T = 1 + N).

        Args:
            patches: patches of a grid in raster order.
            seen: the tokens that are not hidden; None: all.
            grid: rows and columns.
            layer: block to read, as a Python index; the last one is read after the final norm, others as they are.
        """
        tokens = self.tokenizer.embed(patches, seen)
        if seen is not None:
            hidden = self.mask_token.to(tokens.dtype).expand(*patches.shape[:2], -1)
            tokens = hidden.scatter(1, seen.unsqueeze(-1).expand_as(tokens), tokens)
        x = torch.cat((self.class_token.to(tokens.dtype).expand(len(tokens), 1, -1), tokens), dim=1)
        places = buckets(grid).to(x.device)
        last = range(len(self.blocks))[layer]
        for block in self.blocks[: last + 1]:
            x = block(x, places)
        return self.norm(x) if last == len(self.blocks) - 1 else x


class RelativePredictor(nn.Module):
    """Representations of a window, class token first, to predictions of width ``out`` for some of its tokens.

    Args:
        dim: width of the representations.
        width, depth, heads: of its own blocks; without blocks it is one linear layer.
        out: numbers per prediction.
        scaled: see :class:`RelativeAttention`.
    """

    def __init__(
        self, dim: int, *, width: int, depth: int, heads: int, out: int, scaled: bool = False
    ) -> None:
        super().__init__()
        self.embed = Linear(dim, width)
        self.blocks = nn.ModuleList(RelativeBlock(width, heads, scaled=scaled) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = Linear(width, out)

    def forward(
        self, x: Float[Tensor, "B T D"], hidden: Int[Tensor, "B P"], *, grid: tuple[int, int]
    ) -> Float[Tensor, "B P out"]:
        """Predictions for the tokens ``hidden`` of the window, counted without the class token."""
        x, places = self.embed(x), buckets(grid).to(x.device)
        for block in self.blocks[:-1]:
            x = block(x, places)
        # Nobody reads what else leaves the last block.
        x = self.blocks[-1](x, places, keep=hidden + 1) if len(self.blocks) else take(x, hidden + 1)
        return self.proj(self.norm(x))
