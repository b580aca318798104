"""Features without any learning: the values themselves, or averages over neighbouring ones where they are many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MOST = 768
"""Values kept of a sample (16 x 16 in colour): enough to lose nothing in linear probes, and quick."""


def averages(shape: Sequence[int], most: int = MOST) -> Callable[[Tensor], Float[Tensor, "B F"]]:
    """Reads the values an encoder is given, flattened.

    Args:
        shape: (C, T), (C, H, W) or (C, T, H, W) of the samples.
        most: samples of more values than this are averaged over areas until they have at most that many, or one per channel.
    """
    channels, *sides = shape
    shrink = min(1.0, (most / (channels * math.prod(sides))) ** (1 / len(sides)))
    size = tuple(max(1, int(side * shrink)) for side in sides)
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(sides) - 1]

    def read(samples: Tensor) -> Tensor:
        return (samples if shrink == 1.0 else pool(samples, size)).flatten(1)  # type: ignore[arg-type]

    return read
