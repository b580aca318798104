"""Which columns of a table row are context, and which sets of the others are to be predicted (T-JEPA, arXiv 2410.05016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from anyjepa.contract import Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform

TRIES = 64
"""Draws of the two sizes before the targets are cut to what the context leaves."""


@dataclass(frozen=True)
class FeatureMaskConfig:
    """Sizes of context and targets as shares of the columns. Defaults: the published setting for Jannis."""

    context: tuple[float, float] = (0.1363, 0.3682)
    """Least and largest share of the columns that the context encoder sees (searched: 0.07-0.15 to 0.2-0.9)."""
    targets: tuple[float, float] = (0.1556, 0.6222)
    """Least and largest share of the columns in each set of targets (searched: 0.05-0.2 to 0.2-0.9)."""
    blocks: int = 4
    """Sets of targets for each row (4 everywhere)."""
    per: Literal["row", "batch"] = "row"
    """Columns are drawn for each row (official code), or once for all rows of a step. Sizes are those of the whole step."""

    def __post_init__(self) -> None:
        for name in ("context", "targets"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                raise ConfigError(
                    f"masks.{name} must be (low, high) with 0 < low <= high < 1, got {(low, high)}"
                )
        if self.blocks < 1:
            raise ConfigError(f"masks.blocks must be at least 1, got {self.blocks}")

    def bounds(self, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Least and largest number of context columns, and of target columns; at least one each.

        Raises:
            ConfigError: even the smallest two do not fit beside each other.
        """
        found = []
        for low, high in (self.context, self.targets):
            least = max(1, round(columns * low))
            found.append((least, max(least, round(columns * high))))
        if found[0][0] + found[1][0] > columns:
            raise ConfigError(
                f"of {columns} columns, masks.context asks for at least {found[0][0]} and masks.targets for at least "
                f"{found[1][0]}: lower one of the two, or give more columns"
            )
        return found[0], found[1]


def feature_masks(
    config: FeatureMaskConfig,
    columns: int,
    *,
    seed: int,
    step: int,
    index: ArrayLike,
    official: bool = False,
) -> Masks:
    """Context (B, K) and targets (B, M, P) of a batch, ascending; no target is in the context, targets may share columns.

    Args:
        config: how many.
        columns: d.
        seed, step, index: name the draws; sizes depend on seed and step alone.
        official: sizes as the official code draws them in iteration ``step``; and all sets of a row are the same one, since
            that code shuffles them in place.

    Raises:
        ConfigError: context and targets do not fit beside each other.
    """
    rows = np.atleast_1d(np.asarray(index))
    k, p = official_sizes(config, columns, step) if official else sizes(config, columns, seed, step)
    who = np.zeros(1, dtype=np.int64) if config.per == "batch" else rows
    seen = uniform(seed, "mask/context", step, who, columns).argsort(axis=1)[:, :k]
    blocks = 1 if official else config.blocks
    keys = uniform(seed, "mask/target", step, who, blocks * columns).reshape(len(who), blocks, columns)
    # Draws are below 1: the context comes last, where no target is taken from.
    keys[np.arange(len(who))[:, None], :, seen] = 2.0
    asked = keys.argsort(axis=2)[:, :, :p]
    context = np.broadcast_to(np.sort(seen, axis=1), (len(rows), k))
    targets = np.broadcast_to(np.sort(asked, axis=2), (len(rows), config.blocks, p))
    return Masks(torch.from_numpy(context.copy()), torch.from_numpy(targets.copy()))


def sizes(config: FeatureMaskConfig, columns: int, seed: int, step: int) -> tuple[int, int]:
    """Columns of the context and of each set of targets in a step; always ends.

    Each is uniform but for the two bounds, which are half as likely as the numbers between; both are drawn again until they fit
    beside each other.
    """
    bounds = config.bounds(columns)
    draws = uniform(seed, "mask/size", step, 0, 2 * TRIES)[0].reshape(TRIES, 2)
    low, high = np.array(bounds).T
    found = (low + np.round((high - low) * draws)).astype(np.int64)
    fitting = found[found.sum(axis=1) <= columns]
    if len(fitting):
        return int(fitting[0, 0]), int(fitting[0, 1])
    k = min(int(found[0, 0]), columns - int(low[1]))
    return k, min(int(found[0, 1]), columns - k)


def official_sizes(config: FeatureMaskConfig, columns: int, step: int) -> tuple[int, int]:
    """The same as the official code draws it in iteration ``step``, bit for bit where that one ends."""
    (a, b), (c, d) = config.bounds(columns)
    generator = torch.Generator().manual_seed(step)
    for _ in range(TRIES):
        first, second = (torch.rand(1, generator=generator).numpy()[0] for _ in range(2))
        k, p = a + int(np.round((b - a) * first)), c + int(np.round((d - c) * second))
        if k + p <= columns:
            return k, p
    k = min(k, columns - c)
    return k, min(p, columns - k)
