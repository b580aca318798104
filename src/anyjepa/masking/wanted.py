"""The tokens that any target block covers: a target encoder need not say more about."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def wanted_tokens(
    targets: Int[Tensor, "B M P"], tokens: int
) -> tuple[Int[Tensor, "B U"], Int[Tensor, "B M P"]]:
    """The tokens any target block covers, and where each target token stands among them.

    Where samples cover unequal numbers of tokens, those of the shorter ones are filled up with tokens that nobody wants.

    Args:
        targets: positions of the target tokens.
        tokens: number of tokens N of a sample.
    """
    flat = targets.flatten(1)
    covered = torch.zeros(len(targets), tokens, dtype=torch.bool).scatter_(1, flat, True)
    most = int(covered.sum(1).max())
    wanted = torch.sort(covered, dim=1, descending=True, stable=True).indices[:, :most]
    where = (covered.cumsum(1) - 1).gather(1, flat).view_as(targets)
    return wanted, where


def gather_targets(x: Float[Tensor, "B U D"], where: Int[Tensor, "B M P"]) -> Float[Tensor, "B M P D"]:
    """The representations of each target token from those of the wanted ones."""
    b, m, p = where.shape
    return x.gather(1, where.view(b, m * p, 1).expand(-1, -1, x.shape[-1])).view(b, m, p, -1)
