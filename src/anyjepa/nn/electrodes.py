"""Position codes of tokens that have a place on the head and a place in time."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError


def place_code(places: Float[Tensor, "C 3"], width: int, scale: float) -> Float[Tensor, "C S"]:
    """Sin-cos code of places on the head (Signal-JEPA's published model).

    Each coordinate x gets width/3 dimensions: sines at even and cosines at odd ones of u * exp(2 pi (1 - i / (width/3))),
    u = x / (10 scale), i = 0, 2, 4, ...

    Args:
        places: x, y, z in metres; NaN where a place is unknown, which gives a row of zeros.
        width: dimensions S, a multiple of 6.
        scale: metres; the largest absolute coordinate of the electrodes the code was made for.

    Raises:
        ConfigError: ``width`` is no multiple of 6, or ``scale`` is not positive.
    """
    if width < 6 or width % 6:
        raise ConfigError(
            f"the code of a place needs a multiple of 6 dimensions (sines and cosines of x, y, z), got {width}: "
            f"use {max(6, width // 6 * 6)} or {max(6, width // 6 * 6) + 6}"
        )
    if not scale > 0:
        raise ConfigError(f"the scale of the coordinates must be above 0 m, got {scale}")
    share = width // 3
    i = torch.arange(0, share, 2, dtype=torch.float64)
    angles = (places.double() / (10.0 * scale)).unsqueeze(-1) * torch.exp(2 * math.pi * (1 - i / share))
    code = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    return code.nan_to_num(nan=0.0).masked_fill(places.isnan().any(1, keepdim=True), 0.0).float()


def time_code(tokens: int, width: int, longest: float = 600.0) -> Float[Tensor, "L S"]:
    """Sin-cos code of token numbers 0, 1, ...: sines at even and cosines at odd dimensions, frequencies longest^(-i / width).

    Args:
        tokens: number of tokens L.
        width: dimensions S, even.
        longest: base of the frequencies, in tokens.

    Raises:
        ConfigError: ``width`` is odd.
    """
    if width < 2 or width % 2:
        raise ConfigError(f"the code of time needs an even number of dimensions, got {width}")
    i = torch.arange(0, width, 2, dtype=torch.float64)
    angles = torch.arange(tokens, dtype=torch.float64).unsqueeze(1) * longest ** (-i / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


class ElectrodeCode(nn.Module):
    """Codes of the tokens of C channels: a trainable row per channel beside a fixed code of time.

    Args:
        places: (C, 3) in metres, NaN where unknown; the rows start from :func:`place_code`.
        dim: dimensions of the whole code.
        spatial: those of the place; the others are for time.
        scale: see :func:`place_code`.
        longest: see :func:`time_code`.
        time_first: time in the first dimensions, and not in the last.
    """

    def __init__(
        self,
        places: Float[Tensor, "C 3"],
        *,
        dim: int,
        spatial: int,
        scale: float,
        longest: float = 600.0,
        time_first: bool = False,
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(place_code(places, spatial, scale))
        self.temporal, self.longest, self.time_first = dim - spatial, longest, time_first

    def forward(self, tokens: int) -> Float[Tensor, "N D"]:
        """Codes of ``tokens`` tokens of each channel, channel by channel: N = C * tokens."""
        time = time_code(tokens, self.temporal, self.longest).to(self.table)
        channels = len(self.table)
        parts = [self.table.repeat_interleave(tokens, dim=0), time.repeat(channels, 1)]
        return torch.cat(parts[::-1] if self.time_first else parts, dim=1)


def places_of(positions: Iterable[Iterable[float]]) -> Float[np.ndarray, "C 3"]:
    """Positions as an array, NaN where a place is not known."""
    rows = [tuple(row) or (math.nan,) * 3 for row in positions]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def check_names(channels: tuple[str, ...]) -> None:
    """Raise ConfigError when a name is there twice."""
    seen: set[str] = set()
    for name in channels:
        if name.casefold() in seen:
            raise ConfigError(f"the channel '{name}' is there twice: leave one out, or rename it")
        seen.add(name.casefold())


def check_positions(positions: tuple[tuple[float, ...], ...]) -> None:
    """Raise ConfigError when a place is neither empty nor x, y, z in metres."""
    for i, row in enumerate(positions):
        if len(row) not in (0, 3) or not all(math.isfinite(v) for v in row):
            raise ConfigError(f"positions[{i}] must be x, y, z in metres, or empty where unknown, got {row}")
    most = max((abs(v) for row in positions for v in row), default=0.0)
    if most > 1.0:
        raise ConfigError(
            f"positions are in metres on a head, the largest coordinate is {most:g}: divide millimetres by 1000"
        )
