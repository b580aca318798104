"""Positions of (region, time) tokens of brain scans: half of the channels for the time, half for the region."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from anyjepa.nn.positions import sincos_table


class RoiTimePositions(nn.Module):
    """P = [T ; G], each D/2 wide (Brain-JEPA, arXiv 2409.19407, section 3.1).

    T is the fixed sin-cos of the time patch. G places the region: its row of a gradient table through a trained projection,
    the whole of which is then brought to -1..1 by its least and greatest value, so that it keeps the size of T; without a
    table it is the fixed sin-cos of the number of the region (the paper's ablation).

    Args:
        gradients: (R, m) coordinates of the regions; None: the number of the region.
        rois: number of regions R.
        times: time patches of each region.
        dim: width D, a multiple of 4.
    """

    time: Tensor
    region: Tensor

    def __init__(self, gradients: Float[Tensor, "R m"] | None, rois: int, times: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.times = times
        self.register_buffer("time", sincos_table((times,), half), persistent=False)
        table = sincos_table((rois,), half) if gradients is None else gradients
        self.register_buffer("region", table, persistent=False)
        self.proj = None if gradients is None else nn.Linear(table.shape[1], half)

    def whole(self) -> Float[Tensor, "N D"]:
        """The positions of all tokens, region by region, in 32 bits."""
        region = self.region if self.proj is None else self._placed(self.proj)
        rois, times = len(region), self.times
        return torch.cat((self.time.repeat(rois, 1), region.repeat_interleave(times, dim=0)), dim=1)

    def forward(
        self, tokens: Float[Tensor, "B K D"], keep: Int[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Tokens plus their positions; ``keep`` names the tokens, None means all of them in order."""
        table = self.whole()
        return tokens + (table if keep is None else F.embedding(keep, table))

    def _placed(self, proj: nn.Linear) -> Tensor:
        # Without autocast: 16 bits would move the regions.
        with torch.autocast(self.region.device.type, enabled=False):
            g = proj(self.region)
            low, high = g.min(), g.max()
            # Equal rows would all be divided by nothing.
            return 2.0 * (g - low) / (high - low).clamp(min=torch.finfo(g.dtype).tiny) - 1.0
