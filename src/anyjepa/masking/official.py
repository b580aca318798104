"""The official I-JEPA multi-block sampler, draw for draw, for parity and comparison.

Facts about the algorithm: block sizes come from a generator seeded with the step; positions come from one sequential stream
shared by the whole batch, so the masks of a sample depend on its neighbours in the batch; an upper bound that is exclusive
where it should be inclusive keeps the last row and column out of every block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anyjepa.contract import Layout, Masks
from anyjepa.randomness import derive_seed

if TYPE_CHECKING:
    from anyjepa.masking.multiblock import MultiBlockConfig

TRIES = 20
"""Attempts to place a context before one target is dropped from the tokens it must avoid."""


def official_block_size(
    generator: torch.Generator, grid: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float]
) -> tuple[int, int]:
    """Height and width of a block; scale and aspect share one draw, and a block is smaller than the grid along both axes."""
    r = torch.rand(1, generator=generator).item()
    area = int(grid[0] * grid[1] * (scale[0] + r * (scale[1] - scale[0])))
    ratio = aspect[0] + r * (aspect[1] - aspect[0])
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(height, grid[0] - 1), min(width, grid[1] - 1)


def official_multiblock(
    config: MultiBlockConfig,
    layout: Layout,
    *,
    seed: int,
    step: int,
    index: NDArray[np.int64],
    positions: torch.Generator | None = None,
) -> Masks:
    """Masks as the official collator draws them for its call number ``step`` (from 0).

    Args:
        config, layout: see :func:`anyjepa.masking.multiblock.multiblock`.
        seed: seed of the run.
        step: seeds the block sizes.
        index: sample indices (B,).
        positions: stream of the positions; None: one seeded by (seed, step, first index), so that ranks differ.
    """
    grid = (layout.grid[0], layout.grid[1])
    sizes = torch.Generator().manual_seed(step)
    target = official_block_size(sizes, grid, config.target_scale, config.target_aspect)
    context = official_block_size(sizes, grid, config.context_scale, (1.0, 1.0))
    if positions is None:
        positions = torch.Generator().manual_seed(derive_seed(seed, "mask/official", step, int(index[0])))
    keep = config.min_keep or 0
    targets, contexts = [], []
    for _ in range(len(index)):
        rectangles = [_rectangle(grid, target, positions) for _ in range(config.targets)]
        targets.append(torch.stack([r.flatten().nonzero().squeeze(1) for r in rectangles]))
        contexts.append(_context(grid, context, [] if config.allow_overlap else rectangles, keep, positions))
    shortest = min(len(c) for c in contexts)
    return Masks(torch.stack([c[:shortest] for c in contexts]), torch.stack(targets))


def _rectangle(grid: tuple[int, int], size: tuple[int, int], positions: torch.Generator) -> Tensor:
    top = int(torch.randint(0, grid[0] - size[0], (1,), generator=positions))
    left = int(torch.randint(0, grid[1] - size[1], (1,), generator=positions))
    block = torch.zeros(grid, dtype=torch.int32)
    block[top : top + size[0], left : left + size[1]] = 1
    return block


def _context(
    grid: tuple[int, int], size: tuple[int, int], avoid: list[Tensor], keep: int, positions: torch.Generator
) -> Tensor:
    """Ascending indices of a context that has more than ``keep`` tokens.

    After 20 failures one more target, the last first, may be overlapped; a context that is too small with none left is
    accepted (the official code would loop for ever).
    """
    for avoided in range(len(avoid), -1, -1):
        for _ in range(TRIES):
            block = _rectangle(grid, size, positions)
            for other in avoid[:avoided]:
                block = block * (1 - other)
            index = block.flatten().nonzero().squeeze(1)
            if len(index) > keep:
                return index
    return index
