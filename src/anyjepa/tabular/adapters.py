"""From token matrices (B, d, h) to one number for each column, which any model of tables takes: trained with the model.

As the benchmark of T-JEPA has them (arXiv 2410.05016; the shapes of ``conv`` follow its code).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError, nearest

ADAPTERS = ("linear_flatten", "linear_per_feature", "conv", "max_pool", "mean_pool")


class PerColumn(nn.Module):
    """A linear map of its own from each token to a number.

    Args:
        columns: d.
        width: h.
    """

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(columns, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(columns).uniform_(-bound, bound))

    def forward(self, tokens: Float[Tensor, "B d h"]) -> Float[Tensor, "B d"]:
        return (tokens * self.weight).sum(dim=2) + self.bias


class Pool(nn.Module):
    """Maximum or mean over the channels of each token.

    Args:
        largest: the maximum.
    """

    def __init__(self, largest: bool) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, tokens: Float[Tensor, "B d h"]) -> Float[Tensor, "B d"]:
        return tokens.amax(dim=2) if self.largest else tokens.mean(dim=2)


def conv_fits(columns: int, width: int) -> bool:
    """Whether two 3 x 3 convolutions, each followed by a pooling over 2 x 2, leave anything of a (d, h) matrix."""
    return min(_left(columns), _left(width)) > 0


def make_adapter(kind: str, columns: int, width: int) -> nn.Module:
    """The module (B, d, h) -> (B, d).

    Args:
        kind: one of :data:`ADAPTERS`.
        columns: d.
        width: h.

    Raises:
        ConfigError: the kind is unknown, or the tokens are too small for ``conv``, which needs d and h of 10 at least.
    """
    if kind == "linear_flatten":
        return nn.Sequential(nn.Flatten(), nn.Linear(columns * width, columns))
    if kind == "linear_per_feature":
        return PerColumn(columns, width)
    if kind in ("max_pool", "mean_pool"):
        return Pool(kind == "max_pool")
    if kind != "conv":
        raise ConfigError(f"unknown adapter '{kind}': {nearest(kind, ADAPTERS)}")
    if not conv_fits(columns, width):
        raise ConfigError(
            f"adapter 'conv' needs at least 10 columns of 10 channels, the tokens are {columns} x {width}: use linear_flatten"
        )
    return nn.Sequential(
        nn.Unflatten(1, (1, columns)),
        *_block(1, 3),
        *_block(3, 1),
        nn.Flatten(),
        nn.Linear(_left(columns) * _left(width), columns),
    )


def _block(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3), nn.ReLU(), nn.BatchNorm2d(after), nn.MaxPool2d(2)


def _left(size: int) -> int:
    """Of ``size`` after two convolutions and poolings."""
    return ((size - 2) // 2 - 2) // 2
