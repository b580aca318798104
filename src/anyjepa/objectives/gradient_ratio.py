"""Gradients by ratio: how bright one half of a window is over the other half, at several scales.

Speckle multiplies, so a difference of means grows with the brightness, while a ratio of means does not (the detector of Touzi et
al. 1988; as targets of SAR-JEPA, arXiv 2311.15153). For every pixel and radius r, with x + eps over a window of 2r + 1 pixels:

    gx = ln(left half / right half),  gy = ln(upper half / lower half),  G = sqrt(gx^2 + gy^2)

Both halves hold the centre line in the official code; the paper's figure leaves it out, and so does its Gaussian variant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import ConfigError

RADII = (5, 9, 13, 17)
"""Of the paper, at 224 pixels. What it calls kernel sizes are radii."""

Kernel = Literal["box", "gaussian"]


def gradient_ratio(
    x: Float[Tensor, "B C H W"],
    radii: Sequence[int] = RADII,
    *,
    kernel: Kernel = "box",
    centre: bool | None = None,
    eps: float = 0.01,
) -> Float[Tensor, "B maps H W"]:
    """Gradient magnitudes of non-negative images, without gradient.

    Args:
        x: images in 0..1.
        radii: r of each scale; windows are 2r + 1 wide, mirrored beyond the edges.
        kernel: ``"box"`` weighs all pixels of a half alike; ``"gaussian"`` by exp(-(dx^2 + dy^2) / (2 s^2)) with
            s = 0.3 (r - 1) + 0.8.
        centre: whether both halves hold the line through the middle; None: those of boxes do.
        eps: added to every pixel.

    Returns:
        (B, len(radii) * C, H, W) float32, all channels of the first radius, then of the second.

    Raises:
        ConfigError: a radius is not in 1..side - 1, eps is not positive, or there is no radius.
    """
    check_radii(radii, x.shape[2:])
    if eps <= 0:
        raise ConfigError(f"eps must be above 0, got {eps}: the logarithm of a black half is not finite")
    inside = kernel == "box" if centre is None else centre
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float()
        if kernel == "box":
            maps = _boxes(x, radii, inside, eps)
        else:
            maps = [_magnitude(*_gaussian_halves(x, r, inside, eps)) for r in radii]
        return torch.cat(maps, dim=1)


def box_means(x: Float[Tensor, "B C H W"], radii: Sequence[int]) -> Float[Tensor, "B maps H W"]:
    """Means over windows of 2r + 1 pixels, mirrored beyond the edges, without gradient: low-pass images, as above."""
    check_radii(radii, x.shape[2:])
    with torch.no_grad():
        table, most = _summed(x.detach().float(), max(radii), 0.0)
        means = []
        for r in radii:
            rows = _span(table, 2, most - r, 2 * r + 1, x.shape[2])
            means.append((_span(rows, 3, most - r, 2 * r + 1, x.shape[3]) / (2 * r + 1) ** 2).float())
        return torch.cat(means, dim=1)


def check_radii(radii: Sequence[int], size: Sequence[int]) -> None:
    """Raise ConfigError unless every radius is at least 1 and windows can be mirrored at the edges of ``size``."""
    most = min(size) - 1
    if not radii or not all(1 <= r <= most for r in radii):
        raise ConfigError(
            f"radii must lie in 1..{most} for images of {size[0]}x{size[1]}, got {tuple(radii)}: use smaller radii, "
            f"e.g. {sorted({max(1, min(most, round(r * min(size) / 224))) for r in RADII})}, or larger images"
        )


def _boxes(x: Tensor, radii: Sequence[int], inside: bool, eps: float) -> list[Tensor]:
    """By one table of sums for all radii: the work does not depend on how wide the windows are."""
    height, width = x.shape[2:]
    table, most = _summed(x, max(radii), eps)
    maps = []
    for r in radii:
        side, half, away = 2 * r + 1, r + inside, r + 1 - inside
        rows = _span(table, 2, most - r, side, height)
        columns = _span(table, 3, most - r, side, width)
        left, right = (_span(rows, 3, start, half, width) for start in (most - r, most - r + away))
        upper, lower = (_span(columns, 2, start, half, height) for start in (most - r, most - r + away))
        maps.append(_magnitude(left, right, upper, lower))
    return maps


def _summed(x: Tensor, most: int, eps: float) -> tuple[Tensor, int]:
    """Sums over all pixels above and to the left, (B, C, H + 2 most + 1, W + 2 most + 1), of mirrored images plus eps.

    In float64: a sum over a whole image in float32 is off by more than a dark window holds.
    """
    if x.device.type == "mps":  # has no float64
        x = x.cpu()
    padded = F.pad(x, (most,) * 4, mode="reflect").double() + eps
    return F.pad(padded.cumsum(2).cumsum(3), (1, 0, 1, 0)), most


def _span(table: Tensor, axis: int, start: int, length: int, count: int) -> Tensor:
    """Differences of a table of sums: row i is the sum over ``length`` pixels from ``start + i`` on, i < count."""
    return table.narrow(axis, start + length, count) - table.narrow(axis, start, count)


def _magnitude(left: Tensor, right: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
    # The quotient in the precision of the sums: equal halves have the logarithm 0.
    across, down = ((a / b).float().log_().square_() for a, b in ((left, right), (upper, lower)))
    return across.add_(down).sqrt_()


def _gaussian_halves(x: Tensor, r: int, inside: bool, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sigma = 0.3 * (r - 1) + 0.8
    line = torch.exp(-(torch.arange(-r, r + 1, dtype=torch.float64) ** 2) / (2 * sigma**2)).to(x)
    first = line * (torch.arange(-r, r + 1) < (1 if inside else 0)).to(x)
    image = F.pad(x, (r,) * 4, mode="reflect") + eps
    across, down = (_filtered(image, line, axis) for axis in (3, 2))
    left, right = (_filtered(down, half, 3) for half in (first, first.flip(0)))
    upper, lower = (_filtered(across, half, 2) for half in (first, first.flip(0)))
    return left, right, upper, lower


def _filtered(x: Tensor, line: Tensor, axis: int) -> Tensor:
    """Sums along one axis weighed by ``line``, where all of it fits."""
    shape = (1, 1, len(line), 1) if axis == 2 else (1, 1, 1, len(line))
    return F.conv2d(x.flatten(0, 1).unsqueeze(1), line.view(shape)).view(*x.shape[:2], *_left(x, line, axis))


def _left(x: Tensor, line: Tensor, axis: int) -> tuple[int, int]:
    lost = len(line) - 1
    return (x.shape[2] - lost * (axis == 2), x.shape[3] - lost * (axis == 3))


def radii_for(size: Sequence[int]) -> tuple[int, ...]:
    """The paper's radii for images from 112 pixels on; below, those of its windows in pixels of radar chips before they are
    enlarged, as far as the image is larger."""
    side = min(size)
    usual = RADII if side >= 112 else (3, 5, 7, 9)
    fits = tuple(r for r in usual if r < side)
    return fits or (max(1, math.ceil(side / 8)),)
