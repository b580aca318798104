"""Multi-block tubes of V-JEPA (arXiv 2404.08471, section 3): blocks of one size, placed at random in time and space.

Their union is predicted from everything else.

The blocks of all samples of a step have one size, drawn for the step. Unions differ in size, so contexts and targets are cut
to what the smallest of the step has.

=====================  ======================================  ==========================================
point                  ``compat="fixed"`` (default)            ``compat="official"``
=====================  ======================================  ==========================================
cut to common length   a random choice of each                 the first tokens: the last times get lost
placement              by seed, step and sample                one stream shared by the batch
=====================  ======================================  ==========================================

``truncate`` chooses the cut by itself: ``"prefix"`` is the official one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.masking.multiblock import block_size
from anyjepa.randomness import derive_seed, uniform

TRIES = 20
"""Attempts to place the blocks so that a context is left; afterwards one block after the other is given up."""
TRIES_OFFICIAL = 1000
"""The official code tries for ever."""


@dataclass(frozen=True)
class TubeMaskConfig:
    """One kind of mask. Defaults: the short-range masks of all published V-JEPA configs."""

    blocks: int = 8
    """Blocks per sample, which may overlap (`num_blocks`; 2 in the long-range masks)."""
    spatial_scale: tuple[float, float] = (0.15, 0.15)
    """Area of a block as a share of the grid (0.7 in the long-range masks)."""
    temporal_scale: tuple[float, float] = (1.0, 1.0)
    """Length of a block as a share of the times: 1 makes tubes through the whole clip."""
    aspect: tuple[float, float] = (0.75, 1.5)
    """Height over width of a block."""
    max_temporal_keep: float = 1.0
    """Only this share of the times, the first ones, may be context; below 1: the paper's causal multi-block."""
    max_keep: int | None = None
    """Most context tokens."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official`` draws as the official collator does, bit for bit."""
    truncate: Literal["random", "prefix"] | None = None
    """How contexts and targets get one length; None: random, or prefix with compat=official."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ConfigError(f"masks.blocks must be at least 1, got {self.blocks}")
        for name in ("spatial_scale", "temporal_scale", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high or ("scale" in name and high > 1):
                raise ConfigError(
                    f"masks.{name} must be (low, high) with 0 < low <= high{' <= 1' * ('scale' in name)}, got {(low, high)}"
                )
        if not 0 < self.max_temporal_keep <= 1:
            raise ConfigError(f"masks.max_temporal_keep must lie in (0, 1], got {self.max_temporal_keep}")
        if self.max_keep is not None and self.max_keep < 1:
            raise ConfigError(f"masks.max_keep must be at least 1, got {self.max_keep}")

    def check(self, layout: Layout) -> None:
        """Raise ConfigError unless the layout has times, rows and columns and every block leaves a context."""
        if len(layout.grid) != 3:
            raise ConfigError(f"tube masks need a grid of (times, rows, columns), got {layout.grid}")
        times, rows, columns = layout.grid
        h, w = block_size((rows, columns), self.spatial_scale[1], math.sqrt(self.aspect[0] * self.aspect[1]))
        whole = max(1, int(times * self.temporal_scale[1])) == times
        if whole and h >= rows and w >= columns:
            raise ConfigError(
                f"a block of spatial_scale={self.spatial_scale[1]} covers all of a {rows}x{columns} grid and leaves no context: "
                "use a smaller scale or smaller patches"
            )

    @property
    def cut(self) -> str:
        """How contexts and targets get one length."""
        return self.truncate or ("prefix" if self.compat == "official" else "random")


def tube_size(
    config: TubeMaskConfig, grid: tuple[int, ...], draws: tuple[float, float, float]
) -> tuple[int, int, int]:
    """Times, rows and columns of a block, from three draws in [0, 1): of its length, its area and its aspect."""
    length = max(1, int(grid[0] * _between(config.temporal_scale, draws[0])))
    area, aspect = _between(config.spatial_scale, draws[1]), _between(config.aspect, draws[2])
    return (length, *block_size((grid[1], grid[2]), area, aspect))


def tube_masks(
    config: TubeMaskConfig,
    layout: Layout,
    *,
    seed: int,
    step: int,
    index: ArrayLike,
    peers: ArrayLike | None = None,
    kind: int = 0,
) -> Masks:
    """Masks of a batch: one target block per sample, the union of its blocks.

    Args:
        config: sizes of the blocks.
        layout: a grid of (times, rows, columns).
        seed: seed of the run.
        step: optimizer step.
        index: sample indices (B,).
        peers: indices of all samples of the step, when this batch is only a part of it.
        kind: number of this kind of mask, where there are several for each sample.

    Returns:
        Masks on the CPU: targets (B, 1, P), all ascending.
    """
    config.check(layout)
    rows = np.atleast_1d(np.asarray(index))
    grid = (layout.grid[0], layout.grid[1], layout.grid[2])
    if config.compat == "official":
        hidden = _official(config, grid, seed, step, rows)
        length = hidden.sum(axis=1)
    else:
        u = [derive_seed(seed, f"mask/tubes/{kind}/size", step, i) * 2.0**-63 for i in range(3)]
        size = tube_size(config, grid, (u[0], u[1], u[2]))
        hidden = _hidden(config, grid, size, seed, step, rows, kind)
        length = hidden.sum(axis=1)
        if peers is not None and len(others := np.setdiff1d(np.asarray(peers), rows)):
            theirs = _hidden(config, grid, size, seed, step, others, kind).sum(axis=1)
            length = np.concatenate([length, theirs])
    targets, context = int(length.min()), layout.tokens - int(length.max())
    keys = None
    if config.cut == "random":
        keys = uniform(seed, f"mask/tubes/{kind}/cut", step, rows, layout.tokens)
    kept = _first(~hidden, min(context, config.max_keep or context), keys)
    return Masks(kept, _first(hidden, targets, keys).unsqueeze(1))


def _hidden(
    config: TubeMaskConfig,
    grid: tuple[int, int, int],
    size: tuple[int, int, int],
    seed: int,
    step: int,
    rows: NDArray[np.int64],
    kind: int,
) -> NDArray[np.bool_]:
    """Map (B, N) of the tokens to predict; each sample has a token that is not."""
    purpose = f"mask/tubes/{kind}/blocks"
    found = _union(config, grid, size, uniform(seed, purpose, step, rows, 3 * config.blocks))
    attempt = 1
    while len(short := np.flatnonzero(found.all(axis=1))):
        used = min(config.blocks, config.blocks - attempt // TRIES)
        if used < 1:
            # Only with max_temporal_keep: the one time that is left lies under the block.
            found[short, 0] = False
            break
        draws = uniform(seed, f"{purpose}/{attempt}", step, rows[short], 3 * used)
        found[short] = _union(config, grid, size, draws)
        attempt += 1
    return found


def _union(
    config: TubeMaskConfig, grid: tuple[int, int, int], size: tuple[int, int, int], u: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Map (B, N) of the union of blocks placed by draws (B, 3 M)."""
    blocks = u.reshape(len(u), -1, 3)
    inside = []
    for axis in range(3):
        start = (blocks[:, :, axis] * (grid[axis] - size[axis] + 1)).astype(np.int64)[:, :, None]
        place = np.arange(grid[axis])
        inside.append((place >= start) & (place < start + size[axis]))
    t, y, x = inside
    # Block by block: memory does not grow with their number.
    found = np.zeros((len(u), *grid), dtype=bool)
    for m in range(blocks.shape[1]):
        found |= t[:, m, :, None, None] & y[:, m, None, :, None] & x[:, m, None, None, :]
    found[:, _times(config, grid) :] = True
    return found.reshape(len(u), -1)


