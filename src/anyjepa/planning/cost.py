"""How far a rollout of latents is from its goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Distance = Literal["l2", "l1", "cosine"]


@dataclass(frozen=True)
class GoalConfig:
    """What counts as near."""

    distance: Distance = "l2"
    """Between a latent and the goal: l2 the mean squared difference, l1 the mean absolute one (V-JEPA 2-AC), cosine one minus
    the cosine (for methods whose loss is a cosine)."""
    along: float = 0.0
    """Weight of the mean distance of the moments before the last one, which counts 1. 0: only where a plan ends counts."""


def distance(z: Float[Tensor, "*B D"], goal: Float[Tensor, "*B D"], kind: Distance) -> Float[Tensor, "*B"]:
    """Of latents from goals; 0 where they are equal."""
    if kind == "l2":
        return (z - goal).square().mean(dim=-1)
    if kind == "l1":
        return (z - goal).abs().mean(dim=-1)
    return 1 - F.cosine_similarity(z, goal, dim=-1)


def path_cost(
    steps: Float[Tensor, "H B D"], goal: Float[Tensor, "B D"], config: GoalConfig
) -> Float[Tensor, "B"]:
    """Cost of B rollouts of H latents each."""
    each = distance(steps, goal.expand_as(steps), config.distance)
    if config.along == 0 or len(each) == 1:
        return each[-1]
    return each[-1] + config.along * torch.mean(each[:-1], dim=0)
