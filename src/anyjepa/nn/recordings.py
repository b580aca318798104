"""The transformer of methods for multi-lead recordings: the fields and sizes they share, and what is filled in from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from anyjepa.errors import ConfigError, nearest

NANO: dict[str, Any] = dict(
    dim=64, depth=4, heads=4, predictor_width=32, predictor_depth=2, predictor_heads=4
)
"""Ours, for minutes on a CPU; the other sizes are those of the papers."""


@dataclass(frozen=True)
class RecordingConfig:
    """What the configs of methods for recordings share. None means: from ``size`` or from the data."""

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {"nano": NANO}
    """What each size stands for."""

    size: str = "nano"
    """One dial for all parts."""
    channels: int | None = None
    """Leads; None: from the data."""
    length: int | None = None
    """Samples per recording; None: from the data."""
    patch_size: int = 25
    """Samples per token."""
    dim: int | None = None
    """Width of the encoder."""
    depth: int | None = None
    """Blocks of the encoder."""
    heads: int | None = None
    """Attention heads of the encoder."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLPs over the width, in encoder and predictor."""
    drop_path: float = 0.0
    """Stochastic depth."""
    eps: float = 1e-6
    """Epsilon of the layer norms."""
    predictor_width: int | None = None
    """Width of the predictor."""
    predictor_depth: int | None = None
    """Blocks of the predictor."""
    predictor_heads: int | None = None
    """Attention heads of the predictor."""

    def __post_init__(self) -> None:
        if self.size not in self.sizes:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, self.sizes)}")
        if self.patch_size < 1:
            raise ConfigError(f"patch_size must be at least 1 sample, got {self.patch_size}")

    @property
    def default_shape(self) -> tuple[int, int]:
        """Shape (C, T) to fit to when there is no data: the paper's, unless the config says otherwise."""
        channels, length = self.published
        return (self.channels or channels, self.length or length)

    published: ClassVar[tuple[int, int]] = (12, 5000)
    """Shape (C, T) of the recordings of the paper."""

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        return (
            f"size={self.size}: encoder {self.dim} wide, {self.depth} blocks, {self.heads} heads; predictor "
            f"{self.predictor_width} wide, {self.predictor_depth} blocks; {self.channels} leads, {self.length} samples, "
            f"{(self.length or 0) // self.patch_size} tokens of {self.patch_size} samples each"
        )


def fit_recording(config: RecordingConfig, shape: tuple[int, ...], multiple: int) -> dict[str, Any]:
    """The fields that are None in ``config``, filled in.

    Args:
        config: the config.
        shape: (C, T) of a typical recording.
        multiple: what widths must be a multiple of, for the positions.

    Raises:
        ConfigError: the samples are not recordings, or heads or positions do not divide a width.
    """
    if len(shape) != 2:
        raise ConfigError(f"ECG-JEPA needs recordings (leads, samples), got samples of shape {tuple(shape)}")
    found = {k: v for k, v in config.sizes[config.size].items() if getattr(config, k) is None}
    found |= {"channels": config.channels or shape[0], "length": config.length or shape[1]}
    for what, heads in (("dim", "heads"), ("predictor_width", "predictor_heads")):
        width, count = (found.get(name) or getattr(config, name) for name in (what, heads))
        if width % count or width % multiple:
            step = math.lcm(count, multiple)
            raise ConfigError(
                f"{what}={width} must be divisible by {multiple} and by {heads}={count}: use {max(1, width // step) * step}"
            )
    return found