def _official(
    config: TubeMaskConfig, grid: tuple[int, int, int], seed: int, step: int, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """As the official collator draws in its call number ``step``: sizes from a generator seeded with it, places from one stream.

    The official stream is torch's global one; here it is seeded by (seed, step, first index), so that processes differ.
    """
    sizes = torch.Generator().manual_seed(step)
    u = [torch.rand(1, generator=sizes).item() for _ in range(3)]
    size = tube_size(config, grid, (u[0], u[1], u[2]))
    stream = torch.Generator().manual_seed(derive_seed(seed, "mask/tubes/official", step, int(rows[0])))
    return official_places(config, grid, size, len(rows), stream)


def official_places(
    config: TubeMaskConfig,
    grid: tuple[int, int, int],
    size: tuple[int, int, int],
    samples: int,
    stream: torch.Generator,
) -> NDArray[np.bool_]:
    """Map (B, N) of the tokens to predict, drawn in the official order: row, column, time of each block."""
    found = np.zeros((samples, *grid), dtype=bool)
    for b in range(samples):
        for _ in range(TRIES_OFFICIAL):
            found[b] = False
            for _ in range(config.blocks):
                y, x, t = (
                    int(torch.randint(0, grid[axis] - size[axis] + 1, (1,), generator=stream))
                    for axis in (1, 2, 0)
                )
                found[b, t : t + size[0], y : y + size[1], x : x + size[2]] = True
            found[b, _times(config, grid) :] = True
            if not found[b].all():
                break
        else:
            raise ConfigError(
                f"after {TRIES_OFFICIAL} attempts {config.blocks} blocks of {size} tokens leave no context on a grid of {grid}: "
                "use a smaller spatial_scale"
            )
    return found.reshape(samples, -1)


def _times(config: TubeMaskConfig, grid: tuple[int, int, int]) -> int:
    """How many of the first times may be context."""
    return max(1, int(grid[0] * config.max_temporal_keep))


def _first(chosen: NDArray[np.bool_], length: int, keys: NDArray[np.float64] | None) -> torch.Tensor:
    """(B, length) ascending indices of chosen tokens: the first ones, or those of the smallest keys."""
    order = np.where(chosen, np.arange(chosen.shape[1]) if keys is None else keys, np.inf)
    return torch.from_numpy(np.sort(np.argpartition(order, length - 1, axis=1)[:, :length], axis=1))


def _between(bounds: tuple[float, float], u: float) -> float:
    return bounds[0] + u * (bounds[1] - bounds[0])
