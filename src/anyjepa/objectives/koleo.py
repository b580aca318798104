"""KoLeo: every sample keeps its distance to the nearest other one.

Sablayrolles et al., arXiv 1806.03198, the Kozachenko-Leonenko estimate of the entropy; used in DINOv2, arXiv 2304.07193.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.objectives.across import count_across, rows_across, sum_across


def koleo(z: Float[Tensor, "S D"], eps: float = 1e-8) -> Float[Tensor, ""]:
    """Minus the mean of log(distance to the nearest other sample + eps), samples scaled to length 1.

    The nearest is the one with the largest inner product among the samples of all processes; which one it is has no gradient.
    Equal samples have gradient 0, nearly equal ones a gradient of 1 / distance.

    Args:
        z: S samples of width D. With one sample on all processes the value is 0.
        eps: added to the distance.
    """
    n = count_across(z)
    unit = F.normalize(z, dim=1)
    everyone, first = rows_across(unit)
    distance = torch.linalg.vector_norm(unit - everyone[_nearest(unit, everyone, first)], dim=1)
    return -sum_across(torch.log(distance + eps).sum()) / n * (n > 1)


@torch.no_grad()
def _nearest(own: Float[Tensor, "S D"], everyone: Float[Tensor, "R D"], first: int) -> Int[Tensor, "S"]:
    """For each own row the other row with the largest inner product; own rows start at ``first``."""
    found = []
    for rows in own.split(1024):  # S x R products at once would not fit for tokens
        similarity = rows @ everyone.T
        similarity.diagonal(first).fill_(-torch.inf)
        found.append(similarity.argmax(dim=1))
        first += len(rows)
    return torch.cat(found)
