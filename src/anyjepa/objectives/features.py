"""Fixed features as targets: what an image method predicts instead of the output of a network.

They cannot collapse, cost next to nothing, and put knowledge of a field into the target: gradients by ratio for radar images
(SAR-JEPA, arXiv 2311.15153), pixels as in MAE and SimMIM (arXiv 2111.06377, 2111.09886), smoothed pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import ConfigError
from anyjepa.normalisation import constants
from anyjepa.objectives.gradient_ratio import box_means, check_radii, gradient_ratio, radii_for
from anyjepa.tokenizers.patches import cut_patches

Kind = Literal["gradient-ratio", "pixels", "normalised-pixels", "low-pass"]


@dataclass(frozen=True)
class FeatureConfig:
    """Which features, and how they are computed."""

    kind: Kind = "gradient-ratio"
    """``gradient-ratio``: how halves of windows differ, at several scales; ``pixels``: as they are, in 0..1;
    ``normalised-pixels``: with mean 0 and standard deviation 1 in every patch (MAE); ``low-pass``: means over windows, at several
    scales."""
    radii: tuple[int, ...] | None = None
    """Windows are 2 r + 1 pixels wide; None: 5, 9, 13, 17 as in the paper from 112 pixels on, else 3, 5, 7, 9."""
    kernel: Literal["box", "gaussian"] = "box"
    """Weights within a window of gradient-ratio (box is better in the paper, 70.3 against 62.8 %)."""
    centre: bool | None = None
    """Whether both halves of a window hold its middle line: yes in the code, no in the paper's figure. None: yes for boxes, no
    for Gaussians, as in the code."""
    eps: float = 0.01
    """Added to all pixels before the logarithm of a ratio (code)."""
    mean: tuple[float, ...] | None = None
    """Channel means that were taken off the inputs; None: those of the data."""
    std: tuple[float, ...] | None = None
    """Channel standard deviations the inputs were divided by; None: those of the data."""

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise ConfigError(f"features.eps must be above 0, got {self.eps}")

    @property
    def scaled(self) -> bool:
        """Whether there is one map for each radius."""
        return self.kind in ("gradient-ratio", "low-pass")

    def fit(self, shape: Sequence[int]) -> FeatureConfig:
        """The same config for images (C, H, W), with radii.

        Raises:
            ConfigError: a window does not fit.
        """
        if not self.scaled:
            return self
        radii = radii_for(shape[1:]) if self.radii is None else self.radii
        check_radii(radii, shape[1:])
        return replace(self, radii=radii)

    def normalised(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> FeatureConfig:
        """The same config for inputs from which ``mean`` was taken off and that were divided by ``std``.

        Raises:
            ConfigError: something else was told.
        """
        for name, value in (("mean", mean), ("std", std)):
            if getattr(self, name) not in (None, value):
                raise ConfigError(f"features.{name} must be that of the images, {value}: leave it out")
        return replace(self, mean=mean, std=std)

    def width(self, channels: int, patch: Sequence[int]) -> int:
        """Numbers per token of a fitted config."""
        return channels * patch[0] * patch[1] * (len(self.radii or ()) if self.scaled else 1)


@torch.no_grad()
def feature_tokens(
    config: FeatureConfig, x: Float[Tensor, "B C H W"], patch: tuple[int, int]
) -> Float[Tensor, "B N F"]:
    """Features of all patches in raster order; each holds scale after scale, and within one channel after channel, the pixels
    row by row.

    Args:
        config: from :meth:`FeatureConfig.fit`.
        x: inputs as a method gets them, with ``config.mean`` taken off and divided by ``config.std``.
        patch: height and width of a token.
    """
    mean, std = (
        x.new_tensor(values, dtype=torch.float32).view(-1, 1, 1)
        for values in constants(x.shape[1], config.mean, config.std)
    )
    # Rounding must not make a black pixel negative.
    images = (x.float() * std + mean).clamp(min=0.0)
    if config.kind == "gradient-ratio":
        kind, centre = config.kernel, config.centre
        maps = gradient_ratio(images, config.radii or (), kernel=kind, centre=centre, eps=config.eps)
        return cut_patches(maps.to(x.device), patch)
    if config.kind == "low-pass":
        return cut_patches(box_means(images, config.radii or ()).to(x.device), patch)
    patches = cut_patches(images, patch)
    if config.kind == "pixels":
        return patches
    variance, average = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - average) / (variance + 1e-6).sqrt()
