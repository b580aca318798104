"""Masks of whole columns of time, the same for all leads and all samples of a step (ECG-JEPA of Kim, arXiv 2410.08559)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform


@dataclass(frozen=True)
class ColumnMaskConfig:
    """Which columns are hidden. Defaults: the official block masks."""

    kind: Literal["block", "random"] = "block"
    """Blocks of neighbouring columns, which may overlap, or columns one by one."""
    blocks: int = 4
    """Blocks per mask."""
    block_share: tuple[float, float] = (0.175, 0.225)
    """Length of each block as a share of the columns (`mask_scale`; 8 to 11 of 50), drawn for each."""
    random_share: tuple[float, float] = (0.6, 0.7)
    """Hidden share of the columns in random masks."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official``: a block never lies at the very end, so the last column is never hidden by blocks."""

    def __post_init__(self) -> None:
        for name in ("block_share", "random_share"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                raise ConfigError(
                    f"masks.{name} must be (low, high) with 0 < low <= high < 1, got {(low, high)}"
                )
        if self.blocks < 1:
            raise ConfigError(f"masks.blocks must be at least 1, got {self.blocks}")


def column_masks(
    config: ColumnMaskConfig, layout: Layout, *, seed: int, step: int, index: ArrayLike
) -> Masks:
    """Masks of a batch: context (B, K) and one target block (B, 1, N - K), leads one after another, both ascending.

    Args:
        config: which columns.
        layout: a grid of leads and time, of at least two columns.
        seed, step: name the mask; it is that of all samples of the step.
        index: sample indices (B,); only their number matters.

    Raises:
        ConfigError: the layout is no such grid.
    """
    if len(layout.grid) != 2 or layout.grid[1] < 2:
        raise ConfigError(f"column masks need a grid of leads and two or more columns, got {layout.grid}")
    leads, columns = layout.grid
    u = uniform(seed, "mask/columns", step, 0, 2 * config.blocks)[0]
    hidden = np.zeros(columns, dtype=bool)
    if config.kind == "random":
        low, high = config.random_share
        order = uniform(seed, "mask/order", step, 0, columns)[0].argsort()
        hidden[order[: max(1, int(columns * (low + (high - low) * u[0])))]] = True
    else:
        low, high = config.block_share
        for length_draw, start_draw in u.reshape(-1, 2):
            length = max(1, int(columns * (low + (high - low) * length_draw)))
            starts = columns - length + (config.compat == "fixed")
            start = int(start_draw * starts)
            hidden[start : start + length] = True
    if hidden.all():
        # Overlong blocks may cover everything; a context of one column must be left.
        hidden[int(u[-1] * columns)] = False
    grid = np.arange(leads * columns).reshape(leads, columns)
    count = len(np.atleast_1d(np.asarray(index)))
    context, target = grid[:, ~hidden].reshape(-1), grid[:, hidden].reshape(-1)
    return Masks(
        torch.from_numpy(np.tile(context, (count, 1))), torch.from_numpy(np.tile(target, (count, 1))[:, None])
    )
