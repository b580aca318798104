"""Non-overlapping patches of a signal, an image or a clip: one class for any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError


def patch_layout(size: Sequence[int], patch: Sequence[int]) -> Layout:
    """Layout of the patches of an input.

    Raises:
        ConfigError: a patch size does not divide its axis; the text names sizes that would work.
    """
    if len(size) != len(patch):
        raise ConfigError(f"size {tuple(size)} has {len(size)} axes, patch {tuple(patch)} has {len(patch)}")
    for side, p in zip(size, patch, strict=True):
        if p < 1 or side < p or side % p:
            raise ConfigError(
                f"size {tuple(size)} is not divisible by patch {tuple(patch)}: {_suggest(side, p)}"
            )
    return Layout(tuple(side // p for side, p in zip(size, patch, strict=True)))


def cut_patches(x: Float[Tensor, "B C *size"], patch: Sequence[int]) -> Float[Tensor, "B N patch"]:
    """Patches of an input of any size in raster order, each flattened channel first.

    Raises:
        ConfigError: see :func:`patch_layout`.
    """
    axes, layout = len(patch), patch_layout(x.shape[2:], patch)
    split = [n for g, p in zip(layout.grid, patch, strict=True) for n in (g, p)]
    x = x.reshape(*x.shape[:2], *split)
    grid_axes, patch_axes = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return x.permute(0, *grid_axes, 1, *patch_axes).flatten(1, axes).flatten(2)


class PatchTokenizer(nn.Module):
    """Cuts (B, C, S1, S2, ...) into patches and projects each to ``dim``.

    It computes what a convolution with kernel = stride = patch computes; the weight (dim, C*p1*p2*...) is that kernel
    flattened. Cutting and projecting are two calls so that only the patches an encoder really sees need be projected.

    Args:
        size: input size along each axis (pixels, samples, frames).
        patch: patch size along each axis.
        channels: input channels C.
        dim: token width D.
        bias: whether the projection has one.

    Raises:
        ConfigError: see :func:`patch_layout`.
    """

    def __init__(
        self, size: Sequence[int], patch: Sequence[int], channels: int, dim: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.layout = patch_layout(size, patch)
        self.size, self.patch, self.channels = tuple(size), tuple(patch), channels
        self.proj = nn.Linear(channels * math.prod(patch), dim, bias=bias)

    def cut(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B N patch"]:
        """Patches in raster order, each flattened channel first.

        Raises:
            ConfigError: ``x`` is not (B, channels, *size).
        """
        if tuple(x.shape[1:]) != (self.channels, *self.size):
            raise ConfigError(
                f"expected input (B, {', '.join(map(str, (self.channels, *self.size)))}), got {tuple(x.shape)}"
            )
        return cut_patches(x, self.patch)

    def initialise(self, std: float) -> None:
        """Draw the projection with standard deviation ``std``."""
        nn.init.trunc_normal_(self.proj.weight, std=std)

    def embed(
        self,
        patches: Float[Tensor, "B N patch"],
        keep: Int[Tensor, "B K"] | None = None,
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Tokens of some patches.

        Args:
            patches: all patches.
            keep: those whose tokens are wanted; None: all.
            valid: False where ``keep`` is padding: a tokenizer that looks at several patches must not look at those.
        """
        if keep is not None:
            patches = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        return self.proj(patches)

    def forward(self, x: Float[Tensor, "B C *size"]) -> Float[Tensor, "B N D"]:
        """All tokens of the input."""
        return self.embed(self.cut(x))


def _suggest(side: int, patch: int) -> str:
    patch = max(1, patch)
    sizes = sorted({max(patch, side // patch * patch), (side // patch + 1) * patch})
    divisors = [d for d in range(1, side + 1) if side % d == 0]
    near = sorted(divisors, key=lambda d: abs(d - patch))[:2]
    return f"use size {' or '.join(map(str, sizes))}, or patch {' or '.join(map(str, sorted(near)))}"
