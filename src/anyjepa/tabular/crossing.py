"""DCN V2: layers that multiply a row with a linear map of what came of it, beside a deep network.

Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi: DCN V2: Improved Deep & Cross Network, WWW 2021, arXiv 2008.13535. Their equation 1:

    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DCNv2(nn.Module):
    """Cross layers and a deep network, one behind the other or side by side, then a linear head.

    Args:
        width: F, length of a row.
        outputs: K.
        cross_layers: number of cross layers.
        deep_layers: layers of the deep network.
        deep_width: their width.
        dropout: after each activation of the deep network, and in the linear map of cross layers.
        stacked: the deep network reads what the cross layers made; else both read the row.
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        *,
        cross_layers: int,
        deep_layers: int,
        deep_width: int,
        dropout: float,
        stacked: bool,
    ) -> None:
        super().__init__()
        self.stacked = stacked
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(cross_layers))
        self.dropout = nn.Dropout(dropout)
        deep: list[nn.Module] = []
        for i in range(deep_layers):
            deep += [nn.Linear(deep_width if i else width, deep_width), nn.ReLU(), nn.Dropout(dropout)]
        self.deep = nn.Sequential(*deep)
        self.head = nn.Linear(deep_width if stacked else deep_width + width, outputs)

    def crossed(self, row: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """The row after all cross layers."""
        found = row
        for layer in self.cross:
            found = row * self.dropout(layer(found)) + found
        return found

    def forward(self, row: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        crossed = self.crossed(row)
        if self.stacked:
            return self.head(self.deep(crossed))
        return self.head(torch.cat((crossed, self.deep(row)), dim=1))
