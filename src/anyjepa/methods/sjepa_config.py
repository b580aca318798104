"""Every constant of S-JEPA (arXiv 2403.11772), and how what is left open is filled in from the data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from anyjepa.errors import ConfigError, nearest
from anyjepa.masking.spheres import SphereConfig, neighbours
from anyjepa.nn.electrodes import check_names, check_positions, places_of
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.channels import channel_layout, reach_of

SIZES: dict[str, dict[str, Any]] = {
    # nano is ours, the paper has one size. Eight heads of eight dimensions would be three times as slow on a CPU as two of 32.
    "nano": dict(dim=64, depth=2, heads=2, hidden=128, predictor_depth=1),
    "base": dict(dim=64, depth=8, heads=8, hidden=2048, predictor_depth=4),
}

PAPER_SAMPLES = 2072
"""Samples of a window in the paper's best runs: 16 tokens, 16.1875 s."""


@dataclass(frozen=True)
class SJEPAConfig:
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "base"
    """One dial for all parts: base (the paper's) or nano (ours)."""
    channels: tuple[str, ...] | None = None
    """Names of the channels, in the order of the data; None: 0, 1, 2, ..."""
    positions: tuple[tuple[float, ...], ...] | None = None
    """Place of each channel: x, y, z in metres, or nothing where it is not known. The data's reader knows them."""
    samples: int | None = None
    """Samples of a window in training; None: from the data (paper: 152, 536 or 2072; 2072 is best)."""
    rate: float = 128.0
    """Samples per second (paper), for what is printed: the network itself knows samples alone."""
    local: tuple[tuple[int, int, int], ...] | None = None
    """Width, kernel and stride of each local convolution; None: (8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2) as in
    the official code, the widths in proportion to ``dim``."""
    local_dropout: float = 0.0
    """Dropout in the local encoder (0 in the official code)."""
    dim: int | None = None
    """Width of the tokens."""
    spatial: int | None = None
    """Dimensions of a token's code that are for its channel; the others are for time. None: 30 of 64, as in the paper."""
    coordinate_scale: float | None = None
    """Metres that the code of places is scaled by; None: the largest absolute coordinate of ``positions``. A model that moves to
    other channels keeps it (the official code takes it anew, which changes the code of every channel)."""
    longest: float = 600.0
    """Base of the frequencies of the code of time, in tokens (ten minutes)."""
    time_first: bool = False
    """Time in the first dimensions of the code (the paper's text); the official code has it in the last."""
    depth: int | None = None
    """Layers of the context encoder (8 in the paper)."""
    heads: int | None = None
    """Attention heads of encoder and predictor (8)."""
    hidden: int | None = None
    """Width inside the feed-forward networks (2048: PyTorch's default, in the official code)."""
    dropout: float = 0.1
    """Dropout of encoder and predictor (PyTorch's default, in the official code)."""
    target_dropout: bool = False
    """Dropout in the target encoder too. Without it the targets of an input depend on nothing else (the paper does not say)."""
    predictor_depth: int | None = None
    """Layers of the predictor (4)."""
    predictor_join: bool = True
    """The context goes in front of the queries too (paper, figure 1), and not only into the cross-attention (successor)."""
    masks: SphereConfig = field(default_factory=SphereConfig)
    """Which channels are hidden."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.999, 1.0)
    """Momentum of the moving average, linear from the first to the last step (not stated; the successor's)."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "l1"
    """Distance to the targets, mean over all hidden tokens of the batch (paper: L1; successor: l2)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            start_lr=1e-6, lr=1e-3, final_lr=1e-6, weight_decay=0.01, final_weight_decay=0.01, clip=3.0
        )
    )
    """Training length, AdamW and its schedules (not stated; the successor's: rate 1e-3, cosine, decay 0.01, clipping at 3)."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, SIZES)}")
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        for name in ("dropout", "local_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        r = self.regularizer
        if r.kind != "none" and r.on == "target" and self.target != "online":
            raise ConfigError(
                f"regularizer.on=target needs target=online: with target={self.target} the targets carry no gradient; "
                "set target=online, or regularizer.on to context or prediction"
            )
        if self.channels is not None:
            check_names(self.channels)
        if self.positions is not None:
            check_positions(self.positions)

    @property
    def default_shape(self) -> tuple[int, int]:
        """Shape (C, T) to fit to when there is no data."""
        return (len(self.positions or ()), self.samples or PAPER_SAMPLES)

    def with_channels(
        self, channels: Iterable[str], positions: Iterable[Iterable[float]] | np.ndarray
    ) -> SJEPAConfig:
        """The same config for these channels, in this order.

        Args:
            channels: C names.
            positions: (C, 3) in metres; a row of NaN, or an empty one, where a place is unknown.
        """
        rows = tuple(tuple(float(v) for v in row) for row in positions)
        known = tuple(() if any(math.isnan(v) for v in row) else row for row in rows)
        return replace(self, channels=tuple(channels), positions=known)

    def fit(self, shape: tuple[int, ...]) -> SJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, T) of a window.

        Raises:
            ConfigError: the places of the channels are not known, are not as many as the data's channels, or sizes do not fit.
        """
        if len(shape) != 2:
            raise ConfigError(
                f"S-JEPA needs windows (channels, samples), got samples of shape {tuple(shape)}"
            )
        if self.positions is None:
            raise ConfigError(
                "S-JEPA must know where on the head each channel is: set model.channels and model.positions (metres), "
                "or take both from anyjepa.data.eeg, which looks names up in a standard montage"
            )
        channels = self.channels or tuple(str(i) for i in range(len(self.positions)))
        if not len(channels) == len(self.positions) == shape[0]:
            raise ConfigError(
                f"{shape[0]} channels in the data, but {len(channels)} names and {len(self.positions)} positions: give one "
                "of each for every channel, in the order of the data"
            )
        if sum(map(bool, self.positions)) < 2:
            raise ConfigError("spheres of electrodes need the positions of at least two channels")
        chosen = {k: v for k, v in SIZES[self.size].items() if getattr(self, k) is None}
        # Any: nothing is None from here on
        filled: Any = replace(self, **chosen, channels=channels, samples=self.samples or shape[1])
        dim = filled.dim
        if dim % filled.heads or dim % 2:
            raise ConfigError(f"dim={dim} must be even and divisible by {filled.heads} heads")
        local = self.local or tuple(
            (max(1, dim * w // 64), k, s)
            for w, k, s in ((8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2))
        )
        if local[-1][0] != dim:
            raise ConfigError(f"the last local convolution is {local[-1][0]} wide, the tokens are dim={dim}")
        spatial = self.spatial or max(6, round(dim * 30 / 64 / 6) * 6)
        if spatial % 6 or not 6 <= spatial <= dim - 2:
            raise ConfigError(
                f"spatial={spatial} must be a multiple of 6 and leave at least 2 of dim={dim} for time"
            )
        scale = self.coordinate_scale or max(abs(v) for row in self.positions for v in row)
        filled = replace(filled, local=local, spatial=spatial, coordinate_scale=scale)
        channel_layout(len(channels), filled.samples, local)
        return filled

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        layout = channel_layout(len(c.channels), c.samples, c.local)
        seen, step = reach_of(c.local)
        spare = c.samples - seen - (layout.grid[1] - 1) * step
        sizes = neighbours(places_of(c.positions), c.masks.reach).sum(1)[[bool(row) for row in c.positions]]
        return (
            f"size={c.size}: {layout.grid[0]} channels x {layout.grid[1]} tokens ({c.samples / c.rate:g} s at {c.rate:g} Hz"
            f"{f', the last {spare} of {c.samples} samples unused' if spare else ''}); encoder {c.dim} wide, {c.depth} layers, "
            f"{c.heads} heads; predictor {c.predictor_depth} layers; a sphere hides {sizes.mean():.1f} channels "
            f"({sizes.min()} to {sizes.max()})"
        )
