"""Where an eye looks: saliency, fixations with inhibition of return, and the glimpses around them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

CENTRE = 0.35
"""Deviation of the bias to the centre, as a share of the side."""


def spectral_saliency(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H W"]:
    """A saliency map of each image that sums to 1: what its spectrum has beyond a smooth one (Hou and Zhang 2007), times a
    Gaussian around the centre, where photographers put things. It stands in for a trained model of gaze such as DeepGaze."""
    grey = images.mean(dim=1)
    spectrum = torch.fft.rfft2(grey)
    log = spectrum.abs().clamp_min(1e-8).log()
    smooth = F.avg_pool2d(F.pad(log[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    residual = torch.polar((log - smooth).exp(), spectrum.angle())
    found = torch.fft.irfft2(residual, s=grey.shape[1:]).square()[:, None]
    width = max(3, min(grey.shape[1:]) // 12 | 1)
    # Two boxes are close to a Gaussian.
    for _ in range(2):
        found = F.avg_pool2d(F.pad(found, [width // 2] * 4, mode="replicate"), width, 1)
    rows, columns = (torch.linspace(-0.5, 0.5, n, device=images.device) for n in grey.shape[1:])
    bias = torch.exp(-(rows[:, None].square() + columns.square()) / (2 * CENTRE**2))
    found = found[:, 0] * bias
    return found / found.sum(dim=(1, 2), keepdim=True).clamp_min(1e-30)


def fixations(
    saliency: Float[Tensor, "B H W"], draws: Float[Tensor, "B V"], radius: float, square: bool = False
) -> Int[Tensor, "B V 2"]:
    """Rows and columns that are looked at one after the other, each drawn from what the map has left.

    Args:
        saliency: maps without negative values.
        draws: uniform in [0, 1), one for each fixation.
        radius: pixels around a fixation that are not looked at again, as long as anything else is left; 0: none.
        square: the neighbourhood is a square, not a disc.
    """
    left = saliency.double().clone()
    height, width = left.shape[1:]
    rows, columns = torch.arange(height), torch.arange(width)
    found = []
    for draw in draws.double().unbind(dim=1):
        # Never quite empty: when all is inhibited, all places are equal again.
        mass = left.flatten(1) + 1e-16
        total = mass.cumsum(dim=1)
        place = torch.searchsorted(total, draw[:, None] * total[:, -1:], right=True).clamp(
            max=height * width - 1
        )[:, 0]
        row, column = place // width, place % width
        found.append(torch.stack((row, column), dim=1))
        if radius > 0:
            down, across = (rows - row[:, None]).abs()[:, :, None], (columns - column[:, None]).abs()[:, None]
            near = (
                (down <= radius) & (across <= radius)
                if square
                else down.square() + across.square() <= radius**2
            )
            left.masked_fill_(near, 0.0)
    return torch.stack(found, dim=1)


def glimpses(
    images: Float[Tensor, "B C H W"],
    centres: Float[Tensor, "B V 2"],
    size: tuple[int, int],
    spacing: float = 1.0,
) -> Float[Tensor, "B V C h w"]:
    """Cuts around places, bilinear, 0 outside of the image.

    Args:
        images: the images.
        centres: rows and columns in pixels; 0 is the middle of the first pixel.
        size: height and width of a glimpse.
        spacing: pixels of the image between two of a glimpse.
    """
    views = centres.shape[1]
    # In the middle between four pixels where a side is even, as bilinear cuts are.
    lines = [
        centres[..., axis, None] + spacing * (torch.arange(side) - (side - 1) / 2)
        for axis, side in enumerate(size)
    ]
    scaled = [(2 * line + 1) / images.shape[2 + axis] - 1 for axis, line in enumerate(lines)]
    rows = scaled[0][..., :, None].expand(-1, -1, -1, size[1])
    columns = scaled[1][..., None, :].expand(-1, -1, size[0], -1)
    # All glimpses of an image lie below each other in one long grid.
    grid = torch.stack((columns, rows), dim=-1).flatten(1, 2).to(images)
    cut = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return cut.unflatten(2, (views, size[0])).transpose(1, 2)
