"""Regularizers against collapse: a slot of every objective, chosen by name.

``"none"``      nothing,
``"variance"``  keeps the standard deviation of every feature above 1 (VICReg, arXiv 2105.04906, equation 1),
``"vicreg"``    the same, and decorrelates the features (equations 1, 3 and 4),
``"sigreg"``    standard normal along random directions, by characteristic functions (LeJEPA, arXiv 2511.08544),
``"visreg"``    mean 0, standard deviation 1, and normal quantiles along random directions (arXiv 2606.02572),
``"koleo"``     spread over the sphere, by nearest neighbours (arXiv 1806.03198, DINOv2).

All are computed in float32 or more, over the samples of all processes (:mod:`anyjepa.objectives.across`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyjepa.errors import ConfigError, nearest
from anyjepa.objectives.directions import random_directions
from anyjepa.objectives.koleo import koleo
from anyjepa.objectives.moments import covariance, variance
from anyjepa.objectives.sigreg import sigreg
from anyjepa.objectives.visreg import visreg


@dataclass(frozen=True)
class RegularizerConfig:
    """Which regularizer, how strong, and on what."""

    kind: Literal["none", "variance", "vicreg", "sigreg", "visreg", "koleo"] = "none"
    """What is asked of the representations."""
    weight: float = 1.0
    """Its weight in the loss."""
    on: Literal["context", "target", "prediction"] = "context"
    """On the context representations, on the targets (only where they carry gradient: target=online), or on the predictions."""
    level: Literal["pooled", "tokens", "both"] = "pooled"
    """On the mean over the tokens of each sample, on all tokens of the batch as samples of their own, or on both (mean)."""
    covariance: float = 0.04
    """Weight of the covariance beside the variance in vicreg (1/25 in the paper; 1 to 10 can help small models)."""
    slices: int = 256
    """Random directions per step, for sigreg and visreg (LeJEPA: 256 in its minimal code, 1024 in its package's example)."""
    knots: int = 17
    """Points of the integral of sigreg."""
    t_max: float = 3.0
    """End of the integral of sigreg, in units of the inverse standard deviation."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(RegularizerConfig).items():
            value, choices = getattr(self, name), get_args(hint)
            if choices and value not in choices:
                raise ConfigError(f"unknown regularizer.{name} '{value}': {nearest(value, choices)}")
        for name, low in (("weight", 0), ("covariance", 0), ("slices", 1), ("knots", 2)):
            if getattr(self, name) < low:
                raise ConfigError(f"regularizer.{name} must be at least {low}, got {getattr(self, name)}")
        if self.t_max <= 0:
            raise ConfigError(f"regularizer.t_max must be above 0, got {self.t_max}")


def penalty(
    config: RegularizerConfig, z: Float[Tensor, "S D"], *, seed: int = 0, step: int = 0
) -> Float[Tensor, ""]:
    """The regularizer's value for one set of samples, without its weight; 0 for kind none, and for a single sample.

    Args:
        config: which one.
        z: S samples of width D on this process; in training on several, their regularizer is over those of all of them.
        seed: seed of the run.
        step: optimizer step; seed and step name the random directions.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        if config.kind == "variance":
            return variance(z)
        if config.kind == "vicreg":
            return variance(z) + config.covariance * covariance(z)
        if config.kind == "koleo":
            return koleo(z)
        if config.kind == "none":
            return z.sum() * 0.0
        directions = random_directions(z.shape[1], config.slices, seed=seed, step=step).to(z)
        if config.kind == "visreg":
            return visreg(z, directions)
        return sigreg(z, directions, knots=config.knots, t_max=config.t_max)


def regularize(
    config: RegularizerConfig,
    tokens: Float[Tensor, "B K D"],
    valid: Bool[Tensor, "B K"] | None = None,
    *,
    seed: int = 0,
    step: int = 0,
) -> Float[Tensor, ""] | None:
    """The regularizer's value at the level the config asks for, without its weight; None when there is none.

    Args:
        config: which one, and on what.
        tokens: representations.
        valid: False where a token is padding; padding takes no part.
        seed: seed of the run.
        step: optimizer step.
    """
    if config.kind == "none":
        return None
    samples = []
    if config.level in ("pooled", "both"):
        samples.append(_pool(tokens, valid))
    if config.level in ("tokens", "both"):
        samples.append(tokens.flatten(0, 1) if valid is None else tokens[valid])
    return torch.stack([penalty(config, z, seed=seed, step=step) for z in samples]).mean()


def _pool(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the tokens that are not padding."""
    if valid is None:
        return tokens.mean(dim=1)
    weight = valid.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1)
