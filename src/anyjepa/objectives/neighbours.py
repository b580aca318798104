"""The neighbours of a token on a grid that are most like it: which they are, and nothing about what becomes of them.

DMT-JEPA (arXiv 2405.17995) makes a target of each hidden patch from the four of its eight neighbours that are most similar to it.
Two borders: ``"wrap"`` joins opposite edges, as its official code does (the patch in the first corner then has neighbours in the
last row and column), ``"clip"`` stays inside the image, where a corner has three neighbours and not eight.

Similarities come from products of the grid with itself, shifted: (K^2 - 1) / 2 of them for a window of side K, for a shift and
its opposite give the same numbers. Features are gathered of the winners alone, so memory does not grow with the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyjepa.errors import ConfigError

COSINE_EPS = 1e-12
"""Least norm by which a feature is divided."""


@dataclass(frozen=True)
class NeighbourConfig:
    """Which neighbours are looked at, and how many are kept."""

    k_num: int = 4
    """Neighbours kept (4 in the paper). Where a border has fewer, all of them."""
    k_size: int = 3
    """Side of the window around a token (3 in the paper: 8 neighbours)."""
    borders: Literal["clip", "wrap"] = "clip"
    """``wrap`` joins opposite edges of the image, as in the official code; ``clip`` does not."""

    def __post_init__(self) -> None:
        if self.k_size < 3 or self.k_size % 2 == 0:
            raise ConfigError(f"k_size must be odd and at least 3, got {self.k_size}: use 3 or 5")
        if not 1 <= self.k_num <= self.k_size**2 - 1:
            raise ConfigError(
                f"k_num={self.k_num} neighbours, but a window of {self.k_size}x{self.k_size} has {self.k_size**2 - 1}: use "
                f"k_num from 1 to {self.k_size**2 - 1}, or a larger k_size"
            )

    def check(self, grid: tuple[int, ...]) -> None:
        """Raise ConfigError unless a grid has that many different neighbours."""
        if len(grid) != 2:
            raise ConfigError(f"neighbours need a grid of two axes, got {grid}")
        most = min(grid[0], self.k_size) * min(grid[1], self.k_size) - 1
        if self.borders == "wrap" and min(grid) < self.k_size:
            raise ConfigError(
                f"borders=wrap on a {grid[0]}x{grid[1]} grid would name a token twice in a window of "
                f"{self.k_size}x{self.k_size}: use borders=clip, or a smaller patch"
            )
        if self.k_num > most:
            raise ConfigError(
                f"k_num={self.k_num}, but no token of a {grid[0]}x{grid[1]} grid has more than {most} neighbours in a window of "
                f"{self.k_size}x{self.k_size}: use k_num <= {most}, or a smaller patch"
            )


def offsets(k_size: int) -> list[tuple[int, int]]:
    """Steps (down, right) to the neighbours, in raster order; the last half are the opposites of the first, in reverse."""
    reach = range(-(k_size // 2), k_size // 2 + 1)
    return [(down, right) for down in reach for right in reach if (down, right) != (0, 0)]


def neighbour_table(
    grid: tuple[int, ...], config: NeighbourConfig
) -> tuple[Int[Tensor, "N E"], Bool[Tensor, "N E"]]:
    """The E = k_size^2 - 1 neighbours of each of the N tokens of a grid, in the order of :func:`offsets`.

    Returns:
        Their raster indices, and False where there is none (``clip``, beyond the border; the index is then of no meaning).
    """
    height, width = grid
    steps = torch.tensor(offsets(config.k_size))
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1)
    at = place.reshape(-1, 1, 2) + steps
    size = torch.tensor([height, width])
    inside = ((at >= 0) & (at < size)).all(-1) | (config.borders == "wrap")
    at = at % size
    return at[..., 0] * width + at[..., 1], inside


def similarities(h: Float[Tensor, "B N D"], grid: tuple[int, ...], k_size: int) -> Float[Tensor, "B N E"]:
    """Cosine of each token with its neighbours on the torus, in the order of :func:`offsets`."""
    height, width = grid
    x = F.normalize(h.float(), dim=-1, eps=COSINE_EPS).unflatten(1, (height, width))
    steps = offsets(k_size)
    first = []
    for down, right in steps[: len(steps) // 2]:
        shifted = x.roll((-down, -right), dims=(1, 2))
        first.append(torch.linalg.vecdot(x, shifted))
    second = [
        same.roll((down, right), dims=(1, 2))
        for same, (down, right) in zip(first, steps[: len(steps) // 2], strict=True)
    ]
    return torch.stack(first + second[::-1], dim=-1).flatten(1, 2)


def most_similar(
    h: Float[Tensor, "B N D"],
    grid: tuple[int, ...],
    table: Int[Tensor, "N E"],
    inside: Bool[Tensor, "N E"],
    config: NeighbourConfig,
    wanted: Int[Tensor, "B W"] | None = None,
) -> tuple[Int[Tensor, "B W K"], Bool[Tensor, "B W K"]]:
    """The K = k_num neighbours of tokens that are most like them.

    Args:
        h: features of all tokens.
        grid: how they lie.
        table, inside: of that grid, see :func:`neighbour_table`.
        config: how many.
        wanted: tokens of each sample whose neighbours are asked for; None: all.

    Returns:
        Raster indices of the neighbours, most similar first, and False where a border left fewer than K.
    """
    like = similarities(h, grid, config.k_size).masked_fill(~inside, -torch.inf)
    rows = table
    if wanted is None:
        candidates = rows.expand(len(h), -1, -1)
    else:
        like = like.gather(1, wanted.unsqueeze(-1).expand(-1, -1, like.shape[-1]))
        candidates = rows[wanted]
    best, place = like.topk(config.k_num, dim=-1)
    return candidates.gather(2, place), best > -torch.inf


def gather_neighbours(x: Float[Tensor, "B N D"], chosen: Int[Tensor, "B W K"]) -> Float[Tensor, "B W K D"]:
    """The features of the chosen tokens."""
    b, w, k = chosen.shape
    index = chosen.reshape(b, w * k, 1).expand(-1, -1, x.shape[-1])
    return x.gather(1, index).view(b, w, k, -1)


def neighbour_mean(
    h: Float[Tensor, "B N D"], chosen: Int[Tensor, "B W K"], valid: Bool[Tensor, "B W K"]
) -> Float[Tensor, "B W D"]:
    """Mean of the chosen neighbours, of those that exist."""
    weight = valid.unsqueeze(-1).to(h.dtype)
    return (gather_neighbours(h, chosen) * weight).sum(2) / weight.sum(2)
