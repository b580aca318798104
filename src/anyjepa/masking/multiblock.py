"""Multi-block masks of I-JEPA (arXiv 2301.08243, section 3): M target rectangles, and a large context rectangle without them.

``compat="fixed"`` (default) and ``compat="official"`` differ in four points:

=====================  =====================================  =============================================
point                  fixed                                  official
=====================  =====================================  =============================================
placement              every position of the grid             never the last row and column
scale and aspect       drawn independently                    one shared draw: small is wide, large is tall
block size             up to the whole grid                   always smaller than the grid
cut to common length   a random choice of each context        the first tokens: bottom rows get lost
=====================  =====================================  =============================================

The fixed masks of a sample depend on (seed, step, sample index) alone; only the common context length depends on the other
samples of the step, and not even that with ``truncate="pad"``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.masking.official import TRIES, official_multiblock
from anyjepa.randomness import derive_seed, uniform


@dataclass(frozen=True)
class MultiBlockConfig:
    """Sizes of the blocks. Defaults: all published I-JEPA configs."""

    targets: int = 4
    """Target blocks M per sample (`npred`; paper, table 8: 1/2/3/4 blocks give 9.0/22.0/48.5/54.2 %)."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block as a share of the grid."""
    target_aspect: tuple[float, float] = (0.75, 1.5)
    """Height over width of a target block."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    """Area of the square context block before the targets are taken out."""
    min_keep: int | None = None
    """A block must have more tokens than this; None: 10 as published, less where the grid is too small for that."""
    allow_overlap: bool = False
    """Leave the target tokens inside the context."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official`` reproduces the official collator bit for bit."""
    truncate: Literal["random", "pad"] = "random"
    """How contexts get one length: ``random`` drops tokens to the shortest, ``pad`` keeps all and pads (fixed only)."""

    def __post_init__(self) -> None:
        if self.targets < 1:
            raise ConfigError(f"masks.targets must be at least 1, got {self.targets}")
        for name in ("target_scale", "target_aspect", "context_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high or ("scale" in name and high > 1):
                raise ConfigError(
                    f"masks.{name} must be (low, high) with 0 < low <= high{' <= 1' * ('scale' in name)}, got {(low, high)}"
                )
        if self.compat == "official" and self.truncate == "pad":
            raise ConfigError(
                "masks.truncate=pad needs masks.compat=fixed: the official masks are always truncated"
            )

    def fit(self, layout: Layout) -> MultiBlockConfig:
        """The same masks with ``min_keep`` chosen for a grid.

        Raises:
            ConfigError: the layout is not a grid of two axes, or its blocks are too small for ``min_keep``.
        """
        if len(layout.grid) != 2:
            raise ConfigError(f"multi-block masks need a grid of two axes, got {layout.grid}")
        smallest = min(h * w for h, w in _possible_sizes(layout.grid, self))
        chosen = min(10, smallest - 1) if self.min_keep is None else self.min_keep
        if smallest <= chosen or smallest < 1:
            raise ConfigError(
                f"the smallest target block on a {layout.grid[0]}x{layout.grid[1]} grid has {smallest} tokens, "
                f"but a block must have more than masks.min_keep={chosen}: "
                f"use min_keep <= {smallest - 1}, a smaller patch, or a larger masks.target_scale"
            )
        return replace(self, min_keep=chosen)


def block_size(
    grid: tuple[int, ...], scale: float, aspect: float, *, largest: tuple[int, ...] | None = None
) -> tuple[int, int]:
    """Height and width of a block of ``scale`` times the grid's area; never above ``largest`` (default: the grid)."""
    top, left = largest or grid
    area = math.floor(grid[0] * grid[1] * scale)
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return max(1, min(height, top)), max(1, min(width, left))


@lru_cache(maxsize=64)
def _possible_sizes(grid: tuple[int, ...], config: MultiBlockConfig) -> frozenset[tuple[int, int]]:
    """Target sizes the config can draw, on a fine lattice of its two draws."""
    draws = np.linspace(0.0, 1.0, 65)[:-1]
    pairs = [(u, u) for u in np.linspace(0.0, 1.0, 1025)[:-1]]
    if config.compat == "fixed":
        pairs = [(u, v) for u in draws for v in draws]
    largest = (grid[0] - 1, grid[1] - 1) if config.compat == "official" else None
    return frozenset(
        block_size(grid, _between(config.target_scale, u), _between(config.target_aspect, v), largest=largest)
        for u, v in pairs
    )


def _between(bounds: tuple[float, float], u: float) -> float:
    return bounds[0] + u * (bounds[1] - bounds[0])


def multiblock(
    config: MultiBlockConfig,
    layout: Layout,
    *,
    seed: int,
    step: int,
    index: ArrayLike,
    peers: ArrayLike | None = None,
) -> Masks:
    """Masks of a batch.

    Args:
        config: block sizes, from :meth:`MultiBlockConfig.fit`.
        layout: a grid of two axes.
        seed: seed of the run.
        step: optimizer step; all samples of a step share their block sizes.
        index: sample indices (B,).
        peers: indices of all samples of the step, when this batch is only a part of it.

    Returns:
        Masks on the CPU; targets are rectangles in raster order, contexts ascending.
    """
    if config.min_keep is None:
        config = config.fit(layout)
    rows = np.atleast_1d(np.asarray(index))
    if config.compat == "official":
        return official_multiblock(config, layout, seed=seed, step=step, index=rows)
    grid = (layout.grid[0], layout.grid[1])
    u = [derive_seed(seed, "mask/size", step, i) * 2.0**-63 for i in range(3)]
    target = block_size(grid, _between(config.target_scale, u[0]), _between(config.target_aspect, u[1]))
    context = block_size(grid, _between(config.context_scale, u[2]), 1.0)
    place = partial(_place, config, grid, target, context, seed, step)
    # One call for all draws of a sample: two coordinates of each block, then a key of each token for the cut.
    corners = 2 * config.targets + 2
    draws = uniform(seed, "mask/blocks", step, rows, corners + layout.tokens)
    targets, allowed = place(rows, draws[:, :corners])
    lengths = allowed.sum(axis=1)
    if config.truncate == "pad":
        return _padded(targets, allowed, lengths)
    shortest = int(lengths.min())
    if peers is not None and len(others := np.setdiff1d(np.asarray(peers), rows)):
        _, theirs = place(others, uniform(seed, "mask/blocks", step, others, corners))
        shortest = min(shortest, int(theirs.sum(axis=1).min()))
    keys = draws[:, corners:]
    keys[~allowed] = 2.0
    kept = np.sort(np.argpartition(keys, shortest - 1, axis=1)[:, :shortest], axis=1)
    return Masks(torch.from_numpy(kept), torch.from_numpy(targets))


def _place(
    config: MultiBlockConfig,
    grid: tuple[int, int],
    target: tuple[int, int],
    context: tuple[int, int],
    seed: int,
    step: int,
    rows: NDArray[np.int64],
    u: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Target indices (B, M, P) and the map (B, N) of the tokens a context may use, from draws (B, 2 M + 2)."""
    (height, width), m = grid, config.targets
    top = (u[:, :m] * (height - target[0] + 1)).astype(np.int64)
    left = (u[:, m : 2 * m] * (width - target[1] + 1)).astype(np.int64)
    inside = (np.arange(target[0])[:, None] * width + np.arange(target[1])[None, :]).reshape(-1)
    targets = (top * width + left)[:, :, None] + inside

    free = np.ones((len(rows), height * width), dtype=bool)
    if not config.allow_overlap:
        free[np.arange(len(rows))[:, None], targets.reshape(len(rows), -1)] = False
    allowed = _rectangle(grid, context, u[:, 2 * m :]) & free
    keep = config.min_keep or 0
    short = np.flatnonzero(allowed.sum(axis=1) <= keep)
    attempt = 1
    while len(short):
        # After every TRIES attempts one more target, the last first, may be overlapped; with none left any draw is valid
        # as soon as the context rectangle itself is large enough, and the whole grid is the last resort.
        avoided = -1 if config.allow_overlap else m - attempt // TRIES
        if avoided < 0:
            allowed[short] = True
            break
        free = np.ones((len(short), height * width), dtype=bool)
        if avoided:
            free[np.arange(len(short))[:, None], targets[short, :avoided].reshape(len(short), -1)] = False
        draw = uniform(seed, f"mask/context/{attempt}", step, rows[short], 2)
        allowed[short] = _rectangle(grid, context, draw) & free
        short = short[allowed[short].sum(axis=1) <= keep]
        attempt += 1
    return targets, allowed


def _rectangle(grid: tuple[int, int], size: tuple[int, int], u: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Maps (B, N) of one randomly placed rectangle per row of ``u`` (B, 2)."""
    top = (u[:, :1] * (grid[0] - size[0] + 1)).astype(np.int64)
    left = (u[:, 1:] * (grid[1] - size[1] + 1)).astype(np.int64)
    y, x = np.arange(grid[0]), np.arange(grid[1])
    in_y = (y >= top) & (y < top + size[0])
    in_x = (x >= left) & (x < left + size[1])
    return (in_y[:, :, None] & in_x[:, None, :]).reshape(len(u), -1)


def _padded(targets: NDArray[np.int64], allowed: NDArray[np.bool_], lengths: NDArray[np.int64]) -> Masks:
    longest = int(lengths.max())
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :longest]
    valid = np.arange(longest)[None, :] < lengths[:, None]
    order[~valid] = 0
    full = bool(valid.all())
    return Masks(
        torch.from_numpy(order), torch.from_numpy(targets), None if full else torch.from_numpy(valid)
    )
