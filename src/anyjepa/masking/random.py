"""Random masks: a random share of the tokens is the context, the others are one target (I-JEPA's ablation, table 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform


@dataclass(frozen=True)
class RandomMaskConfig:
    """Share of hidden tokens. Defaults: the official random collator."""

    ratio: tuple[float, float] = (0.4, 0.6)
    """Hidden share, drawn once per step."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        if not 0 < low <= high < 1:
            raise ConfigError(f"random.ratio must be (low, high) with 0 < low <= high < 1, got {self.ratio}")


def random_masks(
    config: RandomMaskConfig, layout: Layout, *, seed: int, step: int, index: ArrayLike
) -> Masks:
    """Masks of a batch: context (B, K) and one target block (B, 1, N - K), both ascending.

    Args:
        config: hidden share.
        layout: any layout of at least two tokens.
        seed, step, index: as in :func:`anyjepa.masking.multiblock.multiblock`.
    """
    n = layout.tokens
    if n < 2:
        raise ConfigError(f"random masks need at least two tokens, the layout {layout.grid} has {n}")
    low, high = config.ratio
    hidden = low + (high - low) * float(uniform(seed, "mask/ratio", step, 0, 1)[0, 0])
    kept = min(n - 1, max(1, int(n * (1.0 - hidden))))
    order = uniform(seed, "mask/order", step, index, n).argsort(axis=1)
    context, target = np.sort(order[:, :kept], axis=1), np.sort(order[:, kept:], axis=1)
    return Masks(torch.from_numpy(context), torch.from_numpy(target[:, None, :]))
