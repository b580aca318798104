"""Multi-head self-attention that can answer for some of its tokens only."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from anyjepa.nn.linear import Linear
from anyjepa.nn.positions import Rotary, rotate

Keep = slice | Int[Tensor, "B Q"]
"""The tokens whose outputs are wanted: the same slice of every sample, or indices (B, Q)."""


def take(x: Shaped[Tensor, "B N D"], keep: Keep) -> Shaped[Tensor, "B Q D"]:
    """The tokens, or rows of a mask, named by ``keep``."""
    if isinstance(keep, slice):
        return x[:, keep]
    return x.gather(1, keep.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v with one joint projection for q, k, v and PyTorch's fused kernel."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim, bias=bias)

    def project(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows E"]:
        """Queries, keys and values of all tokens, side by side (E = 3 D)."""
        return self.qkv(x)

    def attend(
        self,
        qkv: Float[Tensor, "B N E"],
        *,
        valid: Bool[Tensor, "B N"] | None = None,
        rotary: Rotary | None = None,
        keep: Keep | None = None,
        residual: Float[Tensor, "B Q D"] | None = None,
        allowed: Bool[Tensor, "A N N"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Attention output from projected tokens.

        Args:
            qkv: from :meth:`project`.
            valid: False where a token is padding: nobody attends to it.
            rotary: angles of the tokens, applied to queries and keys.
            keep: tokens whose output is wanted; all still serve as keys and values.
            residual: added to the output.
            allowed: (1 or B, N, N), which tokens (last axis) each token may attend to; every token at least one. None: all.
        """
        # Three slices rather than one 5-D permutation: backward then joins the three gradients in one copy, not two.
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        if keep is not None:
            q = take(q.transpose(1, 2).flatten(2), keep).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mask = None if valid is None else valid[:, None, None, :]
        if allowed is not None:
            rows = allowed if keep is None else take(allowed.expand(len(qkv), -1, -1), keep)
            mask = rows[:, None] if mask is None else mask & rows[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(out.transpose(1, 2).flatten(2), residual=residual)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        valid: Bool[Tensor, "B N"] | None = None,
        rotary: Rotary | None = None,
        keep: Keep | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Self-attention of ``x``; see :meth:`attend`."""
        return self.attend(self.project(x), valid=valid, rotary=rotary, keep=keep)
