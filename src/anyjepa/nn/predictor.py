"""The narrow transformer that predicts target representations from context representations and target positions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.contract import Layout
from anyjepa.nn.attention import Attention
from anyjepa.nn.linear import Linear
from anyjepa.nn.positions import sincos_table
from anyjepa.nn.transformer import Block


class Predictor(nn.Module):
    """Predicts M blocks of targets, each block in a sequence of its own behind the shared context (arXiv 2301.08243).

    Context tokens are projected to ``width`` and given their positions; the tokens to predict are copies of one learned mask
    token at the target positions. Blocks do not see each other: predicting M blocks in one call equals M calls.

    Args:
        layout: layout of the tokens.
        dim: width of the encoder, input and output.
        width, depth, heads: of the predictor's own blocks.
        positions: ``"sincos"`` or ``"interleaved"``, fixed tables; or a module whose ``whole()`` gives the positions (N, width)
            of all tokens.
        bias, norm_bias: biases of all linear layers, and of the norms.
    """

    positions: Tensor | nn.Module

    def __init__(
        self,
        layout: Layout,
        *,
        dim: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
        positions: str | nn.Module = "sincos",
        bias: bool = True,
        norm_bias: bool = True,
    ) -> None:
        super().__init__()
        self.embed = Linear(dim, width, bias=bias)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        if isinstance(positions, nn.Module):
            self.positions = positions
        else:
            table = sincos_table(layout.grid, width, interleaved=positions == "interleaved")
            self.register_buffer("positions", table, persistent=False)
        self.blocks = nn.ModuleList(
            Block(
                width,
                heads,
                mlp_ratio=mlp_ratio,
                eps=eps,
                qkv_bias=bias,
                bias=bias,
                norm_bias=norm_bias,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps, bias=norm_bias)
        self.proj = Linear(width, dim, bias=bias)

    def forward(
        self,
        context: Float[Tensor, "B K D"],
        context_index: Int[Tensor, "B K"],
        targets: Int[Tensor, "B M P"],
        *,
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B M P D"]:
        """Predicted representations of the target tokens.

        Args:
            context: representations of the context tokens.
            context_index: their positions.
            targets: positions of the tokens of each target block.
            valid: False where the context is padding.
        """
        b, m, p = targets.shape
        positions: Any = self.positions
        table = positions if isinstance(positions, Tensor) else positions.whole()
        seen = self.embed(context) + F.embedding(context_index, table)
        asked = (self.mask_token + F.embedding(targets, table)).flatten(0, 1)
        x = torch.cat((self._per_block(seen, m), asked), dim=1)
        if valid is not None:
            valid = torch.cat((self._per_block(valid, m), valid.new_ones(b * m, p)), dim=1)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            # Exact savings: what enters the first block is the same context for all M blocks, and the same token wherever
            # a position is asked for, so each is projected once; nobody reads the context that leaves the last block, so
            # only the asked tokens go through it.
            qkv = self._first_projection(seen, targets, table) if i == 0 else None
            x = block(x, valid=valid, qkv=qkv, keep=slice(-p, None) if i == last else None)
        return self.proj(self.norm(x)).unflatten(0, (b, m))

    def _first_projection(self, seen: Tensor, targets: Tensor, table: Tensor) -> Tensor:
        block: Block = self.blocks[0]  # type: ignore[assignment]
        attention: Attention = block.attn
        shared = self._per_block(attention.project(block.norm1(seen)), targets.shape[1])
        every = attention.project(block.norm1(self.mask_token[0] + table))
        return torch.cat((shared, F.embedding(targets.flatten(0, 1), every)), dim=1)

    @staticmethod
    def _per_block(x: Tensor, m: int) -> Tensor:
        """(B, K, ...) -> (B M, K, ...), each sample M times in a row."""
        return x.unsqueeze(1).expand(-1, m, *x.shape[1:]).flatten(0, 1)
