"""Distances between predicted and target representations, each the mean over all elements."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import ConfigError, nearest

Distance = Callable[[Tensor, Tensor], Tensor]


def smooth_l1(predicted: Float[Tensor, "*shape D"], target: Float[Tensor, "*shape D"]) -> Float[Tensor, ""]:
    """Huber loss with beta 1: quadratic below 1, linear above."""
    return F.smooth_l1_loss(predicted, target)


def l1(predicted: Float[Tensor, "*shape D"], target: Float[Tensor, "*shape D"]) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return F.l1_loss(predicted, target)


def l2(predicted: Float[Tensor, "*shape D"], target: Float[Tensor, "*shape D"]) -> Float[Tensor, ""]:
    """Mean squared difference."""
    return F.mse_loss(predicted, target)


def cosine(predicted: Float[Tensor, "*shape D"], target: Float[Tensor, "*shape D"]) -> Float[Tensor, ""]:
    """1 - cosine similarity over the last axis: 0 for equal directions, 2 for opposite ones."""
    return (1.0 - F.cosine_similarity(predicted, target, dim=-1)).mean()


DISTANCES: dict[str, Distance] = {"smooth_l1": smooth_l1, "l1": l1, "l2": l2, "cosine": cosine}


def distance(name: str) -> Distance:
    """The distance called ``name``; raises ConfigError with the nearest name if there is none."""
    if name not in DISTANCES:
        raise ConfigError(f"unknown distance '{name}': {nearest(name, DISTANCES)}")
    return DISTANCES[name]
