"""Where a token lies: fixed sin-cos tables, learned tables, rotary angles, for grids of any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, each (N, d) or (B, K, d), for :func:`rotate`."""


def _coordinates(grid: Sequence[int]) -> list[np.ndarray]:
    """One array (N,) per axis: the position of every token along it, tokens in raster order."""
    return [axis.reshape(-1) for axis in np.meshgrid(*[np.arange(n) for n in grid], indexing="ij")]


def sincos_table(
    grid: Sequence[int], dim: int, interleaved: bool = False, base: float = 10000.0
) -> Float[Tensor, "N D"]:
    """Fixed sin-cos table of a grid.

    Each axis gets an equal, even share c of the channels: c/2 sines, then c/2 cosines, of the integer position times
    base^(-i/(c/2)). Images put the column (x) before the row (y), as I-JEPA does (arXiv 2301.08243, official code); grids
    of one or three axes keep the order of the grid, as V-JEPA does (time, row, column).

    Args:
        grid: tokens along each axis.
        dim: channels D; the shares are cut to it when it does not divide.
        interleaved: sine and cosine of a frequency side by side (arXiv 1706.03762) instead of all sines before all cosines.
        base: the longest wavelength is 2 pi times so many positions.
    """
    axes = _coordinates(grid)
    if len(axes) == 2:
        axes.reverse()
    half = math.ceil(dim / (2 * len(axes)))
    frequencies = base ** (-np.arange(half) / half)
    angles = [axis[:, None] * frequencies[None, :] for axis in axes]
    if interleaved:
        shares = [np.stack([np.sin(a), np.cos(a)], axis=2).reshape(len(a), -1) for a in angles]
    else:
        shares = [np.concatenate([np.sin(a), np.cos(a)], axis=1) for a in angles]
    table = np.concatenate(shares, axis=1)
    return torch.from_numpy(table[:, :dim].astype(np.float32))


ROTARY = ("rotary", "rotary_tiled")
"""Positions that turn queries and keys instead of being added to tokens."""


class Positions(nn.Module):
    """Additive positions of a grid: ``"sincos"`` or ``"interleaved"`` (fixed), ``"learned"``, or ``"none"``; with one of
    :data:`ROTARY` nothing is added here.

    The fixed table is a buffer: it moves with the module but is neither trained nor saved.
    """

    table: Tensor

    def __init__(self, grid: Sequence[int], dim: int, kind: str = "sincos") -> None:
        super().__init__()
        self.kind = kind
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(math.prod(grid), dim))
            nn.init.trunc_normal_(self.table, std=0.02)
        else:
            fixed = kind in ("sincos", "interleaved")
            table = (
                sincos_table(grid, dim, interleaved=kind == "interleaved")
                if fixed
                else torch.zeros(math.prod(grid), dim)
            )
            self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Float[Tensor, "B K D"], keep: Tensor | None = None) -> Float[Tensor, "B K D"]:
        """Tokens plus their positions; ``keep`` (B, K) names the tokens, None means all of them in order."""
        if self.kind in ("none", *ROTARY):
            return tokens
        return tokens + (self.table if keep is None else self.table[keep])


def rotary_table(
    grid: Sequence[int], head_dim: int, base: float = 10000.0, tiled: bool = False, span: float | None = None
) -> Rotary:
    """Cosines and sines (N, d) of rotary positions; each axis rotates an equal, even share of the head's channels.

    Source: RoFormer (arXiv 2104.09864), per axis as in V-JEPA 2 (arXiv 2506.09985). d = axes * share <= head_dim; the
    remaining channels are not rotated. ``tiled`` is the slip of the released V-JEPA 2 models: the frequencies of an axis are laid
    out twice in a row instead of twice each, so the two channels of a pair turn by different angles. ``span`` stretches rows and
    columns, the last two axes, to 0..span, whatever their number (V-JEPA 2.1, arXiv 2603.14482: 15).
    """
    axes = _coordinates(grid)
    if span is not None:
        stretch = [1.0] * (len(grid) - 2) + [span / max(1, n - 1) for n in grid[-2:]]
        axes = [axis * each for axis, each in zip(axes, stretch, strict=True)]
    share = 2 * (head_dim // len(axes) // 2)
    frequencies = base ** (-np.arange(share // 2) / (share / 2))
    doubled = np.tile(frequencies, 2) if tiled else np.repeat(frequencies, 2)
    angles = np.concatenate([a[:, None] * doubled for a in axes], axis=1)
    return torch.from_numpy(np.cos(angles).astype(np.float32)), torch.from_numpy(
        np.sin(angles).astype(np.float32)
    )


def rotate(x: Float[Tensor, "B heads K d"], rotary: Rotary) -> Float[Tensor, "B heads K d"]:
    """Rotates channel pairs (0,1), (2,3), ... of queries or keys by the angles of their tokens."""
    cos, sin = rotary
    if cos.ndim == 3:  # one set of tokens per sample: an axis for the heads
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    width = cos.shape[-1]
    part, rest = x[..., :width], x[..., width:]
    turned = torch.stack((-part[..., 1::2], part[..., ::2]), dim=-1).flatten(-2)
    return torch.cat((part * cos + turned * sin, rest), dim=-1)
