"""Batch normalisation that also takes a single value of each channel, which has no spread."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class VectorBatchNorm(nn.BatchNorm1d):
    """``BatchNorm1d``, but a batch of one vector is normalised with the running statistics."""

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Normalised vectors."""
        return super().forward(x) if len(x) > 1 or not self.training else _by_history(self, x)


class MapBatchNorm(nn.BatchNorm2d):
    """``BatchNorm2d``, but a single map of one place is normalised with the running statistics."""

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Normalised maps."""
        return super().forward(x) if x.numel() > x.shape[1] or not self.training else _by_history(self, x)


def _by_history(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
