"""Interval masks of ECG-JEPA (arXiv 2410.13867): most of a sequence is hidden in a few long runs, the rest is context.

Of N tokens, K = ceil(r N) stay visible, r uniform and drawn once per step. The others are hidden block by block:

1. choose a run of visible tokens with probability proportional to its length;
2. choose the length of the block, uniform from ``min_block`` to all that is still to be hidden; or just that, if it is less;
3. a run that is not longer than the block is hidden whole; in a longer one the block lies anywhere, and a last block shorter than
   ``min_block`` at an end that touches a hidden token.

So no hidden run is shorter than ``min_block``. The middle of the sequence is hidden far more often than its ends: with the
paper's constants the first token is visible in 78 % of the masks, a token in the middle in 9 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform

PUBLISHED_BLOCK = 10
"""Shortest hidden run of the published configs, in tokens of 50 ms."""


@dataclass(frozen=True)
class IntervalMaskConfig:
    """Visible share and shortest block. Defaults: the official configs."""

    visible: tuple[float, float] = (0.15, 0.25)
    """Visible share of the tokens, uniform, drawn once per step (`min_keep_ratio`, `max_keep_ratio`)."""
    min_block: int | None = None
    """Shortest hidden run in tokens (`min_block_size` 10: half a second). None: 10, or a fifth of a sequence shorter than 50."""

    def __post_init__(self) -> None:
        low, high = self.visible
        if not 0 < low <= high < 1:
            raise ConfigError(
                f"masks.visible must be (low, high) with 0 < low <= high < 1, got {self.visible}"
            )
        if self.min_block is not None and self.min_block < 1:
            raise ConfigError(f"masks.min_block must be at least 1, got {self.min_block}")

    def fit(self, layout: Layout) -> IntervalMaskConfig:
        """The same masks with ``min_block`` chosen for a sequence.

        Raises:
            ConfigError: the layout is not a sequence, or too short for one visible and one hidden token, or for ``min_block``.
        """
        if len(layout.grid) != 1:
            raise ConfigError(f"interval masks need a sequence of tokens, got a grid {layout.grid}")
        n = layout.tokens
        if n < 2:
            raise ConfigError(f"interval masks need at least two tokens, got {n}: use a longer input")
        fewest = n - _kept(n, self.visible[1])
        chosen = min(PUBLISHED_BLOCK, max(1, n // 5), fewest) if self.min_block is None else self.min_block
        if chosen > fewest:
            raise ConfigError(
                f"masks.min_block={chosen}, but as few as {fewest} of {n} tokens are hidden: use min_block <= {fewest}, a longer "
                "input, or a smaller masks.visible"
            )
        return replace(self, min_block=chosen)


def interval_masks(
    config: IntervalMaskConfig, layout: Layout, *, seed: int, step: int, index: ArrayLike
) -> Masks:
    """Masks of a batch: context (B, K) and one target block (B, 1, N - K), both ascending.

    Args:
        config: visible share and shortest block.
        layout: a sequence.
        seed: seed of the run.
        step: optimizer step; all samples of a step have the same K, their masks are independent.
        index: sample indices (B,).
    """
    config = config.fit(layout)
    n, rows = layout.tokens, np.atleast_1d(np.asarray(index))
    low, high = config.visible
    kept = _kept(n, low + (high - low) * float(uniform(seed, "mask/visible", step, 0, 1)[0, 0]))
    hidden = _hide(n, n - kept, config.min_block or 1, seed, step, rows)
    # A stable sort of False before True keeps the order within both halves.
    order = np.argsort(hidden, axis=1, kind="stable")
    return Masks(torch.from_numpy(order[:, :kept]), torch.from_numpy(order[:, None, kept:]))


def _kept(n: int, share: float) -> int:
    return min(n - 1, max(1, math.ceil(share * n)))


def _hide(
    n: int, wanted: int, block: int, seed: int, step: int, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Map (B, N) of hidden tokens, ``wanted`` of them in every row. Each round hides one block of every row not yet done."""
    hidden = np.zeros((len(rows), n), dtype=bool)
    rest = np.full(len(rows), wanted)
    place, round_ = np.arange(n), 0
    while (open_ := np.flatnonzero(rest)).size:
        u = uniform(seed, f"mask/interval/{round_}", step, rows[open_], 3)
        now, left = hidden[open_], rest[open_]
        first, end = _run(now, u[:, 0])
        # A block of a length from `block` to all that is left, or all that is left.
        long = left >= block
        size = np.where(long, block + (u[:, 1] * (left - block + 1)).astype(np.int64), left)
        size = np.minimum(size, end - first)
        free = end - first - size
        # A block too short to be alone goes to one of the ends beside a hidden token. One such end exists: the first block of a
        # row is never short, so something is hidden.
        at_first, at_end = first > 0, end < n
        to_end = at_end & (~at_first | (u[:, 2] < 0.5))
        start = first + np.where(long, (u[:, 2] * (free + 1)).astype(np.int64), np.where(to_end, free, 0))
        hidden[open_] = now | ((place >= start[:, None]) & (place < (start + size)[:, None]))
        rest[open_] = left - size
        round_ += 1
    return hidden


def _run(hidden: NDArray[np.bool_], u: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First token and end (exclusive) of one visible run per row, chosen with probability proportional to its length."""
    n = hidden.shape[1]
    count = (~hidden).cumsum(axis=1)
    nth = (u * count[:, -1]).astype(np.int64)
    # The token of number nth among the visible ones: as many tokens have a count of at most nth.
    token = (count <= nth[:, None]).sum(axis=1)[:, None]
    place = np.arange(n)
    first = np.where(hidden & (place < token), place + 1, 0).max(axis=1)
    end = np.where(hidden & (place > token), place, n).min(axis=1)
    return first, end
