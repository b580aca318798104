"""Pre-norm transformer blocks and the encoder built of them, on any subset of tokens."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.errors import ConfigError
from anyjepa.nn.attention import Attention, Keep, take
from anyjepa.nn.linear import Linear
from anyjepa.nn.positions import ROTARY, Positions, Rotary, rotary_table
from anyjepa.tokenizers.patches import PatchTokenizer, patch_layout


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, dim: int, hidden: int, *, bias: bool = True) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden, bias=bias)
        self.fc2 = Linear(hidden, dim, bias=bias)

    def forward(
        self, x: Float[Tensor, "*shape D"], *, residual: Float[Tensor, "*shape D"] | None = None
    ) -> Float[Tensor, "*shape D"]:
        """Token-wise network, plus ``residual``; all (..., D)."""
        return self.fc2(self.fc1(x, gelu=True), residual=residual)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a residual branch for whole samples, rescales the others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    @property
    def idle(self) -> bool:
        """Whether it passes everything on unchanged."""
        return self.rate == 0.0 or not self.training

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """``x`` with whole samples set to zero in training."""
        if self.idle:
            return x
        alive = torch.empty(x.shape[0], 1, 1, device=x.device, dtype=x.dtype).bernoulli_(1.0 - self.rate)
        return x * alive / (1.0 - self.rate)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        qkv_bias: bool = True,
        bias: bool = True,
        norm_bias: bool = True,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps, bias=norm_bias)
        self.attn = Attention(dim, heads, qkv_bias=qkv_bias, bias=bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps, bias=norm_bias)
        self.mlp = Mlp(dim, round(dim * mlp_ratio), bias=bias)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        valid: Bool[Tensor, "B N"] | None = None,
        rotary: Rotary | None = None,
        keep: Keep | None = None,
        qkv: Float[Tensor, "B N E"] | None = None,
        allowed: Bool[Tensor, "A N N"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """One block.

        Args:
            x: tokens.
            valid: False where a token is padding.
            rotary: rotary angles of the tokens.
            keep: tokens whose output is wanted (Q of them); None: all. The result equals the same rows of the full output.
            qkv: projections of ``norm1(x)`` if the caller has them already.
            allowed: which tokens each token may attend to; see :meth:`~anyjepa.nn.attention.Attention.attend`.
        """
        if qkv is None:
            qkv = self.attn.project(self.norm1(x))
        if keep is not None:
            x = take(x, keep)
        if self.drop_path.idle:
            x = self.attn.attend(qkv, valid=valid, rotary=rotary, keep=keep, residual=x, allowed=allowed)
            return self.mlp(self.norm2(x), residual=x)
        x = x + self.drop_path(self.attn.attend(qkv, valid=valid, rotary=rotary, keep=keep, allowed=allowed))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Encoder(nn.Module):
    """Patches to representations: projection, positions, blocks, final norm. The same code for context and target.

    Args:
        tokenizer: cuts inputs into patches and projects them to ``dim``.
        dim, depth, heads, mlp_ratio: width, number of blocks, attention heads, hidden width of the MLP over ``dim``.
        positions: ``"sincos"``, ``"interleaved"``, ``"learned"``, ``"rotary"``, ``"rotary_tiled"`` or ``"none"``; or a module
            that adds them, called as :class:`~anyjepa.nn.positions.Positions` is.
        registers: learned extra tokens in front of the sequence (arXiv 2309.16588); a class token is one register.
        drop_path: rate of the last block; grows linearly from 0 over depth.
        qkv_bias, bias, norm_bias: biases of the query, key and value projection, of the other linear layers of the blocks,
            and of the norms.
        span: rotary positions of rows and columns are stretched to 0..span; None: they are counted.
    """

    positions: Any
    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        tokenizer: PatchTokenizer,
        *,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        positions: str | nn.Module = "sincos",
        registers: int = 0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        qkv_bias: bool = True,
        bias: bool = True,
        norm_bias: bool = True,
        span: float | None = None,
    ) -> None:
        super().__init__()
        grid = tokenizer.layout.grid
        self.tokenizer, self.span = tokenizer, span
        if isinstance(positions, str):
            positions = Positions(grid, dim, positions)
        self.positions = positions
        # Not zeros: equal registers would get equal gradients and stay equal.
        self.registers = nn.Parameter(0.02 * torch.randn(registers, dim)) if registers else None
        rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            Block(
                dim,
                heads,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
                eps=eps,
                qkv_bias=qkv_bias,
                bias=bias,
                norm_bias=norm_bias,
            )
            for rate in rates
        )
        self.norm = nn.LayerNorm(dim, eps=eps, bias=norm_bias)
        self.rotary = isinstance(positions, Positions) and positions.kind in ROTARY
        if self.rotary:
            cos, sin = self._rotary_table(grid)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)

    def forward(
        self,
        patches: Float[Tensor, "B N patch"],
        keep: Int[Tensor, "B K"] | None = None,
        *,
        valid: Bool[Tensor, "B K"] | None = None,
        outputs: Int[Tensor, "B Q"] | None = None,
        layer: int = -1,
        with_registers: bool = False,
    ) -> Float[Tensor, "B Q D"]:
        """Representations of patches.

        Args:
            patches: all patches of each sample, from ``tokenizer.cut``.
            keep: the tokens that enter the network (positions in raster order); None: all.
            valid: False where ``keep`` is padding.
            outputs: positions, within the tokens that entered, whose representations are wanted; None: all.
            layer: block to read, as a Python index; the last one is read after the final norm, others as they are.
            with_registers: return the registers too, in front; only where ``outputs`` is None.

        Returns:
            (B, Q, D), without the registers unless they are asked for.
        """
        x = self.positions(self.tokenizer.embed(patches, keep, valid), keep)
        prefix = 0 if self.registers is None else self.registers.shape[0]
        if self.registers is not None:
            x = torch.cat((self.registers.expand(x.shape[0], -1, -1), x), dim=1)
            valid = None if valid is None else F.pad(valid, (prefix, 0), value=True)
        rotary = self._angles(keep, prefix)
        wanted: Keep | None = None
        if outputs is not None:
            wanted = outputs + prefix
        elif prefix and not with_registers:
            wanted = slice(prefix, None)
        last = range(len(self.blocks))[layer]
        for i in range(last):
            x = self.blocks[i](x, valid=valid, rotary=rotary)
        x = self.blocks[last](x, valid=valid, rotary=rotary, keep=wanted)
        return self.norm(x) if last == len(self.blocks) - 1 else x

    def resized(self, size: Sequence[int]) -> Encoder:
        """A copy with the same weights for inputs of another size: the positions are computed for the new grid.

        Args:
            size: input size along each axis.

        Raises:
            ConfigError: the patches do not divide it, or the positions are learned for another grid.
        """
        patch = self.tokenizer.patch
        layout = patch_layout(size, patch)
        old = self.tokenizer.layout.grid
        computed = isinstance(self.positions, Positions) and self.positions.kind != "learned"
        if not computed and layout.grid != old:
            kept = tuple(g * p for g, p in zip(old, patch, strict=True))
            raise ConfigError(
                f"the positions are learned for inputs of {kept}, they cannot be computed for {tuple(size)}"
            )
        copied = copy.deepcopy(self)
        copied.tokenizer.size, copied.tokenizer.layout = tuple(size), layout
        if computed:
            table = copied.positions.table
            fresh = Positions(layout.grid, table.shape[1], copied.positions.kind).table
            copied.positions.table = fresh.to(table)
        if self.rotary:
            copied.cos, copied.sin = (angles.to(self.cos) for angles in self._rotary_table(layout.grid))
        return copied

    def _rotary_table(self, grid: Sequence[int]) -> Rotary:
        first: Block = self.blocks[0]  # type: ignore[assignment]
        prefix = 0 if self.registers is None else self.registers.shape[0]
        tiled = self.positions.kind == "rotary_tiled"
        cos, sin = rotary_table(
            grid, self.norm.weight.shape[0] // first.attn.heads, tiled=tiled, span=self.span
        )
        # Registers have no place: their angle is zero.
        return F.pad(cos, (0, 0, prefix, 0), value=1.0), F.pad(sin, (0, 0, prefix, 0))

    def _angles(self, keep: Tensor | None, prefix: int) -> Rotary | None:
        if not self.rotary:
            return None
        if keep is None:
            return self.cos, self.sin
        index = keep + prefix
        if prefix:
            front = torch.arange(prefix, device=keep.device).expand(keep.shape[0], -1)
            index = torch.cat((front, index), dim=1)
        return self.cos[index], self.sin[index]


def initialise(
    module: nn.Module, std: float = 0.02, depth_rescale: bool = False, residual_depth: int | None = None
) -> None:
    """Initialises all weights in place.

    Linear weights: truncated normal of ``std``, cut at absolute +-2 (so in effect never); biases 0; norms 1 and 0.
    ``depth_rescale`` divides the output projections of block l = 1, 2, ... by sqrt(2 l). (I-JEPA's official model factory
    undoes that rescaling, so it is off by default.) ``residual_depth`` L divides those of every block by sqrt(2 L), as GPT-2
    does.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    if not depth_rescale and residual_depth is None:
        return
    for stack in [m for m in module.modules() if isinstance(m, nn.ModuleList)]:
        for i, block in enumerate((b for b in stack if isinstance(b, Block)), start=1):
            with torch.no_grad():
                block.attn.proj.weight.div_(math.sqrt(2.0 * (residual_depth or i)))
                block.mlp.fc2.weight.div_(math.sqrt(2.0 * (residual_depth or i)))
