"""Tokens on a grid of leads and time that attend to their own lead and their own time alone (arXiv 2410.08559).

Positions are added in front of every block, so they add up in the residual stream, as in the official code.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.contract import Layout
from anyjepa.nn.attention import Keep
from anyjepa.nn.linear import Linear
from anyjepa.nn.positions import sincos_table
from anyjepa.nn.transformer import Block
from anyjepa.tokenizers.patches import PatchTokenizer


def cross_pattern(layout: Layout) -> Bool[Tensor, "N N"]:
    """True where token (lead, time) may attend to (lead', time'): the same lead or the same time."""
    leads, times = layout.grid
    lead = torch.arange(leads).repeat_interleave(times)
    time = torch.arange(times).repeat(leads)
    return (lead[:, None] == lead) | (time[:, None] == time)


class CrossPatternEncoder(nn.Module):
    """Patches of leads to representations.

    Args:
        tokenizer: cuts (B, 1, leads, samples) into patches of one lead.
        dim, depth, heads, mlp_ratio, drop_path, eps: as for :class:`~anyjepa.nn.transformer.Encoder`.
    """

    table: Tensor
    allowed: Tensor

    def __init__(
        self,
        tokenizer: PatchTokenizer,
        *,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.register_buffer("table", sincos_table(tokenizer.layout.grid, dim), persistent=False)
        self.register_buffer("allowed", cross_pattern(tokenizer.layout), persistent=False)
        self.blocks = _blocks(dim, depth, heads, mlp_ratio, drop_path, eps)
        self.norm = nn.LayerNorm(dim, eps=eps)

    def forward(
        self,
        patches: Float[Tensor, "B N patch"],
        keep: Int[Tensor, "B K"] | None = None,
        *,
        outputs: Int[Tensor, "B Q"] | None = None,
        layer: int = -1,
    ) -> Float[Tensor, "B Q D"]:
        """Representations; arguments as for :class:`~anyjepa.nn.transformer.Encoder`."""
        x = self.tokenizer.embed(patches, keep)
        places = self.table if keep is None else self.table[keep]
        allowed = self.allowed[None] if keep is None else self.allowed[keep[:, :, None], keep[:, None, :]]
        last = range(len(self.blocks))[layer]
        for i in range(last + 1):
            x = self.blocks[i](x + places, allowed=allowed, keep=outputs if i == last else None)
        return self.norm(x) if last == len(self.blocks) - 1 else x


class LeadPredictor(nn.Module):
    """Predicts the hidden tokens of each lead from the visible tokens of the same lead.

    Args:
        layout: grid of leads and time.
        dim: width of the encoder, input and output.
        width, depth, heads, mlp_ratio, drop_path, eps: of the predictor's own blocks.
    """

    table: Tensor

    def __init__(
        self,
        layout: Layout,
        *,
        dim: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.embed = Linear(dim, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        # Of a grid of one lead: half of the channels tell the time, the others are the same everywhere, as in the official code.
        self.register_buffer("table", sincos_table((1, layout.grid[1]), width), persistent=False)
        self.blocks = _blocks(width, depth, heads, mlp_ratio, drop_path, eps)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.proj = Linear(width, dim)

    def forward(
        self,
        context: Float[Tensor, "B K D"],
        context_index: Int[Tensor, "B K"],
        targets: Int[Tensor, "B 1 P"],
    ) -> Float[Tensor, "B 1 P D"]:
        """Predicted representations of the target tokens.

        Args:
            context: representations of the visible tokens, as many of every lead, leads one after another.
            context_index: their positions in the grid.
            targets: positions of the hidden tokens, in the same way.
        """
        b, (leads, times) = len(context), self.layout.grid
        seen = self.embed(context).reshape(b * leads, -1, self.mask_token.shape[-1])
        when = (torch.cat(
            (context_index.view(b, leads, -1), targets.view(b, leads, -1)), dim=2
        ) % times).flatten(0, 1)  # fmt: skip
        hidden = targets.shape[2] // leads
        x = torch.cat((seen, self.mask_token.expand(b * leads, hidden, -1)), dim=1)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            wanted: Keep | None = slice(-hidden, None) if i == last else None
            x = block(x + self.table[when], keep=wanted)
        return self.proj(self.norm(x)).view(b, 1, leads * hidden, -1)


def _blocks(
    dim: int, depth: int, heads: int, mlp_ratio: float, drop_path: float, eps: float
) -> nn.ModuleList:
    rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
    return nn.ModuleList(
        Block(dim, heads, mlp_ratio=mlp_ratio, drop_path=rate, eps=eps, qkv_bias=False) for rate in rates
    )
