"""Colour changes of images in 0..1, each with one amount per image; results are cut to 0..1."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a shade of grey (ITU-R BT.601)."""

_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def grey(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """Shades of grey: the luma of 3 channels, the mean of any other number."""
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    return (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)


def brightness(x: Float[Tensor, "B C H W"], factor: Float[Tensor, "B"]) -> Float[Tensor, "B C H W"]:
    """Pixel values times ``factor``."""
    return (x * _amount(factor)).clamp(0, 1)


def contrast(x: Float[Tensor, "B C H W"], factor: Float[Tensor, "B"]) -> Float[Tensor, "B C H W"]:
    """Distances to the mean shade of grey of the image times ``factor``."""
    return _blend(grey(x).mean(dim=(2, 3), keepdim=True), x, factor)


def saturation(x: Float[Tensor, "B 3 H W"], factor: Float[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
    """Distances to the pixel's own shade of grey times ``factor``."""
    return _blend(grey(x), x, factor)


def hue(x: Float[Tensor, "B 3 H W"], turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
    """Colours turned around the grey axis of YIQ by ``turn`` of a circle: one 3x3 matrix per image, shades kept.

    torchvision turns the hue of HSV instead, which keeps the largest channel and not the shade.
    """
    to_yiq = x.new_tensor(_YIQ)
    cos, sin = torch.cos(2 * math.pi * turn), torch.sin(2 * math.pi * turn)
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=-1).view(-1, 3, 3)
    matrix = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    return (matrix @ x.flatten(2)).view_as(x).clamp(0, 1)


def solarize(x: Float[Tensor, "B C H W"], threshold: float = 0.5) -> Float[Tensor, "B C H W"]:
    """Pixel values from ``threshold`` on inverted."""
    return torch.where(x >= threshold, 1 - x, x)


def _blend(
    base: Float[Tensor, "B _ _ _"], x: Float[Tensor, "B C H W"], factor: Float[Tensor, "B"]
) -> Float[Tensor, "B C H W"]:
    return torch.lerp(base.expand_as(x), x, _amount(factor)).clamp(0, 1)


def _amount(x: Float[Tensor, "B"]) -> Float[Tensor, "B 1 1 1"]:
    return x.view(-1, 1, 1, 1)
