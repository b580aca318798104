"""Variance and covariance terms of VICReg (Bardes, Ponce, LeCun, arXiv 2105.04906), over the samples of all processes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.objectives.across import count_across, sum_across


def variance(z: Float[Tensor, "S D"], floor: float = 1.0, eps: float = 1e-4) -> Float[Tensor, ""]:
    """Mean over features of max(0, floor - sqrt(var + eps)), equation 1.

    Args:
        z: S samples (pooled representations, or tokens of many samples) of width D. With one sample there is no variance to
            speak of and the value is 0.
        floor: standard deviation below which a feature is pushed up, in units of the features.
        eps: keeps the square root smooth. Of identical samples the gradient is 0: nothing says which way to part.
    """
    centred, n = _centred(z)
    var = sum_across(centred.square().sum(dim=0)) / (n - 1).clamp(min=1)
    return torch.relu(floor - torch.sqrt(var + eps)).mean() * (n > 1)


def covariance(z: Float[Tensor, "S D"]) -> Float[Tensor, ""]:
    """Sum of the squared covariances of different features, over D (equations 3 and 4); 0 for one sample."""
    centred, n = _centred(z)
    c = sum_across(centred.T @ centred) / (n - 1).clamp(min=1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


def _centred(z: Tensor) -> tuple[Tensor, Tensor]:
    """Samples without the mean of all processes, and how many there are on all of them."""
    n = count_across(z)
    return z - sum_across(z.sum(dim=0)) / n, n
