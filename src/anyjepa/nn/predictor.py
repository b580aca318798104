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
from anyjepa.nn.positions import ROTARY, rotary_table, sincos_table
from anyjepa.nn.transformer import Block


class Predictor(nn.Module):
    """Predicts M blocks of targets, each block in a sequence of its own behind the shared context (arXiv 2301.08243).

    Context tokens are projected to ``width`` and given their positions; the tokens to predict are copies of one learned mask
    token at the target positions. Blocks do not see each other: predicting M blocks in one call equals M calls.

    Args:
        layout: layout of the tokens.
        dim: width of the encoder, input and output.
        width, depth, heads: of the predictor's own blocks.
        positions: ``"sincos"`` or ``"interleaved"``, fixed tables; ``"rotary"`` or ``"rotary_tiled"``, angles of queries and
            keys; or a module whose ``whole()`` gives the positions (N, width) of all tokens.
        mask_tokens: how many mask tokens there are, one for each kind of mask; more than one start at zero, as in V-JEPA.
        levels: the representations are those of so many blocks of the encoder, joined: (B, K, levels * D) in and out.
        sees: whether it can also answer for what it sees; see :meth:`both`.
        out: numbers predicted for each token; None: as many as the representations have.
        bias, norm_bias: biases of all linear layers, and of the norms.
    """

    positions: Tensor | nn.Module | None
    cos: Tensor
    sin: Tensor

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
        mask_tokens: int = 1,
        levels: int = 1,
        sees: bool = False,
        out: int | None = None,
        bias: bool = True,
        norm_bias: bool = True,
    ) -> None:
        super().__init__()
        self.embed: nn.Module = Linear(levels * dim, width, bias=bias)
        if levels > 1:
            self.embed = nn.Sequential(
                Linear(levels * dim, dim, bias=bias), nn.GELU(), Linear(dim, width, bias=bias)
            )
        self.mask_token = nn.Parameter(torch.zeros(mask_tokens, 1, width))
        if mask_tokens == 1:
            nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.rotary = positions in ROTARY
        if self.rotary:
            self.positions = None
            cos, sin = rotary_table(layout.grid, width // heads, tiled=positions == "rotary_tiled")
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        elif isinstance(positions, nn.Module):
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
        self.proj = Linear(width, out or levels * dim, bias=bias)
        self.proj_seen = Linear(width, levels * dim, bias=bias) if sees else None

    def forward(
        self,
        context: Float[Tensor, "B K D"],
        context_index: Int[Tensor, "B K"],
        targets: Int[Tensor, "B M P"],
        *,
        valid: Bool[Tensor, "B K"] | None = None,
        kind: int = 0,
    ) -> Float[Tensor, "B M P E"]:
        """Predicted representations of the target tokens.

        Args:
            context: representations of the context tokens.
            context_index: their positions.
            targets: positions of the tokens of each target block.
            valid: False where the context is padding.
            kind: which mask token stands for what is hidden.
        """
        p = targets.shape[2]
        x = self._run(context, context_index, targets, valid, kind, slice(-p, None))
        return self.proj(x).unflatten(0, targets.shape[:2])

    def both(
        self,
        context: Float[Tensor, "B K D"],
        context_index: Int[Tensor, "B K"],
        targets: Int[Tensor, "B 1 P"],
        *,
        kind: int = 0,
    ) -> tuple[Float[Tensor, "B 1 P D"], Float[Tensor, "B K D"]]:
        """As :meth:`forward` for one target block, and what it says of the context tokens, by a projection of their own (V-JEPA
        2.1). Only with ``sees``."""
        assert self.proj_seen is not None
        x = self._run(context, context_index, targets, None, kind, None)
        k = context.shape[1]
        return self.proj(x[:, k:]).unsqueeze(1), self.proj_seen(x[:, :k])

    def _run(
        self,
        context: Tensor,
        context_index: Tensor,
        targets: Tensor,
        valid: Tensor | None,
        kind: int,
        keep: slice | None,
    ) -> Tensor:
        """The tokens ``keep`` after the last block and the norm, (B M, K + P, width) where it is None."""
        b, m, p = targets.shape
        token, seen = self.mask_token[kind], self.embed(context)
        if self.rotary:
            table, asked = None, token.expand(b * m, p, -1)
            index = torch.cat((self._per_block(context_index, m), targets.flatten(0, 1)), dim=1)
            rotary = (self.cos[index], self.sin[index])
        else:
            positions: Any = self.positions
            table = positions if isinstance(positions, Tensor) else positions.whole()
            seen = seen + F.embedding(context_index, table)
            asked, rotary = (token + F.embedding(targets, table)).flatten(0, 1), None
        x = torch.cat((self._per_block(seen, m), asked), dim=1)
        if valid is not None:
            valid = torch.cat((self._per_block(valid, m), valid.new_ones(b * m, p)), dim=1)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            # Exact savings: what enters the first block is the same context for all M blocks, and the same token wherever
            # a position is asked for, so each is projected once; nobody reads the context that leaves the last block, so
            # only the asked tokens go through it.
            qkv = self._first_projection(seen, targets, token, table) if i == 0 else None
            x = block(x, valid=valid, rotary=rotary, qkv=qkv, keep=keep if i == last else None)
        return self.norm(x)

    def _first_projection(self, seen: Tensor, targets: Tensor, token: Tensor, table: Tensor | None) -> Tensor:
        block: Block = self.blocks[0]  # type: ignore[assignment]
        attention: Attention = block.attn
        shared = self._per_block(attention.project(block.norm1(seen)), targets.shape[1])
        every = attention.project(block.norm1(token if table is None else token + table))
        where = targets.flatten(0, 1)
        # Without a table all asked tokens are alike.
        asked = every.expand(*where.shape, -1) if table is None else F.embedding(where, every)
        return torch.cat((shared, asked), dim=1)

    @staticmethod
    def _per_block(x: Tensor, m: int) -> Tensor:
        """(B, K, ...) -> (B M, K, ...), each sample M times in a row."""
        return x.unsqueeze(1).expand(-1, m, *x.shape[1:]).flatten(0, 1)
