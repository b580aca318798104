"""Regularizers against collapse: a slot of every objective, chosen by name.

``"none"``      nothing,
``"variance"``  keeps the standard deviation of every feature above 1 (VICReg, arXiv 2105.04906, equation 1),
``"vicreg"``    the same, and decorrelates the features (equations 1, 3 and 4; weights 25 and 1, scaled to 1 and 1/25).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Regularizer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RegularizerConfig:
    """Which regularizer, how strong, and on what."""

    kind: Literal["none", "variance", "vicreg"] = "none"
    """What is asked of the representations."""
    weight: float = 1.0
    """Its weight in the loss."""
    level: Literal["pooled", "tokens", "both"] = "pooled"
    """On the mean over the tokens of each sample, on all tokens of the batch as samples of their own, or on both (mean)."""


def variance(z: Float[Tensor, "S D"], floor: float = 1.0, eps: float = 1e-4) -> Float[Tensor, ""]:
    """Mean over features of max(0, floor - sqrt(var + eps)).

    Args:
        z: S samples (pooled representations, or tokens of many samples) of width D. With S = 1 there is no variance to speak
            of and the value is 0.
    """
    if z.shape[0] < 2:
        return z.sum() * 0.0
    return torch.relu(floor - torch.sqrt(z.var(dim=0) + eps)).mean()


def covariance(z: Float[Tensor, "S D"]) -> Float[Tensor, ""]:
    """Sum of the squared covariances of different features, over D; 0 for S = 1."""
    s, d = z.shape
    if s < 2:
        return z.sum() * 0.0
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (s - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / d


def vicreg(z: Float[Tensor, "S D"]) -> Float[Tensor, ""]:
    """Variance and covariance terms in the proportion 25 : 1 of the paper."""
    return variance(z) + covariance(z) / 25.0


REGULARIZERS: dict[str, Regularizer] = {"variance": variance, "vicreg": vicreg}


def regularize(
    config: RegularizerConfig, tokens: Float[Tensor, "B K D"], valid: Bool[Tensor, "B K"] | None = None
) -> Float[Tensor, ""] | None:
    """The regularizer's value, without its weight; None when there is none.

    Args:
        config: which one, and on what.
        tokens: representations.
        valid: False where a token is padding; padding takes no part.
    """
    if config.kind == "none":
        return None
    penalty, samples = REGULARIZERS[config.kind], []
    if config.level in ("pooled", "both"):
        samples.append(_pool(tokens, valid))
    if config.level in ("tokens", "both"):
        samples.append(tokens.flatten(0, 1) if valid is None else tokens[valid])
    return torch.stack([penalty(z) for z in samples]).mean()


def _pool(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the tokens that are not padding."""
    if valid is None:
        return tokens.mean(dim=1)
    weight = valid.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1)
