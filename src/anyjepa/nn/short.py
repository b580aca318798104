"""Post-norm layers for many short, narrow sequences on a CPU, as rows of a table are: the same numbers as PyTorch's own, sooner.

A table of 54 columns in batches of 512 gives thousands of sequences of some 30 tokens, 16 wide. There the time goes into
memory: into hidden vectors of feed-forward networks that are sixteen times as wide as a token, and into a random number for
each place where a dropout of 0.2 % might drop something. Hence

- the feed-forward network works through blocks that stay in the cache, and computes its hidden vectors again going back,
- only the few places that are dropped are drawn, by the distances between them,
- attention is PyTorch's fused kernel, which has no dropout on a CPU; what is dropped is taken out of its result.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

RARE = 0.02
"""Dropout up to which drawing distances is worth it."""
BLOCK = 1 << 18
"""Hidden numbers (1 MB) of a feed-forward network that are computed at a time."""
_FUSED = "_scaled_dot_product_flash_attention_for_cpu"


class ShortLayer(nn.TransformerEncoderLayer):
    """A post-norm layer of ``nn.TransformerEncoderLayer``, for training on a CPU; everywhere else it is that layer itself.

    Args:
        dim, heads, hidden, dropout: width, attention heads, width inside the feed-forward network, rate in training.
        activation: ``"relu"`` or ``"gelu"``.
    """

    def __init__(
        self, dim: int, heads: int, hidden: int, dropout: float = 0.0, *, activation: str = "relu"
    ) -> None:
        super().__init__(dim, heads, hidden, dropout, activation, batch_first=True)
        self.rate, self.gelu = dropout, activation == "gelu"

    def forward(self, src: Float[Tensor, "B N D"], *masks: Any, **named: Any) -> Float[Tensor, "B N D"]:
        """Tokens after the layer; masks as those of ``nn.TransformerEncoderLayer``."""
        plain = any(
            mask is not None for mask in (*masks, named.get("src_mask"), named.get("src_key_padding_mask"))
        )
        if plain or not self._suits(src):
            return super().forward(src, *masks, **named)
        rate = self.rate if self.training else 0.0
        x = self.norm1(src + drop(self._attend(src, rate), rate))
        return self.norm2(x + drop(self._widen(x, rate), rate))

    def _suits(self, src: Tensor) -> bool:
        """Whether this file serves: float32 on a CPU, nothing compiled, and something to learn or to drop (PyTorch has a fused
        layer for the rest)."""
        learns = torch.is_grad_enabled() and (src.requires_grad or self.linear1.weight.requires_grad)
        return (
            src.device.type == "cpu"
            and src.dtype == torch.float32
            and (learns or self.training)
            and (not self.training or self.rate <= RARE)
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and hasattr(torch.ops.aten, _FUSED)
        )

    def _attend(self, src: Tensor, rate: float) -> Tensor:
        own = self.self_attn
        heads = own.num_heads
        qkv = F.linear(src, own.in_proj_weight, own.in_proj_bias)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        mixed = _RareAttention.apply(q, k, v, rate) if rate > 0.0 else F.scaled_dot_product_attention(q, k, v)
        return own.out_proj(mixed.transpose(1, 2).flatten(2))

    def _widen(self, x: Tensor, rate: float) -> Tensor:
        first, second = self.linear1, self.linear2
        rows = x.flatten(0, 1)
        out = _FeedForward.apply(rows, first.weight, first.bias, second.weight, second.bias, rate, self.gelu)
        return out.view_as(x)


def places(count: int, rate: float) -> Int[Tensor, "n"]:
    """Which of ``count`` places are dropped, each with probability ``rate`` on its own, ascending; from PyTorch's generator.

    The distance from one dropped place to the next has a geometric distribution, so that only the dropped ones cost anything.
    """
    if rate <= 0.0 or count == 0:
        return torch.empty(0, dtype=torch.long)
    expected = count * rate
    draws = int(expected + 6 * math.sqrt(expected)) + 8
    found: list[Tensor] = []
    last = -1
    while last < count:
        # 1 - u lies in (0, 1]: its logarithm is finite.
        gaps = torch.log1p(-torch.rand(draws, dtype=torch.float64)).div_(math.log1p(-rate)).long() + 1
        found.append(gaps.cumsum(0) + last)
        last = int(found[-1][-1])
    joined = torch.cat(found)
    return joined[: int(torch.searchsorted(joined, count))]


def drop(x: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """Dropout of a small rate."""
    if rate <= 0.0:
        return x
    return (x / (1.0 - rate)).flatten().index_fill(0, places(x.numel(), rate), 0.0).view_as(x)


class _RareAttention(torch.autograd.Function):
    """Attention with dropout of its probabilities: ``((a ∘ m) v) / (1 - rate)``, where m is 0 at few places.

    With D what is dropped, the result is (a v - D) / (1 - rate), and D takes the few products only. Going back, the softmax
    asks for the product of gradient and result in each row, which is that of the true result; all else is the kernel's own
    backward pass plus the few products again.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rate: float) -> Tensor:
        out, scale = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
        b, h, n, d = q.shape
        where = places(b * h * n * n, rate)
        row, j = where.div(n, rounding_mode="floor"), where % n
        head, i = row.div(n, rounding_mode="floor"), row % n
        at, to = (head // h, head % h, i), (head // h, head % h, j)
        share = torch.exp((q[at] * k[to]).sum(-1) / math.sqrt(d) - scale[at])
        out.index_put_(at, -share.unsqueeze(-1) * v[to], accumulate=True)
        ctx.save_for_backward(q, k, v, out, scale, share, *at, j)
        ctx.rate = rate
        return out / (1.0 - rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, scale, share, sample, head, i, j = ctx.saved_tensors
        g = gradients[0] / (1.0 - ctx.rate)
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            g, q, k, v, out, scale, 0.0, False
        )
        at, to = (sample, head, i), (sample, head, j)
        lost, weight = g[at], share.unsqueeze(-1)
        # The kernel took the dropped shares for there: their own part of the gradient of a score is a_ij (-g_i v_j).
        score = -weight * (lost * v[to]).sum(-1, keepdim=True) / math.sqrt(q.shape[-1])
        dq.index_put_(at, score * k[to], accumulate=True)
        dk.index_put_(to, score * q[at], accumulate=True)
        dv.index_put_(to, -weight * lost, accumulate=True)
        return dq, dk, dv, None


class _FeedForward(torch.autograd.Function):
    """``act(x w1' + b1) w2' + b2`` with dropout after the activation, block by block; nothing of the width between is kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, rate: float, gelu: bool
    ) -> Tensor:
        out = torch.empty(len(x), len(w2), dtype=x.dtype)
        rows = max(64, BLOCK // len(w1))
        gone = []
        for start in range(0, len(x), rows):
            part = x[start : start + rows]
            gone.append(places(len(part) * len(w1), rate))
            _, hidden = _hidden(part, w1, b1, gelu, gone[-1])
            torch.addmm(b2, hidden, w2.T, alpha=1.0 / (1.0 - rate), out=out[start : start + rows])
        ctx.save_for_backward(x, w1, b1, w2, *gone)
        ctx.rate, ctx.gelu, ctx.rows = rate, gelu, rows
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, b1, w2, *gone = ctx.saved_tensors
        g = gradients[0].contiguous()
        alpha = 1.0 / (1.0 - ctx.rate)
        dx = torch.empty_like(x)
        dw1, db1, dw2 = torch.zeros_like(w1), torch.zeros_like(b1), torch.zeros_like(w2)
        for start, places_ in zip(range(0, len(x), ctx.rows), gone, strict=True):
            part, back = x[start : start + ctx.rows], g[start : start + ctx.rows]
            before, hidden = _hidden(part, w1, b1, ctx.gelu, places_)
            dw2.addmm_(back.T, hidden, alpha=alpha)
            wide = back @ w2
            if ctx.gelu:
                wide.view(-1).index_fill_(0, places_, 0.0)
                wide = torch.ops.aten.gelu_backward(wide, before)
            else:
                # What was dropped is 0 in hidden, like what the activation cut off.
                torch.ops.aten.threshold_backward.grad_input(wide, hidden, 0, grad_input=wide)
            dw1.addmm_(wide.T, part, alpha=alpha)
            db1.add_(wide.sum(0), alpha=alpha)
            torch.mm(wide, w1, out=dx[start : start + ctx.rows])
        return dx.mul_(alpha), dw1, db1, dw2, g.sum(0), None, None


def _hidden(x: Tensor, w1: Tensor, b1: Tensor, gelu: bool, gone: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden vectors before and after the activation and the dropout (without its scale); one tensor for both with a ReLU."""
    before = torch.addmm(b1, x, w1.T)
    after = F.gelu(before) if gelu else before.relu_()
    after.view(-1).index_fill_(0, gone, 0.0)
    return before, after
