"""Batch normalisation of vectors that also takes a single one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class VectorBatchNorm(nn.BatchNorm1d):
    """``BatchNorm1d``, but a batch of one vector, which has no spread, is normalised with the running statistics."""

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Normalised vectors."""
        if len(x) > 1 or not self.training:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
