"""Regularizers against collapse: a slot of every objective, chosen by name.

``"none"``      nothing,
``"variance"``  hinge that keeps the standard deviation of every feature above 1 (VICReg, arXiv 2105.04906, equation 1).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import ConfigError, nearest

Regularizer = Callable[[Tensor], Tensor]


def variance(z: Float[Tensor, "S D"], floor: float = 1.0, eps: float = 1e-4) -> Float[Tensor, ""]:
    """Mean over features of max(0, floor - sqrt(var + eps)).

    Args:
        z: S samples (pooled representations, or tokens of many samples) of width D. With S = 1 there is no variance to speak
            of and the value is 0.
    """
    if z.shape[0] < 2:
        return z.sum() * 0.0
    return torch.relu(floor - torch.sqrt(z.var(dim=0) + eps)).mean()


REGULARIZERS: dict[str, Regularizer | None] = {"none": None, "variance": variance}


def regularizer(name: str) -> Regularizer | None:
    """The regularizer called ``name`` (None for ``"none"``); raises ConfigError with the nearest name if there is none."""
    if name not in REGULARIZERS:
        raise ConfigError(f"unknown regularizer '{name}': {nearest(name, REGULARIZERS)}")
    return REGULARIZERS[name]
