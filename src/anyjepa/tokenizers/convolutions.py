"""Patches through a small stack of overlapping convolutions, that never looks at hidden patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.errors import ConfigError
from anyjepa.tokenizers.patches import PatchTokenizer


class ConvTokenizer(PatchTokenizer):
    """Cuts images into patches, and makes tokens of them by 4x4 convolutions of stride 2 that reach over patch borders.

    A linear projection of patches learns edges and textures slowly; with convolutions in front small transformers learn from
    far fewer images (Xiao et al., Early Convolutions Help Transformers See Better, arXiv 2106.14881). Since they reach over
    the borders, a token would tell of its hidden neighbours: hidden patches are therefore blackened (set to zero, the mean
    colour) before the first convolution. The norms between the convolutions are over the whole image, black parts included, so
    tokens of a mostly hidden image are larger.

    Args:
        size, patch, channels, dim: as for :class:`PatchTokenizer`; two axes.

    Raises:
        ConfigError: see :class:`PatchTokenizer`; or the patch is not a square whose side is a power of two.
    """

    def __init__(self, size: Sequence[int], patch: Sequence[int], channels: int, dim: int) -> None:
        super().__init__(size, patch, channels, dim)
        stages = int(patch[0]).bit_length() - 1
        if len(patch) != 2 or patch[0] != patch[1] or patch[0] != 2**stages or stages < 1:
            raise ConfigError(
                f"stem=conv needs square patches of 2, 4, 8, 16, ... pixels, got {tuple(patch)}"
            )
        del self.proj
        widths = [channels, *(max(16, dim >> (stages - 1 - i)) for i in range(stages - 1)), dim]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths[1:-1])

    def initialise(self, std: float) -> None:
        """He initialisation, and a last convolution that gives tokens of the size a linear projection of ``std`` would."""
        *inner, last = (part for part in self.convolutions if isinstance(part, nn.Conv2d))
        for convolution in (*inner, last):
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        for convolution in inner:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        values = self.channels * math.prod(self.patch)
        nn.init.trunc_normal_(last.weight, std=std * math.sqrt(values / last.weight[0].numel()))

    def embed(
        self,
        patches: Float[Tensor, "B N patch"],
        keep: Int[Tensor, "B K"] | None = None,
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Tokens of the patches in ``keep``, of which alone they know."""
        if keep is not None:
            seen = torch.ones_like(keep, dtype=torch.bool) if valid is None else valid
            shown = torch.zeros(patches.shape[:2], device=patches.device, dtype=torch.int32)
            shown.scatter_add_(1, keep, seen.int())
            patches = patches * (shown > 0).unsqueeze(-1)
        x = self._paste(patches)
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i < len(self.norms):
                x = torch.nn.functional.gelu(self.norms[i](x))
        tokens = x.flatten(2).transpose(1, 2)
        return (
            tokens if keep is None else tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        )

    def _paste(self, patches: Float[Tensor, "B N patch"]) -> Float[Tensor, "B C H W"]:
        """The image whose patches these are: the inverse of ``cut``."""
        # shape[0] and not len(), which would be a constant in an exported program.
        (rows, columns), (height, width) = self.layout.grid, self.patch
        x = patches.view(patches.shape[0], rows, columns, self.channels, height, width)
        return x.permute(0, 3, 1, 4, 2, 5).reshape(patches.shape[0], self.channels, *self.size)
