"""How far the embeddings of different samples lie apart, by the three measures of the T-JEPA paper (arXiv 2410.05016).

A collapsed encoder gives all samples one embedding: all three are then 0. The paper names the measures without formulas; these
are uniformity as in arXiv 2005.10242, negated so that more is further apart, and the other two after the official code, over
all pairs where that draws 20, and on one grid where that takes one for each embedding.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

TEMPERATURE = 2.0
"""Of the uniformity (arXiv 2005.10242)."""
GRID = 100
"""Points at which densities are compared."""


def uniformity(z: Float[Tensor, "n F"], temperature: float = TEMPERATURE) -> float:
    """-log of the mean over pairs of ``exp(-t |u - v|^2)``, u and v embeddings of length 1; between 0 (all alike) and 4 t.

    Of many independent directions, whose squared distance is 2, it is 2 t.
    """
    square = _off(torch.cdist(_unit(z), _unit(z)).square())
    return float(math.log(len(square)) - torch.logsumexp(-temperature * square, dim=0))


def pair_distance(z: Float[Tensor, "n F"]) -> float:
    """Mean euclidean distance of two embeddings."""
    return float(_off(torch.cdist(z.double(), z.double())).mean())


def pair_divergence(z: Float[Tensor, "n F"], points: int = GRID) -> float:
    """Mean Kullback-Leibler divergence, in nats, of the densities of the F numbers of two embeddings.

    Densities are Gaussian kernels on each number, as wide as Scott's rule says (F^-1/5 standard deviations of the embedding),
    read at ``points`` points from the least to the greatest number of all embeddings. Which number comes from which feature is
    not looked at: two embeddings with the same numbers in another order are at 0.

    Args:
        z: embeddings; each must hold different numbers.
        points: of the grid.
    """
    z = z.double()
    grid = torch.linspace(float(z.min()), float(z.max()), points, dtype=z.dtype)
    width = z.std(dim=1, keepdim=True).clamp(min=1e-12) * z.shape[1] ** -0.2
    density = torch.stack(
        [torch.exp(-(((grid[:, None] - row) / w) ** 2) / 2).sum(1) for row, w in zip(z, width, strict=True)]
    )
    # Far from all of its numbers a density is too small for the logarithm.
    density = density.clamp(min=1e-300)
    density = density / density.sum(dim=1, keepdim=True)
    log = density.log()
    own = (density * log).sum(dim=1, keepdim=True)
    return float(_off(own - density @ log.T).mean())


def _unit(z: Tensor) -> Tensor:
    return torch.nn.functional.normalize(z.double(), dim=1)


def _off(square: Float[Tensor, "n n"]) -> Float[Tensor, "pairs"]:
    """Everything but the diagonal."""
    return square[~torch.eye(len(square), dtype=torch.bool)]
