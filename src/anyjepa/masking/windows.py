"""Local windows (LoMaR, arXiv 2206.00790; SAR-JEPA, arXiv 2311.15153): an image is seen through small windows, mostly hidden.

``compat="fixed"`` (default) gives every image all windows of a step. ``"official"`` reproduces a slip of both codes: images are
tiled window after window, window places image after image, so that row r of image r mod B gets window r mod M. If M divides the
batch, every image gets one window M times, with different tokens hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import ArrayLike
from torch import Tensor

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform


@dataclass(frozen=True)
class WindowConfig:
    """Windows and what is hidden in them. Defaults: SAR-JEPA."""

    count: int = 4
    """Windows M of each image (code)."""
    side: int | None = None
    """Rows and columns of a window in tokens; None: 7 as in the code, on smaller grids half of the shorter side, at least 3."""
    ratio: float = 0.8
    """Hidden share of a window, rounded down (code: 39 of 49)."""
    shared: bool = True
    """One draw of places for all images of a step (code), or one for each image."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official``: windows are paired with images as in the official code; their places then depend on the batch."""

    def __post_init__(self) -> None:
        if self.count < 1 or (self.side is not None and self.side < 2):
            raise ConfigError(
                f"windows need count >= 1 and side >= 2, got count={self.count} and side={self.side}"
            )
        if not 0 < self.ratio < 1:
            raise ConfigError(f"windows.ratio must lie between 0 and 1, got {self.ratio}")
        if self.compat == "official" and not self.shared:
            raise ConfigError("windows.compat=official shares the windows of a step: leave shared=false out")

    def fit(self, layout: Layout) -> WindowConfig:
        """The same windows with a side for a grid.

        Raises:
            ConfigError: no grid of two axes, or too small.
        """
        if len(layout.grid) != 2:
            raise ConfigError(f"windows need a grid of two axes, got {layout.grid}")
        least = min(layout.grid)
        side = self.side or min(7, least, max(3, math.ceil(least / 2)))
        if side > least:
            raise ConfigError(
                f"windows.side={side} does not fit on a grid of {layout.grid[0]}x{layout.grid[1]} tokens: use {least} or less"
            )
        found = replace(self, side=side)
        if found.hidden < 1:
            raise ConfigError(
                f"windows.ratio={self.ratio} hides no token of a window of {side}x{side}: use at least {1 / side**2:.2g}"
            )
        return found

    @property
    def tokens(self) -> int:
        """Tokens of a window of a fitted config."""
        return (self.side or 0) ** 2

    @property
    def hidden(self) -> int:
        """Hidden tokens of a window of a fitted config."""
        return math.floor(self.tokens * self.ratio)


@dataclass
class Windows:
    """Windows of a batch.

    Attributes:
        tokens: (B, M, W) tokens of each window in raster order, as positions in the grid of the image.
        hidden: (B, M, P) those that are hidden, as places within the window, ascending.
        seen: (B, M, V) the others.
    """

    tokens: Int[Tensor, "B M W"]
    hidden: Int[Tensor, "B M P"]
    seen: Int[Tensor, "B M V"]

    def to(self, device: torch.device | str) -> Windows:
        """The same on ``device``."""
        return Windows(*(x.to(device, non_blocking=True) for x in (self.tokens, self.hidden, self.seen)))

    @property
    def masks(self) -> Masks:
        """As positions in the grid: what is seen, window after window, is the context; what is hidden in a window is a target.

        Windows overlap, and what one hides another may show: each is a sequence of its own.
        """
        return Masks(self.tokens.gather(2, self.seen).flatten(1), self.tokens.gather(2, self.hidden))


def draw_windows(config: WindowConfig, layout: Layout, *, seed: int, step: int, index: ArrayLike) -> Windows:
    """Windows of a batch.

    The M rows where windows begin are distinct, and so are the columns, as far as the grid has so many places.

    Args:
        config: from :meth:`WindowConfig.fit`.
        layout: a grid of two axes.
        seed, step, index: as in :func:`anyjepa.masking.multiblock.multiblock`.

    Returns:
        Windows on the CPU.
    """
    rows, m, n, side = np.atleast_1d(np.asarray(index)), config.count, config.tokens, config.side or 0
    drawn_for = np.zeros(1, dtype=np.int64) if config.shared else rows
    tops, lefts = (
        _distinct(seed, f"windows/{axis}", step, drawn_for, length - side + 1, m)
        for axis, length in zip(("top", "left"), layout.grid, strict=True)
    )
    inside = (np.arange(side)[:, None] * layout.grid[1] + np.arange(side)[None, :]).reshape(-1)
    corners = np.broadcast_to(tops * layout.grid[1] + lefts, (len(rows), m))
    if config.compat == "official":
        # Slot w of image i is row w * B + i of the tiled batch.
        slots = np.arange(m)[None, :] * len(rows) + np.arange(len(rows))[:, None]
        corners = np.take_along_axis(corners, slots % m, axis=1)
    order = uniform(seed, "windows/hidden", step, rows, m * n).reshape(len(rows), m, n).argsort(axis=2)
    hidden, seen = (np.sort(part, axis=2) for part in np.split(order, [config.hidden], axis=2))
    tokens = corners[:, :, None] + inside
    return Windows(*(torch.from_numpy(np.ascontiguousarray(x)) for x in (tokens, hidden, seen)))


def _distinct(seed: int, purpose: str, step: int, index: np.ndarray, places: int, count: int) -> np.ndarray:
    """(B, count) of ``range(places)``, none twice before all were taken."""
    order = uniform(seed, purpose, step, index, places).argsort(axis=1)
    return order[:, np.arange(count) % places]
